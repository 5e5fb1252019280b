"""Archives of torch.export (.pt2) as priors: the graph becomes data, the weights safetensors.

    python -m priors.sources.exported model.pt2 about.json DIR

The library's own reader is never called: it evaluates expressions and opens pickle of the archive. Here a zip file is
read by its directory, one JSON file by a closed list of operators, and weights as plain bytes; samples of inputs,
compiled code, scripts and objects are not opened. What is written is a folder with prior.json and model.safetensors.

about.json holds what an archive cannot know, as prior.json has it: `name`, `summary`, `license`, `host`, `default_tap`,
`inputs` (port -> type, in the order of the module's arguments; a type with a mask takes the argument after it too) and
`taps` (name -> type, in the order of its outputs). The files that host and license name, such as a tokenizer, lie
beside it and are copied.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from priors.errors import BadManifest, BadWeights, UserError
from priors.families import config_class
from priors.families._config import read_config
from priors.families.exported import DTYPES, LENGTHS, MAX_NODES, MAX_WEIGHTS, OPERATORS, SCAN, ExportedConfig
from priors.host import encoder_for
from priors.manifest import FILE_NAME, PriorManifest, parse_manifest
from priors.sources._archive import Archive
from priors.types import parse
from priors.weights import WEIGHTS, save_weights, sha256_file

if TYPE_CHECKING:
    from torch import Tensor

_SCALARS = {1: "u8", 2: "i8", 3: "i16", 4: "i32", 5: "i64", 6: "f16", 7: "f32", 8: "f64", 12: "bool", 13: "bf16"}
"""torch._export.serde.schema.ScalarType, schema version 8."""
_CHECKS = ("_assert_scalar", "_assert_tensor_metadata", "_assert_async", "sym_constrain_range_for_size",
           "sym_constrain_range")  # fmt: skip
"""Nodes that only check what the exporter believed of the inputs."""
_OTHERS = {"detach_": "detach", "view": "reshape", "_unsafe_view": "reshape"}
"""What is detached in place is a constant that was just copied. A view wants its memory in an order that is not kept
here; `reshape` gives the same numbers in any."""
_SIGNS = {"__and__": "bitwise_and", "__or__": "bitwise_or", "__xor__": "bitwise_xor"}
_LEFT_OUT = ("pin_memory", "layout", "memory_format", "non_blocking")
"""Arguments that change where and how a value lies, and never the value."""
_PARTS = (("parameter", "parameter_name"), ("buffer", "buffer_name"), ("tensor_constant", "tensor_constant_name"))


def write_prior(
    archive: Path | str, about: Mapping[str, Any], folder: Path | str, *, beside: Path | str | None = None
) -> PriorManifest:
    """Makes `folder`, which must not be there, a prior of the archive.

    beside  where the files lie that `about` names: the archive's folder if it is not said

    Raises BadWeights for an archive that is refused, BadManifest where it and `about` do not go together or a file is
    missing.
    """
    folder = Path(folder)
    from priors.architectures.exported import Exported  # here: imports torch

    config, tensors = read_archive(archive, about)
    Exported(config).build(tuple(config["outputs"]))
    folder.mkdir(parents=True)
    try:
        return _write(config, tensors, about, folder, Path(archive), Path(beside or Path(archive).parent))
    except BaseException:
        shutil.rmtree(folder)
        raise


def _write(
    config: dict[str, Any], tensors: dict[str, Tensor], about: Mapping[str, Any], folder: Path, archive: Path,
    beside: Path,
) -> PriorManifest:  # fmt: skip
    save_weights(tensors, folder / WEIGHTS)
    for part, key in (("host", "file"), ("host", "merges"), ("license", "file")):
        name = about[part].get(key) if isinstance(about.get(part), dict) else None
        if isinstance(name, str):
            if Path(name).name != name or not (beside / name).is_file():
                raise BadManifest(f"{part}.{key} is {name[:80]!a}, and no such file lies in {beside}. Put it there.")
            shutil.copyfile(beside / name, folder / name)
    rest = {key: value for key, value in about.items() if key not in ("inputs", "taps")}
    manifest = parse_manifest(
        {
            "prior": 1,
            "version": "1.0.0",
            "kind": "network",
            **rest,
            "architecture": {"id": "exported", "config": config},
            "inputs": {name: str(parse(text)) for name, text in config["ports"].items()},
            "taps": {name: str(parse(tap["type"])) for name, tap in config["outputs"].items()},
            "files": {
                one.name: {"sha256": sha256_file(one), "size": one.stat().st_size} for one in sorted(folder.iterdir())
            },
            "parameters": sum(t.numel() for t in tensors.values() if t.is_floating_point()),
            "origin": {"archive": archive.name, "sha256": sha256_file(archive)},
        }
    )
    if manifest.host is not None:
        encoder_for(manifest, folder)
    (folder / FILE_NAME).write_text(manifest.to_json(), encoding="utf-8")
    return manifest


def read_archive(archive: Path | str, about: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The config of architecture `exported` and its tensors by the names of the archive."""
    with Archive(Path(archive)) as held:
        graph, signature = held.graph()
        try:
            return _read(held, graph, signature, about)
        except (KeyError, TypeError, ValueError, AttributeError, IndexError, StopIteration) as err:
            # Whatever the shape of somebody's JSON does to code that expects the exporter's.
            raise BadWeights(f"{Path(archive).name} is not as torch.export writes it ({err!r:.100}).") from err


def _read(
    held: Archive, graph: Mapping[str, Any], signature: Mapping[str, Any], about: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    places, tensors = _weights(held, signature)
    takes = [one["user_input"]["arg"]["as_tensor"]["name"] for one in signature["input_specs"] if "user_input" in one]
    trained = {one["parameter"]["arg"]["name"] for one in signature["input_specs"] if "parameter" in one}
    gives = [one["user_output"]["arg"]["as_tensor"]["name"] for one in signature["output_specs"]]
    ports, taps = about.get("inputs"), about.get("taps")
    if not isinstance(ports, dict) or not isinstance(taps, dict) or len(taps) != len(gives):
        raise BadManifest(
            f"inputs and taps must be tables of port types, {len(gives)} taps as the archive gives. Name them."
        )
    config: dict[str, Any] = {
        "ports": ports,
        "takes": takes,
        "outputs": {name: {"value": value, "type": t} for (name, t), value in zip(taps.items(), gives, strict=True)},
        "weights": {
            value: {**_described(name, tensors[name]), **({} if value in trained else {"fixed": True})}
            for value, name in places.items()
        },
        "nodes": list(_nodes(graph["nodes"])),
    }
    read = read_config(config_class("exported", ExportedConfig), config, "exported")
    _check_sizes(read, graph["tensor_values"])
    used = {value for node in read.needed(tuple(taps)) for value in node.reads} | set(gives)
    config["weights"] = {value: weight for value, weight in config["weights"].items() if value in used}
    kept = {weight["tensor"] for weight in config["weights"].values()}
    return config, {name: tensor for name, tensor in tensors.items() if name in kept}


def _weights(held: Archive, signature: Mapping[str, Any]) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Value -> tensor, and the tensors."""
    places: dict[str, str] = {}
    for one in signature["input_specs"]:
        found = next(((one[kind]["arg"]["name"], one[kind][key]) for kind, key in _PARTS if kind in one), None)
        if found is not None:
            places[found[0]] = found[1]
        elif "as_tensor" not in one.get("user_input", {}).get("arg", {}):
            raise BadWeights(f"its graph takes {min(one, default='nothing')}, which is no tensor. Export tensors only.")
    if len(places) > MAX_WEIGHTS:
        raise BadWeights(f"it has {len(places):,} tensors, the limit is {MAX_WEIGHTS:,}. Export a smaller model.")
    if any("as_tensor" not in one.get("user_output", {}).get("arg", {}) for one in signature["output_specs"]):
        raise BadWeights("its graph changes a buffer or gives something other than tensors. Export it in eval mode.")
    return places, held.tensors(set(places.values()))


def _described(name: str, tensor: Tensor) -> dict[str, Any]:
    import torch

    dtypes = {getattr(torch, long): short for long, short in zip(_LONG, DTYPES, strict=True)}
    return {"tensor": name, "shape": list(tensor.shape), "dtype": dtypes[tensor.dtype]}


_LONG = ("bool", "uint8", "int8", "int16", "int32", "int64", "float16", "bfloat16", "float32", "float64")


def _nodes(nodes: list[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    if len(nodes) > MAX_NODES:
        raise BadWeights(f"its graph has {len(nodes):,} nodes, the limit is {MAX_NODES:,}. Export a smaller model.")
    for node in nodes:
        if node["target"] == "torch.ops.higher_order.scan":
            yield _scan(node)
            continue
        op = _operator(node["target"])
        if op is None:
            continue
        args: list[Any] = []
        kwargs: dict[str, Any] = {}
        for given in node["inputs"]:
            value = None if given["name"] in _LEFT_OUT else _argument(op, given["arg"])
            if given.get("kind") == 2:
                if given["name"] not in _LEFT_OUT:
                    kwargs[given["name"]] = value
            else:
                args.append(value)
        [first, *more] = [*node["outputs"]] or [{}]
        if "as_tensors" in first:
            out, many = [one["name"] for one in first["as_tensors"]], True
        else:
            out = [_name(op, one) for one in (first, *more)]
            many = bool(more)
        found = {"op": op, "args": args, "kwargs": kwargs, "out": out, "many": many}
        yield {key: value for key, value in found.items() if value or key in ("op", "out")}


def _scan(node: Mapping[str, Any]) -> dict[str, Any]:
    """A recurrence: its step is a graph inside the graph, which reads what it is given and nothing else."""
    step, *given = (one["arg"] for one in node["inputs"])
    graph = step["as_graph"]["graph"]
    nodes = list(_nodes(graph["nodes"]))
    if any(one["op"] == SCAN for one in nodes):
        raise BadWeights("a recurrence of its graph is inside another, which is not taken. Export one layer of it.")
    return {
        "op": SCAN,
        "args": [_argument(SCAN, one) for one in given],
        "out": [_name(SCAN, one) for one in node["outputs"]],
        "many": True,
        "step": {
            "takes": [_name(SCAN, one) for one in graph["inputs"]],
            "nodes": nodes,
            "gives": [_name(SCAN, one) for one in graph["outputs"]],
        },
    }


def _name(op: str, output: Mapping[str, Any]) -> str:
    for kind in ("as_tensor", "as_sym_int", "as_sym_bool"):
        if kind in output:
            name: str = output[kind].get("name", output[kind].get("as_name"))
            return name
    raise BadWeights(f"{op} of its graph gives {min(output, default='nothing')}, which is not understood.")


def _operator(target: Any) -> str | None:
    """Our name for it; None for a node that computes nothing."""
    if not isinstance(target, str):
        raise BadWeights("a node of its graph has no operator.")
    name, _, overload = target.removeprefix("torch.ops.aten.").partition(".")
    if target.startswith("torch.ops.aten."):
        if name in _CHECKS:
            return None
        if overload == "default":
            name = _OTHERS.get(name, name)
        name = _SIGNS.get(name, name)
        if name in OPERATORS:
            return f"{name}.{overload}"
    if target.startswith("_operator.") and target.removeprefix("_operator.") in LENGTHS:
        return f"length.{target.removeprefix('_operator.')}"
    if target in ("torch.sym_max", "torch.sym_min"):
        return f"length.{target[-3:]}"
    if target.startswith("_operator."):
        return None  # a comparison of lengths, which only a check reads; the config is refused where anything else does
    raise BadWeights(
        f"its graph calls {target[:80]!a}, which is not among the operators that are taken. "
        "Export in eval mode, and save what its run_decompositions({}) gives: that changes nothing in place."
    )


def _argument(op: str, given: Mapping[str, Any]) -> Any:
    [(kind, value)] = given.items()
    match kind:
        case "as_none" | "as_memory_format" | "as_layout":
            return None
        case "as_int" | "as_float" | "as_bool" | "as_ints" | "as_floats" | "as_bools":
            return value
        case "as_tensor":
            return f"%{value['name']}"
        case "as_tensors":
            return [f"%{one['name']}" for one in value]
        case "as_optional_tensor":
            return _argument(op, value)
        case "as_optional_tensors":
            return [_argument(op, one) for one in value]
        case "as_sym_int" | "as_sym_bool":
            return f"%{value['as_name']}" if "as_name" in value else next(iter(value.values()))
        case "as_sym_ints":
            return [f"%{one['as_name']}" if "as_name" in one else one["as_int"] for one in value]
        case "as_string":
            return f"'{value}"
        case "as_scalar_type" if value in _SCALARS:
            return f"#{_SCALARS[value]}"
        case "as_device":
            return "@"
    raise BadWeights(f"{op} of its graph is given {kind} {value!r:.40}, which is not understood. Export it otherwise.")


def _check_sizes(config: ExportedConfig, values: Mapping[str, Any]) -> None:
    """What the ports leave free is free in the archive, too, and their numbers are its numbers."""
    at = iter(config.takes)
    for name, text in config.inputs().items():
        port, value = parse(text), next(at)
        sizes = [size.get("as_int") for size in values[value]["sizes"]]
        if port.attr("mask"):
            next(at)
        dims = [axis.dim if isinstance(axis.dim, int) else None for axis in port.axes]
        if len(dims) != len(sizes):
            raise BadManifest(f"input {name!r} is {port}, the archive's has {len(sizes)} axes. Correct the type.")
        for axis, dim, size in zip(port.axes, dims, sizes, strict=True):
            if dim != size:
                raise BadManifest(
                    f"input {name!r}: axis {axis.name} is {dim or 'free'}, in the archive {size or 'free'}. "
                    "Correct the type, or export again with dynamic_shapes for what is to be free."
                )


def main(arguments: list[str]) -> int:
    """Writes the prior; 0 done, 1 cannot, 2 wrong usage."""
    if len(arguments) != 3:
        print("usage: python -m priors.sources.exported ARCHIVE ABOUT.json DIR", file=sys.stderr)
        return 2
    try:
        about = json.loads(Path(arguments[1]).read_text(encoding="utf-8"))
        manifest = write_prior(arguments[0], about, arguments[2], beside=Path(arguments[1]).parent)
    except (UserError, OSError, ValueError) as err:
        print(f"error: {err}", file=sys.stderr)
        return 1
    print(f"{arguments[2]}: {manifest.name}, {manifest.parameters:,} parameters, taps {', '.join(manifest.taps)}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
