"""Cells that are series: numbers over time, in one or several channels, of any lengths.

A cell is a list of numbers, or a list of channels, each a list of numbers. In CSV it is written as JSON, "[1.5, 2, 3]";
where `modalities` says that a column is a series, numbers between spaces, semicolons or commas do as well, channels
between colons. In a table they are list<list<double>>: channels, then time.

`.ts` files (sktime, aeon, timeseriesclassification.com) have a header of @ lines, then after @data a line a row:
channels between colons, numbers between commas, the class last. They become the columns `series` and, where there are
classes, `label` (or `target` for numbers).
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from priors.errors import BadTable

SERIES = pa.list_(pa.list_(pa.float64()))
MAX_STEPS = 1_000_000
"""Numbers of one cell."""

_LISTED = re.compile(r"\s*\[[-+0-9.eE,\s\[\]]+\]\s*")
_BETWEEN = re.compile(r"[\s;,]+")


def looks_like_series(cells: Sequence[str]) -> bool:
    """Whether every cell of a text column is a JSON list of numbers."""
    return all(_LISTED.fullmatch(cell) for cell in cells) and bool(cells)


def is_series(kind: pa.DataType) -> bool:
    """Whether a column of this type holds lists of numbers, or lists of those."""
    if not (pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)):
        return False
    inner = kind.value_type
    return pa.types.is_integer(inner) or pa.types.is_floating(inner) or (kind != inner and is_series(inner))


def as_series(values: Sequence[Any], source: str, name: str) -> pa.Array:
    """Cells (lists, arrays (T,) or (T, C), or texts) as list<list<double>>; None stays.

    Raises BadTable naming column and row for what is ragged, empty, too long or not a number.
    """
    return pa.array([_channels(value, source, name, row) for row, value in enumerate(values, start=1)], SERIES)


def conform_series(column: pa.ChunkedArray, source: str, name: str) -> pa.Array:
    """A column read as series, gaps as null. Raises BadTable naming column and row, also for numbers that are not
    finite."""
    channels = None
    found = as_series(column.to_pylist(), source, name)
    for row, value in enumerate(found.to_pylist(), start=1):
        if value is None:
            continue
        if any(number is None or not np.isfinite(number) for one in value for number in one):
            raise BadTable(
                f"{source}: column '{name}' row {row} holds a number that is missing or not finite. Fill it in."
            )
        channels = len(value) if channels is None else channels
        if len(value) != channels:
            raise BadTable(
                f"{source}: column '{name}' row {row} has {len(value)} channels, others {channels}. Give each as many."
            )
    return found


def series_values(column: pa.ChunkedArray) -> list[np.ndarray | None]:
    """Each series as (T, C) float64; None for a gap."""
    return [None if value is None else np.asarray(value, np.float64).T for value in column.to_pylist()]


def read_ts(content: bytes, source: str) -> dict[str, list[Any]]:
    """The columns of a .ts file. Raises BadTable naming the line."""
    try:
        lines = content.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise BadTable(f"{source} is not UTF-8. Save the file as UTF-8.") from error
    header, start = _header(lines, source)
    if header.get("timestamps", "false").lower() == "true":
        raise BadTable(f"{source} has a time beside every number. Resample it to even steps, without timestamps.")
    classes = header.get("classlabel", header.get("targetlabel", "false")).split()[0].lower() == "true"
    name = "target" if header.get("targetlabel", "").lower().startswith("true") else "label"
    columns: dict[str, list[Any]] = {"series": [], **({name: []} if classes else {})}
    for number, line in enumerate(lines[start:], start=start + 1):
        text = line.strip()
        if not text or text.startswith(("#", "%")):
            continue
        if text.startswith("("):
            raise BadTable(f"{source} line {number} has times in parentheses. Resample it to even steps first.")
        parts = text.split(":")
        label = parts.pop() if classes else None
        try:
            columns["series"].append([[_number(cell) for cell in part.split(",")] for part in parts])
        except ValueError as error:
            raise BadTable(f"{source} line {number}: {error}. Write numbers between commas.") from error
        if classes:
            columns[name].append(label)
    if not columns["series"]:
        raise BadTable(f"{source} has no rows after @data. Add at least one.")
    return columns


def _header(lines: list[str], source: str) -> tuple[dict[str, str], int]:
    """The @ lines by lower-case name, and where the rows begin."""
    found: dict[str, str] = {}
    for at, line in enumerate(lines):
        text = line.strip()
        if text.lower() == "@data":
            return found, at + 1
        if text.startswith("@"):
            key, _, value = text[1:].partition(" ")
            found[key.lower()] = value.strip() or "false"
        elif text and not text.startswith(("#", "%")):
            raise BadTable(f"{source} line {at + 1} is no @ line and stands before @data. Give a .ts file.")
    raise BadTable(f"{source} has no @data line. Give a .ts file.")


def _number(cell: str) -> float | None:
    text = cell.strip()
    return None if text == "?" or text.lower() == "nan" else float(text)


def _channels(value: Any, source: str, name: str, row: int) -> list[list[float]] | None:
    if value is None:
        return None
    try:
        if isinstance(value, str):
            value = json.loads(value) if value.lstrip().startswith("[") else _written(value)
        if isinstance(value, np.ndarray):
            value = value.T.tolist() if value.ndim == 2 else value.tolist()
        found = value if value and isinstance(value[0], list) else [value]
        lengths = {len(one) for one in found}
        made = [[None if number is None else float(number) for number in one] for one in found]
    except (TypeError, ValueError, RecursionError) as error:
        raise BadTable(
            f"{source}: column '{name}' row {row} is no series ({str(error)[:60]}). Give a list of numbers, or of "
            "channels."
        ) from error
    if len(lengths) != 1 or not 1 <= sum(map(len, made)) <= MAX_STEPS:
        raise BadTable(
            f"{source}: column '{name}' row {row} has channels of {sorted(lengths)} numbers. Give all the same "
            f"length, from 1 to {MAX_STEPS:,} numbers in all."
        )
    return made  # type: ignore[return-value]


def _written(text: str) -> list[list[float]]:
    return [[float(cell) for cell in _BETWEEN.split(part.strip())] for part in text.split(":")]
