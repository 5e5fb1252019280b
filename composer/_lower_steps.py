"""Every node of a lock as a host step or a call of a module: one small function an operation.

Nodes whose values are equal share one slot, and taps of one network on the same values share one pass, whatever the
nodes are called. Nodes with parameters of their own are never shared.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any

from torch import nn

from composer._lower_host import DTYPES, HostStep, host_step, mask_slot, masked_axis, named_apart
from composer._lower_ops import Cast, Concat, Expand, Gate, Head, Layout, Pool, Project, Sum
from composer._lower_priors import PriorCache
from composer._lower_wiring import Slot, Step
from composer.check import TypedNode
from composer.delta import Delta
from composer.errors import BadGraph
from composer.lock import Lock
from priors.functions.signatures import find_signature
from priors.registry import find_function
from priors.types import PortType


@dataclass
class Plan:
    """What lowering found.

    host     steps before the module;  steps  calls in the module, in order
    slots    node -> where its value lies, for every node that gives a tensor
    learned  node -> module, for nodes with parameters or fitted buffers
    """

    host: list[HostStep] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    slots: dict[str, Slot] = field(default_factory=dict)
    learned: dict[str, nn.Module] = field(default_factory=dict)


def lower_nodes(lock: Lock, priors: PriorCache) -> Plan:
    """Lower every node. Raises BadGraph for what this version cannot run."""
    lowering = _Lowering(lock, priors)
    for node in lock.nodes:
        lowering.add(node)
    lowering.join_networks()
    lowering.plan.host = named_apart(lowering.plan.host)
    return lowering.plan


class _Lowering:
    """The state of one lowering: the plan so far, and what is known about each node's value."""

    def __init__(self, lock: Lock, priors: PriorCache) -> None:
        self.nodes, self.seed = {node.name: node for node in lock.nodes}, lock.seed
        self.priors, self.plan = priors, Plan()
        self._masks: dict[str, tuple[str, Slot]] = {}  # node -> the axis that is masked, where the mask lies
        self._values: dict[str, str] = {}  # node -> what its value is made of; equal texts are equal values
        self._made: dict[str, str] = {}  # the same text -> the first node that has it
        self._weights: dict[str, tuple[str, tuple[str, ...]]] = {}  # node of weights -> the prior, and deltas in order
        self._nets: dict[tuple[str, tuple[str, ...], tuple[Slot, ...]], list[tuple[int, TypedNode]]] = {}

    def add(self, node: TypedNode) -> None:
        if node.op not in _OPS:
            raise _cannot(node, f"operation {node.op!r}", ", ".join(_OPS))
        value = self._values[node.name] = self._value(node)
        first = self._made.setdefault(value, node.name)
        if first == node.name:
            _OPS[node.op](self, node)
        elif first in self._weights:
            self._weights[node.name] = self._weights[first]
        elif first in self.plan.slots:
            self.plan.slots[node.name] = self.plan.slots[first]
            if first in self._masks:
                self._masks[node.name] = self._masks[first]

    def _value(self, node: TypedNode) -> str:
        """An input is itself: two columns of one type have one hash. So is what has parameters of its own."""
        if node.op == "input" or node.has_parameters:
            return node.name
        return f"{node.hash}({','.join(self._values[source] for source in node.sources)})"

    def type(self, name: str) -> PortType:
        found = self.nodes[name].type
        if found is None:
            raise BadGraph(f"node {name!r} gives weights where a value is read. Lock the graph again.")
        return found

    def host(self, node: TypedNode, source: str) -> None:
        self.plan.host.append(host_step(node, self.nodes[source], self.priors))
        self.plan.slots[node.name] = node.name
        axis = masked_axis(self.type(node.name))
        if axis is not None:
            self._masks[node.name] = axis, mask_slot(node.name)

    def call(self, node: TypedNode, make: Callable[[], nn.Module], *, masks: tuple[Slot, ...] = ()) -> None:
        """A step of one module that takes the values of the node's sources, then `masks`."""
        takes = (*(self.plan.slots[source] for source in node.sources), *masks)
        made = cache(make)
        if node.has_parameters:
            self.plan.learned[node.name] = made()
        self.plan.steps.append(Step(takes, (node.name,), lambda gives: made()))
        self.plan.slots[node.name] = node.name
        self._keep_mask(node)

    def mask(self, name: str, axis: str) -> tuple[Slot, ...]:
        masked = self._masks.get(name)
        return (masked[1],) if masked and masked[0] == axis else ()

    def _keep_mask(self, node: TypedNode) -> None:
        """A value as long as the one it was made from is masked like it."""
        here = self.type(node.name)
        for source in node.sources:
            axis, slot = self._masks.get(source, ("", ""))
            if axis and here.axis(axis) is not None and here.dim(axis) == self.type(source).dim(axis):
                self._masks[node.name] = axis, slot
                return

    def net(self, node: TypedNode) -> None:
        if node.attrs.get("train", "frozen") not in ("frozen", "delta"):
            raise _cannot(node, "a network whose own weights are trained", "a delta of kind full, with train: delta")
        ref, deltas = self._weights[dict(node.inputs)["w"]]
        takes: list[Slot] = []
        for source in (source for port, source in node.inputs if port != "w"):
            takes.append(self.plan.slots[source])
            takes += [slot for axis, slot in (self._masks[source],)] if source in self._masks else []
        users = self._nets.setdefault((ref, deltas, tuple(takes)), [])
        users.append((len(self.plan.steps), node))
        self.plan.slots[node.name] = node.name
        self._keep_mask(node)

    def join_networks(self) -> None:
        """One step a network and input, at the place of its first user, with all taps that are read."""
        # Backwards: an insertion moves only what comes after it, and one network may read another's value.
        for (ref, deltas, takes), users in reversed(self._nets.items()):
            taps = {node.name: node.attrs["tap"] for _, node in users}
            self.plan.steps.insert(users[0][0], Step(takes, tuple(taps), partial(self._network, ref, deltas, taps)))

    def _network(
        self, ref: str, deltas: tuple[str, ...], taps: Mapping[str, str], gives: tuple[Slot, ...]
    ) -> nn.Module:
        wanted = tuple(taps[node] for node in gives)
        if not deltas:
            return self.priors.network(ref, wanted)
        changes = [self.plan.learned[name] for name in deltas]
        return self.priors.changed(ref, wanted, [delta for delta in changes if isinstance(delta, Delta)])

    def load(self, node: TypedNode) -> None:
        """Weights are read by the nets that use them."""
        self._weights[node.name] = node.attrs["prior"], ()

    def delta(self, node: TypedNode) -> None:
        if len(node.inputs) != 1:
            raise _cannot(node, "a delta between two sets of weights", "a delta of one, which is learned")
        ref, deltas = self._weights[node.sources[0]]
        attrs = node.attrs
        self.plan.learned[node.name] = Delta.of(
            self.priors.shapes(ref),
            kind=attrs["kind"],
            targets=attrs.get("targets"),
            r=attrs.get("r"),
            alpha=attrs.get("alpha"),
            seed=int(node.hash[:12], 16) ^ self.seed,
        )
        self._weights[node.name] = ref, (*deltas, node.name)


def _input(low: _Lowering, node: TypedNode) -> None:
    if not low.type(node.name).is_raw:
        low.host(node, node.name)


def _encode(low: _Lowering, node: TypedNode) -> None:
    low.host(node, node.sources[0])


def _fn(low: _Lowering, node: TypedNode) -> None:
    if find_signature(node.attrs["fn"]).host:
        low.host(node, node.sources[0])
        return
    in_type = low.type(node.sources[0])

    def make() -> nn.Module:
        function: Any = find_function(node.attrs["fn"])(dict(node.attrs.get("config", {})))
        module: nn.Module = function.module(str(in_type))
        return module

    low.call(node, make)


def _pool(low: _Lowering, node: TypedNode) -> None:
    kind, axis = node.attrs["kind"], node.attrs["axis"]
    if kind not in ("mean", "max", "first"):
        raise _cannot(node, f"kind {kind}", "mean, max, first")
    masks = low.mask(node.sources[0], axis) if node.attrs["mask"] == "auto" and kind != "first" else ()
    low.call(node, partial(Pool, kind, _index(low.type(node.sources[0]), axis)), masks=masks)


def _proj(low: _Lowering, node: TypedNode) -> None:
    kind, init = node.attrs["kind"], node.attrs["init"]
    if kind != "linear" or init == "pca":
        raise _cannot(node, f"kind {kind} with init {init}", "kind linear with init procrustes, random or zero")
    given = low.type(node.sources[0])
    dim = _index(given, next(name for name in given.axis_names if name in ("D", "C")))
    seed = int(node.hash[:12], 16) ^ low.seed
    low.call(node, partial(Project, node.attrs["d_in"], node.attrs["d_out"], init, seed, dim))


def _concat(low: _Lowering, node: TypedNode) -> None:
    low.call(node, partial(Concat, _index(low.type(node.name), node.attrs["axis"])))


def _sum(low: _Lowering, node: TypedNode) -> None:
    weights = node.attrs.get("weights")
    learned = weights in ("learned", "search")
    values = weights if isinstance(weights, list) else [1.0 / len(node.inputs) if learned else 1.0] * len(node.inputs)
    low.call(node, partial(Sum, values, learned))


def _gate(low: _Lowering, node: TypedNode) -> None:
    t = low.type(node.name)
    width = t.axes[-1].dim
    if len(t.axes) != 2 or not isinstance(width, int):
        raise _cannot(node, f"operands {t}", "operands with axes B and D of a known length; pool them first")
    low.call(node, partial(Gate, len(node.inputs), width, node.attrs["init"], node.attrs["kind"]))


def _head(low: _Lowering, node: TypedNode) -> None:
    width = low.type(node.sources[0]).dim("D")
    if not isinstance(width, int):
        raise _cannot(node, "features of an unknown length", "axis D with its length")
    if node.attrs["init"] != "zero":
        raise _cannot(node, f"init {node.attrs['init']}", "init zero")
    outputs = len(node.attrs["labels"]) if "labels" in node.attrs else 1
    low.call(node, partial(Head, width, outputs, node.attrs["loss"] == "binary_cross_entropy"))


def _cast(low: _Lowering, node: TypedNode) -> None:
    dtype = DTYPES[node.attrs["dtype"]] if "dtype" in node.attrs else None
    clip = tuple(node.attrs["clip"]) if "clip" in node.attrs else None
    low.call(node, partial(Cast, dtype, node.attrs.get("domain"), clip, node.attrs.get("scale")))


def _layout(low: _Lowering, node: TypedNode) -> None:
    rename = node.attrs.get("rename", {})
    names = [rename.get(name, name) for name in low.type(node.sources[0]).axis_names]
    low.call(node, partial(Layout, [names.index(name) for name in node.attrs["order"]]))


def _expand(low: _Lowering, node: TypedNode) -> None:
    if node.attrs["kind"] != "broadcast":
        raise _cannot(node, f"kind {node.attrs['kind']}", "broadcast")
    low.call(node, partial(Expand, _index(low.type(node.name), node.attrs["axis"]), node.attrs["n"]))


_OPS: Mapping[str, Callable[[_Lowering, TypedNode], None]] = {
    "input": _input,
    "load": _Lowering.load,
    "delta": _Lowering.delta,
    "net": _Lowering.net,
    "fn": _fn,
    "encode": _encode,
    "proj": _proj,
    "pool": _pool,
    "concat": _concat,
    "sum": _sum,
    "gate": _gate,
    "head": _head,
    "cast": _cast,
    "layout": _layout,
    "expand": _expand,
}


def _index(t: PortType, axis: str) -> int:
    return t.axis_names.index(axis)


def _cannot(node: TypedNode, what: str, instead: str) -> BadGraph:
    return BadGraph(f"node {node.name!r} ({node.op}): this version cannot run {what}. It runs: {instead}.")
