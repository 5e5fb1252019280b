"""Every node of a lock as a host step or a call of a module; `_lower_nodes` has one small function an operation.

Nodes whose values are equal share one slot, and taps of one network on the same values share one pass, whatever the
nodes are called. Nodes with parameters of their own are never shared; networks that are trained are one network where
they read one node of weights.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from torch import nn

from composer._lower_host import Decoder, HostStep, host_step, mask_slot, named_apart
from composer._lower_networks import Networks
from composer._lower_nodes import LOWERINGS
from composer._lower_ops import Spread
from composer._lower_priors import PriorCache
from composer._lower_wiring import Slot, Step
from composer._scope import masked_axis
from composer.check import TypedNode
from composer.errors import BadGraph
from composer.lock import Lock
from priors.types import PortType


@dataclass
class Plan:
    """What lowering found.

    host      steps before the module;  steps  calls in the module, in order
    slots     node -> where its value lies, for every node that gives a tensor
    learned   node -> module, for nodes with parameters or fitted buffers
    decoders  node -> what makes words of its slot's value, after the module
    masks     node -> the axis that is masked, where the mask lies
    """

    host: list[HostStep] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    slots: dict[str, Slot] = field(default_factory=dict)
    learned: dict[str, nn.Module] = field(default_factory=dict)
    decoders: dict[str, Decoder] = field(default_factory=dict)
    masks: dict[str, tuple[str, Slot]] = field(default_factory=dict)


def lower_nodes(lock: Lock, priors: PriorCache, folder: Path | None) -> Plan:
    """Lower every node; `folder` has the files that constants name. Raises BadGraph for what cannot be run."""
    lowering = Lowering(lock, priors, folder)
    for node in lock.nodes:
        lowering.add(node)
    lowering.networks.join(lowering.plan.steps)
    lowering.plan.host = named_apart(lowering.plan.host)
    return lowering.plan


class Lowering:
    """The state of one lowering: the plan so far, and what is known about each node's value."""

    def __init__(self, lock: Lock, priors: PriorCache, folder: Path | None) -> None:
        self.nodes, self.seed, self.folder = {node.name: node for node in lock.nodes}, lock.seed, folder
        self.priors, self.plan = priors, Plan()
        self.networks = Networks(priors, self.plan.learned, lock.seed)
        self.masks = self.plan.masks
        self.nested: dict[tuple[str, tuple[tuple[str, str], ...]], str] = {}  # what runs on what -> the first node
        self.single: set[str] = set()  # nodes whose value is one row that stands for all
        self._values: dict[str, str] = {}  # node -> what its value is made of; equal texts are equal values
        self._made: dict[str, str] = {}  # the same text -> the first node that has it

    def add(self, node: TypedNode) -> None:
        value = self._values[node.name] = self._value(node)
        first = self._made.setdefault(value, node.name)
        if first == node.name:
            LOWERINGS[node.op](self, node)
        elif first in self.plan.slots:
            self.plan.slots[node.name] = self.plan.slots[first]
            if first in self.masks:
                self.masks[node.name] = self.masks[first]
            if first in self.plan.decoders:
                self.plan.decoders[node.name] = self.plan.decoders[first]
            if first in self.single:
                self.single.add(node.name)

    def _value(self, node: TypedNode) -> str:
        """An input is itself: two columns of one type have one hash. So is what has parameters of its own."""
        weights = node.type is None  # two deltas that are written alike are learned apart
        if node.op == "input" or node.has_parameters or weights:
            return node.name
        return f"{node.hash}({','.join(self._values[source] for source in node.sources)})"

    def type(self, name: str) -> PortType:
        found = self.nodes[name].type
        if found is None:
            raise BadGraph(f"node {name!r} gives weights where a value is read. Lock the graph again.")
        return found

    def random(self, node: TypedNode) -> int:
        """The seed of what is random in a node."""
        return int(node.hash[:12], 16) ^ self.seed

    def host(self, node: TypedNode, source: str) -> None:
        before = next((step for step in self.plan.host if step.node == source), None)
        self.plan.host.append(host_step(node, self.nodes[source], self.priors, before))
        self.plan.slots[node.name] = node.name
        axis = masked_axis(self.type(node.name))
        if axis is not None:
            self.masks[node.name] = axis, mask_slot(node.name)

    def call(
        self,
        node: TypedNode,
        make: Callable[[], nn.Module],
        *,
        sources: tuple[str, ...] | None = None,
        masks: tuple[Slot, ...] = (),
        mask_of: tuple[str, ...] | None = None,
    ) -> None:
        """A step of one module that takes the values of `sources` (the node's), then `masks`.

        mask_of  the sources whose mask the value may have; all of them when not given
        """
        sources = node.sources if sources is None else sources
        takes = (*(self.plan.slots[source] for source in sources), *masks)
        made = cache(make)
        if node.has_parameters:
            self.plan.learned[node.name] = made()
        single = [source in self.single for source in sources]
        if any(single) and not all(single):
            flags = [*single, *[False] * len(masks)]
            self.plan.steps.append(Step(takes, (node.name,), lambda gives: Spread(made(), flags)))
        else:
            self.plan.steps.append(Step(takes, (node.name,), lambda gives: made()))
        if sources and all(single):
            self.single.add(node.name)
        self.plan.slots[node.name] = node.name
        self.keep_mask(node, sources if mask_of is None else mask_of)

    def same(self, node: TypedNode) -> None:
        """The node's value is its source's."""
        [source] = node.sources
        self.plan.slots[node.name] = self.plan.slots[source]
        if source in self.single:
            self.single.add(node.name)
        self.keep_mask(node, node.sources)

    def make_mask(self, node: TypedNode, axis: str, takes: tuple[Slot, ...], make: Callable[[], nn.Module]) -> None:
        """A step that makes the mask of the node's value."""
        slot = mask_slot(node.name)
        self.plan.steps.append(Step(takes, (slot,), lambda gives: make()))
        self.masks[node.name] = axis, slot

    def mask(self, name: str, axis: str) -> tuple[Slot, ...]:
        masked = self.masks.get(name)
        return (masked[1],) if masked and masked[0] == axis else ()

    def keep_mask(self, node: TypedNode, sources: tuple[str, ...]) -> None:
        """A value as long as the one it was made from is masked like it."""
        here = self.type(node.name)
        for source in sources:
            axis, slot = self.masks.get(source, ("", ""))
            if axis and here.axis(axis) is not None and here.dim(axis) == self.type(source).dim(axis):
                self.masks[node.name] = axis, slot
                return

    def net(self, node: TypedNode) -> None:
        takes: list[Slot] = []
        sources = tuple(source for port, source in node.inputs if port != "w")
        for source in sources:
            takes.append(self.plan.slots[source])
            takes += [slot for axis, slot in (self.masks[source],)] if source in self.masks else []
        if len({source in self.single for source in sources}) > 1:
            raise BadGraph(f"node {node.name!r} (net) reads a constant beside rows. Put them together before it.")
        self.single |= {node.name} if sources[0] in self.single else set()
        self.networks.add(node, dict(node.inputs)["w"], tuple(takes), len(self.plan.steps))
        self.plan.slots[node.name] = node.name
        self.keep_mask(node, sources)
