"""Outputs of more than one head: known physics and what is left, ensembles, stacking out of fold."""

import numpy as np
import pytest

from composer.assemble import offer, set_graph
from composer.choices import Member
from composer.composition import Composition
from composer.errors import BadGraph
from composer.fit import fit
from composer.graph import Graph
from composer.heads import Ending, _out_of_fold
from composer.rank.head import ridge
from composer.rank.probe import Targets
from priors.library import LocalLibrary
from priors.tasks import Task
from tests.composer._made_up import function_library, text_task

PENDULUM = """
composition: 1
opset: {core: 1}
name: pendulum-tabular
adapt: lossless
dims: {B: batch}
nodes:
  row:   {op: input, type: "tab.num[B,C:3]:f32{cols=length_m|theta0_rad|t_s}", column: [length_m, theta0_rad, t_s]}
  z:     {op: fn, in: [row], fn: standardize, fit: train}
  four:  {op: fn, in: [z], fn: fourier_features, m: 64, scale: 0.4, seed: 7}
  phys:  {op: fn, in: [row], fn: formula, out: "vec.feat[B,D:1]:f32{unit=rad}",
          expr: "theta0_rad*cos(sqrt(9.81/length_m)*t_s)"}
  h:     {op: concat, in: [four, z], axis: D}
  res:   {op: head, in: [h], target: theta_rad, unit: rad, loss: mse, init: zero, train: full}
  y:     {op: sum, in: [phys, res], weights: [1, 1]}
outputs: {y: y}
fit: {seed: 7}
"""


def pendulum(count: int, seed: int = 0, *, wind: float = 0.1, noise: float = 0.005) -> dict[str, np.ndarray]:
    """Small swings, pushed by a wind that rises after a while, which the formula does not know of."""
    rng = np.random.default_rng(seed)
    length, start, time = rng.uniform(0.5, 2, count), rng.uniform(0.05, 0.4, count), rng.uniform(0, 3, count)
    angle = start * np.cos(np.sqrt(9.81 / length) * time) + wind * np.tanh(2 * (time - 1.5))
    return {"length_m": length, "theta0_rad": start, "t_s": time, "theta_rad": angle + noise * rng.normal(size=count)}


def swings(count: int, **options) -> Task:
    return Task.from_table(pendulum(count, **options), "theta_rad", name="pendulum", unit="rad", kind="regression")


@pytest.fixture
def empty(tmp_path):
    (tmp_path / "none").mkdir()
    return LocalLibrary(tmp_path / "none")


def r2(said, right) -> float:
    return 1 - float(np.square(np.array(said) - right).sum() / np.square(right - right.mean()).sum())


def test_physics_and_a_learned_rest_beat_either_alone(empty, tmp_path):
    task, new = swings(160), pendulum(400, seed=1)
    both = fit(task, Graph.from_yaml(PENDULUM), library=empty, cache=tmp_path / "c")
    lines = [line for line in PENDULUM.splitlines() if not line.lstrip().startswith(("phys:", "expr:", "y:  "))]
    rest = Graph.from_yaml("\n".join(lines).replace("outputs: {y: y}", "outputs: {y: res}"))
    learned = fit(task, rest, library=empty, cache=tmp_path / "c")
    loaded = Composition.load(both.save(tmp_path / "m"), library=empty)

    physics = new["theta0_rad"] * np.cos(np.sqrt(9.81 / new["length_m"]) * new["t_s"])
    scores = {"physics": r2(physics, new["theta_rad"]), "learned": r2(learned.predict(new), new["theta_rad"])}
    together = r2(loaded.predict(new), new["theta_rad"])
    assert together > max(scores.values()) + 0.02
    assert abs(both.report["expected"] - together) < 0.03
    assert loaded.answers.unit == "rad"
    assert both.predict(new) == loaded.predict(new)


def test_where_physics_is_all_there_is_the_rest_stays_silent(empty, tmp_path):
    task = swings(30, wind=0.0, noise=0.05)
    model = fit(task, Graph.from_yaml(PENDULUM), library=empty, cache=tmp_path / "c")
    new = pendulum(50, seed=1, wind=0.0)
    physics = new["theta0_rad"] * np.cos(np.sqrt(9.81 / new["length_m"]) * new["t_s"])
    np.testing.assert_allclose(model.predict(new), physics, atol=1e-5)
    assert float(model.lowered.learned["res"].weight.detach().abs().max()) == 0


def test_a_sum_that_rows_cannot_fit_is_refused(empty, tmp_path):
    task = swings(20)
    for old, new, words in (
        ("weights: [1, 1]", "weights: learned", "has weights: learned"),
        ("in: [phys, res]", "in: [z1, res]", "which learns and is no head"),
        ("weights: [1, 1]", "weights: [1, 0]", "no head with a positive weight"),
    ):
        text = PENDULUM.replace(old, new)
        if "z1" in new:
            text = text.replace("  res: ", "  z0: {op: fn, in: [phys], fn: standardize, fit: train}\n"
                                "  z1: {op: cast, in: [z0], unit: rad, scale: 1.0}\n  res: ")  # fmt: skip
        with pytest.raises(BadGraph, match=words):
            fit(task, Graph.from_yaml(text), library=empty, cache=tmp_path / "c")


# ---- ensembles and stacking


def graph_of(task: Task, library, ending: dict) -> Graph:
    """Two blocks with a head each, then `ending`, whose last node is the output."""
    offered = offer(task, library.entries())
    document = set_graph(task, [Member(one, 0.5) for one in offered.candidates[:2]], offered).to_dict()
    nodes = document["nodes"]
    blocks = nodes["joined"]["in"]
    head = {key: value for key, value in nodes.pop("y").items() if key != "in"}
    nodes.pop("joined")
    nodes |= {f"h{i}": {**head, "in": [block]} for i, block in enumerate(blocks)}
    nodes |= {name: {**head, **node} if node["op"] == "head" else node for name, node in ending.items()}
    return Graph.from_dict({**document, "nodes": nodes, "outputs": {"y": list(ending)[-1]}})


@pytest.fixture
def library(tmp_path):
    return function_library(tmp_path / "priors", "char-ngrams", "word-ngrams")


def test_an_ensemble_of_heads_is_their_mean_and_its_probabilities_are_calibrated(library, tmp_path):
    task, new = text_task(60), text_task(90, seed=4)
    graph = graph_of(task, library, {"y": {"op": "sum", "in": ["h0", "h1"], "weights": [0.5, 0.5]}})
    model = fit(task, graph, library=library, cache=tmp_path / "c")
    loaded = Composition.load(model.save(tmp_path / "m"), library=library)

    values = {"text": new.values("text")}
    found = model.lowered.features(model.inputs(values), ["y", "h0", "h1"])
    np.testing.assert_allclose(found["y"], (found["h0"] + found["h1"]) / 2, atol=1e-6)
    right = np.array([new.labels[i] for i in new.y])
    assert (np.array(loaded.predict(new.values("text"))) == right).mean() > 0.8
    assert model.report["calibration"]["log_loss"]["after"] < model.report["calibration"]["log_loss"]["before"]
    assert np.array_equal(model.predict_proba(new.values("text")), loaded.predict_proba(new.values("text")))


def stack(task: Task, library) -> Graph:
    ending = {
        "both": {"op": "concat", "in": ["v0", "v1"], "axis": "D"},
        "y": {"op": "head", "in": ["both"], "fit": {"oof": 4}},
    }
    views = {f"v{i}": {"op": "layout", "in": [f"h{i}"], "order": ["B", "D"], "rename": {"K": "D"}} for i in range(2)}
    return graph_of(task, library, views | ending)


def test_a_stack_learns_from_what_heads_say_of_rows_they_did_not_see(library, tmp_path):
    task, new = text_task(60), text_task(90, seed=4)
    model = fit(task, stack(task, library), library=library, cache=tmp_path / "c")
    right = np.array([new.labels[i] for i in new.y])
    score = (np.array(model.predict(new.values("text"))) == right).mean()
    assert score > 0.8
    assert abs(model.report["expected"] - score) < 0.15
    again = fit(task, stack(task, library), library=library, cache=tmp_path / "d")
    assert model.save(tmp_path / "m").joinpath("model.safetensors").read_bytes() == (
        again.save(tmp_path / "n").joinpath("model.safetensors").read_bytes()
    )


def test_out_of_fold_scores_are_made_without_the_row():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 60)
    noise = rng.normal(size=(60, 200)).astype(np.float32)  # knows nothing, and fits everything
    targets = Targets.of_classes(labels, 2)
    head = ridge(noise, targets)
    seen = (noise @ head.weight.T + head.bias).argmax(axis=1)
    unseen = _out_of_fold(noise, targets, 4, 0).numpy().argmax(axis=1)
    assert (seen == labels).mean() > 0.95
    assert (unseen == labels).mean() < 0.75


def test_the_ending_of_a_single_head_is_that_head(library, tmp_path):
    model = fit(text_task(24), library=library, cache=tmp_path / "c")
    assert Ending.of(model.lock).head.name == "y"
    assert Ending.of(model.lock).factor == 1
