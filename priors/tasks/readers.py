"""Files somebody gives -> RawTable: named columns of text, integers or floats, nothing interpreted yet.

CSV is RFC 4180 (commas, doubled quotes, quoted line breaks; `.tsv` and `delimiter=` for others), read by the csv module
in strict mode: its forgiving mode turns one lost quote into a cell that swallows the rest of the file. JSONL is one
flat object a line. Parquet may hold strings, numbers, booleans, dates and dictionaries; lists of numbers are series
(`priors.tasks.series`, also for `.ts` files), lists of strings are labels, which a target alone may have, and nothing
else is nested. In a folder of images or audio the subfolder is the class; `train/` and `test/` above the classes become
splits.

Rows are counted from 1, without the header, in every message. Everything refused is a BadTable.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from priors.errors import BadTable
from priors.tasks.media import AUDIO_SUFFIXES, IMAGE_SUFFIXES
from priors.tasks.series import as_series, is_series, read_ts
from priors.tasks.spec import MAX_COLUMNS

MAX_CELL_CHARS = 100_000
# The csv module stops at 131,072 characters a cell without saying which column. Raised (never lowered: the setting is
# shared by the whole process) so that our own limit is the one that speaks.
_CSV_FIELD_LIMIT = 1 << 26
MAX_PARQUET_BYTES = 4 << 30  # uncompressed: a 194 kB file can unfold to 200 MB (decompression bombs)
LIST_SEPARATOR = "|"  # alone in a cell: an empty list, where an empty cell is a missing one
TABLE_SUFFIXES = {".csv", ".tsv", ".jsonl", ".ndjson", ".parquet", ".ts"}


@dataclass(frozen=True)
class RawTable:
    """What a file holds. `table` has only string, int64, float64 and series columns; null means the cell was missing.

    source  the name messages use
    base    the folder relative paths in the cells start from; None when there is none
    lists   columns whose cells were lists of strings, joined by LIST_SEPARATOR; only a target may be one
    """

    source: str
    table: pa.Table
    base: Path | None = None
    lists: frozenset[str] = frozenset()


def read_table(path: str | Path, *, base: str | Path | None = None, delimiter: str | None = None) -> RawTable:
    """The table in a CSV, TSV, JSONL, Parquet or .ts file, told apart by its ending. `base`: the file's folder."""
    path = Path(path)
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise BadTable(f"{path} {what}. Give a CSV, JSONL or Parquet file.")
    root = Path(base) if base is not None else path.parent
    match path.suffix.lower():
        case ".csv":
            return read_csv(path.read_bytes(), path.name, base=root, delimiter=delimiter or ",")
        case ".tsv":
            return read_csv(path.read_bytes(), path.name, base=root, delimiter=delimiter or "\t")
        case ".jsonl" | ".ndjson":
            return read_jsonl(path.read_bytes(), path.name, base=root)
        case ".parquet":
            return read_parquet(path, base=root)
        case ".ts":
            return from_columns(read_ts(path.read_bytes(), path.name), path.name, base=root)
        case suffix:
            raise BadTable(
                f"{path.name} ends in {suffix or 'nothing'}. Give a .csv, .tsv, .jsonl, .parquet or .ts file."
            )


def read_csv(content: bytes, source: str, *, base: Path | None = None, delimiter: str = ",") -> RawTable:
    """All cells as strings, an empty cell as null."""
    text = _decode(content, source)
    if not text.strip():
        raise BadTable(f"{source} is empty. Write a header line and at least one row.")
    csv.field_size_limit(max(csv.field_size_limit(), _CSV_FIELD_LIMIT))
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    ragged: list[str] = []
    rows: list[list[str]] = []
    try:
        header = next(row for row in reader if row)
        if len(header) == 1 and any(mark in header[0] for mark in (";", "\t", "|")) and delimiter == ",":
            mark = next(mark for mark in (";", "\t", "|") if mark in header[0])
            raise BadTable(
                f"{source} has one column by commas but {mark!r} in its header. "
                f"Save it with commas, or give it to Task.from_csv with delimiter={mark!r}."
            )
        for row in reader:
            if not row:
                continue  # a blank line is no row
            rows.append(row)
            if len(row) != len(header):
                ragged.append(f"row {len(rows)} (line {reader.line_num}) has {len(row)}")
                if len(ragged) == 3:
                    break
    except csv.Error as error:
        raise BadTable(
            f"{source} line {reader.line_num}: {error}. Quote cells that hold commas, quotes or line breaks, "
            "double the quotes inside them, and keep a cell under 100,000 characters."
        ) from error
    names = _names(header, source)
    if ragged:
        raise BadTable(
            f"{source}: the header has {len(header)} cells, but {', '.join(ragged)}. Give every row as many cells as "
            "the header; quote cells that hold a comma."
        )
    columns = zip(*rows, strict=True) if rows else ((),) * len(names)
    arrays = [pa.array([cell if cell.strip() else None for cell in column], pa.string()) for column in columns]
    return _finish(source, pa.Table.from_arrays(arrays, names=names), base)


def read_jsonl(content: bytes, source: str, *, base: Path | None = None) -> RawTable:
    """One object a line; columns in order of first appearance, a missing key is null."""
    text = _decode(content, source)
    objects: list[dict[str, Any]] = []
    # not splitlines(): it also breaks at U+2028 and friends, which JSON strings may hold as they are
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            found = json.loads(line, object_pairs_hook=_object)
        except (ValueError, RecursionError) as error:
            raise BadTable(f"{source} line {number} is not a JSON object: {error}. Write one object a line.") from error
        if not isinstance(found, dict):
            raise BadTable(f"{source} line {number} holds a {type(found).__name__}. Write one object a line.")
        objects.append(found)
    if not objects:
        raise BadTable(f"{source} is empty. Write one JSON object a line.")
    names = _names(list(dict.fromkeys(name for found in objects for name in found)), source)
    values = [[found.get(name) for found in objects] for name in names]
    arrays = [_json_column(column, name, source) for name, column in zip(names, values, strict=True)]
    return _finish(source, pa.Table.from_arrays(arrays, names=names), base, _of_lists(names, values))


def read_parquet(path: Path, *, base: Path | None = None) -> RawTable:
    """The flat columns of a Parquet file."""
    try:
        with pq.ParquetFile(path) as file:
            size = sum(file.metadata.row_group(i).total_byte_size for i in range(file.metadata.num_row_groups))
            if size > MAX_PARQUET_BYTES or file.metadata.num_columns > MAX_COLUMNS:
                raise BadTable(
                    f"{path.name} unfolds to {size:,} bytes in {file.metadata.num_columns:,} columns. "
                    f"A task may have {MAX_PARQUET_BYTES:,} bytes and {MAX_COLUMNS:,} columns: give less."
                )
            table = file.read()
    except (pa.ArrowException, OSError) as error:
        cause = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise BadTable(
            f"{path.name} cannot be read as Parquet: {cause}. Write the file again, or give a CSV."
        ) from error
    return from_arrow(table, path.name, base=base)


def from_arrow(table: pa.Table, source: str, *, base: Path | None = None) -> RawTable:
    """A pyarrow table as it comes, reduced to string, int64 and float64 columns."""
    names = _names(table.column_names, source)
    arrays = [_plain(table.column(i), name, source) for i, name in enumerate(names)]
    lists = frozenset(name for i, name in enumerate(names) if _is_list(table.column(i).type))
    return _finish(source, pa.Table.from_arrays(arrays, names=names), base, lists)


def from_columns(columns: Mapping[str, Sequence[Any]], source: str, *, base: Path | None = None) -> RawTable:
    """Columns given in Python: lists of strings, numbers, booleans or None, or numpy vectors."""
    names = _names(list(columns), source)
    values = [_listed(column) for column in columns.values()]
    lengths = {name: len(column) for name, column in zip(names, values, strict=True)}
    if len(set(lengths.values())) > 1:
        raise BadTable(f"{source}: the columns differ in length: {lengths}. Give every column as many values.")
    arrays = [_json_column(column, name, source) for name, column in zip(names, values, strict=True)]
    return _finish(source, pa.Table.from_arrays(arrays, names=names), base, _of_lists(names, values))


def read_folder(root: str | Path, *, modality: str) -> RawTable:
    """Files under `root/<class>/` (or `root/train/<class>/` and `root/test/<class>/`) as columns path, label[, split].

    modality is "image" or "audio". Hidden files and other file types are passed over; a class folder without a single
    file of the modality is refused, and so is a link that leads out of `root`.
    """
    root = Path(root)
    if not root.is_dir():
        raise BadTable(f"{root} is not a folder. Give a folder that holds one subfolder of files a class.")
    suffixes = IMAGE_SUFFIXES if modality == "image" else AUDIO_SUFFIXES
    tops = _subfolders(root)
    splits = [top.name for top in tops]
    is_split = "train" in splits and set(splits) <= {"train", "test"} and all(_subfolders(top) for top in tops)
    found: list[tuple[str, str, str]] = []
    for split, folder in (
        [(top.name, folder) for top in tops for folder in _subfolders(top)] if is_split else [("", top) for top in tops]
    ):
        files = sorted(f for f in folder.iterdir() if f.suffix.lower() in suffixes and not f.name.startswith("."))
        if not files:
            raise BadTable(
                f"{root.name}: the class folder '{folder.relative_to(root)}' holds no {modality} file "
                f"({', '.join(sorted(suffixes))}). Put some in, or remove it."
            )
        found += [(file.relative_to(root).as_posix(), folder.name, split) for file in files]
    if not found:
        raise BadTable(
            f"{root} holds no subfolders. Put the {modality} files of each class into a subfolder named after it."
        )
    paths, labels, in_split = (list(column) for column in zip(*found, strict=True))
    columns = {"path": paths, "label": labels} | ({"split": in_split} if is_split else {})
    return from_columns(columns, root.name, base=root)


def _subfolders(folder: Path) -> list[Path]:
    return sorted(child for child in folder.iterdir() if child.is_dir() and not child.name.startswith("."))


def _decode(content: bytes, source: str) -> str:
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise BadTable(f"{source} is UTF-16. Save it as UTF-8.")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        byte = content[error.start]
        raise BadTable(f"{source} line {line} is not UTF-8 (byte 0x{byte:02x}). Save the file as UTF-8.") from error


def _names(header: Sequence[str], source: str) -> list[str]:
    """Column names without surrounding space; an empty one (pandas writes its index so) becomes `column N`."""
    if len(header) > MAX_COLUMNS:
        raise BadTable(f"{source} has {len(header):,} columns. A table may have {MAX_COLUMNS:,}: give fewer.")
    names = [name.strip() or f"column {number}" for number, name in enumerate(header, start=1)]
    places: dict[str, list[int]] = {}
    for number, name in enumerate(names, start=1):
        places.setdefault(name, []).append(number)
    for name, where in places.items():
        if len(where) > 1:
            numbers = " and ".join(str(number) for number in where)
            raise BadTable(f"{source}: the column name '{name}' stands at {numbers}. Give every column its own name.")
        if len(name) > 200 or not name.isprintable():
            raise BadTable(
                f"{source}: the name of column {where[0]} is too long or not printable. Use 1 to 200 characters."
            )
    return names


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key appears twice")
    return found


def _json_column(values: list[Any], name: str, source: str) -> pa.Array:
    """Strings, integers and floats keep their type when a column has one of them; a mixture becomes strings."""
    if _has_labels(values):
        values = [_joined(value, name, source) if _is_labels(value) else value for value in values]
    kinds = {type(value) for value in values if value is not None}
    if kinds and kinds <= {list, np.ndarray}:
        return as_series(values, source, name)
    for row, value in enumerate(values, start=1):
        if not isinstance(value, (str, int, float, bool, Path, type(None))):
            raise BadTable(
                f"{source}: column '{name}' row {row} holds a {type(value).__name__}. "
                "Give strings, numbers, true, false or null; spread nested values over columns."
            )
    if kinds <= {int} and all(value is None or abs(value) < 1 << 63 for value in values):
        return pa.array(values, pa.int64())
    if kinds <= {int, float}:
        return pa.array([None if value is None else _float(value) for value in values], pa.float64())
    texts = [None if value is None or value == "" else _text(value) for value in values]
    try:
        return pa.array(texts, pa.string())
    except UnicodeEncodeError as error:
        row = next(i for i, text in enumerate(texts, start=1) if text == error.object)
        raise BadTable(
            f"{source}: column '{name}' row {row} holds half a character ({error.object[error.start]!a}). Mend it."
        ) from error


def _listed(column: Sequence[Any]) -> list[Any]:
    """A column's cells; of an array (n, T) or (n, T, C) each row is a series."""
    if isinstance(column, np.ndarray) and column.ndim in (2, 3):
        return list(column)
    return column.tolist() if hasattr(column, "tolist") else list(column)


def _is_labels(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


def _of_lists(names: Sequence[str], values: Sequence[Sequence[Any]]) -> frozenset[str]:
    return frozenset(name for name, column in zip(names, values, strict=True) if _has_labels(column))


def _has_labels(column: Sequence[Any]) -> bool:
    """An empty list may also be an empty series: one label says which it is."""
    cells = [value for value in column if value is not None]
    return all(_is_labels(value) for value in cells) and any(len(value) > 0 for value in cells)


def _joined(labels: Sequence[str], name: str, source: str) -> str:
    """A list of labels as one cell. Raises BadTable for a label that holds what joins them."""
    for label in labels:
        if LIST_SEPARATOR in label:
            raise BadTable(f"{source}: column '{name}' has a label with '{LIST_SEPARATOR}', {label[:80]!r}. Rename it.")
    return LIST_SEPARATOR.join(labels) or LIST_SEPARATOR


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind)) and bool(pa.types.is_string(kind.value_type))


def _float(value: int | float) -> float:
    try:
        return float(value)
    except OverflowError:  # an integer past 1.8e308: infinite as a float, and refused as such when the column is read
        return float("inf") if value > 0 else float("-inf")


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _plain(column: pa.ChunkedArray, name: str, source: str) -> pa.ChunkedArray:
    kind = column.type
    if _is_list(kind):
        cells = [None if cell is None else _joined(cell, name, source) for cell in column.to_pylist()]
        return pa.chunked_array([pa.array(cells, pa.string())])
    if pa.types.is_dictionary(kind):
        return _plain(column.cast(kind.value_type), name, source)
    if pa.types.is_integer(kind) and kind != pa.uint64():
        return column.cast(pa.int64())
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return column.cast(pa.float64())
    if pa.types.is_boolean(kind) or pa.types.is_temporal(kind) or pa.types.is_null(kind):
        return column.cast(pa.string())
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        text = column.cast(pa.string())
        return pc.if_else(pc.equal(text, ""), pa.scalar(None, pa.string()), text)
    if is_series(kind):
        return pa.chunked_array([as_series(column.to_pylist(), source, name)])
    raise BadTable(
        f"{source}: column '{name}' has type {kind}. Give text or numbers; for images and audio, "
        "paths relative to the table."
    )


def _finish(source: str, table: pa.Table, base: Path | None, lists: frozenset[str] = frozenset()) -> RawTable:
    if table.num_rows == 0:
        raise BadTable(f"{source} has a header and no rows. Add at least one row.")
    for name in table.column_names:
        column = table.column(name)
        if column.type != pa.string():
            continue
        lengths = pc.utf8_length(column)
        longest = pc.max(lengths).as_py() or 0
        if longest > MAX_CELL_CHARS:
            row = pc.index(lengths, longest).as_py() + 1
            raise BadTable(
                f"{source}: column '{name}' row {row} holds {longest:,} characters; a cell may hold "
                f"{MAX_CELL_CHARS:,}. Shorten or split the text."
            )
    return RawTable(source, table.combine_chunks(), base, lists)


def list_rows(rows: Iterable[int], *, shown: int = 3) -> str:
    """'rows 3, 9, 12 and 4 more', counted from 1; `rows` are numbers from 0."""
    numbers = [int(row) + 1 for row in rows]
    text = ", ".join(str(number) for number in numbers[:shown])
    more = f" and {len(numbers) - shown:,} more" if len(numbers) > shown else ""
    return f"{'row' if len(numbers) == 1 else 'rows'} {text}{more}"
