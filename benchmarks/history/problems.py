"""Sources of rows, and the problems that are asked about them.

Features depend on the rows alone, so a source is read by every prior once, whatever is asked about it: which topic, or
only one topic against another. Problems of one source share rows; who leaves one out to predict it has to leave out
all of its source.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from composer.rank.history import ALL_LABELS, TaskCard
from priors.errors import BadTask
from priors.tasks import Draw, Task
from priors.tasks.draws import draw_rows, quantile_bins

Rows = NDArray[np.int64]

MOST_LABELLED, HELD_OUT = 256, 0.4
"""With all labels: how many rows are learned from at most, and what part of all of them judges."""

MOST_TEST, LEAST_TEST = 700, 50


@dataclass(frozen=True)
class Problem:
    """One question about some rows of a source.

    name    source/question
    rows    (n,) rows of the source
    answers (n,) names of classes, or numbers
    type    what kind of question it is, in a word; text: the question in a sentence
    groups  (n,) rows of one group are never on both sides of a draw
    """

    name: str
    type: str
    text: str
    rows: Rows
    answers: Sequence[str] | Sequence[float]
    groups: Sequence[str] | None = None

    @property
    def source(self) -> str:
        return self.name.partition("/")[0]

    @cached_property
    def is_number(self) -> bool:
        return not isinstance(self.answers[0], str)

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """The classes in order; empty for numbers."""
        return () if self.is_number else tuple(sorted({str(answer) for answer in self.answers}))

    @cached_property
    def y(self) -> NDArray[Any]:
        """(n,) int64 class numbers, or float64 values."""
        if self.is_number:
            return np.asarray(self.answers, dtype=np.float64)
        place = {label: i for i, label in enumerate(self.labels)}
        return np.array([place[str(answer)] for answer in self.answers], dtype=np.int64)

    def card(self, modality: str) -> TaskCard:
        """What is known of it without looking at its rows."""
        kind = "regression" if self.is_number else "binary" if len(self.labels) == 2 else "multiclass"
        metric = "r2" if self.is_number else "accuracy"
        return TaskCard(self.name, modality, kind, len(self.labels), len(self.rows), metric, self.type, self.text)

    def draw(self, labels: int, seed: int) -> Draw:
        """Rows of the source: what is labelled, and what judges. As `Task.draw` does it; `labels` ALL_LABELS takes
        what is not held out. Raises BadTask when there are too few rows."""
        groups = None if self.groups is None else np.asarray(self.groups)
        if labels == ALL_LABELS:
            found = self._all(seed, groups)
        else:
            bins = min(labels, len(self.y))
            classes = quantile_bins(self.y, bins) if self.is_number else self.y
            names = [f"quantile {i}" for i in range(bins)] if self.is_number else self.labels
            each = 1 if self.is_number else labels
            found = draw_rows(classes, names, labels_per_class=each, seed=seed, groups=groups, test_rows=MOST_TEST)
        if len(found.test) < LEAST_TEST:
            raise BadTask(f"{self.name} has too few rows left to judge by.")
        return found

    def _all(self, seed: int, groups: NDArray[Any] | None) -> Draw:
        rng = np.random.default_rng(seed)
        _, numbers = np.unique(groups if groups is not None else np.arange(len(self.y)), return_inverse=True)
        order = np.argsort(rng.permutation(numbers.max() + 1)[numbers], kind="stable")
        held = round(HELD_OUT * len(order))
        test, train = order[:held], order[held:]
        if groups is not None:
            train = train[~np.isin(numbers[train], numbers[test])]
        train = np.sort(train[:MOST_LABELLED])
        if not self.is_number and np.bincount(self.y[train], minlength=len(self.labels)).min() < 2:
            raise BadTask(f"{self.name}: a class is missing among the rows to learn from.")
        return Draw(train, np.sort(test[:MOST_TEST]))


@dataclass(frozen=True)
class Source:
    """A column, or number columns together, and what is asked about its rows.

    columns   the input columns; modalities: what they are, where the content does not say
    """

    name: str
    columns: Mapping[str, Sequence[Any]]
    problems: tuple[Problem, ...]
    modalities: Mapping[str, Any]

    @cached_property
    def task(self) -> Task:
        """All rows; the target says nothing."""
        count = len(next(iter(self.columns.values())))
        stand_in = [f"class {row % 2}" for row in range(count)]
        return Task.from_table({**self.columns, "y": stand_in}, "y", name=self.name, modalities=dict(self.modalities))

    def task_of(self, problem: Problem) -> Task:
        """The rows of one problem as a task of its own."""
        columns: dict[str, Any] = {name: [values[row] for row in problem.rows] for name, values in self.columns.items()}
        columns["y"] = list(problem.answers)
        options: dict[str, Any] = {"name": problem.name, "modalities": dict(self.modalities)}
        options["kind"] = "regression" if problem.is_number else "binary" if len(problem.labels) == 2 else "multiclass"
        if problem.groups is not None:
            columns["group"] = list(problem.groups)
            options["group"] = "group"
        return Task.from_table(columns, "y", **options)


Read = Callable[[Path], Source]
"""Reads a source; the folder is for files that it has to write."""


def pick(count: int, most: int, seed: int) -> Rows:
    """At most `most` of `count` rows, in order."""
    return np.sort(np.random.default_rng(seed).permutation(count)[:most])


def where(answers: Sequence[Any], *wanted: Any) -> Rows:
    """The rows whose answer is one of those wanted."""
    return np.flatnonzero([answer in wanted for answer in answers])


def split_at_median(values: Sequence[float], names: tuple[str, str]) -> list[str]:
    """Which half each number is in, named lower and upper."""
    middle = float(np.median(values))
    return [names[value > middle] for value in values]
