"""What is kept of networks that were adapted, and what it says."""

import json
from dataclasses import asdict, replace

import pytest

from benchmarks.history.adapted import Tried, fall_of, outcomes, read_tried, text
from composer.rank.history import Outcome

ADAPTED = Outcome("one/x", ("lab/net@adapted",), "adapted", 16, 0, 0.8, 0.7, 0.9, 1.0)
BESIDE = replace(ADAPTED, members=("lab/net@adapted", "lab/words#out"), arm="set", score=0.85)
TRIED = Tried("one/x", 16, 0, "image", "lab/net", 0.6, 0.75, 0.78, ADAPTED, BESIDE, 1.0, 0.5, 32, 1.0)


def test_what_was_run_is_read_again_and_a_set_without_the_network_is_left_out(tmp_path):
    apart = replace(TRIED, draw=1, beside_part=0.0)
    (tmp_path / "adapted").mkdir()
    for one in (TRIED, apart):
        (tmp_path / "adapted" / f"one--x-16-{one.draw}.json").write_text(json.dumps(asdict(one)))

    assert read_tried(tmp_path) == [TRIED, apart]
    assert outcomes(tmp_path) == [ADAPTED, ADAPTED, BESIDE]


def test_the_part_of_the_error_that_is_gone_is_that_of_the_mean_of_the_draws():
    other = replace(TRIED, frozen=0.9, adapted=replace(ADAPTED, score=0.85))

    assert fall_of([TRIED]) == pytest.approx(0.5)
    assert fall_of([TRIED, other]) == pytest.approx((0.2 - 0.05) / 0.5)
    assert fall_of([replace(TRIED, frozen=1.0)]) is None
    assert "image 16 1 1: 0.600, 0.800, 0.750, 0.850, 0.50" in text([TRIED])
