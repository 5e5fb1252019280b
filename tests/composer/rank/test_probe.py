"""Leave-one-out scores against refitting without the rows, and what must not change them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from composer.rank.head import ridge
from composer.rank.probe import PENALTIES, SHARPNESS, Probe, Targets, chance, gram, press, probe, score_gap, solve
from composer.rank.rows import sample

SETTINGS = settings(max_examples=25)


def rows(n: int = 30, d: int = 12, classes: int = 3, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Features (n, d) that say something about the labels (n,)."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % classes
    return rng.normal(size=(n, d)) + rng.normal(size=(classes, d))[labels], labels


def refitted(features: np.ndarray, wanted: np.ndarray, penalty: float, groups: np.ndarray) -> np.ndarray:
    """Ridge with a free intercept, fitted anew without each group and asked for its rows."""
    found = np.empty_like(wanted)
    for group in np.unique(groups):
        out, kept = groups == group, groups != group
        x = np.column_stack([features[kept], np.ones(kept.sum())])
        ridge_part = np.diag([penalty] * features.shape[1] + [0.0])
        weights = np.linalg.solve(x.T @ x + ridge_part, x.T @ wanted[kept])
        found[out] = np.column_stack([features[out], np.ones(out.sum())]) @ weights
    return found


@pytest.mark.parametrize(("n", "d"), [(30, 12), (20, 60), (7, 3)])
def test_press_is_refitting_without_the_row_at_every_penalty(n, d):
    features, labels = rows(n, d)
    features -= features.mean(0)
    wanted = np.eye(3)[labels]

    found = press(features @ features.T, wanted, np.array([0.05, 1.0, 30.0]))

    for predictions, penalty in zip(found, (0.05, 1.0, 30.0), strict=True):
        np.testing.assert_allclose(predictions, refitted(features, wanted, penalty, np.arange(n)), atol=1e-6)


@pytest.mark.parametrize("d", [5, 80])
def test_press_of_groups_is_refitting_without_the_group(d):
    features, labels = rows(31, d)
    features -= features.mean(0)
    groups = np.random.default_rng(1).permutation(np.repeat(np.arange(11), [1, 1, 2, 2, 2, 3, 3, 4, 4, 4, 5]))
    wanted = np.eye(3)[labels]
    targets = Targets.of_classes(labels, 3).grouped(groups)

    found = press(features @ features.T, wanted, np.array([0.1, 2.0]), targets.together)

    for predictions, penalty in zip(found, (0.1, 2.0), strict=True):
        np.testing.assert_allclose(predictions, refitted(features, wanted, penalty, groups), atol=1e-6)


def test_groups_of_one_row_are_rows():
    features, labels = rows()
    alone = probe(gram(features), Targets.of_classes(labels, 3))
    named = probe(gram(features), Targets.of_classes(labels, 3).grouped(np.array([f"g{i}" for i in range(30)])))

    assert np.array_equal(alone.scores, named.scores)


def test_a_regression_is_left_out_as_exactly():
    features, _ = rows(25, 6)
    features -= features.mean(0)
    values = features @ np.arange(6.0) + 40
    targets = Targets.of_values(values)
    scale = np.trace(features @ features.T) / 25

    found = probe(features @ features.T, targets, np.array([0.2]))

    expected = refitted(features, targets.matrix, 0.2 * scale, np.arange(25))
    np.testing.assert_allclose(found.scores, expected, atol=1e-6)
    assert found.score == pytest.approx(1 - np.square(expected - targets.matrix).mean())
    assert (targets.mean, targets.spread) == (pytest.approx(values.mean()), pytest.approx(values.std()))


def test_features_that_say_nothing_are_worth_no_more_than_chance():
    labels = np.repeat([0, 1], [20, 10])
    targets = Targets.of_classes(labels, 2)

    found = probe(gram(np.full((30, 4), 7.0)), targets)

    assert np.isfinite(found.losses).all()
    assert found.score == pytest.approx(20 / 30)
    assert found.loss == pytest.approx(chance(targets).mean(), abs=0.1)
    assert not gram(np.full((30, 4), 7.0)).any()


def test_a_row_that_alone_decides_its_prediction_has_a_finite_one():
    features = np.zeros((6, 2))
    features[0] = 1e9
    found = probe(gram(features), Targets.of_classes(np.array([0, 0, 1, 1, 1, 0]), 2), np.array([1e-12]))

    assert np.isfinite(found.scores).all()


def test_all_rows_in_one_group_leave_nothing_to_learn_from_but_finite_scores():
    features, labels = rows()
    found = probe(gram(features), Targets.of_classes(labels, 3).grouped(np.zeros(30)))

    assert np.isfinite(found.scores).all()


@SETTINGS
@given(seed=st.integers(0, 10_000), scale=st.floats(1e-3, 1e3), shift=st.floats(-50, 50))
def test_rotating_scaling_and_shifting_the_features_changes_nothing(seed, scale, shift):
    features, labels = rows(24, 8, seed=seed)
    rotation = np.linalg.qr(np.random.default_rng(seed).normal(size=(8, 8)))[0]
    targets = Targets.of_classes(labels, 3)

    plain, turned = (probe(gram(x), targets) for x in (features, scale * features @ rotation + shift))

    assert plain.penalty == turned.penalty
    np.testing.assert_allclose(plain.scores, turned.scores, atol=1e-6)


@SETTINGS
@given(seed=st.integers(0, 10_000))
def test_the_order_of_rows_and_the_names_of_groups_change_nothing(seed):
    features, labels = rows(24, 8, seed=seed)
    rng = np.random.default_rng(seed)
    groups, order = rng.integers(0, 9, 24), rng.permutation(24)
    targets = Targets.of_classes(labels, 3).grouped(groups)
    moved = Targets.of_classes(labels[order], 3).grouped(np.array([f"name {9 - g}" for g in groups[order]]))

    plain, shuffled = probe(gram(features), targets), probe(gram(features[order]), moved)

    np.testing.assert_allclose(plain.scores[order], shuffled.scores, atol=1e-9)
    assert plain.interval == pytest.approx(shuffled.interval)


def test_the_gram_matrix_is_that_of_centered_rows_with_mean_diagonal_one():
    kernel = gram(rows()[0] + 100)

    assert np.trace(kernel) / 30 == pytest.approx(1)
    np.testing.assert_allclose(kernel.sum(0), 0, atol=1e-9)


def test_the_penalty_is_one_of_those_tried_and_leans_to_one():
    features, labels = rows()
    noise = np.random.default_rng(0).normal(size=(8, 4))

    assert probe(gram(features), Targets.of_classes(labels, 3)).penalty in PENALTIES
    assert 0.1 <= probe(gram(noise), Targets.of_classes(np.arange(8) % 2, 2)).penalty <= 10


def test_a_number_that_is_nearly_a_line_gets_a_small_penalty():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(30, 8))
    values = features @ rng.normal(size=8) + 0.05 * rng.normal(size=30)

    found = probe(gram(features), Targets.of_values(values))

    assert found.penalty < 0.02
    assert found.score > 0.995


def test_scores_that_separate_the_classes_are_read_more_sharply():
    labels = np.arange(30) % 3
    clear = np.eye(3)[labels] + 0.01 * np.random.default_rng(0).normal(size=(30, 3))
    vague = np.random.default_rng(0).normal(size=(30, 3))
    targets = Targets.of_classes(labels, 3)

    sure, unsure = probe(gram(clear), targets), probe(gram(vague), targets)

    assert sure.sharpness > unsure.sharpness
    assert {sure.sharpness, unsure.sharpness} <= set(SHARPNESS)
    exponents = sure.sharpness * sure.scores
    expected = np.log(np.exp(exponents).sum(1)) - exponents[np.arange(30), labels]
    np.testing.assert_allclose(sure.losses, expected, atol=1e-9)


def test_solving_on_all_rows_gives_the_predictions_that_were_left_out_of():
    features, labels = rows(30, 50)
    kernel, targets = gram(features), Targets.of_classes(labels, 3)
    others = np.arange(1, 30)
    known = features[others] - features[others].mean(0)
    inner = known @ known.T
    scale = np.trace(kernel) / 30
    dual, intercept = solve(inner, targets.matrix[others], penalty=scale / (np.trace(inner) / 29))

    asked = (features[0] - features[others].mean(0)) @ known.T @ dual + intercept

    centered = features - features.mean(0)
    np.testing.assert_allclose(press(centered @ centered.T, targets.matrix, np.array([scale]))[0, 0], asked, atol=1e-6)


@pytest.mark.parametrize("width", [10, 200])
def test_a_ridge_head_predicts_the_same_whether_solved_by_rows_or_by_features(width):
    features, labels = rows(60, width)
    targets = Targets.of_classes(labels, 3)
    centered = features - features.mean(0)
    found = ridge(features.astype(np.float32), targets)
    dual, intercept = solve(centered @ centered.T, targets.matrix, found.probe.penalty)

    np.testing.assert_allclose(
        features @ found.weight.T + found.bias, centered @ centered.T @ dual + intercept, atol=1e-5
    )
    assert found.probe.score == probe(gram(features.astype(np.float32)), targets).score


def test_chance_knows_the_frequencies_or_the_mean_and_no_more():
    targets = Targets.of_classes(np.array([0, 0, 0, 1]), 2)

    np.testing.assert_allclose(np.exp(-chance(targets)), [3 / 4, 3 / 4, 3 / 4, 1 / 4])
    np.testing.assert_allclose(chance(Targets.of_values(np.array([1.0, 2.0, 6.0]))), np.array([4, 1, 9]) / (14 / 3))


def test_a_model_that_learned_nothing_is_not_clearly_better_than_chance():
    for seed in range(20):
        rng = np.random.default_rng(seed)
        targets = Targets.of_classes(rng.permutation(np.arange(30) % 3), 3)
        gap = chance(targets) - probe(gram(rng.normal(size=(30, 40))), targets).losses
        assert gap.mean() < 3 * targets.standard_error(gap)


def test_standard_errors_sum_within_groups_first():
    values = np.array([1.0, 0.0, 1.0, 1.0, 0.0, 1.0])
    targets = Targets.of_classes(np.arange(6) % 2, 2)
    doubled = targets.take(np.repeat(np.arange(6), 2)).grouped(np.repeat(np.arange(6), 2))

    assert targets.standard_error(values) == pytest.approx(values.std(ddof=1) / np.sqrt(6))
    assert doubled.standard_error(np.repeat(values, 2)) == pytest.approx(targets.standard_error(values))
    assert targets.grouped(np.zeros(6)).standard_error(values) == np.inf
    assert targets.standard_error(np.ones(6)) == 0


def test_macro_f1_of_groups_is_as_sure_as_there_are_groups():
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(10), 20)
    truth = rng.random((200, 4)) < 0.5
    right = (np.arange(10) % 2 == 0)[groups]  # whole groups are told rightly, or not at all
    said = np.where(right[:, None], truth, ~truth).astype(np.float64)
    targets = Targets.of_sets(truth.astype(np.int64))
    alone, together = (
        Probe(some, 1.0, 1.0, said, np.zeros(200), np.zeros(200)) for some in (targets, targets.grouped(groups))
    )

    assert together.score == alone.score
    assert together.error > 3 * alone.error
    assert together.error == pytest.approx(0.5 / np.sqrt(9), rel=0.1)  # ten observations of about 0 or 1
    other = Probe(together.targets, 1.0, 1.0, truth.astype(np.float64), np.zeros(200), np.zeros(200))
    assert score_gap(other, together)[1] == pytest.approx(together.error)
    assert np.isinf(Probe(targets.grouped(np.zeros(200)), 1.0, 1.0, said, np.zeros(200), np.zeros(200)).error)


def test_a_label_that_the_rows_lack_is_guessed_rightly():
    sets = np.array([[1, 0, 1], [0, 0, 1], [1, 0, 1], [0, 0, 1]])

    np.testing.assert_allclose(chance(Targets.of_sets(sets)), np.full(4, np.log(2)))


def test_the_error_of_a_weighted_mean_is_that_of_the_rows_that_count():
    rng = np.random.default_rng(0)
    labels = (np.arange(400) < 20).astype(np.int64)
    targets = Targets.of_classes(labels, 2).balanced()
    draws = [targets.mean_of(rng.normal(size=400) * np.where(labels == 1, 3.0, 0.1)) for _ in range(500)]
    mean, error = targets.mean_and_error(rng.normal(size=400) * np.where(labels == 1, 3.0, 0.1))

    assert abs(mean) < 3 * error
    assert error == pytest.approx(np.std(draws), rel=0.3)


def test_intervals_hold_the_score_and_twenty_of_twenty_is_not_certain():
    labels = np.arange(20) % 2
    perfect = probe(gram(np.eye(2)[labels]), Targets.of_classes(labels, 2))
    assert perfect.score == 1
    low, high = perfect.interval
    assert 0.7 < low < 0.95
    assert high == 1
    assert perfect.error > (1 - low) / 2.1  # of both sides, though the interval ends at 1
    sets = Targets.of_sets(np.eye(2, dtype=np.int64)[labels])
    low, high = Probe(sets, 1.0, 1.0, sets.matrix, np.zeros(20), np.ones(20)).interval
    assert 0.7 < low < 0.95
    assert high == 1

    hopeless = probe(gram(np.random.default_rng(3).normal(size=(12, 3))), Targets.of_values(np.arange(12.0) % 5))
    low, high = hopeless.interval
    assert low < hopeless.score < high <= 1
    assert low < 0


def test_some_of_the_targets_keep_what_they_were_standardized_by():
    targets = Targets.of_values(np.arange(10.0)).grouped(np.arange(10) // 2)
    some = targets.take(np.array([0, 1, 5]))

    assert (some.mean, some.spread, len(some)) == (targets.mean, targets.spread, 3)
    assert some.groups.tolist() == [0, 0, 2]
    assert [part.tolist() for part in some.together] == [[[0, 1]]]


def test_a_sample_keeps_the_classes_in_proportion_and_is_the_same_every_time():
    labels = np.repeat([0, 1, 2], [600, 300, 100])
    targets = Targets.of_classes(labels, 3)

    chosen = sample(targets, 100)

    assert np.bincount(labels[chosen]).tolist() == [60, 30, 10]
    assert np.array_equal(chosen, sample(targets, 100))
    assert not np.array_equal(chosen, sample(targets, 100, seed=1))
    assert len(np.unique(sample(Targets.of_values(np.arange(50.0)), 20))) == 20
    assert sample(targets, 1_000).tolist() == list(range(1_000))
