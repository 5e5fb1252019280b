"""How a board stands: ranks with ties, what every run is held against, what is only claimed. What anybody may see.

Of a board with hidden rows every number here is rounded to the step of its run, and of a run that is not clearly above
what its owner was told before there is none at all.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.db.models import F

from hub.accounts.access import Actor, along, readable
from hub.boards import editions, hidden
from hub.boards.intervals import paired
from hub.boards.ladder import rough, rounded
from hub.boards.models import Board, Claim, HiddenRows, Outcome, Run
from hub.boards.recording import numbers

ARMS: dict[str, str] = {
    "no_prior": "no prior",
    "random_weights": "the same with random weights",
    "shuffled": "taught shuffled labels",
    "single": "best single prior, frozen",
    "adapted": "best single prior, adapted",
    "everything": "everything side by side",
}
"""What every run is held against, in the order it is shown."""


MOST, MOST_FAILED = 1_000, 50
"""Runs that a board ranks, or shows beside its ranking, and failed ones; the newest. All are kept and have a page."""


@dataclass(frozen=True)
class Against:
    """One of the compulsory ways beside a run. Numbers are None when it could not be tried; `skipped` says why.

    above  whether the run is above it by the paired interval
    """

    arm: str
    name: str
    members: tuple[str, ...]
    mean: float | None = None
    low: float | None = None
    high: float | None = None
    gain: float | None = None
    above: bool | None = None
    skipped: str = ""


@dataclass(frozen=True)
class Line:
    """One run in the ranking: it shares the ranks `first` to `last` with those it is not told apart from."""

    run: Run
    first: int
    last: int
    score: float
    low: float
    high: float
    low90: float
    high90: float
    against: tuple[Against, ...]

    @property
    def ranks(self) -> str:
        """1, or 1-3 for a tie."""
        return str(self.first) if self.first == self.last else f"{self.first}-{self.last}"

    @property
    def gain(self) -> float | None:
        """How much better than no prior it is on the same draws and rows."""
        return next((each.gain for each in self.against if each.arm == "no_prior"), None)

    @property
    def not_above(self) -> tuple[str, ...]:
        """What it is not above by its interval."""
        return tuple(each.name for each in self.against if each.above is False)

    @property
    def verdict(self) -> str:
        """One plain sentence."""
        if self.not_above:
            return f"Not above {', '.join(self.not_above)}."
        tried = [each for each in self.against if each.above]
        return "Above everything it was held against that could be tried." if tried else ""


@dataclass(frozen=True)
class Standing:
    """Everything a board's page and the API show."""

    board: Board
    rows: HiddenRows | None
    edition: str
    lines: tuple[Line, ...]
    placebos: tuple[Against, ...]
    unplaced: tuple[Run, ...]
    waiting: tuple[Run, ...]
    withdrawn: tuple[Run, ...]
    failed: tuple[Run, ...]
    earlier: tuple[Run, ...]
    claims: tuple[Claim, ...] = field(default=())


def standing(board: Board, *, actor: Actor) -> Standing:
    """The board now. Runs of earlier editions, withdrawn and failed ones are all there, beside the ranking.

    The ranking is of all runs of the edition, and the same for everybody: one that some may not see, of the time when
    the task was private, is of another edition. Raises NotFound for the board of a deleted task.
    """
    rows = hidden.of(board)
    head = board.live_task.head
    edition = editions.edition_of(board, head, rows) if head is not None else ""
    related = ("board__task__namespace", "repository__namespace")
    measured = Run.objects.ranked().filter(board=board, edition=edition, private=board.live_task.private)
    ranked = list(measured.select_related(*related).defer("lock")[:MOST]) if edition else []
    lines = _lines([run for run in ranked if run.shown is not None])
    rest = Run.objects.visible_to(actor).filter(board=board).exclude(pk__in=[run.pk for run in ranked])
    rest = rest.select_related(*related).defer("lock", "hits")
    others = [*rest.exclude(state=Run.State.FAILED)[:MOST], *rest.filter(state=Run.State.FAILED)[:MOST_FAILED]]
    claims = Claim.objects.filter(along("repository__", readable(actor)), board=board)
    return Standing(
        board=board,
        rows=rows,
        edition=edition,
        lines=tuple(lines),
        placebos=tuple(_placebos(lines)),
        unplaced=tuple(run for run in ranked if run.shown is None),
        waiting=tuple(run for run in others if run.state == Run.State.WAITING and run.withdrawn_at is None),
        withdrawn=tuple(run for run in others if run.withdrawn_at is not None),
        failed=tuple(run for run in others if run.state == Run.State.FAILED and run.withdrawn_at is None),
        earlier=tuple(run for run in others if run.state == Run.State.SCORED and run.withdrawn_at is None),
        claims=tuple(claims.select_related("repository__namespace")[:100]),
    )


def interval(run: Run) -> tuple[float, float, float, float]:
    """What may be seen of a shown run's intervals: 95 % low and high, 90 % low and high, about the shown score."""
    if run.shown is None or run.mean is None:
        raise ValueError(f"{run} is not shown")
    least = 0.0 if run.metric in ("accuracy", "macro_f1", "map") else -math.inf
    found: list[float] = []
    for low, high in ((run.low, run.high), (run.low90, run.high90)):
        # The wider side: the other may have been cut at 0 or 1, and how far it then lies from `shown` tells the mean.
        half = max(run.mean - low, high - run.mean) if low is not None and high is not None else 0.0
        if run.step:
            half = rough(half)
        found += [max(round(run.shown - half, 4), least), min(round(run.shown + half, 4), 1.0)]
    return found[0], found[1], found[2], found[3]


def against(run: Run) -> tuple[Against, ...]:
    """The compulsory ways beside a shown run, in order."""
    step = run.step or 0.0
    found = {str(each.get("arm")): each for each in run.facts.get("against", ())}
    shown = []
    for arm, name in ARMS.items():
        each = found.get(arm)
        if each is None:
            continue
        members = tuple(each.get("members", ()))
        if "skipped" in each:
            shown.append(Against(arm, name, members, skipped=str(each["skipped"])))
            continue
        mean, half = rounded(each["mean"], step), (each["high"] - each["low"]) / 2
        half = rough(half) if step else half
        shown.append(
            Against(
                arm, name, members,
                mean=round(mean, 4),
                low=round(mean - half, 4),
                high=round(min(mean + half, 1.0), 4),
                gain=round(rounded(each["gain"], step), 4),
                above=bool(each["gain_low"] > 0),
            )
        )  # fmt: skip
    return tuple(shown)


def ways(run: Run) -> dict[str, list[Outcome]]:
    """The scores of each way draw by draw, for runs on open rows alone: of hidden ones draws would tell too much."""
    if run.hidden_id is not None or (run.step or 0) > 0:
        return {}
    found: dict[str, list[Outcome]] = defaultdict(list)
    for one in run.outcomes.filter(labels=run.labels).order_by("-submitted", "arm", "draw"):
        found["submission" if one.submitted else one.arm].append(one)
    return dict(found)


def _lines(runs: Sequence[Run]) -> list[Line]:
    ordered = sorted(runs, key=lambda run: (-(run.shown or 0.0), run.created_at))
    scores = _draws(ordered)
    groups: list[list[Run]] = []
    for run in ordered:
        if groups and _tied(groups[-1][0], run, scores):
            groups[-1].append(run)
        else:
            groups.append([run])
    lines, first = [], 1
    for group in groups:
        last = first + len(group) - 1
        for run in group:
            low, high, low90, high90 = interval(run)
            lines.append(Line(run, first, last, run.shown or 0.0, low, high, low90, high90, against(run)))
        first = last + 1
    return lines


def _tied(leader: Run, other: Run, scores: dict[Any, list[float]]) -> bool:
    """Whether the interval of their difference on the same draws and rows holds 0."""
    ours, theirs = scores.get(leader.pk, []), scores.get(other.pk, [])
    if not ours or len(ours) != len(theirs):
        return False
    return paired(ours, theirs, numbers(leader.hits), numbers(other.hits), 95).low <= 0


def _draws(runs: Iterable[Run]) -> dict[Any, list[float]]:
    found: dict[Any, list[float]] = defaultdict(list)
    mine = Outcome.objects.filter(run__in=[run.pk for run in runs], submitted=True, labels=F("run__labels"))
    for run, score in mine.order_by("draw").values_list("run", "score"):
        found[run].append(score)
    return found


def _placebos(lines: Sequence[Line]) -> list[Against]:
    """For each compulsory way the newest run's that could try it; else why not."""
    found: dict[str, Against] = {}
    for line in sorted(lines, key=lambda line: line.run.created_at, reverse=True):
        for each in line.against:
            if each.arm not in found or (found[each.arm].mean is None and each.mean is not None):
                found[each.arm] = each
    return [found[arm] for arm in ARMS if arm in found]
