"""What an answer may tell of hidden rows: rounded, and only when it is clearly above what its owner was told before.

The rule is the Ladder (Blum & Hardt 2015, arXiv:1502.04585): a score is shown only if it beats the best shown one by a
step, and is then rounded. Whoever sends a thousand variations of one submission sees the first score a thousand times.
The step is that of a test: with the number of answers its threshold rises (Bonferroni), so that the best of many copies
that differ by chance is not taken for a better one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hub.boards.intervals import error_of, normal

DOUBT = 5.0
"""Percent: the chance that any of a line of answers without merit is shown as better."""


@dataclass(frozen=True)
class Known:
    """The best answer so far of a line: what was measured, and what its owner was told."""

    mean: float
    shown: float
    hits: Sequence[float]


@dataclass(frozen=True)
class Answer:
    """What the owner is told: `shown` is None for "not clearly above your best"; `step` is what it is rounded to, and
    `needed` what it had to be better by."""

    shown: float | None
    step: float
    needed: float


def answer(mean: float, hits: Sequence[float], best: Known | None, *, answers: int, error: float) -> Answer:
    """What may be told of a score, the `answers`-th (from 1) of its line.

    hits   each hidden row's part in the score, in the order of the rows
    error  the score's standard error from these rows
    """
    step = round_step(error)
    if best is None:
        return Answer(rounded(mean, step), step, 0.0)
    gaps = [ours - theirs for ours, theirs in zip(hits, best.hits, strict=True)]
    needed = max(step, normal(100 - DOUBT / max(answers, 1)) * error_of(gaps))
    if mean - max(best.mean, best.shown) <= needed:
        return Answer(None, step, needed)
    return Answer(rounded(mean, step), step, needed)


def rounded(score: float, step: float) -> float:
    """The nearest multiple of the step."""
    return round(round(score / step) * step, 6) if step > 0 else score


def rough(half: float) -> float:
    """Half an interval's width with two digits: of a share of rows, the exact width tells the exact share."""
    return float(f"{half:.1e}")


def round_step(error: float) -> float:
    """The standard error with one digit, so that shown scores look like numbers and not like codes."""
    if not 0 < error < float("inf"):
        return 0.0
    return float(f"{error:.0e}")
