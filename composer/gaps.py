"""Rows with missing cells: which inputs of a composition may have some, and which columns of a task do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from priors.errors import BadTable
from priors.functions.absent import is_missing

if TYPE_CHECKING:
    from composer.lock import Lock
    from priors.tasks import Task

_NUMBERS = ("fill", "known")
"""Functions of columns of numbers that take NaN for a gap."""


def with_gaps(lock: Lock) -> frozenset[str]:
    """The input nodes whose cells may be missing: `present` says so of raw ones; numbers are read through `fill` and
    `known` alone."""
    readers: dict[str, list[Any]] = {node.name: [] for node in lock.nodes if node.op == "input"}
    for node in lock.nodes:
        for source in node.sources:
            if source in readers:
                readers[source].append(node.attrs.get("fn"))
    raw = {node.name for node in lock.nodes if node.op == "input" and node.type is not None and node.type.is_raw}
    return frozenset(
        name
        for name, read in readers.items()
        if ("present" in read if name in raw else read and set(read) <= set(_NUMBERS))
    )


def refuse_gaps(model: str, values: Mapping[str, Any], lock: Lock) -> None:
    """Raises BadTable for the first cell that is missing where the composition `lock` needs every one."""
    allowed = with_gaps(lock)
    for node in lock.nodes:
        if node.op != "input" or node.name in allowed or node.name not in values:
            continue
        found, column = values[node.name], node.attrs.get("column", node.name)
        if isinstance(found, np.ndarray) and found.dtype.kind == "f":
            bad = ~np.isfinite(found)
            rows, columns = np.flatnonzero(bad.reshape(len(bad), -1).any(1)), np.argwhere(bad)
            name = column if isinstance(column, str) or not len(columns) else column[columns[0][-1]]
        else:
            rows, name = np.flatnonzero([value is None for value in found]), column
        if len(rows):
            raise BadTable(
                f"{model} needs a value in every row of column {name!r}, and row {rows[0] + 1} has none. Fill it in or "
                "drop the row; in a graph, `fill` and `present` take gaps."
            )


def count_gaps(task: Task) -> dict[str, int]:
    """Input columns of a task that have missing cells -> how many; a blank text is one beside other columns."""
    found = {}
    for column in task.inputs:
        values = task.values(column.name)
        if column.modality == "num":
            count = int(np.isnan(np.asarray(values, np.float64)).sum())
        elif len(task.inputs) == 1:
            continue
        else:
            count = sum(map(is_missing, values))
        if count:
            found[column.name] = count
    return found
