"""Rows as people give them to a model: values of its only column, or columns by name. Numpy, no torch."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from priors.errors import BadTable
from priors.functions.absent import is_missing

Columns = Mapping[str, str | Sequence[str]]
"""Input node -> the table column (or columns) it reads."""


def read_rows(model: str, columns: Columns, rows: Any, gaps: Collection[str] = ()) -> dict[str, Any]:
    """Raw values by input node, from values of the only column or a mapping of columns.

    gaps  input nodes of which cells may be missing: None, NaN or "". Raises BadTable.
    """
    if isinstance(rows, str | bytes):
        raise BadTable(f"{model} predicts rows, and was given one text. Put it in a list.")
    if not isinstance(rows, Mapping):
        if len(columns) != 1 or not isinstance(only := next(iter(columns.values())), str):
            raise BadTable(f"{model} reads several columns. Give a mapping with: {_listed(columns)}.")
        rows = {only: rows}
    found: dict[str, Any] = {}
    for node, column in columns.items():
        names = [column] if isinstance(column, str) else column
        missing = [name for name in names if name not in rows]
        if missing:
            raise BadTable(f"the rows have no column {missing[0]!r}. {model} reads: {_listed(columns)}.")
        if not isinstance(column, str):
            found[node] = np.stack([_numbers(rows[name], name, gaps=node in gaps) for name in names], axis=1)
        elif node in gaps:
            found[node] = rows[column]
        else:
            found[node] = _whole(rows[column], column)
    return found


def _whole(values: Any, column: str) -> Any:
    """The values, none of which is None."""
    row = next((row for row, value in enumerate(values, start=1) if value is None), None)
    if row is not None:
        raise BadTable(f"column {column!r} has no value in row {row}, and nothing else is known of it. Fill it in.")
    return values


def _numbers(values: Any, column: str, *, gaps: bool) -> NDArray[np.float32]:
    """(n,) float32: finite, or with NaN for gaps."""
    if gaps and not isinstance(values, np.ndarray):
        values = [np.nan if is_missing(value) else value for value in values]
    try:
        with np.errstate(over="ignore"):
            found = np.asarray(values, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise BadTable(f"column {column!r} is not numeric ({error}). Give numbers.") from error
    bad = np.isinf(found) if gaps else ~np.isfinite(found)
    if bad.any():
        row = int(np.flatnonzero(bad)[0]) + 1
        raise BadTable(f"column {column!r} has no finite number in row {row}. Fill or remove it.")
    return found


def _listed(columns: Columns) -> str:
    names = [name for column in columns.values() for name in ([column] if isinstance(column, str) else column)]
    return ", ".join(names[:10]) + (", …" if len(names) > 10 else "")
