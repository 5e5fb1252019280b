"""`sum` with `weights: search`: found without gradients, never behind equal parts or one operand on the rows."""

import numpy as np
import pytest

from composer.check import check
from composer.composition import Composition
from composer.errors import Cancelled
from composer.fit import fit
from composer.graph import Graph
from composer.lock import Lock
from composer.schedule import by_descent
from composer.search import LARGEST
from priors.library import LocalLibrary
from priors.tasks import Task

COLUMNS = ("a", "b", "noise")


def graph(weights: object = "search", **more: object) -> Graph:
    """Three columns, scaled and added, under a head for a number."""
    nodes: dict[str, object] = {}
    for name in COLUMNS:
        nodes[f"in_{name}"] = {"op": "input", "type": "tab.num[B,C:1]:f32", "column": [name]}
        nodes[name] = {"op": "fn", "fn": "standardize", "in": [f"in_{name}"], "fit": "train"}
    nodes["mixed"] = {"op": "sum", "in": list(COLUMNS), "weights": weights}
    nodes["y"] = {"op": "head", "in": ["mixed"], "target": "y", "loss": "mse", "train": "full"}
    document = {"composition": 1, "name": "mixed", "adapt": "trainable", "nodes": nodes, "outputs": {"y": "y"}}
    return Graph.from_dict({**document, **more})


def difference(rows: int = 60) -> Task:
    rng = np.random.default_rng(0)
    found = {name: rng.normal(size=rows) for name in COLUMNS}
    return Task.from_table({**found, "y": found["a"] - found["b"]}, "y", name="difference", kind="regression")


@pytest.fixture
def empty(tmp_path):
    (tmp_path / "none").mkdir()
    return LocalLibrary(tmp_path / "none")


def test_signs_and_parts_are_found_that_equal_parts_do_not_have(empty, tmp_path):
    task = difference()
    model = fit(task, graph(), library=empty, cache=tmp_path / "c")
    equal = fit(task, graph([1 / 3, 1 / 3, 1 / 3]), library=empty, cache=tmp_path / "c")
    weight = model.lowered.learned["mixed"].weight.detach().numpy()

    assert weight[0] * weight[1] < 0
    assert abs(weight[2]) < 0.1 * abs(weight[0])
    assert np.abs(weight).max() <= LARGEST
    assert model.report["expected"] > 0.95 > 0.6 > equal.report["expected"]
    assert (model.report["steps"], model.report["judged"]) == (0, "leave-one-out")  # nothing descended
    assert not by_descent(Lock.of(check(graph(), lambda ref: None)))
    assert [node.name for node in by_descent(Lock.of(check(graph("learned"), lambda ref: None)))] == ["mixed"]


def test_the_same_rows_give_the_same_weights_and_they_are_saved(empty, tmp_path):
    task = difference()
    first, second = (fit(task, graph(), library=empty, cache=tmp_path / "c") for _ in range(2))
    loaded = Composition.load(first.save(tmp_path / "m"), library=empty)
    rows = {name: np.array([0.5, -1.0]) for name in COLUMNS}

    second.save(tmp_path / "n")
    assert first.model == second.model
    assert loaded.predict(rows) == first.predict(rows)


def test_a_search_can_be_stopped(empty, tmp_path):
    tried: list[str] = []

    def report(step: int, of: int, message: str, **facts: object) -> None:
        tried.extend([message] if message.startswith("searching for weights") else [])

    with pytest.raises(Cancelled, match="searching"):
        fit(difference(), graph(), library=empty, cache=tmp_path / "c", report=report, cancelled=lambda: len(tried) > 2)
    assert len(tried) == 3
