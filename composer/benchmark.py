"""What composing is worth on a task: no prior, every single one, everything, and the recommended set, over several
draws.

For each draw of the labels the set is recommended anew from the drawn rows alone; the rest of the rows give the
verdict.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from composer.assemble import Offer, distinct, offer
from composer.baseline import Plain, plain_predictions
from composer.blocks import Blocks
from composer.cache import FeatureCache
from composer.calibrate import calibrate
from composer.choices import Cancelled, Member, Report, never, silent, within
from composer.errors import Cancelled as Stopped
from composer.rank.precision import mean_average_precision
from composer.rank.probe import Array, Probe, gram, macro_f1, probe, solve
from composer.recommend import find_sets, members_of, open_library
from composer.suspect import suspicions
from composer.targets import targets_of
from priors.errors import BadTask
from priors.library import Library

if TYPE_CHECKING:
    from priors.client import Hub
    from priors.tasks import Draw, Task

RowKind = Literal["none", "single", "taps", "all", "recommended"]

MAX_ROWS = 3_000
"""Rows of a task that take part: more only make the verdict slower, not surer. Chosen at random, whole groups."""

SINGLES_IN_CURVE = 4
"""How many of the best single blocks are followed along the curve."""


@dataclass(frozen=True)
class Row:
    """One line of the table: mean accuracy (or R²) over the draws with its 95 % interval (Student's t).

    seconds  choosing, fitting and predicting once features are there, mean of the draws
    """

    name: str
    kind: RowKind
    priors: tuple[str, ...]
    accuracy: float
    low: float
    high: float
    seconds: float


@dataclass(frozen=True)
class Point:
    """One number of labels a class of the curve; `best_single` is the best of the followed ones at this number."""

    labels: int
    none: float
    best_single: float
    recommended: float


@dataclass(frozen=True)
class LabelsSaved:
    """How many labels a class the best single prior needs for what the set reaches with `labels`; None: beyond the
    curve."""

    labels: int
    single_needs: float | None
    saved: float | None
    text: str


@dataclass(frozen=True)
class BenchmarkReport:
    """The verdict on a task. `feature_seconds`: computing every prior's features once, for all draws (0 when
    cached)."""

    task: str
    metric: str
    labels_per_class: int
    draws: int
    test_rows: int
    rows: tuple[Row, ...]
    curve: tuple[Point, ...]
    labels_saved: LabelsSaved
    feature_seconds: float
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON values."""
        return asdict(self)

    def to_json(self) -> str:
        """The report as a JSON text."""
        return json.dumps(self.to_dict(), indent=1, ensure_ascii=False)

    def row(self, kind: RowKind) -> Row:
        """The best row of a kind."""
        return max((row for row in self.rows if row.kind == kind), key=lambda row: row.accuracy)


def benchmark(
    task: Task,
    *,
    hub: Hub | None = None,
    library: Library | None = None,
    cache: FeatureCache | Path | str | None = None,
    labels_per_class: int = 16,
    draws: int = 5,
    curve: Sequence[int] = (4, 8, 16, 32, 64),
    test_rows: int | None = 1_500,
    seed: int = 0,
    report: Report = silent,
    cancelled: Cancelled = never,
) -> BenchmarkReport:
    """Compares no prior, singles, everything and the recommended set on `draws` draws of `labels_per_class` labels.

    Raises BadTask when a class has too few rows for `labels_per_class`; label counts of the curve that are too many
    are left out and noted.
    """
    library = open_library(library, hub)
    suspected = suspicions(task)
    task, notes = _cut(task, seed)
    notes = [*suspected, *notes]
    drawn = {labels_per_class: _draws(task, labels_per_class, draws, test_rows, seed)}
    unit = "labels" if task.kind == "regression" else "labels a class"
    for count in sorted({*curve} - {labels_per_class}):
        try:
            drawn[count] = _draws(task, count, draws, test_rows, seed)
        except BadTask:
            notes.append(f"{count} {unit} are more than {task.name} has: left out of the curve.")
    if draws == 1:
        notes.append("One draw says nothing about the spread: the intervals are empty.")
    offered = offer(task, distinct(library.entries()))
    total = 1 + draws * len(drawn)
    report(0, total, f"computing features of {len(task):,} rows")
    started = perf_counter()
    blocks = Blocks(
        task,
        offered,
        library,
        FeatureCache.of(cache),
        report=within(report, 0, total),
        cancelled=cancelled,
    )
    feature_seconds = perf_counter() - started
    arena = Arena(task, offered, blocks)
    results: dict[int, list[dict[str, _Score]]] = {}
    done = 1
    followed: set[str] | None = None
    for count, pairs in drawn.items():  # the table first: it says which singles the curve follows
        found = results.setdefault(count, [])
        for number, draw in enumerate(pairs):
            if cancelled():
                raise Stopped("stopped between two draws. Features are cached.")
            found.append(arena.judge(draw.train, draw.test, only=followed))
            done += 1
            report(done, total, f"{count} {unit}, draw {number + 1} of {draws}")
        if followed is None:
            singles = [name for name, one in found[0].items() if one.kind == "single"]
            singles.sort(key=lambda name: -_mean(found, name))
            followed = set(singles[:SINGLES_IN_CURVE])
    points = tuple(_point(count, results[count]) for count in sorted(results))
    return BenchmarkReport(
        task=task.name,
        metric=task.metric,
        labels_per_class=labels_per_class,
        draws=draws,
        test_rows=len(drawn[labels_per_class][0].test),
        rows=_table(results[labels_per_class], least=0.0 if task.kind != "regression" else -np.inf),
        curve=points,
        labels_saved=labels_saved(points, labels_per_class, unit=unit),
        feature_seconds=round(feature_seconds, 2),
        notes=tuple(notes),
    )


def labels_saved(curve: Sequence[Point], labels: int, *, unit: str = "labels a class") -> LabelsSaved:
    """Where the single's curve reaches the set's score at `labels`, read between points on a logarithmic label axis."""
    goal = next(point.recommended for point in curve if point.labels == labels)
    reached = _crossing(curve, goal)
    if reached is None:
        most = curve[-1].labels
        text = "The curve ends here: more labels would be needed to say."
        if most > labels:
            text = f"The best single prior does not reach with {most} {unit} what the set reaches with {labels}."
        return LabelsSaved(labels, None, None, text)
    if reached <= labels:
        return LabelsSaved(labels, round(reached, 1), 0.0, "The best single prior needs no more labels than the set.")
    text = f"The best single prior needs {reached:.0f} {unit} for what the set reaches with {labels}."
    return LabelsSaved(labels, round(reached, 1), round(reached - labels, 1), text)


def _crossing(curve: Sequence[Point], goal: float) -> float | None:
    """The number of labels at which the single's curve first reaches `goal`; its first point when it starts there."""
    if curve[0].best_single >= goal:
        return float(curve[0].labels)
    for before, after in pairwise(curve):
        if after.best_single >= goal:
            part = (goal - before.best_single) / (after.best_single - before.best_single)
            return float(before.labels * (after.labels / before.labels) ** part)
    return None


@dataclass(frozen=True)
class _Score:
    kind: RowKind
    priors: tuple[str, ...]
    accuracy: float
    seconds: float


class Arena:
    """Judges everything on one draw after another."""

    def __init__(self, task: Task, offered: Offer, blocks: Blocks) -> None:
        self.task, self.offered, self.blocks = task, offered, blocks
        self.plain = Plain(task)
        self.units = {unit.name: unit for unit in offered.units}
        self.y, self.groups = np.asarray(task.y), task.groups

    def judge(
        self, labelled: NDArray[np.int64], test: NDArray[np.int64], *, only: set[str] | None = None
    ) -> dict[str, _Score]:
        """Scores by row name; `only` leaves out other singles, and everything that is not in the curve."""
        targets = targets_of(self.task, labelled)
        rows = np.concatenate([labelled, test])
        n = len(labelled)
        made = self.blocks.fitted(labelled, rows)
        train = {candidate: gram(block[:n]) for candidate, block in made.items()}
        between = {c: cross(block, n) for c, block in made.items()}
        scores: dict[str, _Score] = {}

        def score(name: str, kind: RowKind, members: Sequence[Member], started: float) -> None:
            kernel = sum(m.weight * train[m.candidate] for m in members)
            asked = sum(m.weight * between[m.candidate] for m in members)
            found = probe(np.asarray(kernel), targets)
            dual, intercept = solve(np.asarray(kernel), targets.matrix, found.penalty)
            accuracy = self.agreement(self.said(np.asarray(asked) @ dual + intercept, found), test)
            names = tuple(dict.fromkeys(m.candidate.ref.repo for m in members))
            scores[name] = _Score(kind, names, accuracy, perf_counter() - started)

        started = perf_counter()
        said = plain_predictions(self.plain, self.y, labelled, test, regression=targets.is_number)
        scores["no prior"] = _Score("none", (), self.agreement(said, test), perf_counter() - started)
        for candidate in self.offered.candidates:
            name = self.offered.name(candidate)
            if only is None or name in only:
                score(name, "single", [Member(candidate, 1.0)], perf_counter())
        if only is None:
            for unit in self.units.values():
                if unit.is_taps:
                    part = 1 / len(unit.candidates)
                    score(unit.name, "taps", [Member(c, part) for c in unit.candidates], perf_counter())
            every = [Member(c, 1 / len(made)) for c in self.offered.candidates]
            score("everything concatenated", "all", every, perf_counter())
        started = perf_counter()
        offered, _, found = find_sets(self.offered, train, targets)
        units = {unit.name: unit for unit in offered.units}
        score("recommended set", "recommended", members_of(found.chosen.weights, units), started)
        return scores

    def said(self, scores: Array, found: Probe) -> NDArray[Any]:
        """What scores (m, C) of a head say, in the form of `Task.y`; where rows are ranked, how surely a row has each
        label: above 0 says that it does."""
        targets = found.targets
        if targets.sets:
            read = calibrate(found)
            surely = read.probabilities(scores, targets) - read.threshold
            return np.asarray(surely if targets.ranked else surely > 0)
        if targets.is_number:
            return np.asarray(scores[:, 0] * targets.spread + targets.mean)
        return np.asarray(scores.argmax(axis=1))

    def agreement(self, said: NDArray[Any], test: NDArray[np.int64]) -> float:
        """The task's metric of what was said of the rows `test`."""
        right = self.y[test]
        if self.task.kind == "regression":
            spread = float(np.square(right - right.mean()).sum())
            return 1 - float(np.square(said - right).sum()) / spread if spread > 0 else 0.0  # nothing to explain
        if self.task.kind == "multilabel":
            return mean_average_precision(right, said) if self.task.metric == "map" else macro_f1(right, said)
        return float((said == right).mean())

    def hits(self, said: NDArray[Any], test: NDArray[np.int64]) -> Array:
        """(m,) each row's part in `agreement`, which is their mean; of several labels the part that is right."""
        right = self.y[test]
        if self.task.kind == "regression":
            spread = float(np.square(right - right.mean()).mean())
            return np.asarray(1 - np.square(said - right) / spread if spread > 0 else np.zeros(len(right)))
        if self.task.kind == "multilabel":
            return np.asarray(((said > 0) == (right > 0)).mean(axis=1))
        return np.asarray((said == right).astype(np.float64))


def cross(block: NDArray[np.float32], n: int) -> Array:
    """(m, n) products of the other rows with the first n, in the units of `gram`."""
    known = block[:n].astype(np.float64)
    size = float(np.square(known).sum() / n)
    found: Array = (block[n:] @ block[:n].T).astype(np.float64)
    return found / size if size > 0 else found


def _cut(task: Task, seed: int) -> tuple[Task, list[str]]:
    """At most MAX_ROWS rows of the task, group by group, with its splits, and a note when it was cut."""
    if len(task) <= MAX_ROWS:
        return task, []
    groups = task.groups
    _, numbers = np.unique(groups if groups is not None else np.arange(len(task)), return_inverse=True)
    place = np.random.default_rng(seed).permutation(numbers.max() + 1)
    order = np.argsort(place[numbers], kind="stable")
    rows = np.sort(order[:MAX_ROWS])
    splits = {name: np.flatnonzero(np.isin(rows, part)) for name, part in task.splits.items()}
    note = f"{MAX_ROWS:,} of {len(task):,} rows, chosen at random, take part."
    return replace(task.subset(rows), splits=splits), [note]


def _draws(task: Task, count: int, draws: int, test_rows: int | None, seed: int) -> list[Draw]:
    """Raises BadTask when `count` labels a class are too many for any of them."""
    return [task.draw(count, seed + i, test_rows) for i in range(draws)]


def _mean(results: Sequence[Mapping[str, _Score]], name: str) -> float:
    return float(np.mean([one[name].accuracy for one in results]))


def _table(results: Sequence[Mapping[str, _Score]], *, least: float) -> tuple[Row, ...]:
    """A row a way, from its score in every draw; intervals do not go below `least`."""
    rows = []
    for name, first in results[0].items():
        scores = np.array([one[name].accuracy for one in results])
        mean = float(scores.mean())
        half = 0.0
        if len(scores) > 1:
            half = float(student.ppf(0.975, len(scores) - 1) * scores.std(ddof=1) / np.sqrt(len(scores)))
        priors = tuple(dict.fromkeys(prior for one in results for prior in one[name].priors))
        seconds = float(np.mean([one[name].seconds for one in results]))
        rows.append(
            Row(
                name,
                first.kind,
                priors,
                round(mean, 4),
                round(max(mean - half, least), 4),
                round(min(mean + half, 1.0), 4),
                round(seconds, 3),
            )
        )
    return tuple(rows)


def _point(count: int, results: Sequence[Mapping[str, _Score]]) -> Point:
    singles = [name for name, one in results[0].items() if one.kind == "single"]
    return Point(
        labels=count,
        none=round(_mean(results, "no prior"), 4),
        best_single=round(max(_mean(results, name) for name in singles), 4),
        recommended=round(_mean(results, "recommended set"), 4),
    )
