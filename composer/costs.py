"""What a set of priors costs whoever runs it: time a row on this machine, and fees. A limit on either is one on the
whole set, so a set is tried only while its members together keep it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np

from composer.assemble import Offer, block_graph
from composer.choices import Cancelled, Limits, Report, fee_of, never, silent
from composer.errors import Cancelled as Stopped
from composer.royalty import CAP_BP
from priors.errors import BadTask
from priors.library import Library

if TYPE_CHECKING:
    from priors.tasks import Task

ROWS = 5
"""Rows that are timed one by one, spread over the task: texts and sounds are of many lengths."""

SHOWN = 5


@dataclass(frozen=True)
class Costs:
    """What units cost, and the most that a set of them may.

    latency_ms  unit -> milliseconds a row, the median of ROWS; empty where nothing limits it
    fees        unit -> the content that asks for it, and percent of what a model is sold for
    """

    limits: Limits = field(default_factory=Limits)
    latency_ms: Mapping[str, float] = field(default_factory=dict)
    fees: Mapping[str, tuple[str, float]] = field(default_factory=dict)

    def allow(self, names: Iterable[str]) -> bool:
        """Whether units may stand together; one that is named twice is run twice and paid once."""
        names = list(names)
        late = self.limits.latency_ms is not None and self.milliseconds(names) > self.limits.latency_ms
        return not late and (self.limits.price is None or self.price(names) <= self.limits.price)

    def milliseconds(self, names: Iterable[str]) -> float:
        """What a row takes, one unit after the other."""
        return sum(self.latency_ms.get(name, 0.0) for name in names)

    def price(self, names: Iterable[str]) -> float:
        """Percent of what a model of these is sold for that goes to its priors (composer.royalty)."""
        return min(sum(dict(self.fees[name] for name in names if name in self.fees).values()), CAP_BP / 100)


def affordable(
    task: Task, offered: Offer, library: Library, limits: Limits, *, report: Report = silent,
    cancelled: Cancelled = never,
) -> tuple[Offer, Costs, list[str]]:  # fmt: skip
    """The offer without what is beyond the limits by itself, what the rest costs, and a sentence on who was left out.

    Time is measured only where a limit is given, with every tap of a network, from the raw value to the features; the
    head is nothing beside it. Raises BadTask where nothing is left.
    """
    manifests = {unit.name: offered.manifests[unit.candidates[0]] for unit in offered.units}
    fees = {
        unit.name: (unit.candidates[0].ref.identity or unit.name, fee_of(manifests[unit.name]))
        for unit in offered.units
    }
    if limits.latency_ms is None:
        return offered, Costs(limits, {}, fees), []
    measured = _measured(task, offered, library, report, cancelled)
    costs = Costs(limits, measured, fees)
    kept = [unit for unit in offered.units if measured[unit.name] <= limits.latency_ms]
    if not kept:
        fastest = min(measured, key=lambda name: measured[name])
        raise BadTask(
            f"no prior reads a row of this task in {limits.latency_ms:g} ms here: the fastest, {fastest}, takes "
            f"{measured[fastest]:.1f}. Allow more, or rank on a faster machine."
        )
    late = sorted((unit.name for unit in offered.units if unit not in kept), key=lambda name: measured[name])
    said = [f"{name} ({measured[name]:.1f})" for name in late[:SHOWN]] + (["…"] if len(late) > SHOWN else [])
    notes = (
        [f"left out, as they take more than {limits.latency_ms:g} ms a row here: {', '.join(said)}."] if late else []
    )
    places = {(unit.candidates[0].ref, unit.candidates[0].column) for unit in kept}
    candidates = tuple(one for one in offered.candidates if (one.ref, one.column) in places)
    return replace(offered, candidates=candidates, units=tuple(kept)), costs, notes


def _measured(
    task: Task, offered: Offer, library: Library, report: Report, cancelled: Cancelled
) -> dict[str, float]:  # fmt: skip
    """Milliseconds a row of every unit, as it runs alone."""
    from composer.blocks import ON_HOST, column_values  # torch, wanted only where time is limited
    from composer.check import check
    from composer.lock import Lock
    from composer.lower import lower
    from composer.nested import resolver

    rows = np.unique(np.linspace(0, len(task) - 1, ROWS).astype(int))
    found = {}
    for done, unit in enumerate(offered.units):
        if cancelled():
            raise Stopped("stopped while priors were timed")
        report(done + 1, len(offered.units), "priors timed")
        first = unit.candidates[0]
        taps = [one for one in offered.candidates if (one.ref, one.column) == (first.ref, first.column)]
        lock = Lock.of(check(block_graph(offered, taps)[0], resolver(library)))
        lowered = lower(lock, library)
        columns = column_values(lock, task)
        slots = [name for name in lock.frontier if lock.node(name).op not in ON_HOST]
        times = []
        for row in [rows[0], *rows] if slots else []:
            one = {name: values[row : row + 1] for name, values in columns.items()}
            started = perf_counter()
            lowered.padded(one, slots)
            times.append(1e3 * (perf_counter() - started))
        found[unit.name] = float(np.median(times[1:])) if times else 0.0  # the first run loads and warms up
    return found
