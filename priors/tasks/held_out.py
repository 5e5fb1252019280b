"""Rows kept apart from a task: read by its description, put beside its rows as a test, and found elsewhere."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from priors.errors import BadTask
from priors.tasks.media import locate
from priors.tasks.readers import read_table

if TYPE_CHECKING:
    from priors.tasks.task import Task

_TELLING = ("text", "image", "audio", "series")

CHANCE = 0.02
"""Part of rows of numbers and categories alone that may be alike by chance; texts, pictures and sounds are not."""


def read_rows(task: Task, table: Path) -> Task:
    """The rows of a table with the columns of `task`, read as its description says.

    Media files lie in the table's folder. Raises BadTable or BadTask for other columns, cells or labels, and for rows
    without a label.
    """
    found = task.like(read_table(table))
    if missing := found.rows.column(found.target).null_count:
        raise BadTask(f"{table.name}: {missing} rows have no {task.target!r}, so they judge nothing. Label them.")
    if not len(found):
        raise BadTask(f"{table.name} has no rows. Give rows that judge.")
    return found


def beside(task: Task, held_out: Task) -> Task:
    """Both tasks' rows as one: the split "test" is `held_out`, "train" what may be learned from of `task`.

    Rows of `task` that stand in `held_out` too are in neither. For work on this machine: paths are absolute.
    """
    seen = {one for one in marks(held_out) if one}
    may = task.splits.get("train", np.arange(len(task)))
    own = marks(task)
    train = np.array([row for row in may if own[row] not in seen], dtype=np.int64)
    rows = pa.concat_tables([_absolute(task), _absolute(held_out)]).combine_chunks()
    test = np.arange(len(task), len(task) + len(held_out))
    return replace(
        task, rows=rows, unlabelled=task.unlabelled.slice(0, 0), base=None, local=True,
        splits={"train": train, "test": test},
    )  # fmt: skip


def marks(task: Task) -> list[frozenset[str]]:
    """What tells each row from others, without its label: a hash of each of its texts, pictures, sounds or series.

    Texts count in small letters with single spaces, files by their bytes. A row of numbers and categories alone has one
    hash of them all; a row that says nothing has none.
    """
    telling = [column for column in task.inputs if column.modality in _TELLING]
    if telling:
        columns = [[_mark(column.modality, cell) for cell in task.content(column.name)] for column in telling]
        return [frozenset(cell for cell in row if cell) for row in zip(*columns, strict=True)]
    named = sorted(task.inputs, key=lambda column: column.name)
    rows = zip(*(task.content(column.name) for column in named), strict=True)
    return [frozenset({_digest(["row", *map(str, row)])}) for row in rows]


def shared(held_out: Sequence[frozenset[str]], others: Iterable[frozenset[str]]) -> int:
    """How many rows with marks `held_out` say nothing that the rows with marks `others` do not say."""
    known = frozenset().union(*others)
    return sum(1 for row in held_out if row and row <= known)


def allowed(task: Task) -> int:
    """How many rows of it may stand elsewhere too by chance."""
    telling = any(column.modality in _TELLING for column in task.inputs)
    return 0 if telling else int(CHANCE * len(task))


def _mark(modality: str, cell: Any) -> str:
    """ "" for a cell that is empty."""
    if modality == "text":
        cell = " ".join(str(cell or "").casefold().split())
    return "" if cell is None or cell == "" else _digest(["series" if modality == "series" else "", cell])


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, default=str).encode()).hexdigest()


def _absolute(task: Task) -> pa.Table:
    table = task.rows
    for column in task.inputs:
        if column.modality in ("image", "audio"):
            cells = table.column(column.name).to_pylist()
            paths = [None if cell is None else str(locate(cell, task.base, local=task.local)[0]) for cell in cells]
            absolute = [None if path is None else str(Path(path).resolve()) for path in paths]
            table = table.set_column(
                table.column_names.index(column.name), column.name, pa.array(absolute, pa.string())
            )
    return table
