"""Log evidence against the density it is defined by, and what must not change it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

from composer.rank.evidence import Spectrum, logme, logme_of_kernel, logme_of_nothing
from composer.rank.grams import Grams
from composer.rank.probe import Targets


def density(features: np.ndarray, y: np.ndarray, log_t: float) -> float:
    """log N(y; 0, FFᵀ/a + 1/b) a row at a/b = exp(log_t) and the best b, by a factor of the (n, n) covariance."""
    n = len(y)
    factor = np.linalg.cholesky(features @ features.T / np.exp(log_t) + np.eye(n))
    noise = np.square(np.linalg.solve(factor, y)).sum() / n
    return float(-(n * np.log(2 * np.pi * noise) + 2 * np.log(np.diag(factor)).sum() + n) / 2 / n)


def defined(features: np.ndarray, y: np.ndarray) -> float:
    """The largest of that density, looked for everywhere."""
    size = np.log(np.square(features).sum() / len(features) + 1e-300)
    grid = np.linspace(size - 25, size + 25, 101)
    best = grid[int(np.argmax([density(features, y, point) for point in grid]))]
    found = minimize_scalar(
        lambda point: -density(features, y, point), bounds=(best - 0.5, best + 0.5), method="bounded",
        options={"xatol": 1e-7},
    )  # fmt: skip
    return max(-float(found.fun), density(features, y, size + 60))


def rows(n: int, d: int, classes: int = 3, seed: int = 0, signal: float = 1.0) -> tuple[np.ndarray, Targets]:
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % classes
    return signal * rng.normal(size=(classes, d))[labels] + rng.normal(size=(n, d)), Targets.of_classes(labels, classes)


@pytest.mark.parametrize(
    ("n", "d", "signal"),
    [(40, 7, 1.0), (40, 7, 0.0), (24, 24, 0.5), (30, 90, 0.4), (30, 90, 0.0), (12, 300, 1.0), (25, 1, 1.0)],
)
def test_evidence_is_the_largest_gaussian_density_for_any_shape(n, d, signal):
    features, targets = rows(n, d, signal=signal, seed=n + d)

    found = Spectrum.of_features(features, targets.matrix).evidence()

    np.testing.assert_allclose(found, [defined(features, y) for y in targets.matrix.T], atol=1e-8)
    assert logme(features, targets) == pytest.approx(found.mean())


@pytest.mark.parametrize(("n", "rank", "d"), [(40, 3, 12), (20, 5, 50)])
def test_features_without_full_rank_are_judged_by_the_directions_they_have(n, rank, d):
    narrow, targets = rows(n, rank, signal=0.7, seed=5)
    turned = np.linalg.qr(np.random.default_rng(0).normal(size=(d, rank)))[0].T

    wide = Spectrum.of_features(narrow @ turned, targets.matrix).evidence()

    np.testing.assert_allclose(wide, Spectrum.of_features(narrow, targets.matrix).evidence(), atol=1e-9)
    np.testing.assert_allclose(wide, [defined(narrow, y) for y in targets.matrix.T], atol=1e-8)


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_pure_noise_with_far_more_features_than_rows_scores_at_most_zero(classes):
    for seed in range(3):
        rng = np.random.default_rng(seed)
        noise = rng.normal(size=(120, 2048))
        targets = Targets.of_classes(rng.permutation(np.arange(120) % classes), classes)

        found = logme(noise, targets)

        assert found <= 0
        assert 0 <= found - logme_of_nothing(targets) < 0.05


def test_a_number_and_labels_are_explained_column_by_column():
    features, _ = rows(50, 8, seed=2)
    rng = np.random.default_rng(3)
    values = Targets.of_values(features @ rng.normal(size=8) + rng.normal(size=50))
    labels = Targets.of_sets((features[:, :4] + rng.normal(size=(50, 4)) > 0).astype(int))

    assert logme(features, values) == pytest.approx(defined(features, values.matrix[:, 0]), abs=1e-8)
    expected = np.mean([defined(features, y) for y in labels.matrix.T])
    assert logme(features, labels) == pytest.approx(expected, abs=1e-8)
    assert logme(features, values) > logme_of_nothing(values) + 0.2


@settings(max_examples=25)
@given(st.integers(4, 40), st.integers(1, 40), st.integers(0, 10_000), st.floats(0.01, 100.0))
def test_neither_a_turn_nor_a_scale_nor_the_side_changes_it(n, d, seed, scale):
    features, targets = rows(n, d, classes=2, seed=seed)
    turned = scale * features @ np.linalg.qr(np.random.default_rng(seed).normal(size=(d, d)))[0]
    y, squares = targets.matrix, np.square(targets.matrix).sum(0)

    plain = logme(features, targets)

    assert logme(turned, targets) == pytest.approx(plain, abs=1e-7)
    assert logme_of_kernel(features @ features.T, targets) == pytest.approx(plain, abs=1e-7)
    if n > d:
        tall = Spectrum.of_gram(features.T @ features, features.T @ y, squares, n).evidence().mean()
        assert tall == pytest.approx(plain, abs=1e-7)


@pytest.mark.parametrize("d", [6, 60])
def test_rows_in_parts_give_what_rows_at_once_give(d):
    features, targets = rows(40, d, seed=9)
    sums = Grams(d, 3)
    for start in range(0, 40, 13):
        sums.add(features[start : start + 13].astype(np.float32), targets.matrix[start : start + 13])

    whole = Spectrum.of_features(features.astype(np.float32), targets.matrix).evidence()

    assert sums.rows == 40
    np.testing.assert_allclose(sums.spectrum().evidence(), whole, atol=1e-9)
    with pytest.raises(ValueError, match="rows are"):
        sums.add(features[:, 1:], targets.matrix)


def test_what_cannot_be_judged_is_an_error_or_a_number_never_nan():
    features, targets = rows(20, 5)

    assert logme(np.zeros((20, 5)), targets) == pytest.approx(logme_of_nothing(targets))
    assert np.isfinite(logme(targets.matrix, targets))  # the labels themselves: no noise is left
    assert logme(targets.matrix, targets) > 5
    features[3, 2] = np.nan
    with pytest.raises(ValueError, match="finite"):
        logme(features, targets)
    with pytest.raises(ValueError, match="0 in every row"):
        logme(targets.matrix, Targets(np.zeros((20, 1)), None))


@pytest.mark.parametrize(("n", "d"), [(300, 200), (200, 400)])
def test_features_that_repeat_themselves_thousandfold_scaled_are_no_trouble(n, d):
    """Eigenvalues over thirty orders of magnitude, most of them rounding."""
    narrow, targets = rows(n, 12, signal=0.8, seed=1)
    scaled = narrow * np.logspace(4, -8, 12)
    wide = np.hstack([scaled] * (d // 12 + 1))[:, :d]

    found = logme(wide, targets)

    assert np.isfinite(found)
    assert logme_of_nothing(targets) < found < 0.5
