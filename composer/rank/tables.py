"""Tables of published results as CSV: models x data sets, and what is known of each model. Pure text to numbers; every
refusal names the file, the column and the row."""

from __future__ import annotations

import csv
import logging
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from composer.rank.probe import Array
from priors.errors import BadTable

logger = logging.getLogger(__name__)

EMPTY = frozenset({"", "na", "n/a", "nan", "none", "null", "-", "inf", "+inf", "-inf", "not specified"})
"""Cells that say nothing, in lower case. An infinite context length is a way to write that none was stated."""

MAX_CELLS = 20_000_000

_DATE = re.compile(r"((?:19|20)\d\d)-(\d\d)(?:-(\d\d))?")


@dataclass(frozen=True)
class Matrix:
    """Names of the rows and columns, and what stands at each: (rows, columns), NaN where nothing does."""

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    values: Array


@dataclass(frozen=True)
class Facts:
    """What one row of a metadata table says: numbers, and tags `column=value`."""

    numbers: Mapping[str, float]
    tags: frozenset[str]


def read_matrix(path: Path) -> Matrix:
    """The table at `path`: one row a model, its first column the name, every other column a number or empty.

    Rows and columns without any number are left out, with a warning in the log. Raises BadTable where it is no such
    table: words among the numbers, a name twice, rows of another length, no number at all.
    """
    header, body = _read(path)
    columns = tuple(header[1:])
    if not columns:
        raise BadTable(f"{path.name} has one column. Write a model's name first, then one column a data set.")
    _unique(path, "column", columns)
    names = tuple(row[0].strip() for row in body)
    _unique(path, "row", names)
    values = np.full((len(names), len(columns)), np.nan)
    for i, row in enumerate(body):
        for j, cell in enumerate(row[1:]):
            found = _number(cell)
            if found is None:
                if cell.strip().lower() not in EMPTY:
                    raise BadTable(
                        f"{path.name}, row {names[i]!r}, column {columns[j]!r}: {cell.strip()[:40]!r} is no number. "
                        "Leave the cell empty where a result is missing, or move the column to the metadata."
                    )
                continue
            values[i, j] = found
    known = np.isfinite(values)
    if not known.any():
        raise BadTable(f"{path.name} holds no number. Write a result where a model's row meets a data set's column.")
    some, there = known.any(axis=1), known.any(axis=0)
    return Matrix(_told(path, "row", names, some), _told(path, "column", columns, there), values[np.ix_(some, there)])


def read_facts(path: Path, names: Sequence[str]) -> dict[str, Facts]:
    """What the metadata table at `path` says of each of `names`; nothing where it has no row.

    A column is of numbers when every cell is one, a date (its year) or True and False; otherwise its cells are tags.
    Raises BadTable where it cannot be read, or has none of the names.
    """
    header, body = _read(path)
    keys = [row[0].strip() for row in body]
    _unique(path, "row", keys)
    if not set(keys) & set(names):
        raise BadTable(f"{path.name} names none of the models of the matrix. Its first column must hold their names.")
    numbers: dict[str, dict[str, float]] = {key: {} for key in keys}
    tags: dict[str, set[str]] = {key: set() for key in keys}
    for j, column in enumerate(header[1:], start=1):
        cells = [row[j].strip() for row in body]
        filled = [(key, cell) for key, cell in zip(keys, cells, strict=True) if cell.lower() not in EMPTY]
        read = {key: _fact(cell) for key, cell in filled}
        if all(value is not None for value in read.values()):
            for key, value in read.items():
                numbers[key][column] = float(value or 0.0)
        else:
            for key, cell in filled:
                tags[key].add(f"{column}={cell}")
    return {name: Facts(numbers.get(name, {}), frozenset(tags.get(name, ()))) for name in names}


def _read(path: Path) -> tuple[list[str], list[list[str]]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = [row for row in csv.reader(file) if any(cell.strip() for cell in row)]
    except OSError as error:
        raise BadTable(f"{path} cannot be read: {error.strerror}. Give the path of a CSV file.") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise BadTable(f"{path.name} is no CSV in UTF-8: {error}.") from error
    if len(rows) < 2:
        raise BadTable(f"{path.name} has no rows. The first line names the columns, each other line is a model.")
    header = [cell.strip() for cell in rows[0]]
    if len(rows) * len(header) > MAX_CELLS:
        raise BadTable(f"{path.name} has {len(rows) * len(header):,} cells; at most {MAX_CELLS:,} are read.")
    for i, row in enumerate(rows[1:], start=2):
        if len(row) != len(header):
            raise BadTable(f"{path.name}, line {i}: {len(row)} cells where the first line has {len(header)}.")
    return header, rows[1:]


def _unique(path: Path, what: str, names: Sequence[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if not name:
            raise BadTable(f"{path.name} has a {what} without a name.")
        if name in seen:
            raise BadTable(f"{path.name} has the {what} {name!r} twice. Keep one, or name them apart.")
        seen.add(name)


def _told(path: Path, what: str, names: Sequence[str], kept: NDArray[np.bool_]) -> tuple[str, ...]:
    """The names that are kept; of the others a warning."""
    if not kept.all():
        gone = [name for name, stays in zip(names, kept, strict=True) if not stays]
        shown = ", ".join(repr(name) for name in gone[:3]) + (", …" if len(gone) > 3 else "")
        logger.warning("%s: left out for want of any number: %s %s", path.name, what, shown)
    return tuple(name for name, stays in zip(names, kept, strict=True) if stays)


def _number(cell: str) -> float | None:
    try:
        found = float(cell)
    except ValueError:
        return None
    return found if math.isfinite(found) else None


def _fact(cell: str) -> float | None:
    if cell in ("True", "False", "true", "false"):
        return float(cell.lower() == "true")
    if date := _DATE.fullmatch(cell):
        return int(date[1]) + (int(date[2]) - 1) / 12 + (int(date[3] or 1) - 1) / 365
    return _number(cell)
