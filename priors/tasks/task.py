"""Task: labelled rows with typed columns, a target, a metric and splits."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypedDict, Unpack

import numpy as np
import pyarrow as pa

from priors.errors import BadTask
from priors.tasks import directory
from priors.tasks.columns import as_text, conform, infer_columns, require_column
from priors.tasks.draws import Draw, draw_rows, quantile_bins, rarest_labels
from priors.tasks.media import AUDIO_SUFFIXES, IMAGE_SUFFIXES, Report, check_files, locate
from priors.tasks.readers import RawTable, from_arrow, from_columns, read_folder, read_table
from priors.tasks.series import series_values
from priors.tasks.spec import UNIT, Column, Kind, Metric, Modality, TaskSpec
from priors.tasks.targets import read_target, split_labels


class TaskOptions(TypedDict, total=False):
    """What every way of reading a task takes besides its source and target.

    kind        "multiclass", "binary", "multilabel" or "regression" instead of what the target's values say
    metric      "accuracy", "macro_f1", "map" or "r2"; follows from the kind, but for "map" of several labels a row
    separator   between the labels of a cell that has several: makes the kind "multilabel"
    unit        of a numeric target: "m", "USD"; predictions carry it
    group       column whose equal values belong together: a person, a conversation; never on both sides of a draw
    split       column that says "train" or "test": draws then learn from the one and are judged on the other
    ignore      columns to leave out
    modalities  column -> modality, where the content misleads
    name        the task's name; the file's otherwise
    base        the folder relative paths start from; the table's otherwise
    local       False refuses absolute paths to media: a server reading an upload
    license     SPDX expression of the data; summary: one sentence about the task
    """

    kind: Kind | None
    metric: Metric | None
    separator: str | None
    unit: str | None
    group: str | None
    split: str | None
    ignore: Collection[str]
    modalities: Mapping[str, Modality]
    name: str | None
    base: str | Path | None
    local: bool
    license: str | None
    summary: str | None


@dataclass(frozen=True, eq=False)
class Task:
    """Labelled rows and what is to be learned from them.

    rows        pyarrow Table with the columns of `columns` in order: float64 for num and a numeric target, lists
                for series, else string
    labels      the classes in order, empty for a regression; `y` are positions in it, or a column a label (multilabel)
    splits      name -> row numbers, where the data came with a split
    base        the folder relative paths in image and audio columns start from
    unlabelled  rows whose target was empty, same columns; kept apart, never drawn
    """

    name: str
    columns: tuple[Column, ...]
    rows: pa.Table
    target: str
    kind: Kind
    labels: tuple[str, ...]
    metric: Metric
    unlabelled: pa.Table
    group: str | None = None
    splits: Mapping[str, np.ndarray] = field(default_factory=dict)
    base: Path | None = None
    local: bool = True
    license: str | None = None
    summary: str | None = None
    unit: str | None = None

    # ---- reading

    @classmethod
    def from_file(
        cls, path: str | Path, target: str, *, delimiter: str | None = None, **options: Unpack[TaskOptions]
    ) -> Task:
        """Reads a CSV, TSV, JSONL, Parquet or .ts file, told apart by its ending. Raises BadTable or BadTask."""
        raw = read_table(path, base=options.get("base"), delimiter=delimiter)
        return _build(raw, target, default_name=Path(path).stem, options=options)

    @classmethod
    def from_path(cls, path: str | Path, target: str | None = None, **options: Unpack[TaskOptions]) -> Task:
        """Reads whatever lies at `path`: a table (needs `target`), a task directory, or a folder of images or audio."""
        path = Path(path)
        if not path.is_dir():
            if target is None:
                names = ", ".join(read_table(path).table.column_names[:20])
                raise BadTask(f"{path.name} is a table, so say which column to predict. It has: {names}.")
            return cls.from_file(path, target, **options)
        if (path / directory.SPEC_FILE).is_file():
            found = cls.from_dir(path)
            if target not in (None, found.target):
                raise BadTask(
                    f"{path} is a task whose target is '{found.target}', not '{target}'. Leave the target out."
                )
            return found
        suffixes = {file.suffix.lower() for file in path.rglob("*")}
        if suffixes & AUDIO_SUFFIXES and not suffixes & IMAGE_SUFFIXES:
            return cls.from_audio_folder(path, **options)
        return cls.from_image_folder(path, **options)

    @classmethod
    def from_csv(
        cls, path: str | Path, target: str, *, delimiter: str | None = None, **options: Unpack[TaskOptions]
    ) -> Task:
        """Reads a CSV whose first line names the columns. Raises BadTable (the file) or BadTask (what to learn)."""
        return cls.from_file(path, target, delimiter=delimiter, **options)

    @classmethod
    def from_jsonl(cls, path: str | Path, target: str, **options: Unpack[TaskOptions]) -> Task:
        """Reads one flat JSON object a line."""
        return cls.from_file(path, target, **options)

    @classmethod
    def from_parquet(cls, path: str | Path, target: str, **options: Unpack[TaskOptions]) -> Task:
        """Reads the flat columns of a Parquet file."""
        return cls.from_file(path, target, **options)

    @classmethod
    def from_table(
        cls, table: pa.Table | Mapping[str, Sequence[Any]], target: str, **options: Unpack[TaskOptions]
    ) -> Task:
        """Takes a pyarrow table, or a mapping of column name to values."""
        name = options.get("name") or "table"
        given = options.get("base")
        base = None if given is None else Path(given)
        raw = (
            from_arrow(table, name, base=base) if isinstance(table, pa.Table) else from_columns(table, name, base=base)
        )
        return _build(raw, target, default_name=name, options=options)

    @classmethod
    def from_image_folder(cls, root: str | Path, **options: Unpack[TaskOptions]) -> Task:
        """Takes PNG, JPEG or WebP files under `root/<class>/`, or `root/train/<class>/` and `root/test/<class>/`."""
        return _from_folder(Path(root), "image", options)

    @classmethod
    def from_audio_folder(cls, root: str | Path, **options: Unpack[TaskOptions]) -> Task:
        """Takes WAV or FLAC files under `root/<class>/`, or `root/train/<class>/` and `root/test/<class>/`."""
        return _from_folder(Path(root), "audio", options)

    @classmethod
    def from_dir(cls, root: str | Path) -> Task:
        """Reads what `save` wrote. Paths must lie inside the directory, whoever wrote it."""
        root = Path(root)
        spec, raw, raw_unlabelled = directory.read(root)
        tables = [_read_back(part, spec) for part in (raw, raw_unlabelled) if part is not None]
        return cls(
            name=spec.name,
            columns=spec.columns,
            rows=tables[0],
            target=spec.target,
            kind=spec.kind,
            labels=spec.labels,
            metric=spec.metric,
            unlabelled=tables[1] if len(tables) > 1 else tables[0].slice(0, 0),
            group=spec.group,
            splits={name: np.array(rows, dtype=np.int64) for name, rows in spec.splits.items()},
            base=root,
            local=False,
            license=spec.license,
            summary=spec.summary,
            unit=spec.unit,
        )

    # ---- looking

    def __len__(self) -> int:
        return int(self.rows.num_rows)

    @property
    def inputs(self) -> tuple[Column, ...]:
        """The columns that may be learned from."""
        return tuple(column for column in self.columns if column.is_input)

    @property
    def modalities(self) -> tuple[Modality, ...]:
        """The distinct modalities of the inputs, in column order."""
        return tuple(dict.fromkeys(column.modality for column in self.inputs))

    @cached_property
    def y(self) -> np.ndarray:
        """(n,) int64 positions in `labels`, (n, K) 0 or 1 a label (multilabel), or float64 values for a regression."""
        values = self.rows.column(self.target).to_pylist()
        if self.kind == "regression":
            return np.array(values, dtype=np.float64)
        place = {label: i for i, label in enumerate(self.labels)}
        if self.kind == "multilabel":
            found = np.zeros((len(values), len(place)), dtype=np.int64)
            for row, cell in enumerate(values):
                found[row, [place[label] for label in split_labels(cell)]] = 1
            return found
        return np.array([place[value] for value in values], dtype=np.int64)

    @cached_property
    def groups(self) -> np.ndarray | None:
        """(n,) group of each row as strings, or None. A row without a group is a group of its own."""
        if self.group is None:
            return None
        found = self.rows.column(self.group).to_pylist()
        return np.array([f"row {row}" if value is None else f"= {value}" for row, value in enumerate(found)])

    def values(
        self, column: str, *, unlabelled: bool = False
    ) -> list[str] | list[Path | None] | list[np.ndarray | None] | np.ndarray:
        """One column: float64 (n,) for numbers, arrays (T, C) for series, Paths for media, strings for the rest.

        A gap is NaN, None or "".
        """
        return column_values(
            self.unlabelled if unlabelled else self.rows, self._column(column), base=self.base, local=self.local
        )

    def subset(self, rows: np.ndarray | Sequence[int]) -> Task:
        """These rows alone, in this order, with the same labels; without splits and unlabelled rows."""
        index = np.asarray(rows, dtype=np.int64)
        return replace(self, rows=self.rows.take(index), unlabelled=self.unlabelled.slice(0, 0), splits={})

    def like(self, raw: RawTable) -> Task:
        """Other rows with the columns of this task, read as it describes them; without splits and unlabelled rows."""
        rows = _read_back(raw, self.spec)
        return replace(self, rows=rows, unlabelled=rows.slice(0, 0), splits={}, base=raw.base, local=False)

    def content(self, column: str) -> list[Any]:
        """One column as what it says: values, and for media the sha256 of each file."""
        return self._content(self.rows, self._column(column))

    def draw(self, labels_per_class: int, seed: int, test_rows: int | None = None) -> Draw:
        """Exactly `labels_per_class` rows a class to learn from; the untouched rest, at most `test_rows`, as test.

        With a group column no group is on both sides; with splits "train" and "test" each side keeps to its own. For a
        regression `labels_per_class` rows are drawn in all, one from each of as many quantile bins; a row of several
        labels counts for the rarest of them. Same seed, same draw; a draw of fewer labels is part of a draw of more.
        Raises BadTask when a class has too few rows.
        """
        classes, labels, each = self.y, self.labels, labels_per_class
        if self.kind == "regression":
            bins = min(labels_per_class, len(self))
            classes, labels, each = quantile_bins(self.y, bins), tuple(f"quantile {i}" for i in range(bins)), 1
        elif self.kind == "multilabel":
            classes = rarest_labels(self.y)
        return draw_rows(
            classes,
            labels,
            labels_per_class=each,
            seed=seed,
            groups=self.groups,
            test_rows=test_rows,
            pool=self.splits.get("train"),
            test_pool=self.splits.get("test"),
        )

    @cached_property
    def fingerprint(self) -> str:
        """sha256 over what can be learned from: columns, target, labels, groups, splits, cells, bytes of media files.

        Not over the name, ignored columns, or where files lie: saved and loaded, a task keeps its fingerprint.
        """
        shown = [column for column in self.columns if column.modality != "ignored"]
        head = {
            "columns": [(column.name, column.modality) for column in shown],
            "target": self.target,
            "kind": self.kind,
            "labels": self.labels,
            "metric": self.metric,
            "splits": {name: np.asarray(rows).tolist() for name, rows in sorted(self.splits.items())},
        }
        digest = hashlib.sha256(_canonical(head))
        for table in (self.rows, self.unlabelled):
            for column in shown:
                digest.update(_canonical(self._content(table, column)))
        digest.update(_canonical([] if self.groups is None else self.groups.tolist()))
        return digest.hexdigest()

    def check_media(self, report: Report | None = None) -> None:
        """Opens every image and audio file now rather than when it is read. Raises BadTable naming column and files."""
        for column in self.inputs:
            if column.modality in ("image", "audio"):
                paths = column_values(self.rows, column, base=self.base, local=self.local)
                check_files(
                    [None if p is None else Path(str(p)) for p in paths],
                    column.modality,
                    source=self.name,
                    column=column.name,
                    base=self.base,
                    report=report,
                )

    # ---- keeping

    @property
    def spec(self) -> TaskSpec:
        """What task.json says about this task."""
        return TaskSpec(
            name=self.name,
            columns=self.columns,
            target=self.target,
            kind=self.kind,
            labels=self.labels,
            metric=self.metric,
            rows=len(self),
            group=self.group,
            splits={name: tuple(int(row) for row in rows) for name, rows in self.splits.items()},
            unlabelled=int(self.unlabelled.num_rows),
            license=self.license,
            summary=self.summary,
            unit=self.unit,
        )

    def save(self, root: str | Path, *, portable: bool = False) -> Path:
        """Writes task.json, data.parquet and copies of the media files under media/ into `root`, all or nothing.

        `portable=True` refuses absolute paths: what goes to a hub comes from the table's own folder.
        """
        return directory.write(self, Path(root), portable=portable)

    def _column(self, name: str) -> Column:
        for column in self.columns:
            if column.name == name:
                return column
        raise BadTask(f"{self.name} has no column '{name}'. It has: {', '.join(c.name for c in self.columns)}.")

    def _content(self, table: pa.Table, column: Column) -> list[Any]:
        if column.modality not in ("image", "audio"):
            return list(table.column(column.name).to_pylist())
        paths = column_values(table, column, base=self.base, local=self.local)
        return [None if p is None else directory.file_sha256(Path(str(p))) for p in paths]


def column_values(
    table: pa.Table, column: Column, *, base: Path | None, local: bool = True
) -> list[str] | list[Path | None] | list[np.ndarray | None] | np.ndarray:
    """One column of a table that `conform` read, as encoders take it: numbers, arrays over time, paths or strings; NaN,
    None or "" for a gap."""
    found = table.column(column.name)
    if found.type == pa.float64():
        return np.asarray(found.to_numpy(), dtype=np.float64)
    if column.modality == "series":
        return series_values(found)
    if column.modality in ("image", "audio"):
        return [None if value is None else locate(value, base, local=local)[0] for value in found.to_pylist()]
    return [value or "" for value in found.to_pylist()]


def _build(raw: RawTable, target: str, *, default_name: str, options: TaskOptions) -> Task:
    if unknown := options.keys() - TaskOptions.__annotations__.keys():
        known = ", ".join(TaskOptions.__annotations__)
        raise TypeError(f"a task has no option {min(unknown)!r}. Options are {known}.")
    group, split = options.get("group"), options.get("split")
    for name in (target, group, split):
        if name is not None:
            require_column(raw, name)
    ignore = {*(options.get("ignore") or ()), *([split] if split else [])}
    if target in ignore or target == group:
        raise BadTask(f"'{target}' is the target and cannot also be ignored, the group or the split. Choose one.")
    found = read_target(
        raw, target, kind=options.get("kind"), metric=options.get("metric"), separator=options.get("separator")
    )
    unit = options.get("unit")
    if unit is not None and (found.kind != "regression" or not re.fullmatch(UNIT, unit)):
        raise BadTask(
            f"unit={unit!r} does not fit the target '{target}' ({found.kind}). Only numbers have one, a single word."
        )
    columns = infer_columns(raw, target=target, group=group, ignore=ignore, modalities=options.get("modalities") or {})
    local = options.get("local", True)
    table = _assemble(raw, columns, local=local)
    labelled = pa.array(found.labelled)
    rows = table.filter(labelled)
    rows = rows.set_column(rows.column_names.index(target), target, found.values)
    unlabelled = table.filter(pa.array(~found.labelled))
    unlabelled = unlabelled.set_column(
        unlabelled.column_names.index(target), target, pa.nulls(unlabelled.num_rows, found.values.type)
    )
    return Task(
        name=options.get("name") or default_name,
        columns=columns,
        rows=rows,
        target=target,
        kind=found.kind,
        labels=found.labels,
        metric=found.metric,
        unlabelled=unlabelled,
        group=group,
        splits={} if split is None else _splits(raw, split, found.labelled),
        base=raw.base,
        local=local,
        license=options.get("license"),
        summary=options.get("summary"),
        unit=unit,
    )


def _assemble(raw: RawTable, columns: Sequence[Column], *, local: bool) -> pa.Table:
    """All columns in order: the inputs as their modality, the others as strings."""
    inputs = conform(raw, columns, local=local)
    arrays = [
        inputs.column(column.name) if column.is_input else as_text(raw.table.column(column.name)) for column in columns
    ]
    return pa.Table.from_arrays(arrays, names=[column.name for column in columns]).combine_chunks()


def _splits(raw: RawTable, split: str, labelled: np.ndarray) -> dict[str, np.ndarray]:
    said = np.array(as_text(raw.table.column(split)).to_pylist(), dtype=object)
    names = set(said[said != None].tolist())  # noqa: E711 -- elementwise on an object array
    if not {"train", "test"} <= names:
        shown = ", ".join(sorted(names)[:10]) or "nothing"
        raise BadTask(f"{raw.source}: the split column '{split}' says {shown}. Write 'train' and 'test' in it.")
    said = said[labelled]
    return {name: np.flatnonzero(said == name) for name in ("train", "test")}


def _from_folder(root: Path, modality: str, options: TaskOptions) -> Task:
    raw = read_folder(root, modality=modality)
    if "split" in raw.table.column_names:
        options = {**options, "split": "split"}
    return _build(raw, "label", default_name=root.name, options=options)


def _read_back(raw: RawTable, spec: TaskSpec) -> pa.Table:
    for column in spec.columns:
        require_column(raw, column.name)
    table = _assemble(raw, spec.columns, local=False)
    found = table.column(spec.target)
    if spec.kind == "regression":
        numeric = conform(raw, [Column(spec.target, "num")]).column(0) if found.null_count < len(found) else None
        found = pa.nulls(len(found), pa.float64()) if numeric is None else numeric
    else:
        said = found.to_pylist()
        if spec.kind == "multilabel":
            said = [label for cell in said for label in split_labels(cell or "")]
        unknown = set(said) - set(spec.labels) - {None}
        if unknown:
            raise BadTask(
                f"{raw.source}: the target holds '{min(unknown)}', which task.json does not list. Correct one."
            )
    return table.set_column(table.column_names.index(spec.target), spec.target, found)


def _canonical(content: object) -> bytes:
    return json.dumps(content, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode(
        "utf-8", "surrogatepass"
    )
