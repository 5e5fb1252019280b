"""Stratified draws of a few labelled rows, with the rest as the test, and no group on both sides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from priors.errors import BadTask


@dataclass(frozen=True)
class Draw:
    """Row numbers, ascending int64: what may be learned from and what judges it. Disjoint; no group is in both."""

    train: np.ndarray
    test: np.ndarray


def draw_rows(
    classes: np.ndarray,
    labels: Sequence[str],
    *,
    labels_per_class: int,
    seed: int,
    groups: np.ndarray | None = None,
    test_rows: int | None = None,
    pool: np.ndarray | None = None,
    test_pool: np.ndarray | None = None,
) -> Draw:
    """Exactly `labels_per_class` rows of every class to learn from; untouched rows (at most `test_rows`) as the test.

    classes    (n,) int64 class ids in 0..len(labels)-1
    groups     (n,) group ids; None makes every row its own group
    pool       rows that may be drawn from (None: all); test_pool: rows that may judge (None: all)

    Groups are shuffled and their rows taken in that order until each class is full, so with one seed a draw of 4 is
    part of the draw of 16. The remaining rows of a group that was used at all stay out of the test. Raises BadTask when
    a class has too few rows or nothing is left to judge with.
    """
    if labels_per_class < 1:
        raise BadTask(f"labels_per_class is {labels_per_class}. Draw at least 1 row a class.")
    rng = np.random.default_rng(seed)
    order = _shuffled_by_group(groups, len(classes), rng)
    eligible = np.ones(len(classes), dtype=bool) if pool is None else np.isin(np.arange(len(classes)), pool)
    order = order[eligible[order]]
    taken = []
    for number, label in enumerate(labels):
        of_class = order[classes[order] == number]
        if len(of_class) < labels_per_class:
            raise BadTask(
                f"class '{label}' has {len(of_class)} rows to draw from, fewer than the {labels_per_class} asked for. "
                f"Draw at most {len(of_class)}, or add rows."
            )
        taken.append(of_class[:labels_per_class])
    train = np.sort(np.concatenate(taken))
    used = np.zeros(len(classes), dtype=bool)
    used[train] = True
    if groups is not None:
        used = np.isin(groups, groups[train])
    rest = np.flatnonzero(~used)
    if test_pool is not None:
        rest = rest[np.isin(rest, test_pool)]
    if not rest.size:
        raise BadTask(f"a draw of {labels_per_class} rows a class leaves no row for the test. Draw fewer, or add rows.")
    if test_rows is not None and rest.size > test_rows:
        rest = np.sort(rng.choice(rest, size=test_rows, replace=False))
    return Draw(train=train, test=rest)


def quantile_bins(values: np.ndarray, bins: int) -> np.ndarray:
    """(n,) int64 bin of each number, `bins` bins of equal count: how a numeric target is stratified."""
    ranks = np.empty(len(values), dtype=np.int64)
    ranks[np.argsort(values, kind="stable")] = np.arange(len(values))
    return ranks * bins // len(values)


def rarest_labels(sets: np.ndarray) -> np.ndarray:
    """(n,) the rarest label of each row of (n, K) 0 or 1, by which rows of several labels are stratified.

    A row without a label counts for the commonest, which can spare it.
    """
    counts = sets.sum(axis=0)
    rarity = np.where(sets > 0, counts, len(sets) + 1)
    return np.asarray(np.where(sets.any(axis=1), rarity.argmin(axis=1), counts.argmax()), dtype=np.int64)


def _shuffled_by_group(groups: np.ndarray | None, rows: int, rng: np.random.Generator) -> np.ndarray:
    """All row numbers: groups in random order, rows of one group together in their own order."""
    if groups is None:
        return rng.permutation(rows)
    names, ids = np.unique(groups, return_inverse=True)
    place = rng.permutation(len(names))
    return np.argsort(place[ids], kind="stable")
