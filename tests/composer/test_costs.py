"""Limits on what a set costs whoever runs it: time a row, and fees."""

import json
from itertools import combinations

import numpy as np
import pytest

from composer.assemble import offer
from composer.choices import Limits
from composer.costs import Costs, affordable
from composer.rank.probe import Targets, gram
from composer.rank.sets import search
from composer.recommend import recommend
from priors.errors import BadTask
from priors.library import LocalLibrary
from tests.composer._made_up import function_library, table_task, text_task

LABELS = np.arange(40) % 2
TARGETS = Targets.of_classes(LABELS, 2)


def asking(library: LocalLibrary, **fees: int) -> LocalLibrary:
    """The same library, with fees in basis points by name."""
    for name, fee in fees.items():
        [path] = library.root.glob(f"*/{name.replace('_', '-')}/prior.json")
        path.write_text(json.dumps(json.loads(path.read_text()) | {"fee_bp": fee}))
    return LocalLibrary(library.root)


@pytest.fixture
def library(tmp_path):
    return asking(
        function_library(tmp_path / "priors", "char-ngrams", "word-ngrams", "text-statistics"),
        char_ngrams=600, word_ngrams=600, text_statistics=2_000,
    )  # fmt: skip


def test_a_set_is_searched_only_among_those_that_fit_together():
    rng = np.random.default_rng(0)
    kernels = {name: gram(np.eye(2)[LABELS] + rng.normal(size=(40, 2))) for name in "abcd"}
    costs = Costs(Limits(latency_ms=10), dict.fromkeys("abcd", 4.0))

    free, held = search(kernels, TARGETS), search(kernels, TARGETS, fits=costs.allow)

    assert max(len(one.weights) for one in (*free.tried, free.chosen)) > 2
    assert {len(one.weights) for one in (*held.tried, *held.pairs, held.grown, held.chosen)} <= {1, 2}
    assert not search(kernels, TARGETS, fits=lambda names: len(names) < 2).pairs


def test_fees_are_paid_once_for_one_content_and_add_up_to_half_at_most():
    costs = Costs(Limits(price=12), {}, {"a": ("x", 6.0), "a again": ("x", 6.0), "b": ("y", 7.0), "c": ("z", 49.0)})

    assert costs.price(["a", "a again"]) == 6
    assert costs.allow(["a", "a again"]) and not costs.allow(["a", "b"])
    assert costs.price("abc") == 50
    assert Costs().allow("abc")


@pytest.mark.parametrize(("price", "most"), [(12, 2), (11.9, 1)])
def test_what_is_recommended_keeps_the_fees_allowed(library, tmp_path, price, most):
    ranking = recommend(text_task(), library=library, cache=tmp_path / "cache", limits={"price": price})

    names = {one.name for one in ranking.singles}
    assert names == {"char-ngrams", "word-ngrams"}, "the third asks for 20 % by itself"
    assert all(len({m.candidate.ref for m in one.members}) <= most for one in (ranking.best, *ranking.sets))
    assert any("of what the model is sold for in fees" in one for one in ranking.warnings)


def test_a_row_that_takes_longer_than_it_may_leaves_a_prior_out(library, tmp_path):
    task = text_task()
    offered = offer(task, library.entries())

    kept, costs, notes = affordable(task, offered, library, Limits(latency_ms=60_000))
    middle = sorted(costs.latency_ms.values())[1]
    pairs = [pair for pair in combinations(costs.latency_ms, 2) if costs.milliseconds(pair) <= middle]

    assert kept == offered and not notes
    assert all(value > 0 for value in costs.latency_ms.values())
    assert all(Costs(Limits(latency_ms=middle), costs.latency_ms).allow(pair) == (pair in pairs) for pair in pairs)
    with pytest.raises(BadTask, match=r"no prior reads a row of this task in 0 ms here: the fastest, \S+, takes 0\.\d"):
        recommend(task, library=library, cache=tmp_path / "cache", limits={"latency_ms": 0})


def test_priors_that_are_too_slow_are_named(library, monkeypatch):
    times = {"char-ngrams": 1.0, "word-ngrams": 30.0, "text-statistics": 20.0}
    monkeypatch.setattr("composer.costs._measured", lambda *_: times)
    task = text_task()

    kept, _, notes = affordable(task, offer(task, library.entries()), library, Limits(latency_ms=10))

    assert [unit.name for unit in kept.units] == ["char-ngrams"]
    assert {candidate.ref.name for candidate in kept.candidates} == {"char-ngrams"}
    assert notes == ["left out, as they take more than 10 ms a row here: text-statistics (20.0), word-ngrams (30.0)."]


def test_nothing_is_timed_where_time_is_not_limited(library, monkeypatch):
    monkeypatch.setattr("composer.costs._measured", lambda *_: pytest.fail("timed"))
    task = table_task()
    columns = function_library(library.root.parent / "columns", "standardize")

    assert affordable(task, offer(task, columns.entries()), columns, Limits(price=1))[2] == []
