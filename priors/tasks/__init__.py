"""Tasks: labelled rows, a target, a metric and splits that are honest about groups.

    task = Task.from_csv("train.csv", target="label")
    draw = task.draw(labels_per_class=16, seed=0)

Modules
    task.py      Task itself, reading and saving
    readers.py   files -> RawTable (CSV, JSONL, Parquet, folders of images or audio)
    columns.py   what each column is, found from its content; the same columns read again for prediction
    targets.py   what is predicted: classes or numbers
    media.py     paths to images and audio files: which are allowed, and whether they can be read
    draws.py     stratified draws that keep groups together
    held_out.py  rows kept apart from a task, and whether they stand somewhere else
    spec.py      task.json, without pyarrow (the web process reads it)
    starter.py   five real tasks out of the data packages

Names load on first use: `priors.tasks.spec` alone imports neither pyarrow nor numpy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from priors.tasks.columns import conform as conform
    from priors.tasks.draws import Draw as Draw
    from priors.tasks.readers import RawTable as RawTable
    from priors.tasks.readers import read_table as read_table
    from priors.tasks.spec import Column as Column
    from priors.tasks.spec import TaskSpec as TaskSpec
    from priors.tasks.spec import parse_task as parse_task
    from priors.tasks.starter import starter_task as starter_task
    from priors.tasks.task import Task as Task

_HOME = {
    "Column": "spec",
    "Draw": "draws",
    "RawTable": "readers",
    "Task": "task",
    "TaskSpec": "spec",
    "conform": "columns",
    "parse_task": "spec",
    "read_table": "readers",
    "starter_task": "starter",
}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
