"""Dropout of columns in closed form: the same as rows that were copied without a column, and what it is for."""

import numpy as np
import pytest

from composer.assemble import offer, set_graph
from composer.check import check
from composer.choices import Member
from composer.dropout import RATE, columns_of, with_dropout
from composer.lock import Lock
from composer.rank.head import ridge
from composer.rank.probe import Targets
from priors.library import resolver
from priors.tasks import Task
from tests.composer._made_up import function_library, sentences


def views(count: int, width: int, seed: int = 0):
    """Features of three columns that say the same class, each with noise of its own; the targets."""
    rng = np.random.default_rng(seed)
    y = np.arange(count) % 2
    columns = np.repeat([0, 1, 2], width)
    signal = np.where(y, 1.0, -1.0)[:, None] * (np.arange(3 * width) % width == 0)
    return signal + rng.normal(size=(count, 3 * width)), Targets.of_classes(y, 2), columns


@pytest.mark.parametrize("width", [3, 60], ids=["few features", "many features"])
@pytest.mark.parametrize("balanced", [False, True])
def test_it_is_the_head_of_rows_that_were_copied_without_a_column(width, balanced):
    features, targets, columns = views(20, width)
    targets = targets.take(np.arange(17)).balanced() if balanced else targets
    features = features[: len(targets)]
    made = ridge(features, targets)
    found = with_dropout(made, features, targets, columns)

    weights = np.ones(len(targets)) if targets.weights is None else targets.weights
    x = features - np.average(features, axis=0, weights=weights)
    y = targets.matrix - np.average(targets.matrix, axis=0, weights=weights)
    copies = [(x, 1 - RATE), *[(x * (columns != c), RATE / 3) for c in range(3)]]
    plain = features - features.mean(0)
    penalty = made.probe.penalty * np.square(plain).sum() / len(plain)
    left = sum(part * (one * weights[:, None]).T @ one for one, part in copies) + penalty * np.eye(len(columns))
    right = sum(part * (one * weights[:, None]).T @ y for one, part in copies)

    assert np.allclose(found.weight, np.linalg.solve(left, right).T, atol=1e-8)


def test_a_lost_column_costs_less_and_whole_rows_lose_nothing():
    known, targets, columns = views(60, 8)
    asked, truth, _ = views(2_000, 8, seed=1)
    plain = ridge(known, targets)
    dropped = with_dropout(plain, known, targets, columns)

    def right(head, lost):
        scores = ((asked - known.mean(0)) * (columns != lost)) @ head.weight.T
        return float((scores.argmax(1) == truth.labels).mean())

    assert right(dropped, None) > right(plain, None) - 0.01
    assert np.mean([right(dropped, lost) for lost in range(3)]) >= np.mean([right(plain, lost) for lost in range(3)])
    assert dropped.probe.hits is plain.probe.hits


def test_columns_are_told_apart_where_blocks_with_gaps_of_several_stand_side_by_side(tmp_path):
    library = function_library(tmp_path / "priors", "text-statistics", "word-ngrams", "standardize")
    texts, labels = sentences(12)
    table = {"text": texts, "n": [float(i) for i in range(0, 24, 2)], "y": labels}

    def found(columns):
        task = Task.from_table({name: table[name] for name in (*columns, "y")}, "y", modalities={"text": "text"})
        offered = offer(task, library.entries())
        graph = set_graph(task, [Member(one, 0.3) for one in offered.candidates], offered)
        lock = Lock.of(check(graph, resolver(library)))
        return columns_of(lock, lock.node("y").sources[0])

    assert found(["text"]) is None
    numbers = found(["text", "n"])
    assert sorted(np.bincount(numbers)) == [2, 27 + 4_097]  # a column more a block: whether the row is there
