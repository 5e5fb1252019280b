"""What answers tell of hidden rows: a thousand noisy copies gain less than the interval says; how ties are found."""

from __future__ import annotations

import math
import random

import pytest
from scipy.stats import t as reference

from hub.boards import ladder
from hub.boards.intervals import error_of, normal, paired, proportion_error, span, student
from hub.boards.models import Run
from hub.boards.ranking import interval

ROWS, COPIES, RIGHT = 200, 1_000, 0.8


def copies(seed: int) -> tuple[list[list[float]], float]:
    """Submissions that differ by chance alone, right on a row with the same chance each; and the true score of all."""
    rng = random.Random(seed)
    chances = [min(max(rng.gauss(RIGHT, 0.15), 0.0), 1.0) for _ in range(ROWS)]
    truth = sum(chances) / ROWS
    return [[float(rng.random() < chance) for chance in chances] for _ in range(COPIES)], truth


@pytest.mark.parametrize("seed", range(2))
def test_the_best_of_a_thousand_noisy_copies_gains_less_than_the_interval(seed: int) -> None:
    sent, truth = copies(seed)
    best: ladder.Known | None = None
    shown: list[float] = []
    for number, hits in enumerate(sent, start=1):
        mean = sum(hits) / ROWS
        told = ladder.answer(mean, hits, best, answers=number, error=error_of(hits))
        if told.shown is not None:
            shown.append(told.shown)
            best = ladder.Known(mean, told.shown, hits)

    half = normal(95) * error_of(sent[0])
    naive = max(sum(hits) / ROWS for hits in sent)
    assert naive - truth > half  # whoever is told every score does find one that flatters
    assert best is not None and best.shown - truth < half
    assert len(shown) <= 2


def test_a_submission_that_is_really_better_is_told_so() -> None:
    rng = random.Random(1)
    first = [float(rng.random() < 0.7) for _ in range(ROWS)]
    better = [max(each, float(rng.random() < 0.5)) for each in first]

    known = ladder.answer(sum(first) / ROWS, first, None, answers=1, error=0.02)
    best = ladder.Known(sum(first) / ROWS, known.shown or 0.0, first)
    told = ladder.answer(sum(better) / ROWS, better, best, answers=5, error=0.02)

    assert told.shown is not None and told.shown > best.shown
    again = ladder.answer(
        sum(better) / ROWS, better, ladder.Known(sum(better) / ROWS, told.shown, better), answers=6, error=0.02
    )
    assert again.shown is None


def test_shown_scores_are_multiples_of_a_round_step() -> None:
    assert ladder.round_step(0.0187) == 0.02
    assert ladder.rounded(0.8131, 0.02) == 0.82
    assert ladder.round_step(math.inf) == 0.0


@pytest.mark.parametrize("level", [90, 95])
def test_the_quantiles_are_those_of_students_t(level: int) -> None:
    for degrees in (1, 2, 4, 9, 30):
        assert student(level, degrees) == pytest.approx(reference.ppf(0.5 + level / 200, degrees), abs=1e-4)  # type: ignore[arg-type]


def test_an_interval_counts_draws_and_rows_and_a_pair_shares_both() -> None:
    wide = span([0.8, 0.82, 0.78], 0.02, 95)
    assert wide.mean == pytest.approx(0.8)
    assert wide.half == pytest.approx(math.hypot(4.3027 * 0.02 / math.sqrt(3), 1.96 * 0.02), abs=1e-4)
    same = paired([0.8, 0.82], [0.79, 0.81], [1.0, 0.0, 1.0], [1.0, 0.0, 1.0], 95)
    assert (same.low, same.high) == pytest.approx((0.01, 0.01))
    assert span([0.5], 0.1, 90).half == pytest.approx(0.1645, abs=1e-3)
    assert error_of([1.0, math.nan, 0.0]) == pytest.approx(0.5)
    assert proportion_error(1.0, 40) > 0.03


def test_an_interval_that_was_cut_at_one_does_not_tell_the_exact_score() -> None:
    told = set()
    for mean in (0.976, 0.981, 0.984):
        run = Run(mean=mean, low=mean - 0.04, high=1.0, low90=mean - 0.033, high90=1.0, step=0.02, shown=0.98,
                  metric="accuracy")  # fmt: skip
        told.add(interval(run))

    assert told == {(0.94, 1.0, 0.947, 1.0)}
