"""Which blocks a search gives weight to."""

import numpy as np
import pytest

from composer.rank import sets
from composer.rank.probe import Targets, gram, probe
from composer.rank.sets import average, mix, search


def world(n: int = 60, seed: int = 0, noise: int = 3) -> tuple[dict[str, np.ndarray], Targets]:
    """Gram matrices of a block that knows one half of four classes, one that knows the other, and noise."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 4
    blocks = {
        "high bit": np.eye(2)[labels // 2] + 0.3 * rng.normal(size=(n, 2)),
        "low bit": np.eye(2)[labels % 2] + 0.3 * rng.normal(size=(n, 2)),
    }
    blocks |= {f"noise {i}": rng.normal(size=(n, 10)) for i in range(noise)}
    return {name: gram(block) for name, block in blocks.items()}, Targets.of_classes(labels, 4)


def test_blocks_that_each_know_a_part_are_combined_and_noise_gets_little():
    kernels, targets = world()

    found = search(kernels, targets)

    weights = found.averaged.weights
    assert sum(weights.values()) == pytest.approx(1)
    assert {"high bit", "low bit"} <= set(weights)
    assert sum(weight for name, weight in weights.items() if "noise" in name) < 0.25
    assert found.averaged.probe.score > found.singles[0].probe.score + 0.2
    assert found.singles[0].weights.keys() <= {"high bit", "low bit"}


def test_of_a_number_what_explains_most_of_the_rest_joins():
    rng = np.random.default_rng(0)
    features, noise = rng.normal(size=(40, 6)), rng.normal(size=(40, 6))
    values = features @ np.array([1, 1, 1, 0.2, 0.2, 0.2]) + 0.02 * rng.normal(size=40)
    blocks = {"most": features[:, :3], "rest": features[:, 3:], "noise": noise}

    found = search({name: gram(block) for name, block in blocks.items()}, Targets.of_values(values))

    assert 0.93 < found.singles[0].probe.score < 0.97
    assert [(step.name, step.taken) for step in found.steps] == [("rest", True), ("noise", False)]
    assert found.chosen.weights.keys() >= {"most", "rest"}
    assert found.chosen.probe.score > 0.99


def test_noise_beside_them_costs_little():
    kernels, targets = world(noise=0)
    noisy, _ = world(noise=6)

    alone, beside = search(kernels, targets).averaged, search(noisy, targets).averaged

    assert beside.probe.score >= alone.probe.score - 0.08


def test_what_was_found_is_what_its_weights_score():
    kernels, targets = world()
    found = search(kernels, targets)

    again = probe(mix(kernels, found.averaged.weights), targets)
    assert found.averaged.probe.loss == again.loss
    losses = [one.probe.loss for one in found.tried]
    assert losses == sorted(losses)
    for one in (*found.tried, *found.singles):
        assert sum(one.weights.values()) == pytest.approx(1)
        assert min(one.weights.values()) > 0
    assert [next(iter(one.weights)) for one in found.singles] == sorted(
        kernels, key=lambda name: probe(kernels[name], targets).loss
    )


def test_one_block_is_the_whole_set():
    kernels, targets = world()
    found = search({"only": kernels["high bit"]}, targets)

    assert found.averaged.weights == {"only": 1.0}
    assert len(found.tried) == len(found.singles) == 1


def test_a_trusted_start_is_kept_while_the_rows_say_little_of_another():
    kernels, targets = strangers(3)
    order = [name for one in search(kernels, targets).singles for name in one.weights]
    found = search(kernels, targets, trusted=(order[1],))

    assert found.averaged.weights[order[1]] > found.averaged.weights.get(order[2], 0.0)
    assert found.grown.weights.keys() >= {order[1]}


def test_the_most_members_are_kept_to():
    kernels, targets = world()

    assert len(search(kernels, targets, max_members=1).averaged.weights) == 1
    assert len(search(kernels, targets, max_members=2).averaged.weights) <= 2
    assert max(len(one.weights) for one in search(kernels, targets, max_members=2).tried) == 2


def test_the_same_search_finds_the_same_bits():
    kernels, targets = world()
    reversed_order = dict(reversed(kernels.items()))

    first, second, third = (search(k, targets).averaged for k in (kernels, kernels, reversed_order))

    assert first.weights == second.weights
    assert first.weights == pytest.approx(third.weights)


def test_many_rows_are_searched_on_a_part_and_scored_on_all(monkeypatch):
    kernels, targets = world(n=80)
    targets = targets.grouped(np.arange(80) // 3)
    monkeypatch.setattr(sets, "MAX_ROWS", 40)

    found = search(kernels, targets, seed=3)

    assert len(found.averaged.probe.hits) == 80
    assert {len(one.probe.hits) for one in found.tried} == {40}
    assert {"high bit", "low bit"} <= set(found.averaged.weights)
    assert found.averaged.weights == search(kernels, targets, seed=3).averaged.weights


def test_a_part_of_the_rows_is_centered_anew():
    features = np.random.default_rng(0).normal(size=(20, 5))
    some = np.arange(0, 20, 2)

    np.testing.assert_allclose(sets._recentered(gram(features)[np.ix_(some, some)]), gram(features[some]), atol=1e-9)
    assert not sets._recentered(np.zeros((4, 4))).any()


def test_averaging_weighs_by_evidence_and_drops_crumbs():
    kernels, targets = world()
    found = search(kernels, targets)
    best = next(one for one in found.tried if one.weights.keys() == {"high bit", "low bit"})
    worst = found.tried[-1]

    assert average([best], 60, max_members=5) == pytest.approx(dict(best.weights))
    assert average([best, worst], 10_000, max_members=5) == pytest.approx(dict(best.weights))
    assert average([best, worst], 0, max_members=5).keys() == best.weights.keys() | worst.weights.keys()
    crumbs = next(one for one in found.tried if min(one.weights.values()) < sets.LEAST)
    assert len(average([crumbs], 60, max_members=5)) < len(crumbs.weights)


def test_progress_is_told_and_no_blocks_are_refused():
    kernels, targets = world()
    told = []
    search(kernels, targets, progress=lambda done, of, message: told.append((done, of, message)))

    assert [(done, of) for done, of, _ in told] == [(i + 1, len(told)) for i in range(len(told))]
    with pytest.raises(ValueError, match="at least one block"):
        search({}, targets)


def test_all_pairs_of_the_best_are_scored_exactly():
    kernels, targets = world(noise=18)

    found = search(kernels, targets)

    assert len(found.pairs) == sets.TOP * (sets.TOP - 1) // 2
    assert set(found.pairs[0].weights) == {"high bit", "low bit"}
    assert all(one.weights == pytest.approx(dict.fromkeys(one.weights, 0.5)) for one in found.pairs)
    assert found.pairs[0].probe.loss == probe(mix(kernels, found.pairs[0].weights), targets).loss
    assert [one.probe.loss for one in found.pairs] == sorted(one.probe.loss for one in found.pairs)


def test_a_set_grows_by_what_adds_and_stops_at_what_does_not():
    kernels, targets = world()
    found = search(kernels, targets)

    first, *rest = found.steps

    assert first.taken and first.gain > 2 * first.error > 0
    assert first.name == ({"high bit", "low bit"} - set(found.singles[0].weights)).pop()
    assert first.overlap < 0.2
    assert not rest[-1].taken or len(rest) == sets.MOST_GROWN - 1
    assert set(found.grown.weights) >= {"high bit", "low bit"}
    assert sum(found.grown.weights.values()) == pytest.approx(1)


def test_a_copy_is_not_added_and_overlaps_wholly():
    kernels, targets = world(noise=0)
    lead = next(iter(search(kernels, targets).singles[0].weights))
    twice = {lead: kernels[lead], "copy": kernels[lead]}

    [step] = search(twice, targets).steps

    assert step.overlap == pytest.approx(1)
    assert not step.taken
    assert sets.overlaps(twice, {lead: 0.5, "copy": 0.5}) == pytest.approx({lead: 1.0, "copy": 1.0})
    assert sets.overlaps(kernels, {lead: 1.0}) == {lead: 0.0}


def test_a_block_that_is_weak_alone_joins_where_it_adds():
    rng = np.random.default_rng(3)
    labels = np.arange(120) % 4
    strong = {f"high bit {i}": np.eye(2)[labels // 2] + 0.1 * rng.normal(size=(120, 2)) for i in range(7)}
    blocks = {**strong, "low bit": 0.8 * np.eye(2)[labels % 2] + 0.7 * rng.normal(size=(120, 2))}
    targets = Targets.of_classes(labels, 4)

    found = search({name: gram(block) for name, block in blocks.items()}, targets)

    assert list(found.singles[-1].weights) == ["low bit"]
    assert found.steps[0].name == "low bit"
    assert "low bit" in found.chosen.weights
    assert found.chosen.probe.score > found.singles[0].probe.score + 0.1


@pytest.mark.parametrize("kind", ["number", "labels"])
def test_sets_of_numbers_and_of_labels_are_grown_and_one_may_be_enough(kind):
    rng = np.random.default_rng(0)
    a, b, noise = rng.normal(size=(3, 80))
    wanted = Targets.of_values(a + b + 0.1 * noise)
    alone = Targets.of_values(a + 0.1 * noise)
    if kind == "labels":
        wanted = Targets.of_sets(np.stack([a > 0, b > 0], 1).astype(int))
        alone = Targets.of_sets(np.stack([a > 0, a > 0.5], 1).astype(int))
    blocks = {"a": np.stack([a, a**2], 1), "b": np.stack([b, b**2], 1), "noise": rng.normal(size=(80, 6))}
    kernels = {name: gram(block) for name, block in blocks.items()}

    assert {"a", "b"} <= set(search(kernels, wanted).chosen.weights)
    enough = search(kernels, alone)
    assert enough.chosen.weights["a"] > 0.7
    assert not any(step.taken for step in enough.steps)


def strangers(seed: int) -> tuple[dict[str, np.ndarray], Targets]:
    """Two views of two classes, and a block that says nothing, on 32 rows."""
    rng = np.random.default_rng(seed)
    labels = np.arange(32) % 2
    blocks = {name: rng.normal(size=(2, 20))[labels] + 2 * rng.normal(size=(32, 20)) for name in ("first", "second")}
    blocks["stranger"] = rng.normal(size=(32, 20))
    return {name: gram(block) for name, block in blocks.items()}, Targets.of_classes(labels, 2)


def test_a_block_of_which_nothing_is_known_must_clearly_help():
    worlds = [strangers(seed) for seed in range(8)]
    averaged = sum("stranger" in search(k, t, trusted=("first",)).chosen.weights for k, t in worlds)
    earned = sum(
        "stranger" in search(k, t, trusted=("first", "stranger"), unproven=("stranger",)).chosen.weights
        for k, t in worlds
    )

    assert averaged > 4  # a little weight costs nothing
    assert earned == 0


def test_a_block_of_which_nothing_is_known_is_taken_where_it_says_much():
    kernels, targets = world(noise=0)
    found = search(kernels, targets, unproven=("low bit",))

    assert {"high bit", "low bit"} == set(found.chosen.weights)


def test_an_unproven_block_beside_one_other_must_clearly_help_too():
    """Two standard errors on 32 rows are passed by chance now and then, not often."""
    kept = averaged = 0
    for seed in range(20):
        kernels, targets = strangers(seed)
        del kernels["second"]
        kept += "stranger" in search(kernels, targets, unproven=("stranger",)).chosen.weights
        averaged += "stranger" in search(kernels, targets).chosen.weights

    assert kept <= 3
    assert averaged > 10


def test_a_block_that_is_not_trusted_may_start_a_set_where_it_says_much_more():
    rng = np.random.default_rng(0)
    labels = np.arange(80) % 4
    good = gram(np.eye(4)[labels] + 0.3 * rng.normal(size=(80, 4)))
    kernels = {"network": gram(rng.normal(size=(80, 30))), "function": good}
    found = search(kernels, Targets.of_classes(labels, 4), trusted=("network",))

    assert found.averaged.weights["function"] > 0.7
    held = search(kernels, Targets.of_classes(labels, 4), trusted=("network",), followers=("function",))
    assert held.averaged.weights["function"] < 0.4
    alone = search({"function": good}, Targets.of_classes(labels, 4), followers=("function",))
    assert alone.chosen.weights == {"function": 1.0}


def test_what_other_tasks_say_decides_where_the_rows_do_not():
    kernels, targets = strangers(1)
    twins = {"first": kernels["first"], "twin": kernels["first"]}
    alike = search(twins, targets).chosen.weights
    known = search(twins, targets, known={"first": -3.0}).chosen.weights

    assert known["twin"] > 0.6 > alike["twin"]
