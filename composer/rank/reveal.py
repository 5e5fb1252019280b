"""What a few measured results on the task itself change, and which to measure next.

The standings of a task's priors are jointly normal: the cold tier's mean, and the covariance of what it got wrong on
the history's tasks (priors that were better than expected together will be so again), half of it along likeness of
cards, and more where whole orders were more or less pronounced than expected, or turned round. Scores are a + b ·
standing: a is integrated out, b averaged over how much scores spread on the history's tasks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from composer.rank.probe import Array

SHARED = 0.5
"""The part of the covariance that is taken from the history's residuals; the rest is by cards. Of .2, .5 and .8, .5
has the best weighted tau after five random results on openclip38, by .01; chosen results hardly differ."""

SPREADS = np.linspace(-2.0, 2.0, 9)


@dataclass(frozen=True)
class Belief:
    """What is believed of the standings of one task's priors.

    mean, sd   (N,)
    residuals  (N, R) what was wrong before, a column a task; empty for priors without history
    alike      (N, N) likeness of cards, 1 on the diagonal
    spread     mean and deviation of the logarithm of how many points of score one standing is
    slope      variance over tasks of how pronounced the expected order is; 1 is as expected, below 0 turned round
    """

    mean: Array
    sd: Array
    residuals: Array
    alike: Array
    spread: tuple[float, float]
    slope: float = 0.0

    def columns(self, at: Sequence[int]) -> Array:
        """(N, k) of the covariance."""
        rows = list(at)
        scale = self.sd[:, None] * self.sd[rows][None, :]
        shared = SHARED if self.residuals.shape[1] else 0.0
        found = (1 - shared) * scale * self.alike[:, rows]
        if shared:
            sizes = np.sqrt(np.square(self.residuals).mean(axis=1)) + 1e-9
            unit = self.residuals / sizes[:, None]
            found = found + shared * scale * (unit @ unit[rows].T) / self.residuals.shape[1]
        found[rows, range(len(rows))] = np.square(self.sd[rows])
        return np.asarray(found + self.slope * self.mean[:, None] * self.mean[rows][None, :])

    def given(self, at: Sequence[int], scores: Array) -> tuple[Array, Array]:
        """Mean and deviation of every standing when the priors `at` are known to score `scores`."""
        if not len(at):
            return self.mean, self.sd
        rows = list(at)
        across = self.columns(rows)
        inverse = np.linalg.inv(across[rows] + 1e-6 * np.eye(len(rows)))
        ones = inverse.sum(axis=1)
        total = float(ones.sum())
        gains = across @ inverse  # (N, k)
        drift = 1.0 - gains.sum(axis=1)
        found, weights = [], []
        for step in SPREADS:
            size = float(np.exp(self.spread[0] + step * max(self.spread[1], 0.05)))
            gaps = scores / size - self.mean[rows]
            level = float(ones @ gaps) / total
            gaps = gaps - level
            mean = self.mean + gains @ gaps
            mean[rows] = scores / size - level
            found.append(mean)
            weights.append(-(len(rows) - 1) * np.log(size) - 0.5 * float(gaps @ inverse @ gaps) - 0.5 * step**2)
        parts = np.exp(np.array(weights) - max(weights))
        mean = np.asarray(parts / parts.sum() @ np.stack(found))
        variance = (
            np.square(self.sd)
            + self.slope * np.square(self.mean)
            - (gains * across).sum(axis=1)
            + np.square(drift) / total
        )
        sd = np.sqrt(np.maximum(variance, 1e-6))
        sd[rows] = 1e-3
        return mean, sd


def next_best(mean: Array, sd: Array, tried: Sequence[int]) -> int:
    """The prior whose measurement is expected to raise the best known standing most (expected improvement)."""
    rows = list(tried)
    best = float(mean[rows].max()) if rows else float(mean.max())
    gap = (mean - best) / sd
    gained = sd * (gap * _cumulative(gap) + np.exp(-np.square(gap) / 2) / np.sqrt(2 * np.pi))
    gained[rows] = -np.inf
    return int(np.argmax(gained))


def _cumulative(x: Array) -> Array:
    from scipy.special import ndtr

    return np.asarray(ndtr(x))


def chosen(belief: Belief, scores: Array, count: int) -> list[int]:
    """The `count` priors that are measured one after the other, each by what the ones before it said."""
    tried: list[int] = []
    for _ in range(min(count, len(scores))):
        mean, sd = belief.given(tried, scores[tried])
        tried.append(next_best(mean, sd, tried))
    return tried


def spread_of(scores: Array) -> tuple[float, float]:
    """Mean and deviation over tasks of the logarithm of a task's standard deviation, from scores (P, T)."""
    spans = np.nanstd(scores, axis=0)
    logs = np.log(spans[spans > 1e-9])
    return (float(logs.mean()), float(logs.std())) if len(logs) else (0.0, 1.0)
