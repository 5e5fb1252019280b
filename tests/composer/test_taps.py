"""A network stands in sets for the tap that the rows clearly speak for, and else for its own."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from composer.assemble import Offer, Unit
from composer.choices import Candidate
from composer.rank.probe import Targets, gram, probe
from composer.recommend import find_sets
from composer.taps import alone, at_clear_taps, other_taps
from priors.manifest import PriorRef

NET, WORDS = PriorRef("lab", "net"), PriorRef("lab", "words")
LAST, MIDDLE, OTHER = (Candidate(NET, tap, "text") for tap in ("last", "middle", "other"))
COUNTS = Candidate(WORDS, "out", "text")


def offered(taken=(LAST,), kind="network"):
    manifests = dict.fromkeys((LAST, MIDDLE, OTHER), SimpleNamespace(kind=kind, function=None, modality="text"))
    manifests[COUNTS] = SimpleNamespace(kind="function", function=None, modality="text")
    units = (Unit("net", taken, True), Unit("words", (COUNTS,), False))
    return Offer((LAST, MIDDLE, OTHER, COUNTS), units, manifests)


ROWS = 60
TARGETS = Targets.of_classes(np.arange(ROWS) % 2, 2)


def kernels(**told):
    """The Gram matrix of every block, which tell two classes; `told` are distances between them."""
    rng = np.random.default_rng(0)
    told = {tap.tap: told.get(tap.tap, 0.0) for tap in (LAST, MIDDLE, OTHER, COUNTS)}
    apart = (np.arange(ROWS) % 2)[:, None]
    return {tap: gram(rng.normal(size=(ROWS, 8)) + told[tap.tap] * apart) for tap in (LAST, MIDDLE, OTHER, COUNTS)}


def probes(**told):
    return {tap: probe(kernel, TARGETS) for tap, kernel in kernels(**told).items()}


@pytest.mark.parametrize(
    ("told", "stands"),
    [({"middle": 3.0}, MIDDLE), ({"last": 3.0}, LAST), ({}, LAST), ({"last": 1.0, "middle": 1.1}, LAST)],
)
def test_only_a_tap_that_is_clearly_better_takes_the_place_of_the_default(told, stands):
    known = probes(**told)
    found = at_clear_taps(offered(), known, known[LAST])

    assert (found is None) == (stands == LAST)
    if found is not None:
        assert [unit.candidates for unit in found.units] == [(stands,), (COUNTS,)]
        assert [(unit.name, unit.trusted) for unit in found.units] == [("net", True), ("words", False)]


def test_a_better_tap_that_is_not_clearly_above_the_chosen_set_changes_nothing():
    known = probes(middle=2.0)

    assert at_clear_taps(offered(), known, known[MIDDLE]) is None


def test_averaged_taps_and_functions_stay_as_they_are():
    averaged = offered(taken=(LAST, MIDDLE))

    assert other_taps(averaged) == {} == other_taps(offered(kind="function"))
    known = probes(other=3.0)
    assert at_clear_taps(averaged, known, known[LAST]) is None
    assert other_taps(offered()) == {"net": [LAST, MIDDLE, OTHER]}


def test_one_block_that_is_clearly_better_than_the_set_is_enough():
    """Averaged taps are not searched again, and their mean drowns what one of them knows."""
    averaged, told = offered(taken=(LAST, OTHER)), kernels(middle=3.0)

    placed, by_unit, found = find_sets(averaged, told, TARGETS)
    same, _, kept = find_sets(averaged, kernels(middle=0.5, last=0.5), TARGETS)

    assert found.chosen.weights == {"net": 1.0} and placed.units[0].candidates == (MIDDLE,)
    assert by_unit["net"] is told[MIDDLE]
    assert len(found.averaged.weights) > 1
    assert same == averaged and kept.chosen in (kept.averaged, kept.grown)


def test_a_block_that_is_surer_and_right_less_often_is_not_enough():
    known = probes(middle=3.0)
    chosen = replace(known[LAST], hits=known[MIDDLE].hits + 1.0)

    assert alone(offered(), known, known[LAST]) == Unit("net", (MIDDLE,), True)
    assert alone(offered(), known, chosen) is None
    assert alone(offered(), known, known[MIDDLE]) is None


def test_sets_are_searched_again_with_the_better_tap_and_only_then():
    better, _, found = find_sets(offered(), kernels(middle=3.0, last=0.5), TARGETS)
    same, _, _ = find_sets(offered(), kernels(middle=3.0, last=3.0), TARGETS)

    part = {tap: kernel for tap, kernel in kernels(middle=3.0).items() if tap != MIDDLE}

    assert better.units[0].candidates == (MIDDLE,) and same == offered()
    assert find_sets(offered(), part, TARGETS)[0] == offered()  # a tap that was not read is no candidate
    assert found.chosen.probe.loss <= probes(middle=3.0, last=0.5)[MIDDLE].loss + 0.02
