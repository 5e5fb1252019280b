"""A board on a page: the plot's rows and the table's, from what anybody may see of it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

from hub.accounts.access import Actor
from hub.boards import ranking
from hub.boards.intervals import normal, span
from hub.boards.ladder import rough, rounded
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
    """What the template asks for beside the standing itself; the curve is that of the first run."""

    metric: str
    plot: str
    worth: str
    curve: str


def board_view(found: Standing) -> BoardView:
    """The plot: the first runs of the ranking, then what they are held against."""
    metric = next((line.run.metric for line in found.lines), "accuracy")
    rows = [_row(line) for line in found.lines[:_SHOWN]] + list(_placebos(found.placebos))
    first = found.lines[0].run if found.lines else None
    worth, curve = labels_saved(first, list(first.outcomes.all())) if first is not None else ("", "")
    return BoardView(metric, interval_plot(rows, percent=metric == "accuracy"), worth, curve)


def run_plot(run: Run, low: float, high: float, against: Iterable[Against]) -> str:
    """One run above what it is held against."""
    own = {"name": run.called, "kind": "recommended", "accuracy": run.shown, "low": low, "high": high}
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
    newest = (
        Run.objects.visible_to(actor).ranked().filter(repository=repository, shown__isnull=False).values("pk")[:most]
    )
    rows = Outcome.objects.filter(run__in=newest).select_related("run__board__task__namespace")
    found: dict[Run, list[Outcome]] = {}
    for one in rows.defer("run__hits", "run__lock").order_by("-run", "pk"):  # one query for all of it
        found.setdefault(one.run, []).append(one)
    return [_verified(run, outcomes) for run, outcomes in found.items()]


def _verified(run: Run, outcomes: list[Outcome]) -> Verified:
    low, high, _, _ = ranking.interval(run)
    beaten = tuple(each.name for each in ranking.against(run) if each.above is False)
    worth, curve = labels_saved(run, outcomes)
    return Verified(run, low, high, beaten, worth, curve)


def labels_saved(run: Run, outcomes: list[Outcome]) -> tuple[str, str]:
    """The sentence and the drawing, empty where too little was measured; of hidden rows both are of rounded numbers."""
    ours: dict[int, list[Outcome]] = {}
    none: dict[int, list[Outcome]] = {}
    for one in outcomes:
        if one.submitted or one.arm == "no_prior":
            (ours if one.submitted else none).setdefault(one.labels, []).append(one)
    if run.labels not in ours or len(none) < 2:
        return "", ""
    points = [
        {"labels": labels} | _point("recommended", ours.get(labels), run) | _point("none", none.get(labels), run)
        for labels in sorted({*ours, *none})
    ]
    said = _worth(run, ours, none, points)
    return said, label_curve(points, {"text": said}, percent=run.metric == "accuracy", series=_LINES)


def _worth(
    run: Run, ours: dict[int, list[Outcome]], none: dict[int, list[Outcome]], points: list[dict[str, Any]]
) -> str:
    from composer.rank.curves import worth  # numpy, for the pages that draw this

    if not run.step:
        return worth(_scores(ours), _scores(none), run.labels).text()
    # How many labels a score is worth would tell the score: of hidden rows it is asked for what is shown of them.
    bare = {int(row["labels"]): [row["none"]] for row in points if "none" in row}
    here = next(row for row in points if row["labels"] == run.labels)
    least, needs, most = (
        worth({run.labels: [here[f"recommended{end}"]]}, bare, run.labels) for end in ("_low", "", "_high")
    )
    return replace(needs, low=least.needs, high=most.needs).text()


def _scores(found: dict[int, list[Outcome]]) -> dict[int, list[float]]:
    return {labels: [one.score for one in each] for labels, each in found.items()}


def _point(line: str, found: list[Outcome] | None, run: Run) -> dict[str, float]:
    """The mean over draws and its 95 % interval, which is of the draws and of the rows that judge."""
    if not found:
        return {}
    error = fmean(one.high - one.low for one in found) / 2 / normal(95)
    measured, step = span([one.score for one in found], error, 95), run.step or 0.0
    mean, half = rounded(measured.mean, step), rough(measured.half) if step else measured.half
    least = 0.0 if run.metric in ("accuracy", "macro_f1") else -math.inf
    return {line: mean, f"{line}_low": max(mean - half, least), f"{line}_high": min(mean + half, 1.0)}


def _row(line: Line) -> dict[str, Any]:
    kind = "recommended" if line.first == 1 else "set"
    return {
        "name": f"{line.ranks}. {line.run.called}", "kind": kind, "accuracy": line.score, "low": line.low,
        "high": line.high,
    }  # fmt: skip


def _placebos(shown: Iterable[Against]) -> Iterable[dict[str, Any]]:
    for each in shown:
        if each.mean is not None:
            yield {
                "name": each.name, "kind": _DRAWN[each.arm], "accuracy": each.mean, "low": each.low, "high": each.high,
            }  # fmt: skip
