"""Series from a table to a fitted composition: ranked, fitted, saved, predicted, exported."""

import numpy as np
import pytest

from composer.assemble import TRIED, offer
from composer.composition import Composition
from composer.fit import fit
from composer.recommend import recommend
from priors.sources._functions import FUNCTION_PRIORS
from priors.tasks import Task
from tests.composer._made_up import function_library, table_task


def waves(each: int = 16, seed: int = 0) -> Task:
    """A bump that rises fast or slowly, anywhere in noise, in series of unlike lengths."""
    rng = np.random.default_rng(seed)
    series, labels = [], []
    for label in ("fast", "slow"):
        for _ in range(each):
            length = int(rng.integers(40, 60))
            made = 0.2 * rng.normal(size=length)
            at, width = int(rng.integers(4, 20)), 4 if label == "fast" else 14
            made[at : at + width] += np.linspace(0, 3, width)
            series.append(made.tolist())
            labels.append(label)
    return Task.from_table({"signal": series, "label": labels}, "label", name="waves")


@pytest.fixture
def library(tmp_path):
    return function_library(tmp_path / "priors")


def test_series_are_ranked_fitted_saved_and_predict_the_same(library, tmp_path):
    task = waves()
    ranking = recommend(task, library=library, cache=tmp_path / "cache")
    assert {s.name for s in ranking.singles} == {"rocket", "series-statistics"}

    model = fit(task, ranking.best, library=library, cache=tmp_path / "cache")
    loaded = Composition.load(model.save(tmp_path / "model"), library=library)

    fresh = waves(20, seed=1)
    values = {"signal": fresh.values("signal")}
    hits = np.mean([a == fresh.labels[b] for a, b in zip(loaded.predict(values), fresh.y, strict=True)])
    assert hits > 0.9
    assert np.array_equal(loaded.predict_proba(values), model.predict_proba(values))


def test_series_that_differ_do_not_share_cached_features(library, tmp_path):
    from composer.cache import data_hash

    long = np.arange(4_000.0)[:, None]
    other = long.copy()
    other[2_000] += 1

    assert data_hash({"": [long]}) != data_hash({"": [other]})


def test_what_no_ranker_knows_yet_is_in_the_catalogue_and_not_tried(library):
    offered = {candidate.ref.name for candidate in offer(table_task(), library.entries()).candidates}

    assert offered == {"standardize", "quantile", "fourier-features"}
    assert {"pca", "spline", "formula"} <= {prior.function for prior in FUNCTION_PRIORS} - TRIED
    assert len(FUNCTION_PRIORS) >= 25
