"""What the cold tier has to beat: lists that never look, lists by type, neighbours, factors, and gradient boosting on
metadata. Each is written plainly, and each gets the history without what is judged."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from composer.rank.history import History, TaskCard
from composer.rank.likeness import Metadata, task_type, tasks_alike
from composer.rank.probe import Array
from composer.rank.reveal import Belief
from composer.rank.standing import linear, quantiles

SAME_TYPE = 10.0
"""Weight of tasks of the same type, as in the design's measurements."""

NEAREST = 3
RANK = 5
SIZE_NAMES = ("param", "n_parameters", "size", "flops", "gmacs", "memory")


def static_mean_rank(history: History) -> Array:
    """(P,) mean rank over the history's tasks; the middle where there is none."""
    return _mean(quantiles(history.scores), np.ones(len(history.tasks)), 0.5)


def type_weighted(history: History, task: TaskCard) -> Array:
    """(P,) mean clipped standing, tasks of the same type counting SAME_TYPE times."""
    wanted = task_type(task)
    weights = np.array([SAME_TYPE if task_type(one) & wanted else 1.0 for one in history.tasks])
    return _mean(linear(history.scores), weights, 0.0)


def nearest(history: History, task: TaskCard, at: Sequence[int], scores: Array) -> Array:
    """(P,) mean standing on the NEAREST tasks: by the results that are revealed where there are 3, else by card."""
    standings = linear(history.scores)
    alike = sum(part[-1, :-1] for part in tasks_alike((*history.tasks, task)))
    if len(at) >= 3 and np.ptp(scores) > 0:
        rows = np.nan_to_num(standings[list(at)])
        rows = rows - rows.mean(axis=0)
        spans = np.sqrt(np.square(rows).sum(axis=0)) * np.linalg.norm(scores - scores.mean())
        alike = (scores - scores.mean()) @ rows / np.where(spans > 0, spans, np.inf)
    weights = np.zeros(len(history.tasks))
    weights[np.argsort(-np.asarray(alike), kind="stable")[:NEAREST]] = 1.0
    return _mean(standings, weights, 0.0)


def low_rank(history: History, at: Sequence[int], scores: Array, span: float) -> Array:
    """(P,) standing by RANK factors of the history, the task's loads fitted to what is revealed."""
    standings = np.nan_to_num(linear(history.scores))
    vectors, sizes, loads = np.linalg.svd(standings, full_matrices=False)
    rank = min(RANK, len(sizes))
    factors = vectors[:, :rank] * sizes[:rank]
    usual = loads[:rank].mean(axis=1)
    if not len(at):
        return np.asarray(factors @ usual)
    rows = factors[list(at)]
    gaps = scores / span - rows @ usual
    gaps = gaps - gaps.mean()
    noise = loads[:rank].var(axis=1)
    inner = rows * noise @ rows.T + 0.3 * np.eye(len(rows))
    return np.asarray(factors @ (usual + noise * (rows.T @ np.linalg.solve(inner, gaps))))


def kriging(history: History, spread: tuple[float, float]) -> Belief:
    """The static list as a mean, and how priors vary together around it over tasks as the covariance."""
    standings = linear(history.scores)
    mean = _mean(standings, np.ones(len(history.tasks)), 0.0)
    gaps = np.nan_to_num(standings - mean[:, None])
    sd = np.sqrt(np.square(gaps).mean(axis=1) + 0.05)
    return Belief(mean, sd, gaps, np.eye(len(mean)), spread)


def size_only(history: History) -> Array | None:
    """(P,) how large each is, by the first column of metadata that says so."""
    keys = sorted({key for card in history.priors for key in card.numbers})
    for part in SIZE_NAMES:
        for key in keys:
            if part in key.lower():
                found = np.array([card.numbers.get(key, np.nan) for card in history.priors])
                return np.where(np.isfinite(found), found, np.nanmedian(found))
    return None


def boosted(metadata: Metadata, groups: NDArray[np.int64], values: Array) -> Array:
    """(P,) gradient boosting on metadata alone, each fold of families predicted from the others."""
    from sklearn.ensemble import GradientBoostingRegressor

    table = metadata.table()
    found = np.zeros(len(values))
    if not table.shape[1]:
        return found
    for group in np.unique(groups):
        out = groups == group
        model = GradientBoostingRegressor(n_estimators=80, learning_rate=0.08, max_features=0.4, random_state=0)
        found[out] = model.fit(table[~out], values[~out]).predict(table[out])
    return found


def _mean(values: Array, weights: Array, middle: float) -> Array:
    known = np.isfinite(values)
    total = known @ weights
    summed = np.where(known, values, 0.0) @ weights
    return np.where(total > 0, summed / np.where(total > 0, total, 1.0), middle)
