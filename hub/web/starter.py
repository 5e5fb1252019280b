"""What the program brought of a starter prior, on its page: measured before this hub, and said so."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hub.boards.history import STARTER
from hub.repos.models import Repository
from hub.web.svg import label_curve

if TYPE_CHECKING:
    from composer.rank.starter_curves import Alone

_LINES = (("recommended", "with this prior"), ("none", "no prior"))
_PLACES = ("where it gains most", "in the middle", "where it gains least")


@dataclass(frozen=True)
class Curve:
    """One task; `point` says with how many labels score, low and high are."""

    task: str
    text: str
    place: str
    metric: str
    point: str
    score: float
    low: float
    high: float
    worth: str
    drawn: str


@dataclass(frozen=True)
class Brought:
    """On `above` of `tasks` tasks it was above no prior, and the curves of some of them."""

    tasks: int
    above: int
    labels: int
    curves: tuple[Curve, ...]


def brought(repository: Repository) -> Brought | None:
    """None for what nothing is known of, and for every prior outside the hub's own namespace: a name is no evidence."""
    if repository.namespace.name != STARTER:
        return None
    from composer.rank.starter_curves import AT, known_alone  # pyarrow, for the pages that show this

    found = known_alone(repository.full_name)
    if found is None:
        return None
    places = _PLACES if len(found.shown) == len(_PLACES) else ("",) * len(found.shown)
    return Brought(found.tasks, found.above, AT, tuple(map(_curve, found.shown, places)))


def _curve(one: Alone, place: str) -> Curve:
    unit = "rows" if one.task.kind == "regression" else "labels a class"
    point, said = one.point, one.worth.text(unit=unit)
    rows: dict[int, dict[str, float]] = {}
    for line, found in (("recommended", one.curves.with_prior), ("none", one.curves.without)):
        for each in found:
            row = rows.setdefault(each.labels, {"labels": each.labels})
            row |= {line: each.score, f"{line}_low": each.low, f"{line}_high": each.high}
    drawn = label_curve(list(rows.values()), {"text": said}, percent=one.curves.metric == "accuracy", series=_LINES)
    return Curve(
        one.task.name, one.task.text, place, one.curves.metric, f"{point.labels} {unit}", point.score, point.low,
        point.high, said, drawn,
    )  # fmt: skip
