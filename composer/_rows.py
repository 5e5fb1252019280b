"""Rows as people give them to a model: values of its only column, or columns by name. Numpy, no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from priors.errors import BadTable

Columns = Mapping[str, str | Sequence[str]]
"""Input node -> the table column (or columns) it reads."""


def read_rows(model: str, columns: Columns, rows: Any) -> dict[str, Any]:
    """Raw values by input node, from values of the only column or a mapping of columns. Raises BadTable."""
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
        if isinstance(column, str):
            found[node] = rows[column]
        else:
            found[node] = np.stack([_numbers(rows[name], name) for name in names], axis=1)
    return found


def _numbers(values: Any, column: str) -> NDArray[np.float32]:
    """(n,) finite float32."""
    try:
        with np.errstate(over="ignore"):
            found = np.asarray(values, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise BadTable(f"column {column!r} is not numeric ({error}). Give numbers.") from error
    if not np.isfinite(found).all():
        row = int(np.flatnonzero(~np.isfinite(found))[0]) + 1
        raise BadTable(f"column {column!r} has no finite number in row {row}. Fill or remove it.")
    return found


def _listed(columns: Columns) -> str:
    names = [name for column in columns.values() for name in ([column] if isinstance(column, str) else column)]
    return ", ".join(names[:10]) + (", …" if len(names) > 10 else "")
