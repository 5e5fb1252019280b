"""Ways of joining the members of a set, and choosing among them on rows that were held out."""

import numpy as np
import pytest

from composer import fuse
from composer.assemble import FUSIONS, offer, set_graph
from composer.choices import Choice, Member
from composer.composition import Composition
from composer.fit import fit
from priors.tasks import Task
from tests.composer._made_up import function_library, sentences


@pytest.fixture
def library(tmp_path):
    return function_library(tmp_path / "priors", "text-statistics", "standardize")


@pytest.fixture(autouse=True)
def few_steps(monkeypatch):
    monkeypatch.setattr("composer.schedule.MARKS", (0, 5))
    monkeypatch.setattr("composer.assemble.GATE_WIDTH", 8)


def two_columns(count: int = 24) -> Task:
    texts, labels = sentences(count)
    numbers = np.random.default_rng(0).normal(size=count)
    table = {"text": texts, "n": list(numbers), "topic": labels}
    return Task.from_table(table, "topic", modalities={"text": "text"}, name="topics")


def choice(task: Task, library) -> Choice:
    first, second = offer(task, library.entries()).candidates
    members = (Member(first, 0.7), Member(second, 0.3))
    return Choice("both", "set", members, 0.5, 0.4, 0.6, 0.0, False, "named", 0.0)


@pytest.mark.parametrize("fusion", FUSIONS)
def test_every_fusion_is_fitted_and_comes_back_from_its_folder(library, tmp_path, fusion):
    task = two_columns()
    model = fit(task, choice(task, library), library=library, cache=tmp_path / "cache", fusion=fusion)
    model.save(tmp_path / "model")
    rows = {"text": ["we cook spicy soup", None], "n": [0.1, None]}

    again = Composition.load(tmp_path / "model", library=library)

    ops = {node.op for node in model.lock.nodes}
    assert {"concat": "concat", "late": "sum", "gate": "gate", "attend": "attend"}[fusion] in ops
    assert np.array_equal(again.predict_proba(rows), model.predict_proba(rows))
    assert np.isfinite(model.predict_proba(rows)).all()


def test_of_one_block_all_fusions_are_one(library):
    task = two_columns()
    offered = offer(task, library.entries())
    graphs = [set_graph(task, [Member(offered.candidates[0], 1.0)], offered, fusion=fusion) for fusion in FUSIONS]
    assert all(graph.to_dict() == graphs[0].to_dict() for graph in graphs)


def test_attention_begins_as_the_blocks_side_by_side_would_do(library, tmp_path, monkeypatch):
    monkeypatch.setattr("composer.schedule.MARKS", (0,))
    task = two_columns(36)
    found = [
        fit(task, choice(task, library), library=library, cache=tmp_path / "cache", fusion=fusion).report["expected"]
        for fusion in ("concat", "attend")
    ]
    assert found[1] == pytest.approx(found[0], abs=0.06)  # two rows of 36


@pytest.mark.parametrize(("gain", "chosen"), [(0.0, "concat"), (0.01, "concat"), (0.4, "attend")])
def test_another_fusion_is_taken_only_where_held_out_rows_are_clearly_for_it(
    library, tmp_path, monkeypatch, gain, chosen
):
    task = two_columns()
    noise = np.random.default_rng(0).normal(0, 0.3, 24)

    def losses(lock, *args, **options):
        attends = any(node.op == "attend" for node in lock.nodes)
        return np.ones(24) + (noise - gain if attends else 0.0)

    monkeypatch.setattr(fuse, "held_out", losses)
    model = fit(task, choice(task, library), library=library, cache=tmp_path / "cache", fusion="auto")

    assert model.report["fusion"]["chosen"] == chosen
    assert any(node.op == "attend" for node in model.lock.nodes) == (chosen == "attend")


def test_fusions_are_compared_on_rows_that_each_fit_never_saw(library, tmp_path):
    task = two_columns()
    found = fit(task, choice(task, library), library=library, cache=tmp_path / "cache", fusion="auto").report["fusion"]
    assert set(found["held_out_loss"]) == set(FUSIONS)
    assert (found["rows"], found["folds"]) == (24, 4)
    assert 0.5 < found["held_out_loss"]["concat"] < 3
