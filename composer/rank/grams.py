"""Sums over rows that arrive in parts: all that the evidence and the H-score of a block need, whatever the rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import blas

from composer.rank.evidence import Spectrum
from composer.rank.probe import Array

SAME = 1e-12
"""Rows that differ by a smaller part of their squared length are all the same, but for rounding."""


class Grams:
    """FᵀF, FᵀY and moments of features (n, d) and targets (n, C), added up in parts of rows.

        sums = Grams(768, 10)
        for features, targets in batches:
            sums.add(features, targets)
        sums.spectrum().evidence()

    Holds the rows themselves while they are no more than the features, and (d, d) from then on: never more than the
    smaller of the two needs.
    """

    def __init__(self, width: int, columns: int) -> None:
        self.width, self.columns, self.rows = width, columns, 0
        self._held: list[tuple[Array, Array]] = []
        self._gram = np.zeros((0, 0))
        self._cross = np.zeros((width, columns))
        self._total, self._pulled = np.zeros(width), np.zeros(width)
        self._fourth = 0.0
        self._squares, self._sums = np.zeros(columns), np.zeros(columns)

    def add(self, features: NDArray[np.floating], targets: NDArray[np.floating]) -> None:
        """Adds rows (m, d) with their targets (m, C). Raises ValueError for another width or unequal lengths."""
        block, wanted = np.asarray(features, dtype=np.float64), np.asarray(targets, dtype=np.float64)
        if block.shape != (len(wanted), self.width) or wanted.shape[1:] != (self.columns,):
            shapes = f"{block.shape} with targets {wanted.shape}"
            raise ValueError(f"rows are {shapes}, and the sums are of ({self.width},) and ({self.columns},)")
        self.rows += len(block)
        self._squares += np.square(wanted).sum(axis=0)
        self._sums += wanted.sum(axis=0)
        if self.rows <= self.width:
            self._held.append((block.copy(), wanted.copy()))
            return
        if not len(self._gram):
            self._gram = np.zeros((self.width, self.width), order="F")
        for part, its in (*self._held, (block, wanted)):
            self._gather(part, its)
        self._held = []

    def spectrum(self) -> Spectrum:
        """What the evidence is read from (`Spectrum.evidence`), by the smaller side."""
        if self._held or not self.rows:
            block, wanted = self._stacked()
            return Spectrum.of_features(block, wanted)
        return Spectrum.of_gram(self._gram, self._cross, self._squares, self.rows)

    def h_score(self, *, several: bool = False) -> HScore:
        """The H-score of targets of 0 and 1: one class a row, or with `several` the mean over columns of labels."""
        n = self.rows
        counts = self._sums
        limit = 1.0 if several else float(self.columns - 1)
        parts = np.concatenate([counts, n - counts]) if several else counts
        if self._held:
            block, wanted = self._stacked()
            centered = block - block.mean(axis=0)
            kernel = centered @ centered.T
            if np.trace(kernel) <= SAME * np.square(block).sum():
                return HScore(0.0, 1.0, limit, n <= self.width + 1)
            shrinkage = _shrinkage(float(np.square(np.diag(kernel)).sum()), kernel, n, self.width)
            marks = np.hstack([wanted, 1 - wanted]) if several else wanted
            marks = marks / np.sqrt(np.maximum(parts, 1) * n)
            level = shrinkage * float(np.trace(kernel)) / n / self.width
            inner = (1 - shrinkage) * kernel / n + (level + _tiny(kernel) / n) * np.eye(n)
            value = float((marks * (kernel @ np.linalg.solve(inner, marks))).sum())
        else:
            mean = self._total / n
            gram = np.tril(self._gram) + np.tril(self._gram, -1).T
            covariance = gram - n * np.outer(mean, mean)
            if np.trace(covariance) <= SAME * np.trace(gram):
                return HScore(0.0, 1.0, limit, n <= self.width + 1)
            lengths = float(mean @ mean)
            fourth = (
                self._fourth
                + 4 * float(mean @ gram @ mean)
                + n * lengths**2
                - 4 * float(self._pulled @ mean)
                + 2 * lengths * float(np.trace(gram))
                - 4 * lengths * float(self._total @ mean)
            )
            shrinkage = _shrinkage(fourth, covariance, n, self.width)
            cross = np.hstack([self._cross, self._total[:, None] - self._cross]) if several else self._cross
            between = (cross - np.outer(mean, parts)) / np.sqrt(np.maximum(parts, 1) * n)
            level = shrinkage * float(np.trace(covariance)) / n / self.width
            inner = (1 - shrinkage) * covariance / n + (level + _tiny(covariance) / n) * np.eye(self.width)
            value = float((between * np.linalg.solve(inner, between)).sum())
        value *= 1 - shrinkage
        if several:
            value /= self.columns
        return HScore(value, shrinkage, limit, n <= self.width + 1)

    def _gather(self, block: Array, targets: Array) -> None:
        self._gram = blas.dsyrk(1.0, block.T, beta=1.0, c=self._gram, lower=1, overwrite_c=1)
        self._cross += block.T @ targets
        self._total += block.sum(axis=0)
        squared = np.square(block).sum(axis=1)
        self._pulled += squared @ block
        self._fourth += float(squared @ squared)

    def _stacked(self) -> tuple[Array, Array]:
        if not self._held:
            raise ValueError("no rows were added")
        return np.vstack([block for block, _ in self._held]), np.vstack([its for _, its in self._held])


@dataclass(frozen=True)
class HScore:
    """How far apart classes lie in units of the spread of features (Bao et al. 2019), the covariance shrunk (Ledoit &
    Wolf 2004) as Ibrahim et al. 2022 do.

    limit      what no features exceed: one less than the classes; 1 for the mean over labels
    saturated  whether there are so few rows that without shrinking *any* features would have the limit
    """

    value: float
    shrinkage: float
    limit: float
    saturated: bool


def _shrinkage(fourth: float, products: Array, rows: int, width: int) -> float:
    """Ledoit and Wolf's part of the identity: `fourth` is the sum of the fourth powers of the centered rows' lengths,
    `products` either XᵀX or XXᵀ of the centered rows."""
    squared, trace = float(np.square(products).sum()) / rows**2, float(np.trace(products)) / rows
    spread = (squared - trace**2 / width) / width
    error = (fourth / rows - squared) / (width * rows)
    error = min(error, spread)
    return error / spread if error > 0 else 0.0


def _tiny(products: Array) -> float:
    """So much on the diagonal makes a singular matrix one that can be solved, and changes no other."""
    return len(products) * float(np.finfo(np.float64).eps) * float(np.trace(products))
