"""A board on a page: the plot's rows and the table's, from what anybody may see of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from django.db.models import Q

from hub.accounts.access import Actor
from hub.boards import ranking
from hub.boards.ladder import rounded
from hub.boards.models import Outcome, Run
from hub.boards.ranking import Against, Line, Standing
from hub.repos.models import Repository
from hub.web.svg import interval_plot, label_curve

_DRAWN = {
    "no_prior": "none",
    "random_weights": "none",
    "shuffled": "none",
    "single": "single",
    "adapted": "adapted",
    "everything": "all",
}
_SHOWN = 12
_LINES = (("recommended", "with this prior"), ("none", "no prior"))


@dataclass(frozen=True)
class BoardView:
    """What the template asks for beside the standing itself."""

    metric: str
    plot: str
    no_prior: float | None


def board_view(found: Standing) -> BoardView:
    """The plot: the first runs of the ranking, then what they are held against."""
    metric = next((line.run.metric for line in found.lines), "accuracy")
    rows = [_row(line) for line in found.lines[:_SHOWN]] + list(_placebos(found.placebos))
    none = next((each.mean for each in found.placebos if each.arm == "no_prior"), None)
    return BoardView(metric, interval_plot(rows, percent=metric == "accuracy"), none)


def run_plot(run: Run, low: float, high: float, against: Iterable[Against]) -> str:
    """One run above what it is held against."""
    own = {"name": run.submission, "kind": "recommended", "accuracy": run.shown, "low": low, "high": high}
    return interval_plot([own, *_placebos(against)], percent=run.metric == "accuracy")


@dataclass(frozen=True)
class Verified:
    """A run on a prior's page: its score, and how many labels the prior is worth on that task."""

    run: Run
    low: float
    high: float
    not_above: tuple[str, ...]
    worth: str
    curve: str


def verified(repository: Repository, *, actor: Actor, most: int = 3) -> list[Verified]:
    """The newest runs of a prior, or of a tap of it, that everybody may see the score of."""
    named = Q(submission=repository.full_name) | Q(submission__startswith=f"{repository.full_name}#")
    newest = Run.objects.visible_to(actor).ranked().filter(named, shown__isnull=False).values("pk")[:most]
    rows = Outcome.objects.filter(run__in=newest).select_related("run__board__task__namespace")
    found: dict[Run, list[Outcome]] = {}
    for one in rows.defer("run__hits", "run__lock").order_by("-run", "pk"):  # one query for all of it
        found.setdefault(one.run, []).append(one)
    return [_verified(run, outcomes) for run, outcomes in found.items()]


def _verified(run: Run, outcomes: list[Outcome]) -> Verified:
    low, high, _, _ = ranking.interval(run)
    beaten = tuple(each.name for each in ranking.against(run) if each.above is False)
    worth, curve = _labels_saved(run, outcomes)
    return Verified(run, low, high, beaten, worth, curve)


def _labels_saved(run: Run, outcomes: list[Outcome]) -> tuple[str, str]:
    """The sentence and the drawing; of hidden rows the drawn scores are rounded."""
    from composer.rank.curves import worth  # numpy, for the pages that draw this

    ours: dict[int, list[float]] = {}
    none: dict[int, list[float]] = {}
    for one in outcomes:
        if one.submitted or one.arm == "no_prior":
            (ours if one.submitted else none).setdefault(one.labels, []).append(one.score)
    if run.labels not in ours or len(none) < 2:
        return "", ""
    said = worth(ours, none, run.labels).text()
    step = run.step or 0.0
    points = [
        {"labels": labels, "recommended": _mean(ours.get(labels), step), "none": _mean(none.get(labels), step)}
        for labels in sorted({*ours, *none})
    ]
    return said, label_curve(points, {"text": said}, percent=run.metric == "accuracy", series=_LINES)


def _mean(scores: list[float] | None, step: float) -> float | None:
    return rounded(sum(scores) / len(scores), step) if scores else None


def _row(line: Line) -> dict[str, Any]:
    kind = "recommended" if line.first == 1 else "set"
    return {
        "name": f"{line.ranks}. {line.run.submission}", "kind": kind, "accuracy": line.score, "low": line.low,
        "high": line.high,
    }  # fmt: skip


def _placebos(shown: Iterable[Against]) -> Iterable[dict[str, Any]]:
    for each in shown:
        if each.mean is not None:
            yield {
                "name": each.name, "kind": _DRAWN[each.arm], "accuracy": each.mean, "low": each.low, "high": each.high,
            }  # fmt: skip
