"""A visitor's own table: looked at, stored as a private task, fitted, predicted on, deleted.

priors.tasks reads tables with pyarrow and numpy, which are imported when somebody uploads one, not when the web process
starts. Whatever is wrong with a table is a UserError that names its rows.
"""

from __future__ import annotations

import json
import secrets
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.core.files.uploadedfile import UploadedFile

from hub.accounts import rates
from hub.accounts.models import User
from hub.home import scratch
from hub.jobs import services as jobs
from hub.jobs.models import Job
from hub.repos import commits, trees
from hub.repos import services as repos
from hub.repos.models import Commit, Repository
from hub.web.uploads import Upload, safe_name
from priors.errors import BadTask, Conflict
from priors.tasks.spec import Column, Kind, Modality, TaskSpec, parse_task

if TYPE_CHECKING:
    from priors.tasks.readers import RawTable

_LOCK, _MAX_JSON = "composition.lock.json", 16 << 20
_MODALITY: dict[str, Modality] = {"text": "text", "image": "image", "audio": "audio", "series": "series", "tab": "num"}
_SHOWN_ROWS = 5
_SHOWN_COLUMNS = 60
_MAX_CLASSES, _MAX_CLASSES_SHARE = 100, 0.5  # more different values than half the rows: a name or a text, not a class


@dataclass(frozen=True)
class Seen:
    """What a column seems to be; `likely` when its values repeat like those of classes."""

    name: str
    modality: str
    distinct: int
    missing: int
    likely: bool


@dataclass(frozen=True)
class Preview:
    """The beginning of a table."""

    rows: int
    columns: tuple[Seen, ...]
    head: tuple[tuple[str, ...], ...]
    more_columns: int

    @property
    def suggestion(self) -> str:
        """The last column that could be a class, else the last one."""
        likely = [column.name for column in self.columns if column.likely]
        return likely[-1] if likely else self.columns[-1].name


def look(upload: Upload) -> Preview:
    """The upload's columns with their detected types, and its first rows. Raises BadTable."""
    from priors.tasks.readers import read_table

    raw = read_table(upload.path)
    names = raw.table.column_names[:_SHOWN_COLUMNS]
    modalities = _modalities(raw)
    head = raw.table.slice(0, _SHOWN_ROWS).select(names).to_pylist()
    return Preview(
        rows=raw.table.num_rows,
        columns=tuple(_column(raw, name, modalities[name]) for name in names),
        head=tuple(tuple("" if row[name] is None else str(row[name])[:120] for name in names) for row in head),
        more_columns=raw.table.num_columns - len(names),
    )


def store_task(*, upload: Upload, target: str, user: User) -> Repository:
    """A private task repository with the table's rows. Raises BadTable, BadTask."""
    from priors.tasks import Task

    name = safe_name(upload.name).rpartition(".")[0]
    task = Task.from_file(upload.path, target, local=False, name=name)
    with _work_folder() as folder:
        task.save(folder / "task", portable=True)
        return _private_task(user, name, folder / "task", f"{len(task)} rows, learning {target}")


def start(*, task: Repository, user: User) -> Job:
    """Finds the best priors for the task and fits them: one job does both. A public model of the name is left alone."""
    push_to = f"{user.username}/{task.name}-model"
    if (
        Repository.objects.filter(namespace__owner=user)
        .named(push_to)
        .exclude(private=True, kind="composition")
        .exists()
    ):
        push_to += f"-{secrets.token_hex(3)}"
    spec = {"task": task.full_name, "push_to": push_to, "private": True}
    return jobs.submit(kind=Job.Kind.FIT, spec=spec, owner=user)


def predict_unlabelled(*, model: Repository, task: Repository, user: User) -> Job:
    """Predictions for the task's rows."""
    return jobs.submit(kind=Job.Kind.PREDICT, spec={"model": model.full_name, "data": task.full_name}, owner=user)


def predict_file(*, model: Repository, upload: UploadedFile[Any], user: User) -> Job:
    """Predictions for an uploaded table, stored as a private task without labels. Raises BadTable, BadTask."""
    spec = rows_for(lock_of(repos.resolve(model)))
    with _work_folder() as folder:
        source = folder / safe_name(upload.name or "rows.csv")
        with source.open("wb") as file:
            for chunk in upload.chunks():
                file.write(chunk)
        write_rows(source, spec, folder / "task")
        data = _private_task(user, f"{model.name}-rows-{secrets.token_hex(3)}", folder / "task", "Rows to predict")
    return predict_unlabelled(model=model, task=data, user=user)


def lock_of(commit: Commit) -> dict[str, Any]:
    """A composition's lock; {} when the commit has none."""
    if trees.find(commit.tree_id, _LOCK) is None:
        return {}
    lock: dict[str, Any] = json.loads(repos.read_file(commit, _LOCK, limit=_MAX_JSON))
    return lock


def rows_for(lock: Mapping[str, Any]) -> TaskSpec:
    """The description of rows a model can predict: its input columns, and a target nobody filled in.

    Read from the model's lock, whose inputs name their columns. Raises BadTask when they do not.
    """
    nodes = [node for node in (lock.get("nodes") or {}).values() if isinstance(node, Mapping)]
    columns: dict[str, Column] = {}
    labels: tuple[str, ...] = ()
    several = False
    for node in nodes:
        attrs = node.get("attrs") or {}
        if node.get("op") == "head":
            labels = tuple(str(label) for label in attrs.get("labels") or ())
            several = attrs.get("loss") == "binary_cross_entropy"
        if node.get("op") == "input" and attrs.get("column"):
            modality = _MODALITY.get(str(node.get("type", "")).partition(".")[0], "ignored")
            given = attrs["column"]
            columns |= {
                str(name): Column(str(name), modality) for name in ([given] if isinstance(given, str) else given)
            }
    if not columns:
        raise BadTask("The model's lock names no input columns. Pull it, then use it from Python.")
    target = next(name for name in ("target", "target of the model", "the model's target") if name not in columns)
    kind: Kind = "regression" if not labels else "binary" if len(labels) == 2 else "multiclass"
    if several:
        kind = "multilabel"
    return TaskSpec(
        name="rows",
        columns=(*columns.values(), Column(target, "target")),
        target=target,
        kind=kind,
        labels=labels,
        metric="macro_f1" if several else "accuracy" if labels else "r2",
        rows=1,
    )


def write_rows(source: Path, spec: TaskSpec, folder: Path) -> None:
    """A task directory with the rows of `source` and no labels. Raises BadTable naming missing columns, bad cells."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from priors.tasks import conform, read_table

    table = conform(read_table(source), spec.inputs, local=False)
    nothing = pa.nulls(table.num_rows, pa.float64() if spec.kind == "regression" else pa.string())
    table = table.append_column(spec.target, nothing)
    rows = replace(spec, name=source.stem, rows=table.num_rows)
    folder.mkdir()
    pq.write_table(table, folder / rows.data)
    (folder / "task.json").write_text(rows.to_json(), encoding="utf-8")


def _modalities(raw: RawTable) -> dict[str, str]:
    """Every column's modality as an input. The target has none, so the last column is looked at in a second round."""
    from priors.tasks.columns import infer_columns

    names = raw.table.column_names
    found: dict[str, str] = {}
    for target in (names[0], names[-1]):
        columns = infer_columns(raw, target=target, group=None, ignore=(), modalities={})
        found |= {column.name: column.modality for column in columns if column.name != target}
    return found


def _column(raw: RawTable, name: str, modality: str) -> Seen:
    found = raw.table.column(name)
    distinct = len(found.unique()) - bool(found.null_count)
    labelled = len(found) - found.null_count
    few = 2 <= distinct <= min(_MAX_CLASSES, max(2, labelled * _MAX_CLASSES_SHARE))
    return Seen(name, modality, distinct, found.null_count, few and modality in {"category", "num", "text"})


def _private_task(user: User, name: str, folder: Path, message: str) -> Repository:
    rates.charge_user("create", user)
    for attempt in ("", *(f"-{secrets.token_hex(2)}" for _ in range(3))):
        try:
            repository = repos.create_repository(
                name=f"{user.username}/{name}{attempt}", kind=Repository.Kind.TASK, private=True
            )
        except Conflict:
            continue
        try:
            commits.commit_folder(repository=repository, folder=folder, message=message, by=user)
        except BaseException:
            repos.delete_repository(repository)  # an empty repository would be left behind
            raise
        return repository
    raise Conflict(f"{user.username}/{name} exists already. Rename the file and send it again.")


@contextmanager
def _work_folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="web-", dir=scratch()))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def job_context(job: Job, user: Any) -> dict[str, Any]:
    """What a finished fit offers next: its model, and its task when the visitor owns it and it has rows to predict."""
    if job.kind != Job.Kind.FIT or not isinstance(job.result, dict):
        return {}
    visible = Repository.objects.visible_to(user).select_related("namespace", "head")
    model = visible.named(str(job.result.get("repo", ""))).first()
    task = visible.named(job.spec["task"].partition("@")[0]).first()
    unlabelled = 0
    if task is not None and task.head is not None and task.private:
        unlabelled = parse_task(repos.read_file(task.head, "task.json", limit=_MAX_JSON)).unlabelled
    return {"model": model, "own_task": task if task and task.private else None, "unlabelled": unlabelled}
