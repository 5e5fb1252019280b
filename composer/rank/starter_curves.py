"""What each starter prior did by itself on the tasks of the starter history, for whoever looks at the prior."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache, lru_cache
from statistics import fmean

from composer.rank.curves import LabelCurves, Point, Worth, curves_of
from composer.rank.history import Outcome, TaskCard
from composer.rank.starter import starter_history

AT = 16
"""Labels a class that tasks are compared at."""

NONE = ""
"""Stands for no prior among candidates."""


@dataclass(frozen=True)
class Alone:
    """One tap of a prior, or the mean of its taps, on one task: `gain` is over no prior with AT labels a class."""

    task: TaskCard
    gain: float
    curves: LabelCurves

    @property
    def point(self) -> Point:
        """Its score with AT labels a class."""
        return next(point for point in self.curves.with_prior if point.labels == AT)

    @property
    def worth(self) -> Worth:
        """What AT labels a class with it are worth."""
        return next(worth for worth in self.curves.worth if worth.labels == AT)


@dataclass(frozen=True)
class Known:
    """What the starter history says of a prior.

    tasks   on how many it was run by itself; above: on how many of them it was above no prior with AT labels a class
    shown   the tasks where it gains most, middling and least, in this order; fewer where it was run on fewer
    """

    candidate: str
    tasks: int
    above: int
    shown: tuple[Alone, ...]


@lru_cache(maxsize=256)
def known_alone(prior: str) -> Known | None:
    """What is known of `namespace/name`; None where it was not run.

    Of several taps the mean speaks for it where that was run, else the one with the highest mean gain.
    """
    runs, cards = _runs()
    gains: dict[str, dict[str, float]] = {}
    for candidate, by_task in runs.items():
        if candidate.partition("#")[0] == prior:
            gaps = {
                task: gap for task, own in by_task.items() if (gap := _gap(own, runs[NONE].get(task, ()))) is not None
            }
            if gaps:
                gains[candidate] = gaps
    if not gains:
        return None
    mean = f"{prior}#*"
    speaks = mean if mean in gains else max(gains, key=lambda one: (fmean(gains[one].values()), one))
    order = sorted(gains[speaks], key=lambda task: (-gains[speaks][task], task))
    places = dict.fromkeys((0, len(order) // 2, len(order) - 1))
    shown = []
    for task in (order[place] for place in places):
        curves = curves_of((*runs[speaks][task], *runs[NONE][task]), cards[task], speaks)
        if curves is not None:
            shown.append(Alone(cards[task], gains[speaks][task], curves))
    return Known(speaks, len(order), sum(gap > 0 for gap in gains[speaks].values()), tuple(shown))


@cache
def _runs() -> tuple[dict[str, dict[str, list[Outcome]]], dict[str, TaskCard]]:
    """Candidate -> task -> its runs by itself, and the cards of the tasks."""
    outcomes, cards = starter_history()
    found: dict[str, dict[str, list[Outcome]]] = {NONE: {}}
    for one in outcomes:
        if one.arm in ("single", "taps", "no_prior"):
            name = one.members[0] if one.members else NONE
            found.setdefault(name, {}).setdefault(one.task, []).append(one)
    return found, {card.name: card for card in cards}


def _gap(own: Iterable[Outcome], bare: Iterable[Outcome]) -> float | None:
    """How far the mean of the draws is above that of the others with AT labels a class; None where either has none."""
    ours, none = ([one.score for one in runs if one.labels == AT] for runs in (own, bare))
    return fmean(ours) - fmean(none) if ours and none else None
