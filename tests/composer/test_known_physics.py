"""Formulas in a composition: typed with their columns' names, trained where they have constants, exported."""

import numpy as np
import pytest
import torch

from composer.check import check
from composer.composition import Composition
from composer.errors import BadGraph
from composer.export import export
from composer.fit import fit
from composer.graph import Graph
from composer.lock import Lock
from composer.lower import lower
from priors.library import LocalLibrary, resolver
from priors.tasks import Task

LEARN = {"k": {"start": 0.5, "low": 0.1, "high": 3.0}}


def decay(count: int = 60) -> Task:
    rng = np.random.default_rng(0)
    time, start = rng.uniform(0, 3, count), rng.uniform(1, 2, count)
    amount = start * np.exp(-0.8 * time) + 0.01 * rng.normal(size=count)
    return Task.from_table({"t": time, "start": start, "amount": amount}, "amount", name="decay")


def graph(*, train: str | None = None, expr: str = "start * exp(-?k * t)", **more) -> Graph:
    known = {"op": "fn", "in": ["row"], "fn": "formula", "config": {"expr": expr, "learn": LEARN}}
    return Graph.from_dict(
        {
            "composition": 1,
            "opset": {"core": 1, "fn": 1, "arch": 1},
            "name": "decay",
            "adapt": "lossless",
            "dims": {"B": "batch"},
            "nodes": {
                "row": {"op": "input", "type": "tab.num[B,C:2]:f32{cols=t|start}", "column": ["t", "start"]},
                "known": {**known, **({"train": train} if train else {}), **more},
                "y": {"op": "head", "in": ["known"], "target": "amount", "loss": "mse", "train": "full"},
            },
            "outputs": {"y": "y"},
            "fit": {"seed": 1},
        }
    )


@pytest.fixture
def library(tmp_path):
    (tmp_path / "priors").mkdir()
    return LocalLibrary(tmp_path / "priors")


def learned_k(model) -> float:
    return float(model.lowered.learned["known"].learned.values()["k"].detach())


def test_a_learned_constant_is_trained_saved_and_exported(library, tmp_path):
    model = fit(decay(), graph(), library=library, cache=tmp_path / "cache")

    assert learned_k(model) > 0.6  # it starts at 0.5, 0.8 is right, and a fit takes at most 200 steps
    state = model.lowered.learned_state()
    assert "known.learned.raw.k" in state
    model.save(tmp_path / "model")
    loaded = Composition.load(tmp_path / "model", library=library)
    assert learned_k(loaded) == learned_k(model)
    report = export(loaded, tmp_path / "decay.pt2")
    assert report.max_abs_diff < 1e-5


def test_a_frozen_constant_stays_where_it_starts(library, tmp_path):
    model = fit(decay(), graph(train="frozen"), library=library, cache=tmp_path / "cache")

    assert learned_k(model) == pytest.approx(0.5, abs=1e-6)


def test_what_has_no_constants_cannot_be_trained(library):
    with pytest.raises(BadGraph, match="no constants"):
        check(graph(train="full", config={"expr": "t"}), resolver(library))


def test_physics_without_constants_is_part_of_the_frozen_frontier(library):
    checked = check(graph(config={"expr": "start * exp(-0.8 * t)"}), resolver(library))

    assert checked.frontier == ("known",) and not checked.node("known").has_parameters
    module = lower(Lock.of(checked), library).part(["row"], ["known"])
    x = torch.tensor([[1.0, 2.0]])
    assert torch.allclose(module(x)[0], 2 * torch.exp(torch.tensor([[-0.8]])))
