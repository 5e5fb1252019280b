"""What makes the scores of a task worth less than they seem: columns that give the target away, copies of rows, columns
that say nothing. Found before anything is computed; each is a sentence that names the column and what to do.

A perfect column may be honest, so nothing is refused for it: whether it is known when predicting, only its owner knows.
Time and memory are bounded: columns are looked at on ROWS rows, copies among all.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from math import lgamma, log
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from priors.tasks.columns import as_numbers
from priors.tasks.directory import file_sha256

if TYPE_CHECKING:
    from priors.tasks import Task

Codes = NDArray[np.int64]

ROWS = 5_000
COLUMNS = 2_000
"""Rows, chosen at random, and first columns that are looked at for what gives the target away."""

CHANCE = 1e-4
"""Columns that tell the classes apart are told of where chance would make any of them do so more rarely than this."""

EQUAL = 1 - 1e-9
"""Correlation from which two columns of numbers are the same but for their units."""

COPIES = 0.01
"""Part of the labelled rows that may be copies of others without a word."""

SHOWN = 5
"""Columns named in one sentence."""

_NUMBERED = re.compile(r"(\D*?)[-_ #:]*(\d{1,18})")
"""An id: a name and a number behind it, `cat-0017`."""


def suspicions(task: Task) -> list[str]:
    """Sentences about the rows of `task`, of all splits; those it learns from are those of "train" where there are."""
    train = np.asarray(task.splits["train"], dtype=np.int64) if "train" in task.splits else np.arange(len(task))
    keys = _row_keys(task)
    found = [*_across(task, keys), *_within(task, keys, train), *_dull(task, train)]
    some = train
    if len(train) > ROWS:
        some = np.sort(np.random.default_rng(0).choice(train, ROWS, replace=False))
    return [*found, *_giveaways(task.subset(some))]


# ---- copies


def _row_keys(task: Task) -> NDArray[np.uint64]:
    """(n,) a number a row, equal for rows whose inputs are equal; letters' case and spaces do not count."""
    keys = np.zeros(len(task), dtype=np.uint64)
    for column in task.inputs:
        keys = (keys ^ _codes(task.values(column.name), column.modality)) * _PRIME
        keys ^= keys >> np.uint64(29)  # the product moves bits up alone
    return keys


_PRIME = np.uint64(0x9E3779B97F4A7C15)
"""2^64 by the golden ratio, odd: its multiples spread over all numbers (Knuth, The Art of Computer Programming 6.4)."""


def _codes(values: Any, modality: str) -> NDArray[np.uint64]:
    """(n,) a number a cell, equal for equal ones."""
    if modality == "num":
        numbers = np.asarray(values, np.float64) + 0.0  # no -0
        return np.where(np.isnan(numbers), np.nan, numbers).view(np.uint64)
    key: Callable[[Any], object] = _plain
    if modality == "series":
        key = _series_key
    elif modality in ("image", "audio"):
        key = _file_keys(values)
    known: dict[object, int] = {}
    return np.array([known.setdefault(key(value), len(known)) for value in values], dtype=np.uint64)


def _plain(value: Any) -> str:
    return " ".join(str(value).lower().split())


def _series_key(value: Any) -> object:
    return None if value is None else (value.shape, value.tobytes())


def _file_keys(values: Sequence[Path | None]) -> Callable[[Path | None], object]:
    """Files of one length are read; one that is alone in its length is no copy."""
    sizes: dict[Path, int] = {}
    for path in values:
        if path is not None and path not in sizes:
            try:
                sizes[path] = path.stat().st_size
            except OSError:  # whoever reads it will say so
                sizes[path] = -1
    counts: dict[int, int] = {}
    for size in sizes.values():
        counts[size] = counts.get(size, 0) + 1

    def key(path: Path | None) -> object:
        if path is None:
            return None
        return path if counts[sizes[path]] == 1 or sizes[path] < 0 else file_sha256(path)

    return key


def _across(task: Task, keys: NDArray[np.uint64]) -> Iterator[str]:
    """Rows of the test that may be learned from."""
    if not {"train", "test"} <= task.splits.keys():
        return
    train, test = (np.asarray(task.splits[name], dtype=np.int64) for name in ("train", "test"))
    copies = int(np.isin(keys[test], keys[train]).sum())
    if copies:
        yield (
            f"{copies:,} of {len(test):,} rows of the split 'test' are copies of rows of 'train': scores on it are too "
            "good. Drop them from one of the two."
        )
    if task.groups is not None:
        both = np.intersect1d(task.groups[train], task.groups[test])
        if len(both):
            yield (
                f"{task.group!r} {both[0].removeprefix('= ')!r} and {len(both) - 1:,} others have rows in 'train' and "
                "in 'test': scores on 'test' are too good. Split by group."
            )


def _within(task: Task, keys: NDArray[np.uint64], train: Codes) -> Iterator[str]:
    """Copies among the rows to learn from, which leaving one out does not leave out."""
    own = np.unique(keys[train], return_inverse=True)[1]
    groups = task.groups
    pairs = own if groups is None else np.unique([own, np.unique(groups[train], return_inverse=True)[1]], axis=1)[0]
    _, counts = np.unique(pairs, return_counts=True)
    copies = int((counts - 1).sum())
    if copies < 2 or copies <= COPIES * len(train):
        return
    order = np.argsort(own, kind="stable")
    y = np.asarray(task.y)[train][order].reshape(len(train), -1)
    same = own[order][1:] == own[order][:-1]
    torn = int((same & (y[1:] != y[:-1]).any(axis=1)).sum())
    also = f" {torn:,} of them have another {task.target!r} than their copy." if torn else ""
    yield (
        f"{copies:,} of {len(train):,} labelled rows are copies of others, which stay when one is left out: expected "
        f"scores are too good.{also} Drop them, or name a group column that they share."
    )


# ---- columns


def _dull(task: Task, train: Codes) -> Iterator[str]:
    """Columns without a value, or with one."""
    empty: list[str] = []
    single: list[str] = []
    for column in task.columns[:COLUMNS]:
        if column.modality == "ignored":
            numbers = as_numbers(task.rows.column(column.name).take(train))
            if numbers is not None and len(numbers) and np.isnan(numbers).all():
                empty.append(column.name)
        elif column.modality == "num" and len(train) > 1:
            cells = np.asarray(task.values(column.name), np.float64)[train]
            known = np.isfinite(cells)
            if not known.any():
                empty.append(column.name)
            elif known.all() and np.ptp(cells) == 0:
                single.append(column.name)
        elif column.modality in ("text", "category") and len(train) > 1:
            texts = task.values(column.name)
            first = texts[train[0]]
            if all(texts[row] == first for row in train):
                single.append(column.name)
    if empty:
        yield f"{_named(empty)} empty in every labelled row: nothing can be learned from {_them(empty)}."
    if single:
        yield f"{_named(single)} the same in every labelled row: nothing can be learned from {_them(single)}."


def _giveaways(task: Task) -> Iterator[str]:
    """Columns that tell the target by themselves, by order or by value."""
    inputs = task.inputs[:COLUMNS]
    if task.kind == "regression":
        equal = [c.name for c in inputs if c.modality == "num" and _same(np.asarray(task.values(c.name)), task.y)]
        if equal:
            yield _leak(equal, f"{task.target!r} itself, but for its unit")
        return
    if task.kind == "multilabel":
        return
    y = np.asarray(task.y)
    rare = log(CHANCE) - log(max(len(inputs), 1))
    if _by_chance(np.bincount(y, minlength=len(task.labels))) > rare:
        return  # so few rows that many a column would
    ordered: list[str] = []
    valued: list[str] = []
    said: list[str] = []
    for column in inputs:
        values = task.values(column.name)
        if column.modality == "num":
            if _sorts(np.asarray(values, np.float64), y):
                ordered.append(column.name)
        elif column.modality in ("text", "category"):
            texts = [_plain(value) for value in values]
            if _decides(texts, y):
                valued.append(column.name)
            elif (numbers := _numbered(texts)) is not None and (_sorts(numbers[1], y) or _decides(numbers[0], y)):
                ordered.append(column.name)
            elif _says(texts, task, y):
                said.append(column.name)
    if ordered:
        yield _leak(ordered, f"enough to tell {task.target!r} of every row: its values lie class by class")
    if valued:
        yield _leak(valued, f"enough to tell {task.target!r} of every row: each of its values has one class")
    if said:
        yield _leak(said, f"where the name of each row's own {task.target!r} stands, and hardly another")


def _by_chance(counts: Codes) -> float:
    """ln of how probable it is that rows in random order lie class by class."""
    present = counts[counts > 0]
    ways = lgamma(len(present) + 1) + sum(lgamma(count + 1) for count in present)
    return ways - lgamma(int(present.sum()) + 1)


def _sorts(values: NDArray[np.float64], y: Codes) -> bool:
    """Whether rows in order of `values` lie class by class, equal values in one class."""
    if not np.isfinite(values).all() or np.ptp(values) == 0:
        return False
    order = np.argsort(values, kind="stable")
    classes, along = y[order], values[order]
    changes = classes[1:] != classes[:-1]
    if (changes & (along[1:] == along[:-1])).any():
        return False
    return int(changes.sum()) == len(np.unique(y)) - 1


def _decides(texts: Sequence[str], y: Codes) -> bool:
    """Whether every text has one class, and texts repeat: each three times in the mean."""
    found = dict(zip(texts, y.tolist(), strict=True))
    return 3 * len(found) <= len(texts) and all(found[text] == label for text, label in zip(texts, y, strict=True))


def _numbered(texts: Sequence[str]) -> tuple[list[str], NDArray[np.float64]] | None:
    """The names and numbers of ids; None where not all are ids."""
    matches = [_NUMBERED.fullmatch(text) for text in texts]
    found = [match for match in matches if match]
    if len(found) < len(texts):
        return None
    return [match[1] for match in found], np.array([float(match[2]) for match in found])


def _says(texts: Sequence[str], task: Task, y: Codes) -> bool:
    """Whether each text names its own class and one in twenty at most another."""
    labels = [_plain(label) for label in task.labels]
    if len(labels) > 100 or any(len(label) < 3 for label in labels):
        return False
    patterns = [re.compile(rf"(?<!\w){re.escape(label)}(?!\w)") for label in labels]
    other = 0
    for text, label in zip(texts, y, strict=True):
        if not patterns[label].search(text):
            return False
        other += any(pattern.search(text) for i, pattern in enumerate(patterns) if i != label)
    return other * 20 <= len(texts)


def _same(values: NDArray[np.float64], y: NDArray[np.float64]) -> bool:
    known = np.isfinite(values)
    if known.sum() < 4 or np.ptp(values[known]) == 0 or np.ptp(y[known]) == 0:
        return False
    return bool(abs(np.corrcoef(values[known], y[known])[0, 1]) > EQUAL and known.mean() > 0.5)


def _leak(names: Sequence[str], what: str) -> str:
    listed = f"column {names[0]!r} is" if len(names) == 1 else f"{_named(names).removesuffix(' are')} are each"
    return f"{listed} {what}. If {_them(names)} will not be known when predicting, leave {_them(names)} out (ignore)."


def _named(names: Sequence[str]) -> str:
    if len(names) == 1:
        return f"column {names[0]!r} is"
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"columns {', '.join(map(repr, names[:SHOWN]))}{more} are"


def _them(names: Iterable[str]) -> str:
    return "it" if len(list(names)) == 1 else "them"
