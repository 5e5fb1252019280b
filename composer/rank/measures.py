"""How good a ranking of one task's priors is, and how sure a mean over tasks is."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from composer.rank.probe import Array

DRAWS = 2_000


def weighted_tau(predicted: Array, scores: Array) -> float:
    """Kendall's tau in which the first places count most (Vigna 2015, as scipy computes it by default); NaN where there
    are fewer than two priors, or one of the two rankings has them all at one place."""
    from scipy.stats import weightedtau

    if len(scores) < 2 or np.ptp(predicted) == 0 or np.ptp(scores) == 0:
        return float("nan")
    return float(weightedtau(predicted, scores).statistic)


def pearson(predicted: Array, scores: Array) -> float:
    """Correlation; NaN where either does not vary."""
    if len(scores) < 2 or np.ptp(predicted) == 0 or np.ptp(scores) == 0:
        return float("nan")
    return float(np.corrcoef(predicted, scores)[0, 1])


def regret(predicted: Array, scores: Array, tried: int = 1) -> float:
    """How far the best of the `tried` first ones is below the best there is, in the scores' units."""
    first = np.argsort(-predicted, kind="stable")[:tried]
    return float(scores.max() - scores[first].max())


def normalised(lost: float, scores: Array) -> float:
    """A regret as a part of what choosing can bring: the best over the median prior. NaN where all score the same."""
    span = float(scores.max() - np.median(scores))
    return lost / span if span > 1e-12 else float("nan")


def interval(values: Array, draws: NDArray[np.int64]) -> tuple[float, float, float]:
    """Mean, and 95 % bootstrap interval, over tasks that have a value; draws (n, T) are tasks drawn with replacement,
    the same for every method, so that intervals of differences come out of the same function."""
    if not np.isfinite(values).any():
        return float("nan"), float("nan"), float("nan")
    drawn = values[draws]
    known = np.isfinite(drawn)
    count = known.sum(axis=1)
    means = np.where(known, drawn, 0.0).sum(axis=1)[count > 0] / count[count > 0]
    low, high = np.percentile(means, (2.5, 97.5))
    return float(np.nanmean(values)), float(low), float(high)


def resamples(tasks: int, seed: int = 0) -> NDArray[np.int64]:
    """(DRAWS, T) tasks drawn with replacement."""
    return np.random.default_rng(seed).integers(tasks, size=(DRAWS, tasks))
