"""A composition inside another: its steps are put between the others', under the name of the node that runs it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from torch import nn

from composer._lower_host import HostStep, mask_slot
from composer._lower_wiring import Slot, Step
from composer.check import TypedNode
from composer.errors import BadGraph

if TYPE_CHECKING:
    from composer._lower_steps import Lowering
    from composer.lower import Lowered


def lower_nested(low: Lowering, node: TypedNode, ref: str) -> None:
    """The value of a `net` node whose weights are a composition: that output, with everything it needs."""
    inner: Lowered = low.priors.composition(ref)
    wires = {port: source for port, source in node.inputs if port != "w"}
    key = (ref, tuple(sorted(wires.items())))
    first = low.nested.setdefault(key, node.name)
    names = _Names(first, inner, low, node, wires)
    if first == node.name:
        for step in inner.host:
            if not names.outside(step.node):
                low.plan.host.append(names.host_step(step, wires[step.source]))
        low.plan.steps += [names.step(step) for step in inner.steps]
    source = inner.outputs[node.attrs["tap"]]
    low.plan.slots[node.name] = names.slot(inner.slots[source])
    if source in inner.masks:
        axis, slot = inner.masks[source]
        low.masks[node.name] = axis, names.slot(slot)


class _Names:
    """Slots of the inner composition as slots of the outer one: numbers that come from outside keep their own."""

    def __init__(self, first: str, inner: Lowered, low: Lowering, node: TypedNode, wires: Mapping[str, str]) -> None:
        self.first = first
        self._outside: dict[Slot, Slot] = {}
        for step in inner.host:
            if step.node not in wires:
                continue  # it reads a raw value and runs here
            self._outside[step.node] = low.plan.slots[wires[step.node]]
            if len(step.inputs) > 1:
                masked = low.masks.get(wires[step.node])
                if masked is None:
                    raise BadGraph(
                        f"node {node.name!r} (net): port {step.node!r} takes values with a mask, and "
                        f"{wires[step.node]!r} has none. Feed it what has one."
                    )
                self._outside[mask_slot(step.node)] = masked[1]

    def outside(self, slot: Slot) -> bool:
        return slot in self._outside

    def inside(self, name: str) -> str:
        return f"{self.first}/{name}"

    def slot(self, slot: Slot) -> Slot:
        return self._outside.get(slot, self.inside(slot))

    def host_step(self, step: HostStep, source: str) -> HostStep:
        prefix = re.sub(r"\W", "_", self.first)
        inputs = (replace(given, name=f"{prefix}_{given.name}", node=self.inside(given.node)) for given in step.inputs)
        return replace(step, node=self.inside(step.node), source=source, inputs=tuple(inputs))

    def step(self, step: Step) -> Step:
        back = {self.slot(slot): slot for slot in step.gives}

        def module(gives: tuple[Slot, ...]) -> nn.Module:
            return step.module(tuple(back[slot] for slot in gives))

        return Step(tuple(map(self.slot, step.takes)), tuple(back), module)
