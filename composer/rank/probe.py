"""Leave-one-out scores of ridge classifiers and regressors from Gram matrices.

A block of features F (n, d), centered on the labelled rows, enters only through its Gram matrix K = F Fᵀ (n, n), so a
score costs one symmetric eigendecomposition of n rows whatever d is, and a weighted set of blocks is the weighted sum
of their Gram matrices. The leave-one-out predictions are exact (PRESS: Allen 1974, "The relationship between variable
selection and data augmentation and a method for prediction"; the mean of the targets is refitted too, through the 1/n
in the leverage).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

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

NORMAL_95 = 1.96
"""Standard errors on both sides of a mean that hold 95 % of a normal distribution."""


@dataclass(frozen=True)
class Targets:
    """What is to be predicted, as columns of a least-squares problem.

    matrix  (n, C) one-hot rows, or (n, 1) standardized values
    labels  (n,) class numbers, or None for a regression
    mean, spread  what a regression's values were standardized by
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
        """Targets of a regression: values (n,), standardized here so that losses are parts of the variance."""
        spread = float(values.std()) or 1.0
        mean = float(values.mean())
        return cls(((values - mean) / spread)[:, None], None, mean, spread)

    def __len__(self) -> int:
        return len(self.matrix)

    def take(self, rows: NDArray[np.int64]) -> Targets:
        """The targets of some rows."""
        labels = None if self.labels is None else self.labels[rows]
        groups = None if self.groups is None else self.groups[rows]
        return replace(self, matrix=self.matrix[rows], labels=labels, groups=groups)

    def grouped(self, groups: NDArray[np.generic] | None) -> Targets:
        """The same targets with groups (n,) of any kind of value, or None."""
        numbers = None if groups is None else np.unique(groups, return_inverse=True)[1].astype(np.int64)
        return replace(self, groups=numbers)

    @cached_property
    def together(self) -> tuple[NDArray[np.int64], ...]:
        """Rows that are left out together, as `press` takes them; found once for the hundreds of sets of a search."""
        return () if self.groups is None else _groups_by_size(self.groups)

    def standard_error(self, values: Array) -> float:
        """The standard error of the mean of `values` (n,), one a row; infinite for fewer than two observations.

        Rows of a group are no independent observations, so deviations are summed within groups first (Liang & Zeger
        1986, "Longitudinal data analysis using generalized linear models", with the factor m / (m - 1) of m groups).
        """
        deviations = values - values.mean()
        sums = deviations if self.groups is None else np.bincount(self.groups, deviations)
        observations = len(values) if self.groups is None else len(np.unique(self.groups))
        if observations < 2:
            return float("inf")
        return float(np.sqrt(np.square(sums).sum() * observations / (observations - 1)) / len(values))


@dataclass(frozen=True)
class Probe:
    """How well one Gram matrix predicts the targets, each row from all the others.

    targets    what was predicted
    penalty    the ridge penalty chosen, in units of K's mean diagonal
    sharpness  what the scores are multiplied by before the softmax (1 for a regression)
    scores     (n, C) leave-one-out predictions at that penalty
    losses     (n,) log loss in nats, or squared error in parts of the variance, of each left-out row
    hits       (n,) 1 where the left-out row is classified rightly; 1 - squared error for a regression
    """

    targets: Targets
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

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of `score`; that of an accuracy lies in [0, 1] and is never a point."""
        score, n = self.score, len(self.hits)
        error = self.targets.standard_error(self.hits)
        if self.targets.labels is None:
            return score - NORMAL_95 * error, min(score + NORMAL_95 * error, 1.0)
        # 20 of 20 right is not certainty: two successes and two failures more, as Agresti & Coull 1998 add them.
        error = max(error, float(np.sqrt((score + 2 / n) * (1 - score + 2 / n) / (n + 4))))
        return max(score - NORMAL_95 * error, 0.0), min(score + NORMAL_95 * error, 1.0)


def gram(features: NDArray[np.floating]) -> Array:
    """K = F Fᵀ / mean diagonal for features F (n, d), centered here, in float64; zeros when all rows are the same."""
    block = np.asarray(features, dtype=np.float64)
    block = block - block.mean(axis=0)
    kernel = block @ block.T
    size = float(np.trace(kernel)) / max(len(kernel), 1)
    return np.asarray(kernel / size if size > 0 else kernel)


def press(kernel: Array, targets: Array, penalties: Array, together: Sequence[NDArray[np.int64]] = ()) -> Array:
    """Exact leave-one-out predictions of ridge regression with an intercept, for every penalty at once.

    kernel     (n, n) Gram matrix of centered features
    targets    (n, C)
    penalties  (P,) absolute, > 0
    together   row numbers (m, k) of m groups of k rows, an array for each k: these are left out as a whole
    return     (P, n, C)

    One eigendecomposition, O(n³), then O(n² C) a penalty. With H the matrix that maps targets to fitted values,
    leaving out the rows G changes their residuals r to (I - H_GG)^-1 r (Cook & Weisberg 1982, "Residuals and
    influence", section 3.6).
    """
    n = len(kernel)
    values, vectors = np.linalg.eigh(kernel)
    values = np.maximum(values, 0.0)[:, None]
    centered = targets - targets.mean(axis=0)
    shrink = values / (values + penalties)  # (n, P)
    rotated = shrink[:, :, None] * (vectors.T @ centered)[:, None, :]  # (n, P, C)
    fitted = (vectors @ rotated.reshape(n, -1)).reshape(rotated.shape)
    residuals = centered[:, None, :] - fitted  # (n, P, C)
    leverage = np.minimum((vectors * vectors) @ shrink + 1.0 / n, MAX_LEVERAGE)  # (n, P)
    left_out = residuals / (1.0 - leverage)[:, :, None]
    for rows in together:
        part = vectors[rows]  # (m, k, n)
        # A penalty at a time: all at once needs P times the memory of K and is no faster.
        hat = np.stack([(part * column) @ part.transpose(0, 2, 1) for column in shrink.T], axis=1) + 1.0 / n
        system = np.eye(rows.shape[1]) * (2.0 - MAX_LEVERAGE) - hat  # (m, P, k, k), never singular
        left_out[rows] = np.linalg.solve(system, residuals[rows].transpose(0, 2, 1, 3)).transpose(0, 2, 1, 3)
    return np.asarray((targets[:, None, :] - left_out).transpose(1, 0, 2))


def _groups_by_size(groups: NDArray[np.int64]) -> tuple[NDArray[np.int64], ...]:
    """Row numbers (m, k) of the m groups of k rows, for each k above 1."""
    order = np.argsort(groups, kind="stable")
    parts = np.split(order, np.flatnonzero(np.diff(groups[order])) + 1)
    sizes = sorted({len(part) for part in parts if len(part) > 1})
    return tuple(np.array([part for part in parts if len(part) == size]) for size in sizes)


def probe(kernel: Array, targets: Targets, penalties: Array = PENALTIES) -> Probe:
    """The leave-one-out probe of a Gram matrix at the most probable penalty.

    With few rows the loss as a function of the penalty is flat and its minimum noise: on 32 rows the lowest loss
    chose 0.01 or 10 and lost up to 3 points. So the penalty maximizes exp(-n · loss / TEMPER) times a log-normal
    prior around 1.
    """
    predictions = press(kernel, targets.matrix, penalties * _scale(kernel), targets.together)
    found = [judge(scores, targets) for scores in predictions]
    means = np.array([losses.mean() for _, losses in found])
    cost = len(targets) * means / TEMPER + 0.5 * (np.log(penalties) / PENALTY_SPREAD) ** 2
    chosen = int(cost.argmin())
    sharpness, losses = found[chosen]
    scores = predictions[chosen]
    hits = 1.0 - losses if targets.labels is None else (scores.argmax(axis=1) == targets.labels).astype(np.float64)
    return Probe(targets, float(penalties[chosen]), sharpness, scores, losses, hits)


def solve(kernel: Array, targets: Array, penalty: float) -> tuple[Array, Array]:
    """Dual ridge weights and intercept: predictions are `k @ weights + intercept` for Gram rows k (m, n).

    kernel (n, n), targets (n, C), penalty in units of K's mean diagonal; return (n, C), (C,).
    """
    mean = targets.mean(axis=0)
    system = kernel + penalty * _scale(kernel) * np.eye(len(kernel))
    return np.linalg.solve(system, targets - mean), mean


def chance(targets: Targets) -> Array:
    """(n,) loss of each row when nothing is known but the frequencies of the classes, or the mean, of all rows.

    The row itself is counted: left out, it would make guessing worse than the uniform scores of a model that learned
    nothing, which would then seem clearly better.
    """
    mean = targets.matrix.mean(axis=0)
    if targets.labels is None:
        return np.asarray((targets.matrix[:, 0] - mean[0]) ** 2)
    return np.asarray(-np.log(mean[targets.labels]))


def _scale(kernel: Array) -> float:
    """The mean diagonal of K, which penalties are multiples of; 1 where it is 0."""
    return float(np.trace(kernel)) / max(len(kernel), 1) or 1.0


def judge(scores: Array, targets: Targets) -> tuple[float, Array]:
    """The sharpness that reads `scores` (n, C) best as probabilities, and each row's loss with it."""
    if targets.labels is None:
        return 1.0, (scores[:, 0] - targets.matrix[:, 0]) ** 2
    gaps = scores - scores.max(axis=1, keepdims=True)  # (n, C)
    # Classes first: numpy sums a short last axis ten times slower.
    logits = gaps.T[:, None, :] * SHARPNESS[:, None]  # (C, S, n)
    right = gaps[np.arange(len(scores)), targets.labels] * SHARPNESS[:, None]
    losses = np.log(np.exp(logits).sum(axis=0)) - right  # (S, n)
    best = int(losses.mean(axis=1).argmin())
    return float(SHARPNESS[best]), losses[best]
