"""What a task predicts, found from the target column: classes, sets of labels, or a number."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from priors.errors import BadTask
from priors.tasks.columns import as_numbers, as_text
from priors.tasks.readers import LIST_SEPARATOR, RawTable, list_rows
from priors.tasks.spec import MAX_CLASSES, METRICS, Kind, Metric

MAX_INTEGER_CLASSES = 20  # whole numbers with more distinct values than this are amounts, not class ids


@dataclass(frozen=True)
class Target:
    """The target column read: its kind, its labels in order, its values, and which rows have none.

    values    string labels or float64 numbers, one a labelled row; sets of labels joined by `|`
    labelled  bool, one a row of the table
    """

    kind: Kind
    labels: tuple[str, ...]
    metric: Metric
    values: pa.Array
    labelled: np.ndarray


def read_target(
    raw: RawTable,
    name: str,
    *,
    kind: Kind | None = None,
    metric: Metric | None = None,
    separator: str | None = None,
) -> Target:
    """Reads column `name` as the target. Raises BadTask when nothing, one class, or a class of one row is left.

    separator  what stands between the labels of a cell, where there may be several (kind="multilabel"); otherwise the
               first of | ; , that some cell holds
    """
    column = raw.table.column(name)
    if column.type == pa.string():
        column = pc.utf8_trim_whitespace(column)  # 'spam ' and 'spam' are one class; nobody means two
    labelled = np.asarray(column.is_valid().to_numpy())
    if not labelled.any():
        raise BadTask(
            f"{raw.source}: every cell of the target '{name}' is empty. Label some rows, or choose another column."
        )
    column = column.filter(pa.array(labelled))
    found = kind or ("multilabel" if name in raw.lists or separator is not None else _kind(column))
    if found == "multilabel":
        return _sets(raw, name, as_text(column).to_pylist(), labelled, metric, separator)
    if found == "regression":
        return Target(found, (), _metric(metric, found), _numbers(raw, name, column, labelled), labelled)
    values = as_text(column).combine_chunks()
    labels = _ordered(set(values.to_pylist()))
    _require_classes(raw, name, labels, values, labelled, found)
    if kind is None:
        found = "binary" if len(labels) == 2 else "multiclass"
    return Target(found, labels, _metric(metric, found), values, labelled)


def split_labels(cell: str, separator: str = LIST_SEPARATOR) -> list[str]:
    """The labels in a cell; a separator alone says that there are none."""
    return [label.strip() for label in cell.split(separator) if label.strip()]


def _sets(
    raw: RawTable, name: str, cells: list[str], labelled: np.ndarray, metric: Metric | None, separator: str | None
) -> Target:
    """Several labels a row. The values are rewritten with one separator and the labels in order."""
    if separator is None:
        separator = next((mark for mark in "|;," if any(mark in cell for cell in cells)), LIST_SEPARATOR)
    sets = [set(split_labels(cell, separator)) for cell in cells]
    labels = _ordered(set().union(*sets))
    if len(labels) < 2 or len(labels) > MAX_CLASSES:
        raise BadTask(
            f"{raw.source}: the target '{name}' has {len(labels):,} distinct labels; a cell with several is read with "
            f"separator {separator!r}. Give 2 to {MAX_CLASSES:,} labels, or another separator."
        )
    for label in labels:
        count = sum(label in one for one in sets)
        if LIST_SEPARATOR in label or not 2 <= count <= len(sets) - 2:
            what = f"a '{LIST_SEPARATOR}' in it" if LIST_SEPARATOR in label else f"{count} of {len(sets)} rows"
            raise BadTask(
                f"{raw.source}: label '{label}' of the target '{name}' has {what}. A label needs two rows that have "
                "it and two that do not: add rows, or take it out."
            )
    values = [LIST_SEPARATOR.join(label for label in labels if label in one) or LIST_SEPARATOR for one in sets]
    return Target("multilabel", labels, _metric(metric, "multilabel"), pa.array(values, pa.string()), labelled)


def _kind(column: pa.ChunkedArray) -> Kind:
    numbers = as_numbers(column)
    if numbers is None:
        return "multiclass"
    finite = numbers[np.isfinite(numbers)]
    whole = bool(np.all(finite == np.floor(finite)))
    return "multiclass" if whole and len(np.unique(finite)) <= MAX_INTEGER_CLASSES else "regression"


def _numbers(raw: RawTable, name: str, column: pa.ChunkedArray, labelled: np.ndarray) -> pa.Array:
    numbers = as_numbers(column)
    if numbers is None:
        raise BadTask(
            f"{raw.source}: the target '{name}' is not numeric. Use kind='multiclass', or choose another column."
        )
    bad = np.flatnonzero(labelled)[~np.isfinite(numbers)]
    if bad.size:
        raise BadTask(
            f"{raw.source}: the target '{name}' is NaN or infinite in {list_rows(bad)}. Correct or empty the cells."
        )
    if len(np.unique(numbers)) < 2:
        raise BadTask(f"{raw.source}: the target '{name}' is {numbers[0]:g} in every row. Add rows with other values.")
    return pa.array(numbers)


def _require_classes(
    raw: RawTable, name: str, labels: tuple[str, ...], values: pa.Array, labelled: np.ndarray, kind: Kind
) -> None:
    if len(labels) > MAX_CLASSES:
        raise BadTask(
            f"{raw.source}: the target '{name}' has {len(labels):,} distinct values; a classification may have "
            f"{MAX_CLASSES:,}. Choose another column, or kind='regression' if it holds amounts."
        )
    if len(labels) == 1:
        raise BadTask(f"{raw.source}: every row of the target '{name}' is '{labels[0]}'. Add rows of a second class.")
    if kind == "binary" and len(labels) != 2:
        raise BadTask(
            f"{raw.source}: kind='binary' but the target '{name}' has {len(labels)} classes. Use kind='multiclass'."
        )
    text = np.array(values.to_pylist(), dtype=object)
    found, counts = np.unique(text, return_counts=True)
    single = found[counts == 1]
    if single.size:
        row = np.flatnonzero(labelled)[text == single[0]]
        more = f" (and {single.size - 1:,} more classes)" if single.size > 1 else ""
        raise BadTask(
            f"{raw.source}: class '{single[0]}' of the target '{name}' has one row, {list_rows(row)}{more}. A class "
            "needs at least two: add rows, merge the class into another, or empty its cell."
        )


def _metric(metric: Metric | None, kind: Kind) -> Metric:
    if metric is not None and metric not in METRICS[kind]:
        raise BadTask(f"metric='{metric}' does not fit a {kind} target. Use {' or '.join(METRICS[kind])}.")
    return metric or METRICS[kind][0]


def _ordered(labels: set[str]) -> tuple[str, ...]:
    """Alphabetical, except that whole numbers go by value: 2 before 10."""
    if all(label.lstrip("+-").isdecimal() for label in labels):
        return tuple(sorted(labels, key=lambda label: (int(label), label)))
    return tuple(sorted(labels))
