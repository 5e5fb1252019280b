"""Dropout of columns in closed form: the same as rows that were copied without a column, and what it is for."""

import numpy as np
import pytest

from composer.assemble import offer, set_graph
from composer.check import check
from composer.choices import Choice, Member
from composer.dropout import RATE, columns_of, with_copies, with_dropout
from composer.fit import fit
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


@pytest.mark.parametrize("width", [3, 60], ids=["few features", "many features"])
@pytest.mark.parametrize("mixed", [False, True])
def test_rows_copied_without_a_column_give_the_head_of_the_closed_form(width, mixed):
    features, targets, columns = views(20, width)
    targets = targets.take(np.arange(17)).balanced()
    features = features[:17]
    made, mean = ridge(features, targets), np.average(features, axis=0, weights=targets.weights)

    lost = [np.where(columns == c, mean, features) for c in range(3)]
    found = with_copies(made, features, lost, targets, mixed=mixed)

    expected = with_dropout(made, features, targets, columns, mixed=mixed)
    assert np.allclose(found.weight, expected.weight, atol=1e-8) and np.allclose(found.bias, expected.bias, atol=1e-8)
    assert np.allclose(found.probe.scores, expected.probe.scores)


def test_a_head_behind_attention_or_a_gate_is_fitted_on_rows_that_lack_a_column_too(tmp_path, monkeypatch):
    library = function_library(tmp_path / "priors", "text-statistics", "standardize")
    texts, labels = sentences(24, classes=2)
    rows = {"text": texts, "n": [float(label == "food") + 0.1 * (i % 5) for i, label in enumerate(labels)]}
    task = Task.from_table({**rows, "y": labels}, "y", modalities={"text": "text"})
    members = [Member(one, 0.5) for one in offer(task, library.entries()).candidates]
    choice = Choice("both", "set", tuple(members), 0.5, 0.4, 0.6, 0.0, False, "named", 0.0)
    monkeypatch.setattr("composer.schedule.MARKS", (0, 3))
    monkeypatch.setattr("composer.assemble.GATE_WIDTH", 8)
    seen = []
    monkeypatch.setattr("composer.heads.with_copies", lambda *given, **how: seen.append(given) or given[0])

    for fusion in ("attend", "gate"):
        model = fit(task, choice, library=library, cache=tmp_path / "cache", fusion=fusion)

        _, whole, lost, _ = seen.pop()
        read = next(node for node in model.lock.nodes if node.op == "head").sources[0]
        [text, numbers] = (node.name for kind in ("text", "tab") for node in model.lock.nodes
                           if node.op == "input" and node.type.modality == kind)  # fmt: skip
        for column in ("text", "n"):
            some = {name: [None] * 24 if name == column else value for name, value in rows.items()}
            given = {text: some["text"], numbers: np.array(some["n"], np.float32)[:, None]}
            asked = model.lowered.features(given, [read])[read]
            assert min(np.abs(asked - one).max() for one in lost) < 1e-6, (fusion, column)
            # a gate begins with the first block and all but closed to the others
            assert np.abs(asked - whole).max() > (1e-2 if fusion == "attend" else 1e-6)


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


def test_a_head_of_too_many_rows_and_features_stays_as_it_is(monkeypatch):
    features, targets, columns = views(20, 8)
    made = ridge(features, targets)

    for most, stays in ((23, True), (24, False)):
        monkeypatch.setattr("composer.dropout.MOST_UNKNOWNS", most)
        assert (with_dropout(made, features, targets, columns) is made) == stays
        assert (with_copies(made, features, [features] * 3, targets, mixed=False) is made) == stays


@pytest.mark.parametrize("kind", ["number", "sets"])
def test_a_number_and_each_of_several_labels_stay_as_long_as_without_dropout(kind):
    rng = np.random.default_rng(0)
    columns = np.repeat([0, 1], 6)
    said = rng.normal(size=(440, 2))
    strong, weak = said + 0.3 * rng.normal(size=(440, 2)), said + 0.8 * rng.normal(size=(440, 2))
    x = np.hstack([2.0 * strong, rng.normal(size=(440, 4)), weak, rng.normal(size=(440, 4))])
    targets = Targets.of_values(said[:, 0]) if kind == "number" else Targets.of_sets((said > 0).astype(int))
    known, asked, test = targets.take(np.arange(40)), x[40:], targets.matrix[40:]
    plain = ridge(x[:40], known)
    dropped = with_dropout(plain, x[:40], known, columns)

    def error(head, lost):
        return np.square(
            ((asked - x[:40].mean(0)) * (columns != lost)) @ head.weight.T + known.matrix.mean(0) - test
        ).mean()

    assert dropped.probe is plain.probe
    before, after = ((x[:40] - x[:40].mean(0)) @ head.weight.T for head in (plain, dropped))
    assert np.allclose((before * after).sum(0), np.square(before).sum(0))
    assert error(dropped, None) < 1.15 * error(plain, None)
    assert error(dropped, 0) < 0.98 * error(plain, 0)


@pytest.mark.parametrize("kind", ["regression", "multilabel"])
def test_a_fit_to_numbers_or_sets_of_labels_drops_columns_too(tmp_path, monkeypatch, kind):
    library = function_library(tmp_path / "priors", "word-ngrams", "standardize")
    texts, labels = sentences(24, classes=2)
    y = [float(label == "food") + 0.01 * i for i, label in enumerate(labels)] if kind == "regression" else [
        [label, "even"] if i % 4 < 2 else [label] for i, label in enumerate(labels)
    ]  # fmt: skip
    task = Task.from_table(
        {"text": texts, "n": [float(label == "food") for label in labels], "y": y}, "y", modalities={"text": "text"}
    )
    members = [Member(one, 0.5) for one in offer(task, library.entries()).candidates]
    choice = Choice("both", "set", tuple(members), 0.5, 0.4, 0.6, 0.0, False, "named", 0.0)
    seen = []
    monkeypatch.setattr(
        "composer.heads.with_dropout", lambda *given, **named: seen.append(given) or with_dropout(*given, **named)
    )

    model = fit(task, choice, library=library, cache=tmp_path / "cache")

    [(_, _, targets, columns)] = seen
    assert targets.is_number == (kind == "regression") and len(set(columns)) == 2
    chances = model.predict({"text": ["", texts[0]], "n": [1.0, None]})
    assert len(chances) == 2


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
