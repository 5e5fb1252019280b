"""Parts of the rows: one that stands for all of them, where work grows with their cube, and folds to judge by."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from composer.rank.probe import Targets


def sample(targets: Targets, most: int, seed: int = 0) -> NDArray[np.int64]:
    """All rows, or `most` of them chosen at random with every class kept in proportion; ascending."""
    n = len(targets)
    if n <= most:
        return np.arange(n)
    shuffled = np.random.default_rng(seed).permutation(n)
    if targets.labels is None:
        return np.sort(shuffled[:most])
    labels = targets.labels[shuffled]
    # A row's rank within its class, as a part of the class: taking the smallest keeps the proportions.
    rank = np.empty(n)
    for label in np.unique(labels):
        at = np.flatnonzero(labels == label)
        rank[at] = (np.arange(len(at)) + 0.5) / len(at)
    return np.sort(shuffled[np.argsort(rank, kind="stable")[:most]])


def folds(targets: Targets, count: int, seed: int) -> NDArray[np.int64]:
    """(n,) fold of each row, `count` or one a group where these are fewer; groups stay whole, classes spread evenly."""
    groups = np.arange(len(targets)) if targets.groups is None else targets.groups
    names, first, numbers = np.unique(groups, return_index=True, return_inverse=True)
    order = np.random.default_rng(seed).permutation(len(names))
    if targets.labels is not None:  # a group counts as the class of its first row
        order = order[np.argsort(targets.labels[first][order], kind="stable")]
    found = np.empty(len(names), dtype=np.int64)
    found[order] = np.arange(len(names)) % count
    return np.asarray(found[numbers])
