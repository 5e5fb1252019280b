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

from composer.rank.precision import mean_average_precision, precision_left_out

Array = NDArray[np.float64]

PENALTIES: Array = np.logspace(-3.0, 1.0, 9)
"""Ridge penalties tried, as multiples of the mean diagonal of K."""

PENALTY_SPREAD = 2.0
"""How far, in ln(penalty), the best penalty of a task usually lies from 1: the spread of a log-normal prior. On 33
tables small ones are needed now and then: with a spread of 1 and penalties from 0.01 on, smooth waves are 0.1, 0.1 and
0.6 points worse than so at 4, 16 and 64 labels a class; still smaller penalties gain nothing. Heavier tails around a
narrow middle (Cauchy, Student, Laplace) were 0.4 to 0.5 points worse on the first 11 of these."""

TEMPER = 4.0
"""Leave-one-out losses of different models on the same rows are correlated, so evidence is tempered: the posterior is
flatter than a product of likelihoods. Measured: 2 to 8 give equal results within noise; 0 (the minimum alone) is
worse."""

SHARPNESS: Array = np.exp(np.linspace(0.0, 4.0, 9))
"""Inverse temperatures tried when least-squares scores are read as probabilities."""

MAX_LEVERAGE = 1.0 - 1e-9
"""A row that alone decides its own prediction has leverage 1; its leave-one-out prediction would divide by zero."""

CUT = 0.5
"""Least-squares scores of a label above this say that a row has it, before anything is calibrated."""

NORMAL_95 = 1.96
"""Standard errors on both sides of a mean that hold 95 % of a normal distribution."""

LEAST_SQUARES = 1e-9
"""A mean squared error, in parts of the variance, below which none is told from another."""

_ROUNDED = 1e-12
"""A standard error below it is none, but for rounding."""


@dataclass(frozen=True)
class Targets:
    """What is to be predicted, as columns of a least-squares problem.

    matrix  (n, C) one-hot rows, 0 or 1 a label where a row may have several, or (n, 1) standardized values
    labels  (n,) class numbers, or None for a regression and for sets of labels
    mean, spread  what a regression's values were standardized by
    sets    whether a row may have several labels, or none
    ranked  whether these are judged by how rows are ranked for each label (mean average precision), and not by what is
            said of each row (macro F1)
    weights (n,) how much each row counts, with mean 1, or None: all the same
    groups  (n,) group number of each row, or None: rows of a group are left out together, as they will not be known
            together either (the sentences of one conversation, the recordings of one person)
    penalty_spread  how far from 1 the best penalty may lie, as in PENALTY_SPREAD: what the rows are says how far
    """

    matrix: Array
    labels: NDArray[np.int64] | None
    mean: float = 0.0
    spread: float = 1.0
    groups: NDArray[np.int64] | None = None
    sets: bool = False
    weights: Array | None = None
    penalty_spread: float = PENALTY_SPREAD
    ranked: bool = False

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

    @classmethod
    def of_sets(cls, matrix: NDArray[np.integer], *, ranked: bool = False) -> Targets:
        """Targets of rows with any number of labels each: (n, K) 0 or 1."""
        return cls(matrix.astype(np.float64), None, sets=True, ranked=ranked)

    def __len__(self) -> int:
        return len(self.matrix)

    @property
    def is_number(self) -> bool:
        """Whether a number is predicted, rather than classes."""
        return self.labels is None and not self.sets

    def balanced(self) -> Targets:
        """The same targets with every class counting the same in all, however many rows it has."""
        if self.labels is None:
            return self
        each = 1.0 / np.maximum(self.matrix.sum(axis=0), 1.0)[self.labels]
        return replace(self, weights=each * len(self) / each.sum())

    def mean_of(self, values: Array) -> float:
        """The mean of `values` (n,), by the weights of the rows."""
        return float(np.average(values, weights=self.weights))

    def take(self, rows: NDArray[np.int64]) -> Targets:
        """The targets of some rows."""
        labels = None if self.labels is None else self.labels[rows]
        groups = None if self.groups is None else self.groups[rows]
        weights = None if self.weights is None else self.weights[rows]
        return replace(self, matrix=self.matrix[rows], labels=labels, groups=groups, weights=weights)

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

    def mean_and_error(self, values: Array) -> tuple[float, float]:
        """`mean_of` values (n,), and its standard error: rows that count more have a larger part in it."""
        mean = self.mean_of(values)
        return mean, self.standard_error(values if self.weights is None else self.weights * (values - mean))


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
        return self.targets.mean_of(self.losses)

    @property
    def nats(self) -> float:
        """What a row costs, as evidence counts it: see `nats_of`."""
        return nats_of(self.loss, self.targets)

    @property
    def score(self) -> float:
        """Leave-one-out accuracy, macro F1 or mean average precision for sets of labels, or R² for a regression."""
        if self.targets.sets:
            return sets_score(self.targets, self.scores)
        return float(self.hits.mean())

    @property
    def error(self) -> float:
        """The standard error of `score`; infinite where all rows are of one group."""
        if self.targets.sets:
            return left_out_error(self.score, sets_left_out(self.targets, self.scores))
        error = self.targets.standard_error(self.hits)
        return error if self.targets.is_number else max(error, _least_error(self.score, len(self.hits)))

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of `score`; that of an accuracy or F1 lies in [0, 1] and is never a point."""
        score, half = self.score, NORMAL_95 * self.error
        low = score - half if self.targets.is_number else max(score - half, 0.0)
        return low, min(score + half, 1.0)


def nats_of(loss: float, targets: Targets) -> float:
    """A mean log loss as it is; of a mean squared error half the logarithm, which is the likelihood of normal errors of
    unknown size: to halve the error is as much at .02 of the variance as at .8.

    On made-up lines with an error of .05 and 30 rows R² was .985 where squared errors were compared as they are, and is
    .996; on 32 rows of diabetes, most of which is noise, .401 and .402 (40 draws), .367 and .360 (20 others).
    """
    return 0.5 * float(np.log(max(loss, LEAST_SQUARES))) if targets.is_number else loss


def score_gap(better: Probe, other: Probe) -> tuple[float, float]:
    """How much higher the score of one probe is than another's on the same rows, and its standard error, paired."""
    targets = better.targets
    gap = better.score - other.score
    if targets.sets:
        parts = [sets_left_out(targets, one.scores) for one in (better, other)]
        return gap, jackknife_error(parts[0] - parts[1])
    return gap, targets.standard_error(better.hits - other.hits)


def gram(features: NDArray[np.floating]) -> Array:
    """K = F Fᵀ / mean diagonal for features F (n, d), centered here, in float64; zeros when all rows are the same."""
    block = np.asarray(features, dtype=np.float64)
    block = block - block.mean(axis=0)
    kernel = block @ block.T
    size = float(np.trace(kernel)) / max(len(kernel), 1)
    return np.asarray(kernel / size if size > 0 else kernel)


def press(
    kernel: Array,
    targets: Array,
    penalties: Array,
    together: Sequence[NDArray[np.int64]] = (),
    weights: Array | None = None,
) -> Array:
    """Exact leave-one-out predictions of ridge regression with an intercept, for every penalty at once.

    kernel     (n, n) Gram matrix of centered features
    targets    (n, C)
    penalties  (P,) absolute, > 0
    together   row numbers (m, k) of m groups of k rows, an array for each k: these are left out as a whole
    weights    (n,) how much each row's error counts, or None for all the same
    return     (P, n, C)

    One eigendecomposition, O(n³), then O(n² C) a penalty. With H the matrix that maps targets to fitted values,
    leaving out the rows G changes their residuals r to (I - H_GG)^-1 r (Cook & Weisberg 1982, "Residuals and
    influence", section 3.6). Weighted errors are those of rows scaled by the roots of their weights, about the weighted
    mean.
    """
    n = len(kernel)
    root = np.ones(n) if weights is None else np.sqrt(weights)
    ones = root / np.linalg.norm(root)
    if weights is not None:
        part = weights / weights.sum()
        toward = kernel @ part
        kernel = (kernel - toward[:, None] - toward[None, :] + part @ toward) * np.outer(root, root)
    values, vectors = np.linalg.eigh(kernel)
    values = np.maximum(values, 0.0)[:, None]
    centered = targets - targets.mean(axis=0)
    if weights is not None:
        centered = (targets - np.average(targets, axis=0, weights=weights)) * root[:, None]
    shrink = values / (values + penalties)  # (n, P)
    rotated = shrink[:, :, None] * (vectors.T @ centered)[:, None, :]  # (n, P, C)
    fitted = (vectors @ rotated.reshape(n, -1)).reshape(rotated.shape)
    residuals = centered[:, None, :] - fitted  # (n, P, C)
    leverage = np.minimum((vectors * vectors) @ shrink + np.square(ones)[:, None], MAX_LEVERAGE)  # (n, P)
    left_out = residuals / (1.0 - leverage)[:, :, None]
    for rows in together:
        part = vectors[rows]  # (m, k, n)
        # A penalty at a time: all at once needs P times the memory of K and is no faster.
        hat = np.stack([(part * column) @ part.transpose(0, 2, 1) for column in shrink.T], axis=1)
        hat += (ones[rows][:, :, None] * ones[rows][:, None, :])[:, None]
        system = np.eye(rows.shape[1]) * (2.0 - MAX_LEVERAGE) - hat  # (m, P, k, k), never singular
        left_out[rows] = np.linalg.solve(system, residuals[rows].transpose(0, 2, 1, 3)).transpose(0, 2, 1, 3)
    if weights is not None:
        left_out /= root[:, None, None]
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
    chose 0.01 or 10 and lost up to 3 points. So the penalty maximizes exp(-n · nats / TEMPER) times a log-normal
    prior around 1.
    """
    predictions = press(kernel, targets.matrix, penalties * _scale(kernel), targets.together, targets.weights)
    found = [judge(scores, targets) for scores in predictions]
    nats = np.array([nats_of(targets.mean_of(losses), targets) for _, losses in found])
    cost = len(targets) * nats / TEMPER + 0.5 * (np.log(penalties) / targets.penalty_spread) ** 2
    chosen = int(cost.argmin())
    sharpness, losses = found[chosen]
    scores = predictions[chosen]
    return Probe(targets, float(penalties[chosen]), sharpness, scores, losses, hits_of(scores, losses, targets))


def hits_of(scores: Array, losses: Array, targets: Targets) -> Array:
    """(n,) how right each row is: 0 or 1, the part of its labels, or 1 minus its squared error."""
    if targets.sets:
        return np.asarray(((scores > CUT) == (targets.matrix > CUT)).mean(axis=1))
    return 1.0 - losses if targets.labels is None else (scores.argmax(axis=1) == targets.labels).astype(np.float64)


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
    if targets.sets:
        return np.asarray(-np.log(np.where(targets.matrix > CUT, mean, 1 - mean)).sum(axis=1))
    if targets.labels is None:
        return np.asarray((targets.matrix[:, 0] - mean[0]) ** 2)
    return np.asarray(-np.log(mean[targets.labels]))


def sets_score(targets: Targets, scores: Array) -> float:
    """What scores (n, K) of sets of labels are worth: mean average precision where `targets` are ranked, or macro F1 of
    what they say."""
    if targets.ranked:
        return mean_average_precision(targets.matrix, scores)
    return macro_f1(targets.matrix, scores > CUT)


def sets_left_out(targets: Targets, scores: Array) -> Array:
    """(n,) `sets_score` without each row, or (m,) without each of m groups."""
    if targets.ranked:
        return precision_left_out(targets.matrix, scores, targets.groups)
    return f1_left_out(targets.matrix, scores > CUT, targets.groups)


def macro_f1(truth: NDArray[np.generic], said: NDArray[np.generic]) -> float:
    """The mean over labels of F1, for (n, K) 0 or 1; 0 for a label that is neither there nor said."""
    have, given = truth.astype(np.bool_), said.astype(np.bool_)
    both, either = (have & given).sum(axis=0), have.sum(axis=0) + given.sum(axis=0)
    return float((2 * both / np.maximum(either, 1)).mean())


def f1_left_out(
    truth: NDArray[np.generic], said: NDArray[np.generic], groups: NDArray[np.int64] | None = None
) -> Array:
    """(n,) macro F1 without each row, or (m,) without each of the m groups that rows (n,) are of."""
    have, given = truth.astype(np.bool_), said.astype(np.bool_)
    both, either = (have & given).astype(np.int64), have.astype(np.int64) + given.astype(np.int64)
    if groups is not None:
        numbers = np.unique(groups, return_inverse=True)[1]
        both, either = (_summed(part, numbers) for part in (both, either))
    without = 2 * (both.sum(axis=0) - both) / np.maximum(either.sum(axis=0) - either, 1)  # (n, K)
    return np.asarray(without.mean(axis=1))


def _summed(values: NDArray[np.int64], numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    """(m, K) the sums of values (n, K) over rows of one number."""
    found = np.zeros((int(numbers.max()) + 1, values.shape[1]), dtype=np.int64)
    np.add.at(found, numbers, values)
    return found


def jackknife_error(left_out: Array) -> float:
    """The standard error of a statistic from its values (n,) without each observation (Efron & Stein 1981, "The
    jackknife"); infinite for fewer than two."""
    n = len(left_out)
    if n < 2:
        return float("inf")
    return float(np.sqrt((n - 1) / n * np.square(left_out - left_out.mean()).sum()))


def left_out_error(score: float, left_out: Array) -> float:
    """The standard error of a score between 0 and 1 from its values without each row, or each group; never 0."""
    error = jackknife_error(left_out)
    return error if error > _ROUNDED else _least_error(score, len(left_out))


def _least_error(score: float, rows: int) -> float:
    """20 of 20 right is not certainty: two successes and two failures more, as Agresti & Coull 1998 add them."""
    return float(np.sqrt((score + 2 / rows) * (1 - score + 2 / rows) / (rows + 4)))


def _scale(kernel: Array) -> float:
    """The mean diagonal of K, which penalties are multiples of; 1 where it is 0."""
    return float(np.trace(kernel)) / max(len(kernel), 1) or 1.0


def judge(scores: Array, targets: Targets) -> tuple[float, Array]:
    """The sharpness that reads `scores` (n, C) best as probabilities, and each row's loss with it."""
    if targets.sets:
        signed = (scores - CUT) * np.where(targets.matrix > CUT, 1.0, -1.0)
        each = np.array([np.logaddexp(0.0, -sharpness * signed).sum(axis=1) for sharpness in SHARPNESS])  # (S, n)
        best = int(each.mean(axis=1).argmin())
        return float(SHARPNESS[best]), each[best]
    if targets.labels is None:
        return 1.0, (scores[:, 0] - targets.matrix[:, 0]) ** 2
    gaps = scores - scores.max(axis=1, keepdims=True)  # (n, C)
    # Classes first: numpy sums a short last axis ten times slower.
    logits = gaps.T[:, None, :] * SHARPNESS[:, None]  # (C, S, n)
    right = gaps[np.arange(len(scores)), targets.labels] * SHARPNESS[:, None]
    losses = np.log(np.exp(logits).sum(axis=0)) - right  # (S, n)
    best = int(np.average(losses, axis=1, weights=targets.weights).argmin())
    return float(SHARPNESS[best]), losses[best]
