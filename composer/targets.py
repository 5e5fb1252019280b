"""What the labelled rows of a task teach, as targets of a least-squares problem."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from composer.rank.probe import PENALTY_SPREAD, Targets
from priors.errors import BadTask
from priors.tasks import Task

TEXT_SPREAD = 1.0
"""PENALTY_SPREAD where a text is among what is read: penalties from 0.5 to 2.5 were within half a point of the best on
four text tasks at 16 and 64 labels a class, and a spread of 2 loses 0.1 points on sms, 0.3 on movie and topics."""


def to_learn_from(task: Task) -> Task:
    """The labelled rows that may be learned from: those of the split "train" where the data came with one."""
    return task.subset(task.splits["train"]) if "train" in task.splits else task


def read_targets(task: Task) -> Targets:
    """The targets of all rows. Raises BadTask for rows that leave-one-out cannot judge."""
    if task.groups is not None and len(set(task.groups)) == 1:
        raise BadTask(f"every row of {task.name} has one value of {task.group!r}. Group by another column, or by none.")
    if task.kind == "regression":
        if len(task) < 4:
            raise BadTask(f"{task.name} has {len(task)} labelled rows. Give at least 4 for a number to predict.")
    elif task.kind == "multilabel":
        for label, count in zip(task.labels, task.y.sum(axis=0), strict=True):
            if not 1 < count < len(task) - 1:
                raise BadTask(
                    f"label {label!r} of {task.name} stands on {count} of {len(task)} labelled rows. A label needs two "
                    "rows that have it and two that do not."
                )
    else:
        for label, count in zip(task.labels, np.bincount(task.y, minlength=len(task.labels)), strict=True):
            if count < 2:
                rows = "no labelled row" if count == 0 else "one labelled row"
                raise BadTask(
                    f"class {label!r} of {task.name} has {rows}. Label at least 2 of it, or leave the class out."
                )
    return targets_of(task, np.arange(len(task)))


def targets_of(task: Task, rows: NDArray[np.int64]) -> Targets:
    """The targets of some rows (n,), whatever they are."""
    y = task.y[rows]
    if task.kind == "regression":
        found = Targets.of_values(y.astype(np.float64))
    elif task.kind == "multilabel":
        found = Targets.of_sets(y, ranked=task.metric == "map")
    else:
        found = Targets.of_classes(y.astype(np.int64), len(task.labels))
    groups = None if task.groups is None else task.groups[rows]
    return replace(found, penalty_spread=penalty_spread(task.modalities)).grouped(groups)


def penalty_spread(modalities: Collection[str]) -> float:
    """How far the best penalty of a head may lie from 1, by what its rows are made of."""
    return TEXT_SPREAD if "text" in modalities else PENALTY_SPREAD
