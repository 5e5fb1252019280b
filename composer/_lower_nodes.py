"""How each operation is lowered: which module, with which of its settings, on which axes and masks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from composer._lower_attention import Attend, AttentionPool, Perceiver
from composer._lower_axes import ConcatMask, Expand, Layout, Prefix, Rearrange, Resample, ResampleMask
from composer._lower_host import DTYPES, decoder
from composer._lower_nested import lower_nested
from composer._lower_ops import Cast, Concat, Const, Gate, Head, Pool, Route, RouteByTag, Score, Sum
from composer._lower_project import Project
from composer.check import TypedNode
from composer.delta import Delta
from composer.errors import BadGraph
from composer.nested import ARCHITECTURE
from priors.functions.signatures import find_signature
from priors.registry import find_function
from priors.types import PortType

if TYPE_CHECKING:
    from composer._lower_steps import Lowering


def _input(low: Lowering, node: TypedNode) -> None:
    if not low.type(node.name).is_raw:
        low.host(node, node.name)


def _const(low: Lowering, node: TypedNode) -> None:
    t = low.type(node.name)
    value = _from_file(low, node) if "file" in node.attrs else torch.tensor(node.attrs["value"])
    shape = [
        axis.dim if isinstance(axis.dim, int) else size for axis, size in zip(t.axes[1:], value.shape, strict=False)
    ]
    if value.dim() == 0:
        shape = [axis.dim for axis in t.axes[1:] if isinstance(axis.dim, int)]
    elif list(value.shape) != shape or value.dim() != len(t.axes) - 1:
        raise BadGraph(f"node {node.name!r} (const): its value is {tuple(value.shape)}, its type {t}. Correct one.")
    value = value.to(DTYPES[t.dtype]).expand(shape).contiguous()
    low.single.add(node.name)
    low.call(node, partial(Const, value))


def _from_file(low: Lowering, node: TypedNode) -> Tensor:
    attrs = node.attrs
    if low.folder is None:
        raise BadGraph(
            f"node {node.name!r} (const) reads {attrs['file']}, and this composition has no folder. "
            "Load it from the folder that has the file."
        )
    # Imported here: constants with files are rare, and hashing belongs to whoever reads one.
    from priors.weights import load_weights

    held = load_weights(low.folder / attrs["file"], attrs["sha256"])
    if attrs["tensor"] not in held:
        raise BadGraph(f"node {node.name!r} (const): {attrs['file']} has no tensor {attrs['tensor']!r}. Correct it.")
    return held[attrs["tensor"]]


def _weights(low: Lowering, node: TypedNode) -> None:
    low.networks.sources.add(node)


def _delta(low: Lowering, node: TypedNode) -> None:
    if len(node.inputs) != 1:
        raise _cannot(node, "a delta between two sets of weights", "a delta of one, which is learned")
    attrs = node.attrs
    low.plan.learned[node.name] = Delta.of(
        low.networks.sources.shapes_of(node.sources[0]),
        kind=attrs["kind"],
        targets=attrs.get("targets"),
        r=attrs.get("r"),
        alpha=attrs.get("alpha"),
        seed=low.random(node),
    ).eval()
    low.networks.sources.add(node)


def _net(low: Lowering, node: TypedNode) -> None:
    weights = low.nodes[dict(node.inputs)["w"]]
    if weights.architecture == ARCHITECTURE:
        lower_nested(low, node, weights.attrs["prior"])
    else:
        low.net(node)


def _encode(low: Lowering, node: TypedNode) -> None:
    low.host(node, node.sources[0])


def _bridge(low: Lowering, node: TypedNode) -> None:
    if low.nodes[node.sources[0]].op not in ("encode", "bridge", "input"):
        raise _cannot(node, "ids that are computed", "ids that an encode node or an input gives")
    low.host(node, node.sources[0])


def _decode(low: Lowering, node: TypedNode) -> None:
    [source] = node.sources
    if node.attrs["gives"] == "score":
        low.call(node, partial(Score, low.type(source).level))
        return
    low.plan.slots[node.name] = low.plan.slots[source]
    low.plan.decoders[node.name] = decoder(node, low.priors)


def _fn(low: Lowering, node: TypedNode) -> None:
    if find_signature(node.attrs["fn"]).host:
        low.host(node, node.sources[0])
        return
    in_type = low.type(node.sources[0])

    def make() -> nn.Module:
        function: Any = find_function(node.attrs["fn"])(dict(node.attrs.get("config", {})))
        module: nn.Module = function.module(str(in_type))
        return module

    low.call(node, make)


def _pool(low: Lowering, node: TypedNode) -> None:
    [source], kind, axis = node.sources, node.attrs["kind"], node.attrs["axis"]
    given = low.type(source)
    masks = low.mask(source, axis) if node.attrs["mask"] == "auto" and kind != "first" else ()
    if kind == "attn":
        low.call(
            node, partial(AttentionPool, _index(given, axis), _index(given, "D"), _length(given, "D")), masks=masks
        )
    else:
        low.call(node, partial(Pool, kind, _index(given, axis)), masks=masks)


def _resample(low: Lowering, node: TypedNode) -> None:
    [source], mode, axis, n = node.sources, node.attrs["mode"], node.attrs["axis"], node.attrs["n"]
    given, masks = low.type(source), low.mask(source, axis)
    at = _index(given, axis)
    if mode == "perceiver":
        width = _length(given, "D")
        make = partial(Perceiver, at, _index(given, "D"), width, n, low.random(node))
        low.call(node, make, masks=masks, mask_of=() if masks else None)
        return
    low.call(node, partial(Resample, mode, at, n), masks=masks, mask_of=() if masks else None)
    if mode == "pad-crop" and masks:
        low.make_mask(node, axis, masks, partial(ResampleMask, n))


def _proj(low: Lowering, node: TypedNode) -> None:
    given, attrs = low.type(node.sources[0]), node.attrs
    dim = _index(given, next(name for name in given.axis_names if name in ("D", "C")))
    settings = (attrs["d_in"], attrs["d_out"], attrs["init"], low.random(node), dim, attrs["kind"], attrs.get("rank"))
    low.call(node, partial(Project, *settings))


def _concat(low: Lowering, node: TypedNode) -> None:
    axis = node.attrs["axis"]
    low.call(node, partial(Concat, _index(low.type(node.name), axis)), mask_of=_without(low, node, axis))
    masks = [low.mask(source, axis) for source in node.sources]
    if any(masks):
        takes = [mask[0] if mask else low.plan.slots[s] for s, mask in zip(node.sources, masks, strict=True)]
        dims = [None if mask else _index(low.type(s), axis) for s, mask in zip(node.sources, masks, strict=True)]
        low.make_mask(node, axis, tuple(takes), partial(ConcatMask, dims))


def _without(low: Lowering, node: TypedNode, axis: str) -> tuple[str, ...]:
    """The sources that are not masked along `axis`, which the node changes."""
    return tuple(source for source in node.sources if not low.mask(source, axis))


def _sum(low: Lowering, node: TypedNode) -> None:
    weights = node.attrs.get("weights")
    learned = weights in ("learned", "search")
    values = weights if isinstance(weights, list) else [1.0 / len(node.inputs) if learned else 1.0] * len(node.inputs)
    low.call(node, partial(Sum, values, learned))


def _gate(low: Lowering, node: TypedNode) -> None:
    width = _last(low, node)
    low.call(node, partial(Gate, len(node.inputs), width, node.attrs["init"], node.attrs["kind"]))


def _route(low: Lowering, node: TypedNode) -> None:
    if node.attrs["by"] == "tag":
        low.call(node, RouteByTag, mask_of=node.sources[:-1])
    else:
        low.call(node, partial(Route, len(node.inputs), _last(low, node), node.attrs["top_k"]))


def _attend(low: Lowering, node: TypedNode) -> None:
    wires, attrs = dict(node.inputs), node.attrs
    query, context = low.type(wires["q"]), low.type(wires["kv"])
    masked = low.masks.get(wires["kv"])
    make = partial(
        Attend,
        _length(query, "D"),
        attrs["heads"],
        attrs["layers"],
        attrs["init"],
        low.random(node),
        features=(_index(query, "D"), _index(context, "D")),
        masked=_index(context, masked[0]) if masked else 1,
    )
    sources = (wires["q"], wires["kv"])
    low.call(node, make, sources=sources, masks=(masked[1],) if masked else (), mask_of=sources[:1])


def _head(low: Lowering, node: TypedNode) -> None:
    width, outputs = _length(low.type(node.sources[0]), "D"), len(node.attrs["labels"]) if "labels" in node.attrs else 1
    seed = low.random(node) if node.attrs["init"] == "random" else None
    low.call(node, partial(Head, width, outputs, node.attrs["loss"] == "binary_cross_entropy", seed))


def _cast(low: Lowering, node: TypedNode) -> None:
    dtype = DTYPES[node.attrs["dtype"]] if "dtype" in node.attrs else None
    clip = tuple(node.attrs["clip"]) if "clip" in node.attrs else None
    low.call(node, partial(Cast, dtype, node.attrs.get("domain"), clip, node.attrs.get("scale")))


def _layout(low: Lowering, node: TypedNode) -> None:
    if "expr" in node.attrs:
        low.call(node, partial(Rearrange, node.attrs["expr"]))
        return
    rename = node.attrs.get("rename", {})
    names = [rename.get(name, name) for name in low.type(node.sources[0]).axis_names]
    order = [names.index(name) for name in node.attrs["order"]]
    if order == sorted(order):  # other names alone: the same value
        low.same(node)
    else:
        low.call(node, partial(Layout, order))


def _expand(low: Lowering, node: TypedNode) -> None:
    made, axis, n = low.type(node.name), node.attrs["axis"], node.attrs["n"]
    if node.attrs["kind"] == "prefix":
        low.call(node, partial(Prefix, _index(made, axis), n, _length(made, "D"), _index(made, "D")))
    else:
        low.call(node, partial(Expand, _index(made, axis), n))


LOWERINGS: Mapping[str, Callable[[Lowering, TypedNode], None]] = {
    "input": _input,
    "const": _const,
    "load": _weights,
    "net": _net,
    "fn": _fn,
    "encode": _encode,
    "decode": _decode,
    "proj": _proj,
    "resample": _resample,
    "pool": _pool,
    "expand": _expand,
    "layout": _layout,
    "cast": _cast,
    "bridge": _bridge,
    "sum": _sum,
    "concat": _concat,
    "gate": _gate,
    "attend": _attend,
    "route": _route,
    "head": _head,
    "merge": _weights,
    "delta": _delta,
    "splice": _weights,
    "retok": _weights,
}


def _index(t: PortType, axis: str) -> int:
    return t.axis_names.index(axis)


def _length(t: PortType, axis: str) -> int:
    found = t.dim(axis)
    if not isinstance(found, int):
        raise BadGraph(f"{t} leaves the length of axis {axis} open, and something is learned along it. Write it.")
    return found


def _last(low: Lowering, node: TypedNode) -> int:
    t = low.type(node.name)
    return _length(t, t.axis_names[-1])


def _cannot(node: TypedNode, what: str, instead: str) -> BadGraph:
    return BadGraph(f"node {node.name!r} ({node.op}): this version cannot run {what}. It runs: {instead}.")
