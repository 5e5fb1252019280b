"""Which networks are worth reading all labelled rows: successive halving (Jamieson and Talwalkar 2016), so that trying
many priors costs little more than using the best of them.

All networks read FIRST rows; the best MIDDLE of them read SECOND; the best LAST read all that are judged on. Where that
would cost more than SLACK beside one pass of the last over the labelled rows, because rows are few or networks many,
more of them are let through at once: then the one pass costs more and the choice is better. So the bound holds for
every task, weighted by what each network costs. Functions cost nothing beside networks and are never left out.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from composer.assemble import Offer, Unit
from composer.choices import Candidate, Passed, Report, silent
from composer.rank.probe import Array, Probe, Targets, gram, probe
from composer.rank.rows import sample
from composer.rank.sets import mix

Rows = NDArray[np.int64]
Read = Callable[[Sequence[Candidate], Rows], Mapping[Candidate, NDArray[np.float32]]]
"""(candidates of one prior, rows) -> the block of each, fitted on these rows."""

FIRST, SECOND = 64, 256
MIDDLE, LAST = 16, 6
SLACK = 1.3

ROWS_A_CLASS = 4
"""Fewer of each class tell nothing about it."""

EACH_COLUMN = 2
"""Of every column so many networks are let through whatever the others are like: columns know different things."""


@dataclass(frozen=True)
class Entrant:
    """A network that reads a column: all its taps come from one pass. cost: parameters, which a row costs."""

    unit: Unit
    candidates: tuple[Candidate, ...]
    cost: float


@dataclass(frozen=True)
class Race:
    """kept: the candidates to be judged on all rows; passed: the networks that were left out, best first;
    spent: rows times cost that were read for it, and `last`: what one pass of those let through costs."""

    kept: tuple[Candidate, ...]
    passed: tuple[Passed, ...] = ()
    spent: float = 0.0
    last: float = 0.0


def by_loss(probes: Mapping[str, Probe]) -> Mapping[str, float]:
    """The rating of the networks that were read: the lower the leave-one-out loss, the better."""
    return {name: -found.loss for name, found in probes.items()}


def race(
    offered: Offer,
    targets: Targets,
    rows: Rows,
    labelled: int,
    read: Read,
    *,
    rate: Callable[[Mapping[str, Probe]], Mapping[str, float]] = by_loss,
    unproven: Collection[str] = (),
    report: Report = silent,
) -> Race:
    """The candidates to judge on `rows` (ascending numbers of rows, whose targets are `targets`) of `labelled` rows in
    all. Deterministic.

    rate      probes by unit -> how good each is, the higher the better
    unproven  units of which nothing is known from elsewhere: they take no place of the best EACH_COLUMN others
    """
    entrants = entrants_of(offered)
    least = max(FIRST, ROWS_A_CLASS * targets.matrix.shape[1])
    if len(entrants) <= LAST or len(rows) <= 2 * least:
        return Race(offered.candidates)
    seen = dict.fromkeys(range(len(entrants)), 0)
    probes: dict[int, Probe] = {}
    spent = 0.0

    def look(numbers: Sequence[int], count: int) -> None:
        nonlocal spent
        some = sample(targets, count)
        for done, i in enumerate(numbers):
            entrant = entrants[i]
            report(done + 1, len(numbers), f"networks on {len(some)} rows")
            probes[i] = probe(_kernel(entrant.unit, read(entrant.candidates, rows[some])), targets.take(some))
            spent += entrant.cost * (len(some) - seen[i])
            seen[i] = len(some)

    def ordered(numbers: Sequence[int]) -> list[int]:
        rated = rate({entrants[i].unit.name: probes[i] for i in numbers})
        return _spread(sorted(numbers, key=lambda i: -rated[entrants[i].unit.name]), entrants, unproven)

    look(range(len(entrants)), least)
    order = ordered(range(len(entrants)))
    costs = np.array([entrant.cost for entrant in entrants])
    middle = spent + costs[order[:MIDDLE]].sum() * (SECOND - least) + costs[order[:LAST]].sum() * (len(rows) - SECOND)
    target = MIDDLE
    if least < SECOND < len(rows) / 2 and middle <= SLACK * labelled * costs[order[:LAST]].sum():
        look(order[:MIDDLE], SECOND)
        order = [*ordered(order[:MIDDLE]), *order[MIDDLE:]]
        target = LAST
    while target < len(order):
        through = order[:target]
        rest = sum(costs[i] * (len(rows) - seen[i]) for i in through)
        if spent + rest <= SLACK * labelled * costs[through].sum():
            break
        target += 1
    through = order[:target]
    spent += sum(costs[i] * (len(rows) - seen[i]) for i in through)
    left = {candidate for i in order[target:] for candidate in entrants[i].candidates}
    passed = tuple(Passed(entrants[i].unit.name, seen[i], round(probes[i].score, 4)) for i in order[target:])
    kept = tuple(candidate for candidate in offered.candidates if candidate not in left)
    return Race(kept, passed, spent, float(labelled * costs[through].sum()))


def entrants_of(offered: Offer) -> list[Entrant]:
    """Every network with every column that it reads."""
    found = []
    for unit in offered.units:
        first = unit.candidates[0]
        manifest = offered.manifests[first]
        if manifest.kind == "network":
            taps = tuple(c for c in offered.candidates if (c.ref, c.column) == (first.ref, first.column))
            found.append(Entrant(unit, taps, float(manifest.parameters or 1)))
    return found


def narrowed(offered: Offer, kept: Sequence[Candidate]) -> Offer:
    """The offer of these candidates alone."""
    held = set(kept)
    units = tuple(unit for unit in offered.units if held.issuperset(unit.candidates))
    return replace(offered, candidates=tuple(kept), units=units)


def _kernel(unit: Unit, blocks: Mapping[Candidate, NDArray[np.float32]]) -> Array:
    kernels = {candidate.tap: gram(blocks[candidate]) for candidate in unit.candidates}
    return mix(kernels, dict.fromkeys(kernels, 1 / len(kernels)))


def _spread(order: Sequence[int], entrants: Sequence[Entrant], unproven: Collection[str]) -> list[int]:
    """The same order with the first EACH_COLUMN of every column at the front, and those of the ones that are known."""
    counts: dict[object, int] = {}
    front = []
    for i in order:
        column = entrants[i].candidates[0].column
        places = [("any", column)] if entrants[i].unit.name in unproven else [("any", column), ("known", column)]
        for place in places:
            counts[place] = counts.get(place, 0) + 1
        if min(counts[place] for place in places) <= EACH_COLUMN:
            front.append(i)
    return [*front, *(i for i in order if i not in front)]
