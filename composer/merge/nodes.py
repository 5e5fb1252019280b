"""Weights as nodes of a composition: `merge` and `splice`, evaluated when somebody reads them, a tensor at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from composer.errors import BadGraph
from composer.merge.plan import find_method, plan
from composer.merge.source import Derived, Output, Source, copied
from composer.merge.spec import MergeSpec, Part, Slice

if TYPE_CHECKING:
    from torch import Tensor


def node_outputs(op: str, attrs: Mapping[str, Any], inputs: Sequence[Source], *, seed: int = 0) -> dict[str, Output]:
    """The tensors of a weights node, none of them made yet. Inputs may be `Derived` from other nodes.

    A method that needs a base takes the first input for it; `weights` then are those of the others. Raises BadGraph,
    and BadWeights where inputs do not fit each other.
    """
    match op:
        case "merge":
            return _merge(attrs, inputs, seed)
        case "splice":
            return _splice(attrs, inputs)
    raise BadGraph(f"{op!r} is not evaluated by the merge engine, which knows merge and splice.")


def evaluate(outputs: Mapping[str, Output]) -> Iterator[tuple[str, Tensor]]:
    """Each tensor in turn, made when it is asked for."""
    import torch

    dtypes = {
        "BF16": torch.bfloat16, "F16": torch.float16, "F32": torch.float32, "F64": torch.float64, "BOOL": torch.bool,
        "U8": torch.uint8, "I8": torch.int8, "I16": torch.int16, "I32": torch.int32, "I64": torch.int64,
    }  # fmt: skip
    for name, output in outputs.items():
        if output.info.dtype not in dtypes:
            raise BadGraph(f"tensor {name} is {output.info.dtype}, which no network is loaded from. Convert it first.")
        made = bytearray(output.info.bytes)
        Derived("", {name: output}).read(name, 0, memoryview(made))
        yield name, torch.frombuffer(made, dtype=dtypes[output.info.dtype]).view(output.info.shape)


def _merge(attrs: Mapping[str, Any], inputs: Sequence[Source], seed: int) -> dict[str, Output]:
    if attrs["method"] == "greedy_soup":
        raise BadGraph(
            "greedy_soup is decided by held-out scores. Make it first (composer.merge.greedy_soup), and load it."
        )
    method = find_method(attrs["method"])
    names = [str(i) for i in range(len(inputs))]
    base = names[0] if method.base == "required" else None
    parts = names[1:] if base else names
    weights = attrs.get("weights")
    if weights is None and "weight" in method.parameters:
        weights = [1.0] * len(parts)
    if weights is not None and len(weights) != len(parts):
        raise BadGraph(
            f"merge {attrs['method']}: {len(weights)} weights for {len(parts)} inputs{' and a base' * bool(base)}."
        )
    settings = dict(attrs.get("parameters", {})) | ({"t": attrs["t"]} if "t" in attrs else {})
    spec = MergeSpec.of(attrs["method"], parts, base=base, weights=weights, parameters=settings, seed=seed)
    return plan(spec, dict(zip(names, inputs, strict=True)))


def _splice(attrs: Mapping[str, Any], inputs: Sequence[Source]) -> dict[str, Output]:
    """layers: [input, first, end] runs; rename: prefixes of the result's names, the first that fits."""
    slices = []
    for place, first, end in attrs["layers"]:
        if not 0 <= place < len(inputs):
            raise BadGraph(f"splice takes layers of input {place}; there are {len(inputs)}, counted from 0.")
        slices.append(Slice((Part(str(place), {}, (first, end)),)))
    used = {part.model for one in slices for part in one.parts}
    sources = {str(i): source for i, source in enumerate(inputs) if str(i) in used}
    outputs = plan(MergeSpec("passthrough", tuple(slices)), sources)
    renamed: dict[str, Output] = {}
    for name, output in outputs.items():
        old, new = next(((o, n) for o, n in attrs.get("rename", {}).items() if name.startswith(o)), ("", ""))
        if new + name[len(old) :] in renamed:
            raise BadGraph(f"splice gives two tensors the name {new + name[len(old) :]!r}. Correct 'rename'.")
        renamed[new + name[len(old) :]] = output
    return renamed


def plain(source: Source) -> dict[str, Output]:
    """The tensors of a source as they are, for writing or evaluating them."""
    return {name: copied(source, name) for name in sorted(source.tensors)}
