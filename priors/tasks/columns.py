"""What each column is, found from its content, and columns read as what they were found to be.

The rules, in order, on the cells that are not missing:
    every cell missing                                     ignored
    whole numbers counting up by one                       ignored (a row number)
    every cell a number (nan, inf and NA included)         num; inf is then refused with its rows
    every cell a list of numbers, or of lists of them      series (priors.tasks.series)
    every cell ends in .png .jpg .jpeg .webp / .wav .flac  image / audio, and the files must be there
    few distinct short values, most of them repeated       category
    anything else                                          text
A single string column beside the target is text whatever it looks like: short messages repeat, too.
Gaps: "" in text and category columns, NaN in numbers, null in paths and series; these refuse them where they are the
only input, as nothing is known of such a row.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from typing import assert_never

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from priors.errors import BadTable, BadTask
from priors.tasks.media import leave_out, media_kind, require_files
from priors.tasks.readers import RawTable, list_rows
from priors.tasks.series import conform_series, is_series, looks_like_series
from priors.tasks.spec import MODALITIES, Column, Modality

_NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*")
_NOT_FINITE = re.compile(r"\s*[+-]?(nan|inf|infinity)\s*", re.IGNORECASE)
_GAPS = frozenset({"", "na", "n/a", "null", "none", "?", "#n/a"})
LARGEST = float(np.finfo(np.float32).max)  # what is computed with are floats of four bytes
ROW_NUMBER_FROM = 10  # fewer rows may count up by chance
MAX_CATEGORIES = 100
MAX_CATEGORY_CHARS = 64
MAX_CATEGORY_WORDS = 3.0  # mean words a value: 'light rain' is a category, sentences are text


def infer_columns(
    raw: RawTable, *, target: str, group: str | None, ignore: Collection[str], modalities: Mapping[str, Modality]
) -> tuple[Column, ...]:
    """One Column for every column of the table. `modalities` overrules what the content says, column by column."""
    for name in (*ignore, *modalities):
        require_column(raw, name)
    for name, modality in modalities.items():
        if modality not in MODALITIES or modality == "target":
            raise BadTask(
                f"'{modality}' is no modality for column '{name}'. Use text, image, audio, series, num, category or "
                "ignored."
            )
    kept = [name for name in raw.table.column_names if name not in {target, group, *ignore}]
    alone = len([name for name in kept if not _is_dull(raw.table.column(name))]) == 1
    columns = []
    for name in raw.table.column_names:
        if name == target:
            columns.append(Column(name, "target"))
        elif name not in kept:
            columns.append(Column(name, "ignored"))
        else:
            columns.append(Column(name, modalities.get(name) or _modality(raw.table.column(name), alone=alone)))
    if not any(column.is_input for column in columns):
        raise BadTask(f"{raw.source}: no column is left to learn from besides '{target}'. Add one, or ignore fewer.")
    return tuple(columns)


def conform(raw: RawTable, columns: Sequence[Column], *, local: bool = True) -> pa.Table:
    """The input columns of `raw` read as in `columns`: float64 for num, lists for series, else string.

    Gaps are NaN in num, "" in text and category, null in paths and series. Other columns of `raw`, a target among
    them, are left out. Raises BadTable for a missing column, cells of a num column that are infinite or no numbers,
    paths that lead nowhere, and gaps in a column of paths or series that is the only input; it names file, column and
    rows.
    """
    inputs = [column for column in columns if column.is_input]
    alone = len(inputs) == 1
    arrays = []
    for column in inputs:
        require_column(raw, column.name)
        found = raw.table.column(column.name)
        if column.name in raw.lists:
            raise BadTable(
                f"{raw.source}: column '{column.name}' holds lists, which only a target may. Spread it over "
                f"columns, or {leave_out(column.name)}."
            )
        match column.modality:
            case "num":
                arrays.append(pa.array(_numbers(found, raw.source, column.name)))
            case "text" | "category":
                arrays.append(pc.fill_null(as_text(found), "").combine_chunks())
            case "image" | "audio":
                paths = as_text(found)
                if alone:
                    _refuse_gaps(paths, raw.source, column.name, "paths")
                require_files(paths.to_pylist(), raw.base, source=raw.source, column=column.name, local=local)
                arrays.append(paths.combine_chunks())
            case "series":
                if alone:
                    _refuse_gaps(found, raw.source, column.name, "series")
                arrays.append(conform_series(found, raw.source, column.name))
            case "target" | "ignored":
                pass  # not inputs
            case never:
                assert_never(never)
    return pa.Table.from_arrays(arrays, names=[column.name for column in inputs])


def require_column(raw: RawTable, name: str) -> None:
    names = raw.table.column_names
    if name in names:
        return
    import difflib  # only wanted when something is already wrong

    by_lower = {column.lower(): column for column in reversed(names)}
    near = [by_lower[found] for found in difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.6)]
    hint = f"Did you mean '{near[0]}'? " if near else ""
    listed = ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")
    raise BadTable(f"{raw.source} has no column '{name}'. {hint}It has: {listed}.")


def as_text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The column as strings; whole floats print as integers (3.0 -> '3') so that labels read the same from any file."""
    if column.type == pa.float64():
        values = [None if v is None else str(int(v)) if v.is_integer() else repr(v) for v in column.to_pylist()]
        return pa.chunked_array([pa.array(values, pa.string())])
    if is_series(column.type):
        return pa.chunked_array(
            [pa.array([None if v is None else json.dumps(v) for v in column.to_pylist()], pa.string())]
        )
    return column.cast(pa.string())


def as_numbers(column: pa.ChunkedArray) -> np.ndarray | None:
    """The column as float64, gaps as NaN; None when some cell is not a number."""
    if is_series(column.type):
        return None
    if column.type != pa.string():
        return np.asarray(column.cast(pa.float64(), safe=False).to_numpy(), dtype=np.float64)
    cells = column.to_pylist()
    numbers = np.empty(len(cells))
    for row, cell in enumerate(cells):
        if cell is not None and (_NUMBER.fullmatch(cell) or _NOT_FINITE.fullmatch(cell)):
            numbers[row] = float(cell)
        elif cell is None or cell.strip().lower() in _GAPS:
            numbers[row] = np.nan
        else:
            return None
    return numbers


def _modality(column: pa.ChunkedArray, *, alone: bool) -> Modality:
    if _is_dull(column):
        return "ignored"
    if is_series(column.type):
        return "series"
    if as_numbers(column) is not None:
        return "num"
    values = [value for value in as_text(column).to_pylist() if value is not None]
    media = media_kind(values)
    if media:
        return media
    if looks_like_series(values):
        return "series"
    distinct = set(values)
    words = sum(len(value.split()) for value in distinct) / len(distinct)
    short = max(map(len, distinct)) <= MAX_CATEGORY_CHARS and words <= MAX_CATEGORY_WORDS
    repeated = len(distinct) <= min(MAX_CATEGORIES, len(values) / 2)
    return "category" if short and repeated and not alone else "text"


def _is_dull(column: pa.ChunkedArray) -> bool:
    """Nothing to learn from: every cell missing, or row numbers."""
    numbers = as_numbers(column)
    if column.null_count == len(column) or (numbers is not None and np.isnan(numbers).all()):
        return True
    if len(column) < ROW_NUMBER_FROM or (column.type == pa.float64()):
        return False
    return numbers is not None and bool(np.all(np.diff(numbers) == 1))


def _numbers(column: pa.ChunkedArray, source: str, name: str) -> np.ndarray:
    """float64, NaN for gaps."""
    numbers = as_numbers(column)
    if numbers is None:
        cells = as_text(column).to_pylist()
        row, cell = next((row, cell) for row, cell in enumerate(cells) if cell and as_numbers(_one(cell)) is None)
        raise BadTable(
            f"{source}: column '{name}' holds numbers, but row {row + 1} is '{cell[:80]}'. Write a number there, or "
            f"{leave_out(name)}."
        )
    bad = np.flatnonzero(np.isinf(numbers))
    if bad.size:
        raise BadTable(
            f"{source}: column '{name}' is infinite in {list_rows(bad)}. Write numbers, leave the cells empty, drop "
            f"the rows, or {leave_out(name)}."
        )
    bad = np.flatnonzero(np.abs(numbers) > LARGEST)
    if bad.size:
        raise BadTable(
            f"{source}: column '{name}' is {numbers[bad[0]]:g} in row {bad[0] + 1}; numbers go up to {LARGEST:.1e}. "
            f"Write them in a larger unit, or {leave_out(name)}."
        )
    return numbers


def _one(cell: str) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array([cell], pa.string())])


def _refuse_gaps(column: pa.ChunkedArray, source: str, name: str, what: str) -> None:
    if column.null_count:
        rows = np.flatnonzero(np.asarray(column.is_null().to_numpy()))
        raise BadTable(
            f"{source}: column '{name}' holds {what}, but {list_rows(rows)} is empty. Fill in or drop the rows."
        )
