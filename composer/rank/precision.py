"""Mean average precision: how well scores rank the rows that have a label before those that do not."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def mean_average_precision(truth: NDArray[np.generic], scores: NDArray[np.generic]) -> float:
    """The mean over labels of average precision, for (n, K) 0 or 1 and scores; labels that no row has are left out.

    Average precision is the sum over distinct scores of the gain in recall times the precision so far, without
    interpolation, so that rows of one score count as a whole. NaN where no row has any label.
    """
    found = []
    for have, given in zip(truth.astype(np.bool_).T, scores.astype(np.float64).T, strict=True):
        if have.any():
            runs = _Runs(have, given)
            found.append(float((runs.own * runs.hits / runs.rank).sum()) / runs.own.sum())
    return float(np.mean(found)) if found else float("nan")


def precision_left_out(
    truth: NDArray[np.generic], scores: NDArray[np.generic], groups: NDArray[np.int64] | None = None
) -> Array:
    """(n,) mean average precision without each row, or (m,) without each of the m groups that rows (n,) are of; 0 where
    no label is left. O(K n log n), with groups m times that."""
    if groups is not None:
        others = [groups != group for group in np.unique(groups)]
        return np.nan_to_num([mean_average_precision(truth[kept], scores[kept]) for kept in others])
    total, labels = np.zeros(len(truth)), np.zeros(len(truth))
    for have, given in zip(truth.astype(np.bool_).T, scores.astype(np.float64).T, strict=True):
        if have.any():
            runs = _Runs(have, given)
            left = runs.own.sum() - have
            total += np.divide(runs.without(have), left, out=np.zeros(len(have)), where=left > 0)
            labels += left > 0
    return np.asarray(total / np.maximum(labels, 1))


class _Runs:
    """The rows of one label, best score first, in runs of equal scores: of each how many rows of it have the label
    (`own`), and how many rows there are, and have it, up to its end (`rank`, `hits`). `at` (n,) is a row's run."""

    def __init__(self, have: NDArray[np.bool_], scores: Array) -> None:
        order = np.argsort(-scores, kind="stable")
        ends = np.append(np.diff(scores[order]) != 0, True)
        last = np.flatnonzero(ends)
        self.rank = last + 1.0
        self.hits = np.cumsum(have[order])[last].astype(np.float64)
        self.own = np.diff(self.hits, prepend=0.0)
        self.at = np.empty(len(order), dtype=np.int64)
        self.at[order] = np.cumsum(ends) - ends

    def without(self, have: NDArray[np.bool_]) -> Array:
        """(n,) the sum of the precisions of the rows that have the label, without each row."""
        rank = np.maximum(self.rank - 1, 1)
        before = np.cumsum(self.own * self.hits / self.rank) - self.own * self.hits / self.rank
        lost = np.where(have, 1.0, 0.0)
        after = np.empty(len(have))
        for one in (0.0, 1.0):  # a row that has the label takes a hit with it, and its own precision
            each = (self.hits - one) / rank
            rest = np.cumsum((self.own * each)[::-1])[::-1] - one * each
            after[lost == one] = rest[self.at[lost == one]]
        return np.asarray(before[self.at] + after)
