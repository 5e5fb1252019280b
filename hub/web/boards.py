"""A board on a page: the plot's rows and the table's, from what anybody may see of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from hub.boards.models import Run
from hub.boards.ranking import Against, Line, Standing
from hub.web.svg import interval_plot

_DRAWN = {
    "no_prior": "none",
    "random_weights": "none",
    "shuffled": "none",
    "single": "single",
    "adapted": "adapted",
    "everything": "all",
}
_SHOWN = 12


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
    return BoardView(metric, interval_plot(rows, percent=metric == "accuracy", width=640), none)


def run_plot(run: Run, low: float, high: float, against: Iterable[Against]) -> str:
    """One run above what it is held against."""
    own = {"name": run.submission, "kind": "recommended", "accuracy": run.shown, "low": low, "high": high}
    return interval_plot([own, *_placebos(against)], percent=run.metric == "accuracy", width=640)


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
