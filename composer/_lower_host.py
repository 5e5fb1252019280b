"""The host side of a lowered composition: what turns raw values into the tensors the module begins with."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from composer._lower_priors import PriorCache
from composer._lower_wiring import Slot
from composer._scope import masked_axis
from composer.check import TypedNode
from composer.errors import BadGraph
from priors.errors import BadTable
from priors.functions.absent import extract, filled
from priors.registry import find_function
from priors.types import Axis, PortType

DTYPES: Mapping[str, torch.dtype] = {
    "bool": torch.bool,
    "u8": torch.uint8,
    "i8": torch.int8,
    "i16": torch.int16,
    "i32": torch.int32,
    "i64": torch.int64,
    "f16": torch.float16,
    "bf16": torch.bfloat16,
    "f32": torch.float32,
    "f64": torch.float64,
}


@dataclass(frozen=True)
class HostInput:
    """One positional input of the module.

    name       an identifier, unique among the inputs; what exported files call it
    node       the node whose value, or whose value's mask, this is
    port_type  of the value; a mask is bool over the batch and the axis it masks
    is_mask    a mask stands right after the value it belongs to
    """

    name: str
    node: str
    port_type: PortType
    is_mask: bool

    @property
    def slot(self) -> Slot:
        return mask_slot(self.node) if self.is_mask else self.node


@dataclass(frozen=True)
class HostStep:
    """One node that runs before the module: values of `modality` of the input node `source` become `inputs`.

    encode    values -> the tensors of `inputs`, in order, one row a value. What it needs is loaded on the first call
    describe  what it does, in plain JSON values, so that another program can do the same
    """

    node: str
    source: str
    modality: str
    inputs: tuple[HostInput, ...]
    encode: Callable[[Sequence[Any]], tuple[Tensor, ...]]
    describe: Callable[[], dict[str, Any]]


def mask_slot(node: str) -> Slot:
    return f"{node}#mask"  # no node name has a '#'


def host_step(node: TypedNode, source: TypedNode, priors: PriorCache, before: HostStep | None = None) -> HostStep:
    """The step for an `encode` node, a `fn` node of the host kind, an `input` node that already holds numbers, or a
    `bridge` node of what the step `before` gives."""
    if node.type is None or source.type is None:
        raise BadGraph(f"node {node.name!r} reads weights on the host side. Lock the graph again.")
    if node.op == "bridge":
        if before is None:
            raise BadGraph(
                f"node {node.name!r} (bridge) reads ids that are not there before the module. Lock it again."
            )
        encode, describe = _bridge(node, node.type, priors, before)
        return HostStep(node.name, before.source, before.modality, _inputs(node.name, node.type), encode, describe)
    makers = {"encode": _encoder, "fn": _function, "input": _numbers}
    encode, describe = makers[node.op](node, node.type, priors)
    return HostStep(node.name, source.name, source.type.modality, _inputs(node.name, node.type), encode, describe)


Decoder = Callable[[Tensor], list[str]]
"""Makes words of a tensor that the module gives, one a row."""


def decoder(node: TypedNode, priors: PriorCache) -> Decoder:
    """What a `decode` node does after the module: the label of the likeliest class, or the text of ids."""
    if "labels" in node.attrs:
        labels = node.attrs["labels"]
        return lambda x: [labels[i] for i in x.argmax(-1).tolist()]

    def text(ids: Tensor) -> list[str]:
        return _words(priors, node.attrs["prior"], ids)

    return text


def _words(priors: PriorCache, ref: str, ids: Tensor, mask: Tensor | None = None) -> list[str]:
    from priors.host.text import TextEncoder

    encoder = priors.get(ref).encoder()
    if not isinstance(encoder, TextEncoder):
        raise BadGraph(f"{ref} has no tokenizer, so its ids are no text. Name the prior that made them.")
    return encoder.decode(ids, mask)


def named_apart(steps: Iterable[HostStep]) -> list[HostStep]:
    """The steps with unique input names: two nodes may become the same identifier."""
    taken: set[str] = set()
    found = []
    for step in steps:
        inputs = []
        for given in step.inputs:
            name, count = given.name, 2
            while name in taken:
                name, count = f"{given.name}_{count}", count + 1
            taken.add(name)
            inputs.append(replace(given, name=name))
        found.append(replace(step, inputs=tuple(inputs)))
    return found


_Maker = tuple[Callable[[Sequence[Any]], tuple[Tensor, ...]], Callable[[], dict[str, Any]]]


def _inputs(node: str, t: PortType) -> tuple[HostInput, ...]:
    name = re.sub(r"\W", "_", node)
    value = HostInput(name, node, t, is_mask=False)
    if masked_axis(t) is None:
        return (value,)
    mask = PortType(t.modality, t.level, (Axis("B"), t.axes[1]), "bool")
    return value, HostInput(f"{name}_mask", node, mask, is_mask=True)


def _encoder(node: TypedNode, t: PortType, priors: PriorCache) -> _Maker:
    @cache
    def load() -> tuple[Any, int]:
        """The prior's encoder, and where among its tensors this node's begin."""
        prior, at = priors.get(node.attrs["prior"]), 0
        for port in prior.manifest.inputs.values():
            if port == t.with_(dims={axis.name: axis.dim for axis in port.axes}):
                return prior.encoder(), at
            at += 2 if masked_axis(port) else 1
        raise BadGraph(
            f"node {node.name!r} (encode): {node.attrs['prior']} does not encode to {t}. Lock the graph again."
        )

    def encode(values: Sequence[Any]) -> tuple[Tensor, ...]:
        encoder, at = load()
        made: tuple[Tensor, ...] = tuple(encoder.encode(filled(values, t.modality)))
        return made[at : at + len(_inputs(node.name, t))]

    def describe() -> dict[str, Any]:
        encoder, at = load()
        return {"prior": node.attrs["prior"], "encoder": encoder.spec, **({"at": at} if at else {})}

    return encode, describe


def _bridge(node: TypedNode, t: PortType, priors: PriorCache, before: HostStep) -> _Maker:
    """The text that the ids before it stand for, cut into ids of the other vocabulary."""
    encode_again, describe_again = _encoder(node, t, priors)

    def encode(values: Sequence[Any]) -> tuple[Tensor, ...]:
        return encode_again(_words(priors, node.attrs["reads"], *before.encode(values)))

    def describe() -> dict[str, Any]:
        return {"after": before.describe(), "decoder": node.attrs["reads"], **describe_again()}

    return encode, describe


def _function(node: TypedNode, t: PortType, priors: PriorCache) -> _Maker:
    @cache
    def load() -> Any:
        return find_function(node.attrs["fn"])(dict(node.attrs.get("config", {})))

    def encode(values: Sequence[Any]) -> tuple[Tensor, ...]:
        return (torch.from_numpy(extract(load(), values)),)

    return encode, lambda: {"function": node.attrs["fn"], "config": dict(node.attrs.get("config", {}))}


def _numbers(node: TypedNode, t: PortType, priors: PriorCache) -> _Maker:
    widths = [axis.dim for axis in t.axes[1:]]

    def encode(values: Sequence[Any]) -> tuple[Tensor, ...]:
        try:
            rows = np.asarray(values)
            tensor = torch.as_tensor(rows.reshape(len(rows), 1) if rows.ndim == 1 and len(widths) == 1 else rows)
        except (TypeError, ValueError) as error:
            raise BadTable(
                f"input {node.name!r} takes {t}, and its values are no numbers ({error}). Give a table."
            ) from error
        fits = len(widths) == tensor.dim() - 1 and all(
            not isinstance(want, int) or want == have for want, have in zip(widths, tensor.shape[1:], strict=True)
        )
        if not fits and len(rows):
            raise BadTable(
                f"input {node.name!r} takes {t}, and its values are {tuple(tensor.shape)}. Give those columns."
            )
        return (tensor.to(DTYPES[t.dtype]),)

    return encode, lambda: {"values": str(t)}
