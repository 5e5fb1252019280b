"""Leave-one-out scores of ridge classifiers and regressors from Gram matrices.

A block of features F (n, d), centred on the labelled rows, enters only through its Gram matrix K = F Fᵀ (n, n), so a
score costs one symmetric eigendecomposition of n rows whatever d is, and a weighted set of blocks is the weighted sum
of their Gram matrices. The leave-one-out predictions are exact (PRESS: Allen 1974, "The relationship between variable
selection and data augmentation and a method for prediction"; the mean of the targets is refitted too, through the 1/n
in the leverage).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

PENALTIES: Array = np.logspace(-2.0, 1.0, 7)
"""Ridge penalties tried, as multiples of the mean diagonal of K."""

PENALTY_SPREAD = 1.0
"""How far, in ln(penalty), the best penalty of a task usually lies from 1: the spread of a log-normal prior. Measured
on four text tasks at 16 and 64 labels a class: penalties from 0.5 to 2.5 are all within half a point of the best."""

TEMPER = 4.0
"""Leave-one-out losses of different models on the same rows are correlated, so evidence is tempered: the posterior is
flatter than a product of likelihoods. Measured: 2 to 8 give equal results within noise; 0 (the minimum alone) is
worse."""

SHARPNESS: Array = np.exp(np.linspace(0.0, 4.0, 9))
"""Inverse temperatures tried when least-squares scores are read as probabilities."""

MAX_LEVERAGE = 1.0 - 1e-9
"""A row that alone decides its own prediction has leverage 1; its leave-one-out prediction would divide by zero."""


@dataclass(frozen=True)
class Targets:
    """What is to be predicted, as columns of a least-squares problem.

    matrix  (n, C) one-hot rows, or (n, 1) standardised values
    labels  (n,) class numbers, or None for a regression
    mean, spread  what a regression's values were standardised by
    groups  (n,) group number of each row, or None: rows of a group are left out together, as they will not be known
            together either (the sentences of one conversation, the recordings of one person)
    """

    matrix: Array
    labels: NDArray[np.int64] | None
    mean: float = 0.0
    spread: float = 1.0
    groups: NDArray[np.int64] | None = None

    @classmethod
    def of_classes(cls, labels: NDArray[np.int64], classes: int) -> Targets:
        """Targets of a classification with `classes` classes; labels (n,) in 0..classes-1."""
        return cls(np.eye(classes)[labels], labels)

    @classmethod
    def of_values(cls, values: Array) -> Targets:
        """Targets of a regression: values (n,), standardised here so that losses are parts of the variance."""
        spread = float(values.std()) or 1.0
        mean = float(values.mean())
        return cls(((values - mean) / spread)[:, None], None, mean, spread)

    def __len__(self) -> int:
        return len(self.matrix)

    def take(self, rows: NDArray[np.int64]) -> Targets:
        """The targets of some rows."""
        labels = None if self.labels is None else self.labels[rows]
        groups = None if self.groups is None else self.groups[rows]
        return Targets(self.matrix[rows], labels, self.mean, self.spread, groups)

    def grouped(self, groups: NDArray[np.generic] | None) -> Targets:
        """The same targets with groups (n,) of any kind of value, or None."""
        numbers = None if groups is None else np.unique(groups, return_inverse=True)[1].astype(np.int64)
        return replace(self, groups=numbers)


@dataclass(frozen=True)
class Probe:
    """How well one Gram matrix predicts the targets, each row from all the others.

    penalty    the ridge penalty chosen, in units of K's mean diagonal
    sharpness  what the scores are multiplied by before the softmax (1 for a regression)
    scores     (n, C) leave-one-out predictions at that penalty
    losses     (n,) log loss in nats, or squared error in parts of the variance, of each left-out row
    hits       (n,) 1 where the left-out row is classified rightly; 1 - squared error for a regression
    """

    penalty: float
    sharpness: float
    scores: Array
    losses: Array
    hits: Array

    @property
    def loss(self) -> float:
        """Mean leave-one-out loss: what sets are compared by (smooth, where accuracy jumps by whole rows)."""
        return float(self.losses.mean())

    @property
    def score(self) -> float:
        """Leave-one-out accuracy, or R² for a regression."""
        return float(self.hits.mean())


def gram(features: NDArray[np.floating]) -> Array:
    """K = F Fᵀ / mean diagonal of features (n, d), in float64; all zeros when every row is the same."""
    block = np.asarray(features, dtype=np.float64)
    kernel = block @ block.T
    size = float(np.trace(kernel)) / max(len(kernel), 1)
    return kernel / size if size > 0 else kernel


def press(kernel: Array, targets: Array, penalties: Array, groups: NDArray[np.int64] | None = None) -> Array:
    """Exact leave-one-out predictions of ridge regression with an intercept, for every penalty at once.

    kernel     (n, n) Gram matrix of centred features
    targets    (n, C)
    penalties  (P,) absolute, > 0
    groups     (n,) group numbers: whole groups are left out instead of rows
    return     (P, n, C)

    One eigendecomposition, O(n³), then O(n² C) a penalty. With H the matrix that maps targets to fitted values,
    leaving out the rows G changes their residuals r to (I - H_GG)^-1 r (Cook & Weisberg 1982, "Residuals and
    influence", section 3.6).
    """
    n = len(kernel)
    values, vectors = np.linalg.eigh(kernel)
    values = np.maximum(values, 0.0)
    mean = targets.mean(axis=0)
    centred = targets - mean
    rotated = vectors.T @ centred  # (n, C)
    shrink = values[None, :] / (values[None, :] + penalties[:, None])  # (P, n)
    residuals = centred - np.einsum("ij,pj,jc->pic", vectors, shrink, rotated, optimize=True)  # (P, n, C)
    leverage = np.minimum((vectors * vectors) @ shrink.T + 1.0 / n, MAX_LEVERAGE).T[:, :, None]  # (P, n, 1)
    left_out = residuals / (1.0 - leverage)
    if groups is not None:
        for rows in _groups_by_size(groups):
            part = vectors[rows]  # (m, k, n)
            hat = np.einsum("mkj,pj,mlj->pmkl", part, shrink, part, optimize=True) + 1.0 / n  # (P, m, k, k)
            system = np.eye(rows.shape[1]) * (2.0 - MAX_LEVERAGE) - hat  # never singular, as MAX_LEVERAGE for one row
            left_out[:, rows] = np.linalg.solve(system, residuals[:, rows])
    return np.asarray(targets - left_out)


def _groups_by_size(groups: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Row numbers (m, k) of the m groups of k rows, for each k above 1."""
    order = np.argsort(groups, kind="stable")
    starts = np.flatnonzero(np.diff(groups[order], prepend=groups[order[0]] - 1))
    parts = np.split(order, starts[1:])
    sizes = sorted({len(part) for part in parts if len(part) > 1})
    return [np.array([part for part in parts if len(part) == size]) for size in sizes]


def probe(kernel: Array, targets: Targets, penalties: Array = PENALTIES) -> Probe:
    """The leave-one-out probe of a Gram matrix at the most probable penalty.

    With few rows the loss as a function of the penalty is flat and its minimum noise: on 32 rows the lowest loss
    chose 0.01 or 10 and lost up to 3 points. So the penalty maximises exp(-n · loss / TEMPER) times a log-normal
    prior around 1.
    """
    scale = float(np.trace(kernel)) / max(len(kernel), 1) or 1.0
    predictions = press(kernel, targets.matrix, penalties * scale, targets.groups)
    found = [_judge(scores, targets) for scores in predictions]
    means = np.array([losses.mean() for _, losses in found])
    cost = len(targets) * means / TEMPER + 0.5 * (np.log(penalties) / PENALTY_SPREAD) ** 2
    chosen = int(cost.argmin())
    sharpness, losses = found[chosen]
    scores = predictions[chosen]
    hits = 1.0 - losses if targets.labels is None else (scores.argmax(axis=1) == targets.labels).astype(np.float64)
    return Probe(float(penalties[chosen]), sharpness, scores, losses, hits)


def solve(kernel: Array, targets: Array, penalty: float) -> tuple[Array, Array]:
    """Dual ridge weights and intercept: predictions are `k @ weights + intercept` for Gram rows k (m, n).

    kernel (n, n), targets (n, C), penalty in units of K's mean diagonal; return (n, C), (C,).
    """
    scale = float(np.trace(kernel)) / max(len(kernel), 1) or 1.0
    mean = targets.mean(axis=0)
    system = kernel + penalty * scale * np.eye(len(kernel))
    return np.linalg.solve(system, targets - mean), mean


def chance(targets: Targets) -> Array:
    """(n,) leave-one-out loss of each row when only the frequencies of the classes (or the mean) are known."""
    n = len(targets)
    others = (targets.matrix.sum(axis=0) - targets.matrix) / max(n - 1, 1)  # (n, C)
    if targets.labels is None:
        return np.asarray((targets.matrix[:, 0] - others[:, 0]) ** 2)
    smoothed = (others * (n - 1) + 1.0) / (n - 1 + others.shape[1])
    return np.asarray(-np.log(smoothed[np.arange(n), targets.labels]))


def _judge(scores: Array, targets: Targets) -> tuple[float, Array]:
    """The sharpness that reads `scores` (n, C) best as probabilities, and each row's loss with it."""
    if targets.labels is None:
        return 1.0, (scores[:, 0] - targets.matrix[:, 0]) ** 2
    logits = scores[None] * SHARPNESS[:, None, None]  # (S, n, C)
    logits -= logits.max(axis=2, keepdims=True)
    right = logits[:, np.arange(len(scores)), targets.labels]
    losses = np.log(np.exp(logits).sum(axis=2)) - right  # (S, n)
    best = int(losses.mean(axis=1).argmin())
    return float(SHARPNESS[best]), losses[best]
