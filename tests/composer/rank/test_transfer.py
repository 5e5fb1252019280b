"""H-score, LEEP, neighbours and the Brier score against their definitions."""

import numpy as np
import pytest
from sklearn.covariance import ledoit_wolf
from sklearn.model_selection import LeaveOneOut, cross_val_predict
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor

from composer.rank.grams import Grams
from composer.rank.probe import Targets, gram, probe
from composer.rank.transfer import brier, leep, nearest, nleep


def world(n: int, d: int, classes: int = 3, seed: int = 0, signal: float = 1.0) -> tuple[np.ndarray, Targets]:
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % classes
    return signal * rng.normal(size=(classes, d))[labels] + rng.normal(size=(n, d)), Targets.of_classes(labels, classes)


def h_score(features: np.ndarray, targets: Targets, parts: int = 3):
    sums = Grams(features.shape[1], targets.matrix.shape[1])
    for some in np.array_split(np.arange(len(features)), parts):
        sums.add(features[some], targets.matrix[some])
    return sums.h_score(several=targets.sets)


@pytest.mark.parametrize(("n", "d"), [(60, 8), (30, 50)])
def test_h_score_is_that_of_the_shrunk_covariance(n, d):
    features, targets = world(n, d)
    covariance, shrinkage = ledoit_wolf(features)
    means = np.stack([features[targets.labels == c].mean(0) for c in targets.labels])
    between = (means - features.mean(0)).T @ (means - features.mean(0)) / n

    found = h_score(features, targets)

    assert found.shrinkage == pytest.approx(shrinkage)
    assert found.value == pytest.approx((1 - shrinkage) * np.trace(np.linalg.solve(covariance, between)))
    assert found.limit == 2
    assert found.saturated == (n <= d + 1)


def test_h_score_tells_signal_from_noise_where_the_plain_one_has_its_limit_for_both():
    features, targets = world(40, 80, signal=1.5)
    noise, _ = world(40, 80, signal=0.0, seed=1)
    centered = noise - noise.mean(0)
    means = np.stack([centered[targets.labels == c].mean(0) for c in targets.labels])
    plain = np.trace(np.linalg.pinv(centered.T @ centered) @ (means.T @ means))

    assert plain == pytest.approx(2)
    assert h_score(features, targets).saturated
    assert h_score(features, targets).value > 1.5 * h_score(noise, targets).value


@pytest.mark.parametrize("d", [5, 60])
def test_h_score_of_labels_is_the_mean_over_them(d):
    features, _ = world(40, d)
    labels = (features[:, :2] + np.random.default_rng(1).normal(size=(40, 2)) > 0).astype(int)
    each = [h_score(features, Targets.of_classes(column, 2)).value for column in labels.T]

    found = h_score(features, Targets.of_sets(labels))

    assert found.value == pytest.approx(np.mean(each))
    assert found.limit == 1


def test_leep_is_the_likelihood_through_the_classes_of_the_source():
    said = np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.1, 0.9]])
    targets = Targets.of_classes(np.array([0, 0, 1, 1]), 2)
    joint = np.array([[1.7, 0.3], [0.4, 1.6]]) / 4  # rows: labels
    given = joint / joint.sum(0)
    expected = np.mean([np.log(said[i] @ given[label]) for i, label in enumerate(targets.labels)])

    assert leep(said, targets) == pytest.approx(expected)
    perfect = np.eye(2)[targets.labels]
    assert leep(perfect, targets) == pytest.approx(0)
    assert leep(perfect, Targets.of_sets(np.array([[0, 1], [0, 1], [1, 0], [1, 0]]))) == pytest.approx(0)
    with pytest.raises(ValueError, match="numbers"):
        leep(said, Targets.of_values(np.arange(4.0)))


def test_leep_of_features_is_higher_where_classes_lie_apart():
    features, targets = world(90, 12, signal=2.0)
    noise, _ = world(90, 12, signal=0.0, seed=3)

    assert nleep(noise, targets) < nleep(features, targets) <= 0
    assert nleep(features, targets) == nleep(features, targets)
    assert nleep(np.ones((90, 4)), targets) == pytest.approx(-np.log(3))


def test_neighbours_are_those_of_scikit_learn_by_cosine():
    features, targets = world(60, 10, classes=2, seed=4)
    centered = features - features.mean(0)
    unit = centered / np.linalg.norm(centered, axis=1, keepdims=True)
    values = Targets.of_values(features[:, 0])

    voted = cross_val_predict(KNeighborsClassifier(5), unit, targets.labels, cv=LeaveOneOut())
    meant = cross_val_predict(KNeighborsRegressor(5), unit, values.matrix[:, 0], cv=LeaveOneOut())

    assert nearest(gram(features), targets) == pytest.approx((voted == targets.labels).mean())
    assert nearest(gram(features), values) == pytest.approx(1 - np.square(meant - values.matrix[:, 0]).mean(), abs=5e-3)


def test_rows_of_a_group_are_no_neighbours():
    features, _ = world(20, 6, signal=0.0)
    twice, labels = np.vstack([features, features]), np.tile(np.random.default_rng(0).integers(0, 2, 20), 2)
    targets = Targets.of_classes(labels, 2)

    assert nearest(gram(twice), targets, 1) == 1.0
    assert nearest(gram(twice), targets.grouped(np.tile(np.arange(20), 2)), 1) < 0.9


def test_brier_is_the_squared_distance_of_the_probabilities():
    features, targets = world(30, 5)
    found = probe(gram(features), targets)
    said = np.exp(found.sharpness * found.scores)
    said /= said.sum(1, keepdims=True)

    assert brier(found) == pytest.approx(np.square(said - np.eye(3)[targets.labels]).sum(1).mean())
    assert brier(probe(gram(features), Targets.of_values(features[:, 0]))) is None
    sets = probe(gram(features), Targets.of_sets((features[:, :2] > 0).astype(int)))
    assert 0 < brier(sets) < 0.5
