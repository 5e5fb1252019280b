"""A part of the rows that stands for all of them, where work grows with their cube."""

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
