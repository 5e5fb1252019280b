"""Scores of one task on a scale that tasks share: where each prior stands among those that were run on it.

Ranks and not scores, because one failed run stretches a column of scores until the rest of it says nothing: on a table
of 373 fine-tuned models mean z-scores gave a weighted tau of .39 where mean ranks gave .42.
"""

from __future__ import annotations

from functools import cache
from statistics import NormalDist

import numpy as np

from composer.rank.probe import Array

CLIP = 3.0
"""Linear scores further than this many deviations from a task's mean count as this far."""


def quantiles(scores: Array) -> Array:
    """(P, T) the part of a task's priors that stand below each, ties in the middle, in (0, 1); NaN stays."""
    found = np.full(scores.shape, np.nan)
    for j in range(scores.shape[1]):
        known = np.isfinite(scores[:, j])
        _, at, counts = np.unique(scores[known, j], return_inverse=True, return_counts=True)
        middle = np.cumsum(counts) - counts / 2
        found[known, j] = middle[at] / max(int(known.sum()), 1)
    return found


def normal(scores: Array) -> Array:
    """(P, T) quantiles of the normal distribution, mean 0 and deviation 1 in every task; NaN stays."""
    part = quantiles(scores)
    found = np.full(part.shape, np.nan)
    known = np.isfinite(part)
    size = max(len(part), 1)
    grid = _normal_grid(size)
    found[known] = np.interp(part[known], (np.arange(4 * size) + 0.5) / (4 * size), grid)
    return standard(found)


def leading(scores: Array) -> Array:
    """(P, T) quantiles of the exponential distribution, which tell the best apart and the worst hardly; standardized.

    A recommendation is about the first places. Measured on the open tables, leave one task out: .46 to .49 on the
    fine-tuned models where normal scores gave .44 to .45, equal on the others.
    """
    return standard(-np.log1p(-quantiles(scores)))


def blended(scores: Array) -> Array:
    """(P, T) half normal, half leading: the scale that standings are stated on."""
    return (normal(scores) + leading(scores)) / 2


def linear(scores: Array) -> Array:
    """(P, T) scores less their task's mean in its deviations, clipped; NaN stays."""
    found = standard(scores)
    return standard(np.clip(found, -CLIP, CLIP))


def standard(values: Array) -> Array:
    """Every column with mean 0 and deviation 1 over what is known; a constant column is 0."""
    known = np.isfinite(values)
    count = np.maximum(known.sum(axis=0), 1)
    filled = np.where(known, values, 0.0)
    centered = np.where(known, values - filled.sum(axis=0) / count, 0.0)
    spread = np.sqrt(np.square(centered).sum(axis=0) / count)
    return np.where(known, centered / np.where(spread > 1e-12, spread, 1.0), np.nan)


@cache
def _normal_grid(size: int) -> Array:
    one = NormalDist()
    return np.array([one.inv_cdf((i + 0.5) / (4 * size)) for i in range(4 * size)])
