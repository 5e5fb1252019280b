"""What is known of tasks and priors, and how priors did on tasks: the past that a recommendation without labelled rows
rests on. Numpy alone; nothing here knows the hub.

A candidate is named `namespace/name#tap`, `namespace/name#*` for the mean of all its taps, `namespace/name@adapted`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from composer.arms import Arm
from composer.rank.probe import Array
from composer.rank.tables import read_facts, read_matrix
from priors.errors import BadTable

ALL_LABELS = 0


@dataclass(frozen=True)
class TaskCard:
    """What is known of a task without looking at its rows.

    modality  that of its columns, joined by + in order where there are several
    kind      multiclass, binary, multilabel or regression; classes and rows are 0 where unknown
    type      what sort of task it is among those of its modality (sentiment, retrieval, satellite), or ""
    source    what its rows were cut from, or "": tasks of one source share rows, and say little of each other's like
    """

    name: str
    modality: str = ""
    kind: str = ""
    classes: int = 0
    rows: int = 0
    metric: str = ""
    type: str = ""
    text: str = ""
    source: str = ""


@dataclass(frozen=True)
class PriorCard:
    """What is known of a prior without running it. Tags are words, or `column=value`."""

    name: str
    numbers: Mapping[str, float] = field(default_factory=dict)
    tags: frozenset[str] = frozenset()
    text: str = ""


@dataclass(frozen=True)
class Outcome:
    """One run: members (sorted names of candidates, none in placebo arms) fitted on `labels` rows a class (0: all).

    score is the task's metric on rows that were not drawn, higher is better; low and high are its 95 % interval over
    those rows. draw is the number of the seed.
    """

    task: str
    members: tuple[str, ...]
    arm: Arm
    labels: int
    draw: int
    score: float
    low: float
    high: float
    seconds: float


@dataclass(frozen=True, eq=False)
class History:
    """Scores of priors on tasks.

    scores      (P, T) float64, NaN where unknown, higher is better; comparable within a task only
    trained_on  (P, T) whether the prior has seen the task's data in training, or None where nothing is known
    """

    priors: tuple[PriorCard, ...]
    tasks: tuple[TaskCard, ...]
    scores: Array
    trained_on: Array | None = None

    def __post_init__(self) -> None:
        shape = (len(self.priors), len(self.tasks))
        for what, values in (("scores", self.scores), ("trained_on", self.trained_on)):
            if values is not None and values.shape != shape:
                raise BadTable(f"{what} of shape {values.shape} for {shape[0]} priors and {shape[1]} tasks.")

    def __len__(self) -> int:
        """How many scores are known."""
        return int(np.isfinite(self.scores).sum())

    def sources(self) -> NDArray[np.int64]:
        """(T,) the number of each task's source, in the order they come; a task that names none is its own."""
        numbers: dict[str, int] = {}
        named = [f"source {task.source}" if task.source else f"task {task.name}" for task in self.tasks]
        return np.array([numbers.setdefault(name, len(numbers)) for name in named], dtype=np.int64)

    def without_tasks(self, names: Collection[str]) -> History:
        """The history as if these tasks had never been run."""
        return self._part(tasks=[j for j, task in enumerate(self.tasks) if task.name not in names])

    def without_priors(self, names: Collection[str]) -> History:
        """The history as if these priors had never been run."""
        return self._part(priors=[i for i, prior in enumerate(self.priors) if prior.name not in names])

    def of_modality(self, modality: str) -> History:
        """The tasks of one modality; priors that have no score on any of them are left out."""
        part = self._part(tasks=[j for j, task in enumerate(self.tasks) if task.modality == modality])
        return part._part(priors=list(np.flatnonzero(np.isfinite(part.scores).any(axis=1))))

    def _part(self, priors: list[int] | None = None, tasks: list[int] | None = None) -> History:
        rows = range(len(self.priors)) if priors is None else priors
        columns = range(len(self.tasks)) if tasks is None else tasks
        at = np.ix_(np.asarray(rows, dtype=int), np.asarray(columns, dtype=int))
        return History(
            tuple(self.priors[i] for i in rows),
            tuple(self.tasks[j] for j in columns),
            self.scores[at],
            None if self.trained_on is None else self.trained_on[at],
        )

    @classmethod
    def of_table(
        cls, table: Path | str, meta: Path | str | None = None, *, trained_on: Path | str | None = None
    ) -> Self:
        """A published table: one row a model, one column a data set; higher is better, empty where not measured.

        meta        one row a model: columns of numbers, dates, True and False or words
        trained_on  the same rows and columns as the table, 1 where the model was trained on the data set

        Raises BadTable, which names the row and column.
        """
        path = Path(table)
        found = read_matrix(path)
        facts = read_facts(Path(meta), found.rows) if meta is not None else {}
        priors = tuple(
            PriorCard(name, facts[name].numbers, facts[name].tags, name)
            if name in facts
            else PriorCard(name, text=name)
            for name in found.rows
        )
        seen = None if trained_on is None else _aligned(Path(trained_on), found.rows, found.columns)
        return cls(priors, tuple(TaskCard(name, text=name) for name in found.columns), found.values, seen)

    @classmethod
    def of_outcomes(
        cls,
        outcomes: Iterable[Outcome],
        tasks: Iterable[TaskCard],
        priors: Iterable[PriorCard] = (),
        *,
        labels: int | None = None,
        arms: Collection[Arm] = ("single", "taps", "adapted"),
    ) -> Self:
        """The mean over draws of what each candidate scored on each task; a set is the prior named `a + b`.

        labels  only runs with so many rows a class; None takes all, each amount centered on its own mean first, for
                what was run with more labels is not better for it
        priors  cards of candidates; those without one get a card of their name

        Runs of tasks without a card are left out.
        """
        cards = {task.name: task for task in tasks}
        runs: dict[str, dict[int, dict[str, list[float]]]] = {}
        for one in outcomes:
            if one.arm in arms and one.task in cards and one.members and labels in (None, one.labels):
                level = runs.setdefault(one.task, {}).setdefault(one.labels, {})
                level.setdefault(set_name(one.members), []).append(one.score)
        known = {prior.name: prior for prior in priors}
        names = sorted({name for by_labels in runs.values() for scores in by_labels.values() for name in scores})
        shown = [card for name, card in cards.items() if name in runs]
        scores = np.full((len(names), len(shown)), np.nan)
        row = {name: i for i, name in enumerate(names)}
        for j, card in enumerate(shown):
            levels = [
                {name: float(np.mean(found)) for name, found in by_name.items()} for by_name in runs[card.name].values()
            ]
            centers = [float(np.mean(list(level.values()))) for level in levels]
            gaps: dict[str, list[float]] = {}
            for means, center in zip(levels, centers, strict=True):
                for name, score in means.items():
                    gaps.setdefault(name, []).append(score - center)
            for name, found in gaps.items():
                scores[row[name], j] = float(np.mean(centers)) + float(np.mean(found))
        return cls(tuple(known.get(name) or PriorCard(name, text=name) for name in names), tuple(shown), scores)


def set_name(members: Iterable[str]) -> str:
    """The name of a set of candidates: theirs, sorted, joined by ` + `."""
    return " + ".join(sorted(members))


def read_outcomes(path: Path | str) -> tuple[list[Outcome], list[TaskCard]]:
    """The runs in a Parquet file, and the cards of their tasks in the order they come. Raises BadTable."""
    import pyarrow as pa  # the web process must start without it
    import pyarrow.parquet as pq

    try:
        rows = pq.read_table(path).to_pylist()
    except (OSError, pa.ArrowInvalid) as error:
        raise BadTable(f"{path} is no Parquet file of outcomes: {error}") from error
    tasks: dict[str, TaskCard] = {}
    outcomes = []
    try:
        for row in rows:
            card = {name: row[name] for name in _CARD_COLUMNS} | {"source": row.get("source") or ""}
            tasks.setdefault(row["task"], TaskCard(name=row["task"], **card))
            run = {one.name: row[one.name] for one in fields(Outcome)}
            outcomes.append(Outcome(**{**run, "members": tuple(row["members"])}))
    except KeyError as error:
        raise BadTable(f"{path} has no column {error.args[0]!r}; it is no file of outcomes.") from error
    return outcomes, list(tasks.values())


def write_outcomes(path: Path | str, outcomes: Iterable[Outcome], tasks: Iterable[TaskCard]) -> None:
    """A Parquet file with one row a run, the columns of its task's card beside it. Same runs, same bytes."""
    import pyarrow as pa  # the web process must start without it
    import pyarrow.parquet as pq

    cards = {task.name: task for task in tasks}
    rows: list[dict[str, Any]] = []
    for one in outcomes:
        if one.task not in cards:
            raise BadTable(f"a run of {one.task!r} has no card of its task. Give one.")
        run = {column.name: getattr(one, column.name) for column in fields(Outcome)}
        rows.append(run | {name: getattr(cards[one.task], name) for name in (*_CARD_COLUMNS, "source")})
    text, whole, real = pa.string(), pa.int64(), pa.float64()
    types = {
        "task": text, "members": pa.list_(text), "arm": text, "labels": whole, "draw": whole, "score": real,
        "low": real, "high": real, "seconds": real, "modality": text, "kind": text, "classes": whole, "rows": whole,
        "metric": text, "type": text, "text": text, "source": text,
    }  # fmt: skip
    pq.write_table(pa.Table.from_pylist(rows, schema=pa.schema(types)), path, compression="zstd")


_CARD_COLUMNS = tuple(one.name for one in fields(TaskCard) if one.name not in ("name", "source"))
"""What every file of outcomes has of its tasks; older ones do not know sources."""


def _aligned(path: Path, rows: tuple[str, ...], columns: tuple[str, ...]) -> Array:
    """The flags of the table at `path`, in the order of rows and columns; 0 where it says nothing."""
    found = read_matrix(path)
    at = {name: i for i, name in enumerate(found.rows)}
    to = {name: j for j, name in enumerate(found.columns)}
    if not at.keys() & set(rows) or not to.keys() & set(columns):
        raise BadTable(f"{path.name} has no model and data set of the matrix. Name its rows and columns as there.")
    flags = np.zeros((len(rows), len(columns)))
    for i, name in enumerate(rows):
        for j, column in enumerate(columns):
            if name in at and column in to:
                flags[i, j] = np.nan_to_num(found.values[at[name], to[column]])
    return flags
