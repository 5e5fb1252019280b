"""task.json: what a task directory says about itself. Reads and writes it without pyarrow, numpy or torch.

{"task": 1, "name": "topics", "target": "topic", "kind": "multiclass", "metric": "accuracy", "group": "conversation",
 "columns": [{"name": "text", "modality": "text"}, {"name": "topic", "modality": "target"}],
 "labels": ["ai", "emotion"], "rows": 1440, "unlabelled": 0, "splits": {}, "data": "data.parquet",
 "license": null, "summary": null}, and "unit" where a numeric target has one
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from priors.errors import BadTask

Modality = Literal["text", "image", "audio", "series", "num", "category", "target", "ignored"]
Kind = Literal["multiclass", "binary", "multilabel", "regression"]
Metric = Literal["accuracy", "macro_f1", "map", "r2"]

MODALITIES: tuple[Modality, ...] = get_args(Modality)
KINDS: tuple[Kind, ...] = get_args(Kind)
METRICS: Mapping[Kind, tuple[Metric, ...]] = {
    "multiclass": ("accuracy",),
    "binary": ("accuracy",),
    "multilabel": ("macro_f1", "map"),
    "regression": ("r2",),
}
"""What a kind of task may be judged by; the first where nobody says."""
INPUT_MODALITIES: tuple[Modality, ...] = ("text", "image", "audio", "series", "num", "category")
MAX_CLASSES = 1000
UNIT = r"^[^\s,{}=]{1,50}$"
"""What a unit may look like: no space, no sign that port types use."""
MAX_COLUMNS = 10_000


@dataclass(frozen=True)
class Column:
    """One column: its name in the table and what it is. `ignored` columns travel along and are never learned from."""

    name: str
    modality: Modality

    @property
    def is_input(self) -> bool:
        return self.modality in INPUT_MODALITIES


def modality_of(columns: Iterable[str]) -> str:
    """What a task with such inputs reads, as histories name it: the modalities in order, joined by +; numbers are
    "tab"."""
    return "+".join(dict.fromkeys("tab" if modality == "num" else modality for modality in columns))


@dataclass(frozen=True)
class TaskSpec:
    """The content of task.json. `splits` maps a name ("train", "test") to row numbers counted from 0; `unit` is that of
    a numeric target."""

    name: str
    columns: tuple[Column, ...]
    target: str
    kind: Kind
    labels: tuple[str, ...]
    metric: Metric
    rows: int
    group: str | None = None
    splits: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    unlabelled: int = 0
    data: str = "data.parquet"
    license: str | None = None
    summary: str | None = None
    unit: str | None = None

    @property
    def inputs(self) -> tuple[Column, ...]:
        return tuple(column for column in self.columns if column.is_input)

    def to_json(self) -> str:
        content = {
            "task": 1,
            "name": self.name,
            "summary": self.summary,
            "license": self.license,
            "target": self.target,
            "kind": self.kind,
            "metric": self.metric,
            "group": self.group,
            "columns": [{"name": column.name, "modality": column.modality} for column in self.columns],
            "labels": list(self.labels),
            "rows": self.rows,
            "unlabelled": self.unlabelled,
            "splits": {name: list(rows) for name, rows in self.splits.items()},
            "data": self.data,
        }
        if self.unit is not None:
            content["unit"] = self.unit
        return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


Name = Annotated[str, Field(min_length=1, max_length=200)]


class _ColumnIn(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: Name
    modality: Modality


class _TaskIn(BaseModel):
    """The edge: bytes somebody sent. Everything past here is a TaskSpec."""

    model_config = ConfigDict(extra="forbid")

    task: Literal[1]
    name: Name
    summary: str | None = Field(default=None, max_length=2000)
    license: str | None = Field(default=None, max_length=200)
    target: Name
    kind: Kind
    metric: Metric
    group: Name | None = None
    columns: list[_ColumnIn] = Field(min_length=1, max_length=MAX_COLUMNS)
    labels: list[str] = Field(max_length=MAX_CLASSES)
    rows: int = Field(ge=1)
    unlabelled: int = Field(default=0, ge=0)
    splits: dict[str, list[int]] = Field(default_factory=dict)
    unit: str | None = Field(default=None, pattern=UNIT)
    data: str = Field(default="data.parquet", pattern=r"^[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}$")


def parse_task(content: bytes | str | Mapping[str, Any]) -> TaskSpec:
    """The TaskSpec in task.json's content. Raises BadTask naming the field and the fix."""
    try:
        given = (
            _TaskIn.model_validate(content) if isinstance(content, Mapping) else _TaskIn.model_validate_json(content)
        )
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise BadTask(f"task.json: {where}: {first['msg']}. `Task.save` writes a valid one.") from error
    spec = TaskSpec(
        name=given.name,
        columns=tuple(Column(column.name, column.modality) for column in given.columns),
        target=given.target,
        kind=given.kind,
        labels=tuple(given.labels),
        metric=given.metric,
        rows=given.rows,
        group=given.group,
        splits={name: tuple(rows) for name, rows in given.splits.items()},
        unlabelled=given.unlabelled,
        data=given.data,
        license=given.license,
        summary=given.summary,
        unit=given.unit,
    )
    _require_consistent(spec)
    return spec


def _require_consistent(spec: TaskSpec) -> None:
    names = [column.name for column in spec.columns]
    if len(set(names)) != len(names):
        raise BadTask("task.json: columns: a name appears twice. Give every column its own name.")
    targets = [column.name for column in spec.columns if column.modality == "target"]
    if targets != [spec.target]:
        raise BadTask(f"task.json: target is {spec.target!r} but the columns marked as target are {targets}. Mark one.")
    if not spec.inputs:
        raise BadTask(
            "task.json: no column is an input. Mark at least one as text, image, audio, series, num or category."
        )
    if spec.group is not None and spec.group not in names:
        raise BadTask(f"task.json: group {spec.group!r} is not among the columns. Name one of them, or null.")
    classes = len(spec.labels)
    if (spec.kind == "regression") != (classes == 0) or len(set(spec.labels)) != classes:
        raise BadTask(
            f"task.json: kind {spec.kind!r} with {classes} labels. Classes need distinct labels, numbers none."
        )
    if classes == 1 or (spec.kind == "binary" and classes != 2):
        raise BadTask(f"task.json: kind {spec.kind!r} with {classes} labels. Use two for binary, more for multiclass.")
    if spec.metric not in METRICS[spec.kind]:
        allowed = " or ".join(METRICS[spec.kind])
        raise BadTask(f"task.json: metric {spec.metric!r} with kind {spec.kind!r}. Use {allowed}.")
    if spec.unit is not None and spec.kind != "regression":
        raise BadTask(f"task.json: unit {spec.unit!r} with kind {spec.kind!r}. Only numbers have a unit.")
    for name, rows in spec.splits.items():
        if any(row < 0 or row >= spec.rows for row in rows):
            raise BadTask(f"task.json: splits.{name} names a row outside 0..{spec.rows - 1}. Correct the row numbers.")
