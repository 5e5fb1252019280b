"""Run a part of a composition: steps in order, values passed between them by the name of their slot."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn

Slot = str
"""Where a value lies between steps: `<node>` for a node's value, `<node>.mask` for the mask that goes with it."""


@dataclass(frozen=True)
class Step:
    """One call: the module's outputs, a tensor or a tuple of them, for the values in `takes`, go to `gives` in order.

    `module(gives)` makes the module that gives just these slots, or returns the one it made before. It is called only
    when the step is needed and with what is needed of it, so a part of a composition that starts behind its networks
    never loads them, and one that reads a low layer does not compute the layers above.
    """

    takes: tuple[Slot, ...]
    gives: tuple[Slot, ...]
    module: Callable[[tuple[Slot, ...]], nn.Module]


class Wiring(nn.Module):
    """forward(*given) -> tuple of the wanted values. Holds the modules of the steps in between, and of no others."""

    def __init__(self, given: Sequence[Slot], steps: Iterable[Step], wanted: Sequence[Slot]) -> None:
        super().__init__()
        self.given, self.wanted = tuple(given), tuple(wanted)
        self.steps = needed(self.given, steps, self.wanted)
        self.calls = nn.ModuleList(step.module(step.gives) for step in self.steps)
        # Values by number, found out once: looking slots up by name took a tenth of the time of a small composition.
        numbers = {slot: i for i, slot in enumerate(dict.fromkeys(self.given))}
        for step in self.steps:
            for slot in step.gives:
                numbers.setdefault(slot, len(numbers))
        self._size = len(numbers)
        self._given = [numbers[slot] for slot in self.given]
        self._wanted = [numbers[slot] for slot in self.wanted]
        last = {number: at for at, step in enumerate(self.steps) for number in (numbers[slot] for slot in step.takes)}
        kept = {*self._given, *self._wanted}
        self._plan = [
            _Call(
                call,
                tuple(numbers[slot] for slot in step.takes),
                tuple(numbers[slot] for slot in step.gives),
                # Let go of what nothing reads any more: the next step then works in memory that is still in the cache.
                tuple(n for n in {numbers[slot] for slot in step.takes} if last[n] == at and n not in kept),
            )
            for at, (call, step) in enumerate(zip(self.calls, self.steps, strict=True))
        ]

    def forward(self, *given: Tensor) -> tuple[Tensor, ...]:
        values: list[Any] = [None] * self._size
        for number, value in zip(self._given, given, strict=True):
            values[number] = value
        for call in self._plan:
            if len(call.takes) == 1:
                made = call.run(values[call.takes[0]])
            else:
                made = call.run(*[values[number] for number in call.takes])
            for number in call.drops:
                values[number] = None
            if isinstance(made, Tensor):
                values[call.gives[0]] = made
            else:
                for number, value in zip(call.gives, made, strict=True):
                    values[number] = value
            del made
        return tuple([values[number] for number in self._wanted])


class _Call:
    """A step by numbers of values: what it reads, what it gives, what nothing reads after it."""

    __slots__ = ("_after", "_before", "_forward", "_module", "drops", "gives", "takes")

    def __init__(
        self, module: nn.Module, takes: tuple[int, ...], gives: tuple[int, ...], drops: tuple[int, ...]
    ) -> None:
        self.takes, self.gives, self.drops = takes, gives, drops
        self._module = module
        # A module without parts is called past __call__, which costs half of what a small step takes beside its
        # arithmetic; unless somebody has hooked it, as fitting does.
        self._forward: Callable[..., Any] = module if any(True for _ in module.children()) else module.forward
        self._before, self._after = module._forward_pre_hooks, module._forward_hooks

    @property
    def run(self) -> Callable[..., Any]:
        return self._module if self._before or self._after else self._forward


def needed(given: Sequence[Slot], steps: Iterable[Step], wanted: Sequence[Slot]) -> tuple[Step, ...]:
    """The steps, in order and with only what is needed of each, that make `wanted`; what is given is not made again.

    Raises LookupError naming what nothing makes.
    """
    missing, chosen = set(wanted) - set(given), []
    for step in reversed(tuple(steps)):
        gives = tuple(slot for slot in step.gives if slot in missing)
        if gives:
            chosen.append(replace(step, gives=gives))
            missing = (missing - set(gives)) | (set(step.takes) - set(given))
    if missing:
        raise LookupError(f"nothing makes {', '.join(sorted(missing))} from {', '.join(given) or 'nothing'}")
    return tuple(reversed(chosen))
