"""Means over draws with their intervals, and differences of two ways on the same draws and rows. No numpy at import."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist, fmean, stdev
from typing import Literal

Level = Literal[90, 95]

_T: dict[Level, tuple[float, ...]] = {
    90: (6.3138, 2.92, 2.3534, 2.1318, 2.015, 1.9432, 1.8946, 1.8595, 1.8331, 1.8125, 1.7959, 1.7823, 1.7709, 1.7613,
         1.7531, 1.7459, 1.7396, 1.7341, 1.7291, 1.7247, 1.7207, 1.7171, 1.7139, 1.7109, 1.7081, 1.7056, 1.7033, 1.7011,
         1.6991, 1.6973),
    95: (12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.306, 2.2622, 2.2281, 2.201, 2.1788, 2.1604, 2.1448,
         2.1314, 2.1199, 2.1098, 2.1009, 2.093, 2.086, 2.0796, 2.0739, 2.0687, 2.0639, 2.0595, 2.0555, 2.0518, 2.0484,
         2.0452, 2.0423),
}  # fmt: skip
"""Two-sided quantiles of Student's t for 1 to 30 degrees of freedom."""


@dataclass(frozen=True)
class Span:
    """A mean and its interval."""

    mean: float
    low: float
    high: float

    @property
    def half(self) -> float:
        """Half the interval's width."""
        return (self.high - self.low) / 2


def student(level: Level, degrees: int) -> float:
    """The two-sided quantile; that of the normal distribution beyond 30 degrees of freedom."""
    known = _T[level]
    return known[degrees - 1] if 1 <= degrees <= len(known) else normal(level)


def normal(level: float) -> float:
    """How many standard errors on both sides of a mean hold `level` percent."""
    return NormalDist().inv_cdf(0.5 + level / 200)


def span(scores: Sequence[float], error: float, level: Level) -> Span:
    """The mean of the draws' scores; the interval is of both: other draws of the labels, and other rows that judge.

    error  the standard error that comes from the rows

    The two are independent, so their half-widths add as squares. One draw says nothing of the spread: only the rows
    count then.
    """
    mean = fmean(scores)
    half = math.hypot(_of_draws(scores, level), normal(level) * error)
    return Span(mean, mean - half, mean + half)


def paired(
    ours: Sequence[float],
    theirs: Sequence[float],
    our_hits: Sequence[float] | None,
    their_hits: Sequence[float] | None,
    level: Level,
) -> Span:
    """How much better `ours` is on the same draws, and by their hits on the same rows; 0 inside: a tie.

    Rows that one of them was not judged on (NaN) do not count.
    """
    gaps = [a - b for a, b in zip(ours, theirs, strict=True)]
    error = 0.0
    if our_hits is not None and their_hits is not None and len(our_hits) == len(their_hits):
        error = error_of([a - b for a, b in zip(our_hits, their_hits, strict=True)])
    return span(gaps, error, level)


def error_of(hits: Sequence[float]) -> float:
    """The standard error of the mean of what rows contributed, NaN left out; infinite for fewer than two."""
    known = [each for each in hits if not math.isnan(each)]
    return stdev(known) / math.sqrt(len(known)) if len(known) > 1 else math.inf


def proportion_error(part: float, rows: int) -> float:
    """The least standard error of a part of `rows`, also of 0 and 1: two more of each kind (Agresti & Coull 1998)."""
    part = min(max(part, 0.0), 1.0)
    return math.sqrt((part + 2 / rows) * (1 - part + 2 / rows) / (rows + 4)) if rows else math.inf


def _of_draws(scores: Sequence[float], level: Level) -> float:
    if len(scores) < 2:
        return 0.0
    return student(level, len(scores) - 1) * stdev(scores) / math.sqrt(len(scores))
