"""How many labels each prior is worth alone, on the task where it gains most over no prior."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from composer.rank.curves import Worth, curves_of
from composer.rank.history import Outcome, TaskCard

LABELS = 16


@dataclass(frozen=True)
class Best:
    """A candidate's task on which it is furthest above no prior with LABELS labels a class."""

    candidate: str
    task: str
    without: float
    worth: Worth


def most_worth(outcomes: Sequence[Outcome], cards: Sequence[TaskCard]) -> list[Best]:
    """One row a candidate that was run alone, by name."""
    by_task: dict[str, list[Outcome]] = {}
    for one in outcomes:
        if one.arm in ("single", "taps", "no_prior"):
            by_task.setdefault(one.task, []).append(one)
    leads: dict[str, tuple[float, float, TaskCard]] = {}
    for card in cards:
        scores: dict[str, list[float]] = {}
        for one in by_task.get(card.name, []):
            if one.labels == LABELS:
                scores.setdefault(one.members[0] if one.members else "", []).append(one.score)
        if "" not in scores:
            continue  # nothing without a prior to be ahead of
        bare = fmean(scores.pop(""))
        for candidate, found in scores.items():
            lead = fmean(found) - bare
            if candidate not in leads or lead > leads[candidate][0]:
                leads[candidate] = (lead, bare, card)
    best = []
    for candidate, (_, bare, card) in sorted(leads.items()):
        curves = curves_of(by_task[card.name], card, candidate)
        if curves is not None:
            [at] = [one for one in curves.worth if one.labels == LABELS]
            best.append(Best(candidate, card.name, round(bare, 4), at))
    return best


def text(found: Sequence[Best]) -> str:
    """A line a candidate."""
    return "\n".join(
        f"{one.candidate}, {one.task}: {one.worth.score:.3f}, {one.without:.3f} without. {one.worth.text('it')}"
        for one in found
    )
