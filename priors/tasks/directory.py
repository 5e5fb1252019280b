"""A task on disk: task.json, data.parquet, unlabelled.parquet when there are such rows, media/<sha256>.<ext>."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from priors.errors import BadTask
from priors.tasks.media import locate
from priors.tasks.readers import RawTable, read_table
from priors.tasks.spec import TaskSpec, parse_task

if TYPE_CHECKING:
    from priors.tasks.task import Task

SPEC_FILE = "task.json"
UNLABELLED_FILE = "unlabelled.parquet"


def read(root: Path) -> tuple[TaskSpec, RawTable, RawTable | None]:
    """The description and the tables of a task directory, not yet typed. Raises BadTask or BadTable."""
    path = root / SPEC_FILE
    if not path.is_file():
        raise BadTask(f"{root} holds no {SPEC_FILE}. Give a folder that Task.save wrote, or read a table instead.")
    spec = parse_task(path.read_bytes())
    raw = read_table(root / spec.data, base=root)
    unlabelled = read_table(root / UNLABELLED_FILE, base=root) if spec.unlabelled else None
    for name, found, said in ((spec.data, raw, spec.rows), (UNLABELLED_FILE, unlabelled, spec.unlabelled)):
        if found is not None and found.table.num_rows != said:
            raise BadTask(f"{name} has {found.table.num_rows} rows, {SPEC_FILE} says {said}. Save the task again.")
    return spec, raw, unlabelled


def write(task: Task, root: Path, *, portable: bool) -> Path:
    """Writes beside `root` and renames, so a reader sees the old task or the new one, never half of one."""
    if root.exists() and not (root / SPEC_FILE).is_file() and (not root.is_dir() or any(root.iterdir())):
        raise BadTask(f"{root} exists and is no task. Give an empty or a new folder.")
    root.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=f".{root.name}.", dir=root.parent))
    try:
        pq.write_table(_with_media(task, task.rows, fresh, portable=portable), fresh / "data.parquet")
        if task.unlabelled.num_rows:
            pq.write_table(_with_media(task, task.unlabelled, fresh, portable=portable), fresh / UNLABELLED_FILE)
        (fresh / SPEC_FILE).write_text(task.spec.to_json(), encoding="utf-8")
        fresh.chmod(0o755)  # mkdtemp makes it private; what is saved is as readable as any other folder
        if root.exists():
            old = Path(tempfile.mkdtemp(prefix=f".{root.name}.old.", dir=root.parent))
            root.replace(old)  # renaming onto the empty folder mkdtemp made
            fresh.replace(root)
            shutil.rmtree(old)
        else:
            fresh.replace(root)
    except BaseException:
        shutil.rmtree(fresh, ignore_errors=True)
        raise
    return root


def file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _with_media(task: Task, table: pa.Table, root: Path, *, portable: bool) -> pa.Table:
    """The table with every media path replaced by the path of its copy under `root`."""
    for column in task.inputs:
        if column.modality not in ("image", "audio"):
            continue
        copied: list[str | None] = []
        for row, value in enumerate(table.column(column.name).to_pylist(), start=1):
            if value is None:
                copied.append(None)
                continue
            path, problem = locate(value, task.base, local=task.local and not portable)
            if problem:
                raise BadTask(
                    f"{task.name}: column '{column.name}' row {row} '{value[:80]}' {problem}. Correct the path."
                )
            name = f"media/{file_sha256(path)}{path.suffix.lower()}"
            if not (root / name).exists():
                (root / "media").mkdir(exist_ok=True)
                shutil.copyfile(path, root / name)
            copied.append(name)
        place = table.column_names.index(column.name)
        table = table.set_column(place, column.name, pa.array(copied, pa.string()))
    return table
