"""The exact log evidence of features for a target (LogME), from features, a kernel or a Gram matrix.

Targets y are thought of as F w + noise with w ~ N(0, 1/a) and noise ~ N(0, 1/b), so y ~ N(0, FFᵀ/a + 1/b) and the
evidence is that density, per row, at the a and b that make it largest (You et al. 2021, "LogME: practical assessment of
pre-trained models for transfer learning"). The public code iterates to a fixed point and, where F has fewer rows than
features or is rank deficient, counts features that no row can see: pure noise of 120 rows and 2,048 features scores
+79.9 there and -0.23 here (measured).

With t = a/b, b has a closed form and the evidence is a function of t alone:

    log 2π + 1 + log(q(t)/n) + log det(1 + FFᵀ/t) / n,  times -1/2,  with q(t) = yᵀ (1 + FFᵀ/t)⁻¹ y

Only the smaller of FFᵀ (n, n) and FᵀF (d, d) is ever made. It is brought to tridiagonal form by one orthogonal
transformation, after which each t costs as much as reading a vector: no eigenvectors are wanted. Then t is looked for
on a grid over all that can be told apart, since the evidence may have several maxima, and found by Newton's method.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import blas, lapack

from composer.rank.probe import Array, Targets

STEP = 1.5
"""Distance of the grid's points in ln t. What is looked for is a sum of sigmoids in ln t, which change over about 4."""

WIDEST = 1e9
"""How far t goes beyond the largest eigenvalue, where features count for nothing, and below the smallest, where they
explain everything: the rest of the way changes the evidence by less than 1e-9."""

FINEST = 1e-15
"""The smallest t, as a part of the largest eigenvalue and for each row of the matrix: below it rounding makes the
matrix as good as singular. A target that the features explain without rest has no finite evidence where they have fewer
directions than rows; it gets the one at this t."""

TOLERANCE = 1e-7
"""Of ln t. The evidence is flat at its maximum, so its own error is the square of this."""

MOST_TURNS = 60

PIECE = 1_024
"""Rows that are made doubles at once, so that they stay in the cache."""


@dataclass(frozen=True)
class Spectrum:
    """The smaller of FFᵀ and FᵀF in tridiagonal form, with the targets brought along.

    diagonal, beside  (m,), (m - 1,) of T = Qᵀ M Q
    values            (m,) the eigenvalues of M, ascending; what rounding made of zeros is 0
    rotated           (m, C) Qᵀ Y for M = FFᵀ, Qᵀ FᵀY for M = FᵀF
    squares           (C,) yᵀy;  rows  n;  tall  whether M is FᵀF
    """

    diagonal: Array
    beside: Array
    values: Array
    rotated: Array
    squares: Array
    rows: int
    tall: bool

    @classmethod
    def of_features(cls, features: NDArray[np.floating], targets: Array) -> Spectrum:
        """Of F (n, d) and Y (n, C). Raises ValueError for values that are no numbers."""
        n, d = features.shape
        if n <= d:
            block = np.ascontiguousarray(features, dtype=np.float64)
            return cls.of_kernel(np.asarray(blas.dsyrk(1.0, block.T, trans=1, lower=1)), targets)
        gram, cross = np.zeros((d, d), order="F"), np.zeros((targets.shape[1], d))
        for start in range(0, n, PIECE):
            piece = np.ascontiguousarray(features[start : start + PIECE], dtype=np.float64)
            gram = blas.dsyrk(1.0, piece.T, beta=1.0, c=gram, lower=1, overwrite_c=1)
            cross += targets[start : start + PIECE].T @ piece
        return cls.of_gram(gram, cross.T, np.square(targets).sum(axis=0), n)

    @classmethod
    def of_kernel(cls, kernel: Array, targets: Array) -> Spectrum:
        """Of FFᵀ (n, n), of which the lower triangle is read, and Y (n, C)."""
        return cls._reduced(kernel, targets, np.square(targets).sum(axis=0), len(targets), tall=False)

    @classmethod
    def of_gram(cls, gram: Array, cross: Array, squares: Array, rows: int) -> Spectrum:
        """Of FᵀF (d, d), of which the lower triangle is read, FᵀY (d, C), yᵀy (C,) and the number of rows."""
        return cls._reduced(gram, cross, squares, rows, tall=True)

    @classmethod
    def _reduced(cls, matrix: Array, right: Array, squares: Array, rows: int, *, tall: bool) -> Spectrum:
        m = len(matrix)
        finite = np.isfinite(np.diag(matrix)).all() and np.isfinite(right).all() and np.isfinite(squares).all()
        if not finite:
            raise ValueError("features and targets must be finite numbers")
        if m == 1:  # the wrapper of dpttrf takes no matrix of one row: a direction of nothing beside it changes nothing
            return cls._reduced(np.pad(matrix, (0, 1)), np.pad(right, ((0, 1), (0, 0))), squares, rows, tall=tall)
        size = int(lapack.dsytrd_lwork(m, lower=1)[0])
        held = np.array(matrix, order="F")
        reflectors, diagonal, beside, scales, _ = lapack.dsytrd(held, lower=1, lwork=size, overwrite_a=1)
        rotated = np.array(right, order="F")
        # Q is 1 beside the product of the reflectors below the first subdiagonal, which is what a QR would leave.
        below, apart = reflectors[1:, :-1], rotated[1:]
        want = int(lapack.dormqr("L", "T", below, scales, apart, lwork=-1)[1][0])
        rotated[1:] = lapack.dormqr("L", "T", below, scales, apart, lwork=max(want, 1))[0]
        values, _ = lapack.dsterf(diagonal.copy(), beside.copy())
        values[values < max(m, rows) * np.finfo(np.float64).eps * max(float(values[-1]), 0.0)] = 0.0
        return cls(diagonal, beside, values, rotated, squares, rows, tall)

    def evidence(self) -> Array:
        """(C,) the log evidence per row of each target."""
        n = self.rows
        if (self.squares <= 0).any():
            raise ValueError("a target is 0 in every row: there is nothing to explain. Leave its column out")
        nothing = np.log(self.squares / n)  # t without end
        largest = float(self.values[-1])
        if largest <= 0:
            return _evidence(nothing)
        smallest = float(self.values[self.values > 0][0])
        low = np.log(max(smallest / WIDEST, largest * FINEST * max(len(self.values), 100)))
        points = np.linspace(low, np.log(largest * WIDEST), int(np.ceil((np.log(largest * WIDEST) - low) / STEP)) + 1)
        costs = np.array([self._cost(point) for point in points])  # (P, C)
        best = costs.argmin(axis=0)
        found = np.minimum(costs[best, np.arange(costs.shape[1])], nothing)
        for column, at in enumerate(best):
            if 0 < at < len(points) - 1:
                found[column] = min(found[column], self._least(points[at - 1], points[at + 1], points[at], column))
        return _evidence(found)

    def _cost(self, point: float) -> Array:
        """(C,) log(q/n) + log det / n at t = exp(point)."""
        t = float(np.exp(point))
        quadratic = self._solved(t, self.rotated, self.squares)[0]
        return np.asarray(np.log(quadratic / self.rows) + np.log1p(self.values / t).sum() / self.rows)

    def _solved(self, t: float, rotated: Array, squares: Array) -> tuple[Array, Array, tuple[Array, Array]]:
        """(C,) q(t); (M + t)⁻¹ applied to the rotated targets; the factors of M + t."""
        pivots, factors, failed = lapack.dpttrf(self.diagonal + t, self.beside)
        if failed:  # singular after all: such a t is no answer
            return np.full(rotated.shape[1], np.inf), np.zeros_like(rotated), (pivots, factors)
        x = lapack.dpttrs(pivots, factors, rotated)[0]
        reached = np.einsum("ij,ij->j", rotated, x)
        if not self.tall:
            return t * reached, x, (pivots, factors)
        # A difference of numbers of the size of yᵀy is known to so much.
        least = self.rows * np.finfo(np.float64).eps * squares
        return np.maximum(squares - reached, least), x, (pivots, factors)

    def _least(self, low: float, high: float, start: float, column: int) -> float:
        """The least cost between two points that have a lower one, `start`, between them, for one target."""
        n, values = self.rows, self.values
        one, squares = self.rotated[:, column : column + 1], self.squares[column : column + 1]
        at, cost = start, np.inf
        for _ in range(MOST_TURNS):
            t = float(np.exp(at))
            quadratic, x, factors = self._solved(t, one, squares)
            q, second = float(quadratic[0]), float(x[:, 0] @ x[:, 0])
            third = float(x[:, 0] @ lapack.dpttrs(*factors, x)[0][:, 0])
            if self.tall:
                slope, bend = t * second, t * second - 2 * t**2 * third
            else:
                slope, bend = q - t**2 * second, q - 3 * t**2 * second + 2 * t**3 * third
            part = values / (values + t)
            cost = min(cost, np.log(q / n) - np.log1p(-part).sum() / n)
            gradient = slope / q - part.sum() / n
            curvature = bend / q - (slope / q) ** 2 + (part * (1 - part)).sum() / n
            low, high = (low, at) if gradient > 0 else (at, high)
            step = -gradient / curvature if curvature > 0 else np.inf
            if abs(step) < TOLERANCE:
                break
            at = at + step if low < at + step < high else (low + high) / 2
        return float(cost)


def logme(features: NDArray[np.floating], targets: Targets) -> float:
    """The mean over the columns of `targets` (classes one against all, labels, or the number) of the log evidence per
    row, at features (n, d) as they are: LogME centers nothing."""
    return float(Spectrum.of_features(features, targets.matrix).evidence().mean())


def logme_of_kernel(kernel: Array, targets: Targets) -> float:
    """The same from K = FFᵀ (n, n)."""
    return float(Spectrum.of_kernel(kernel, targets.matrix).evidence().mean())


def logme_of_nothing(targets: Targets) -> float:
    """The same of features that say nothing: what LogME is to be held against, as it depends on the classes."""
    return float(_evidence(np.log(np.square(targets.matrix).mean(axis=0))).mean())


def _evidence(cost: Array) -> Array:
    return np.asarray(-0.5 * (np.log(2 * np.pi) + 1 + cost))
