"""A composition that is one text encoder, a pooling and maps of rows after it, as a chain that other libraries know.

Maps that are affine are multiplied together in float64; what is neither affine nor a division by the row's length
stands in the way and is named.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from composer.check import TypedNode
from composer.lower import Lowered
from priors.errors import UserError
from priors.functions.block_norm import BlockNormModule

Pooling = Literal["mean", "max", "cls", "lasttoken"]


@dataclass(frozen=True)
class Affine:
    """x -> x W^T + b, float64; weight (outputs, inputs)."""

    weight: Tensor
    bias: Tensor

    def then(self, other: Affine) -> Affine:
        return Affine(other.weight @ self.weight, other.weight @ self.bias + other.bias)


Stage = Affine | Literal["normalize"]


@dataclass(frozen=True)
class Chain:
    """The nodes of a composition from its text on.

    encode   the tokenizer;  net  the encoder
    stages   what follows the pooling, neighbours never both affine
    head     the head at the end, if there is one
    """

    encode: TypedNode
    net: TypedNode
    pooling: Pooling
    stages: tuple[Stage, ...]
    head: TypedNode | None


def chain_of(lowered: Lowered) -> Chain:
    """The chain that the only output hangs on. Raises UserError naming the node that stands in the way."""
    lock = lowered.lock
    if len(lock.outputs) != 1:
        raise _in_the_way(lock.node(sorted(lock.outputs.values())[-1]), "there is one output too many")
    node = lock.node(next(iter(lock.outputs.values())))
    stages: list[Stage] = []
    head: TypedNode | None = None
    pooling: Pooling | None = None
    while node.op != "net":
        if node.op == "pool" and pooling is None:
            pooling = _pooling(node)
        elif pooling is None and node.op in ("head", "proj", "fn", "cast") and len(node.sources) == 1:
            head = node if node.op == "head" else head
            stages = [*_stages(lowered, node), *stages]
        elif node.op != "concat" or len(node.sources) != 1:
            raise _in_the_way(node, "it is no step of one encoder, a pooling, and maps of rows after it")
        node = lock.node(node.sources[0])
    pooling = pooling or _summary(node)
    encode = lock.node(next(source for port, source in node.inputs if port != "w"))
    if encode.op != "encode" or lock.node(encode.sources[0]).op != "input":
        raise _in_the_way(encode, "the encoder does not read the tokens of a text column")
    return Chain(encode, node, pooling, _joined(stages), head)


def _in_the_way(node: TypedNode, why: str) -> UserError:
    return UserError(f"node {node.name!r} ({node.op}) stands in the way of a plain repository: {why}. Export as onnx.")


def _pooling(node: TypedNode) -> Pooling:
    kinds: dict[str, Pooling] = {"mean": "mean", "max": "max", "first": "cls"}
    if node.attrs["kind"] not in kinds or node.attrs["axis"] != "T":
        raise _in_the_way(
            node, f"{node.attrs['kind']} over {node.attrs['axis']} is no pooling of sentence-transformers"
        )
    return kinds[node.attrs["kind"]]


def _summary(net: TypedNode) -> Pooling:
    kinds: dict[str, Pooling] = {"cls": "cls", "last": "lasttoken"}
    if net.attrs["tap"] not in kinds:
        raise _in_the_way(net, "its tokens are not pooled")
    return kinds[net.attrs["tap"]]


def _stages(lowered: Lowered, node: TypedNode) -> list[Stage]:
    if node.op == "cast" and node.attrs.get("domain") == "l2" and not {"clip", "scale"} & node.attrs.keys():
        return ["normalize"]
    calls = lowered.part([node.sources[0]], [node.name]).calls
    if not calls:
        return []  # the same value under another name
    [module] = calls
    if isinstance(module, BlockNormModule) and module.unit_rows:
        shift, scale, center, gain = (
            value.double() for value in (module.shift, module.scale, module.center, module.gain)
        )
        after = Affine(torch.eye(len(center), dtype=torch.float64) * gain, -center * gain)
        return [Affine(torch.diag(scale), -shift * scale), "normalize", after]
    found = _affine(module, node, _width(lowered.lock.node(node.sources[0])))
    if node.op == "head" and "labels" in node.attrs:  # so that a softmax of what comes out gives our probabilities
        temperature = float(module.get_buffer("temperature"))
        return [Affine(found.weight / temperature, found.bias / temperature)]
    return [found]


def _affine(module: nn.Module, node: TypedNode, width_in: int) -> Affine:
    """The map as a matrix, read off its values at zero and at the unit vectors, and held against others."""
    if isinstance(getattr(module, "weight", None), nn.Parameter) and isinstance(
        getattr(module, "bias", None), nn.Parameter
    ):
        found = Affine(_double(module.weight), _double(module.bias))
    else:
        found = _probed(module, width_in)
    width = found.weight.shape[1]
    with torch.no_grad():
        for scale in (1e-2, 1.0, 30.0):
            x = torch.randn(8, width, generator=torch.Generator().manual_seed(0)) * scale
            ours, theirs = module(x).double(), x.double() @ found.weight.T + found.bias
            if not torch.allclose(ours, theirs, atol=1e-4 * max(1.0, float(ours.abs().max()))):
                raise _in_the_way(node, "it is no affine map")
    return found


def _probed(module: nn.Module, width: int) -> Affine:
    with torch.no_grad():
        exact: Callable[[Tensor], Tensor] = copy.deepcopy(module).double()
        zero = exact(torch.zeros(1, width, dtype=torch.float64)).double()
        units = exact(torch.eye(width, dtype=torch.float64)).double()
    return Affine((units - zero).T.contiguous(), zero[0])


def _double(value: Any) -> Tensor:
    made: Tensor = value.detach().double()
    return made


def _width(node: TypedNode) -> int:
    width = node.type.axes[-1].dim if node.type else None
    if not isinstance(width, int):
        raise _in_the_way(node, "its width is not known")
    return width


def _joined(stages: Sequence[Stage]) -> tuple[Stage, ...]:
    found: list[Stage] = []
    for stage in stages:
        last = found[-1] if found else None
        if isinstance(stage, Affine) and isinstance(last, Affine):
            found[-1] = last.then(stage)
        elif not (stage == "normalize" and last == "normalize"):
            found.append(stage)
    return tuple(found)
