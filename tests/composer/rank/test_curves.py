"""How many labels a prior is worth: read between points, bounded outside of them, never extrapolated."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from composer.rank.curves import curves_of, label_curves, points, worth
from composer.rank.history import Outcome, TaskCard

WITHOUT = {4: (0.5, 0.52, 0.48), 16: (0.6, 0.61, 0.59), 64: (0.7, 0.7, 0.7), 256: (0.8, 0.79, 0.81)}


def test_labels_are_read_between_points_on_a_logarithmic_axis():
    found = worth({16: (0.75, 0.75, 0.75)}, WITHOUT, 16)

    assert found.needs == pytest.approx(128, abs=0.1)  # half way from 64 to 256
    assert found.low < 128 < found.high
    assert found.beyond == ""
    assert found.text("minilm").startswith("16 labels a class with minilm are worth 128 without a prior (")


def test_what_no_number_of_labels_reached_is_said_as_more_than_the_most():
    found = worth({16: (0.9, 0.9, 0.9)}, WITHOUT, 16)

    assert (found.needs, found.high, found.beyond) == (None, None, "above")
    assert "more than 256" in found.text()


def test_what_the_fewest_labels_reach_is_said_as_at_most_those():
    found = worth({16: (0.4, 0.4, 0.4)}, WITHOUT, 16)

    assert (found.needs, found.low, found.beyond) == (None, None, "below")
    assert "at most 4" in found.text()


def test_an_interval_that_leaves_the_curve_is_open_on_that_side():
    found = worth({16: (0.74, 0.79, 0.84)}, WITHOUT, 16)

    assert found.needs is not None
    assert found.low is not None
    assert found.high is None
    assert found.text().endswith("to more than 256).")


def test_a_curve_that_falls_is_pooled():
    fallen = {4: (0.5,), 16: (0.7,), 64: (0.6,), 256: (0.8,)}  # 16 and 64 count as 0.65 both

    assert worth({4: (0.65,)}, fallen, 4).needs == pytest.approx(16)
    assert worth({4: (0.725,)}, fallen, 4).needs == pytest.approx(128, abs=0.1)


def test_a_prior_that_does_nothing_is_worth_the_labels_it_was_given():
    for labels in WITHOUT:
        assert worth(WITHOUT, WITHOUT, labels).needs == pytest.approx(labels)


def test_more_draws_give_a_narrower_interval():
    noise = np.random.default_rng(0).normal(scale=0.05, size=30)
    few = worth({16: tuple(0.65 + noise[:3])}, WITHOUT, 16)
    many = worth({16: tuple(0.65 + noise)}, WITHOUT, 16)

    assert many.high - many.low < few.high - few.low


@pytest.mark.parametrize("draws", [2, 3, 5, 12])
def test_intervals_hold_the_mean_that_few_draws_came_from(draws):
    rng = np.random.default_rng(0)
    drawn = {number: tuple(rng.normal(0.7, 0.03, draws)) for number in range(1, 301)}

    held = [point.low <= 0.7 <= point.high for point in points(drawn)]
    assert 0.84 <= np.mean(held) <= 0.96


def test_points_have_intervals_and_one_draw_has_none():
    found = points({4: (0.5, 0.6, 0.7), 16: (0.8,)})

    assert [(point.labels, point.draws) for point in found] == [(4, 3), (16, 1)]
    assert found[0].low < found[0].score < found[0].high
    assert found[1].low == found[1].score == found[1].high


def test_curves_travel_as_json():
    found = label_curves("topics", "priorhub/minilm#*", "accuracy", {4: (0.6,), 16: (0.75,)}, WITHOUT)

    content = json.loads(json.dumps(found.to_dict()))
    assert [one["labels"] for one in content["worth"]] == [4, 16]
    assert content["worth"][0]["text"]
    assert len(content["without"]) == 4


def test_curves_come_out_of_a_history():
    def run(labels, score, members=(), draw=0):
        arm = "single" if members else "no_prior"
        return Outcome("topics", members, arm, labels, draw, score, score, score, 0.0)

    words = ("priorhub/words#out",)
    outcomes = [run(4, 0.4), run(64, 0.8), run(4, 0.6, words), run(4, 0.6, words, draw=1), run(0, 0.9, words)]
    found = curves_of(outcomes, TaskCard("topics", metric="accuracy"), *words)

    assert [(one.labels, one.needs) for one in found.worth] == [(4, 16.0)]
    assert curves_of(outcomes, TaskCard("topics"), "priorhub/nobody#out") is None


def test_nothing_measured_is_refused():
    with pytest.raises(ValueError, match="16 labels"):
        worth({4: (0.5,)}, WITHOUT, 16)
    with pytest.raises(ValueError, match="without one"):
        worth({4: (0.5,)}, {}, 4)


@given(st.lists(st.floats(0, 1), min_size=2, max_size=6), st.floats(0, 1), st.floats(0, 1))
def test_a_higher_score_is_never_worth_fewer_labels(heights, one, other):
    without = {4**i: (height,) for i, height in enumerate(heights, 1)}
    low, high = sorted((one, other))

    def needed(score):
        found = worth({4: (score,)}, without, 4)
        return {"above": np.inf, "below": 0.0, "": found.needs}[found.beyond]

    assert needed(low) <= needed(high)
