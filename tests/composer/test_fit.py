"""Fitting: the same bits every time, the same predictions after a round trip, and the two ways of fusing."""

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from composer.assemble import offer, set_graph
from composer.benchmark import Arena
from composer.blocks import Blocks, data_keys
from composer.cache import FeatureCache
from composer.check import check
from composer.choices import Member
from composer.cli import main
from composer.composition import Composition
from composer.errors import Cancelled, NoBackend
from composer.fit import fit
from composer.graph import Graph
from composer.lock import Lock
from composer.rank.probe import Targets, gram, probe, solve
from composer.rank.rows import folds
from composer.recommend import recommend
from composer.targets import targets_of
from priors.errors import BadTable, BadTask, UserError
from priors.library import resolver
from priors.tasks import Task
from priors.tasks.draws import Draw
from tests.composer._made_up import function_library, sentences, table_task, text_task
from tests.composer._tiny import tiny_library

NEW = ["we cook spicy soup today", "the boss wrote an email", "hello friend", ""]


@pytest.fixture
def library(tmp_path):
    return function_library(tmp_path / "priors")


@pytest.fixture(autouse=True)
def few_steps(monkeypatch):
    """Descent that takes a second: what is tested here does not depend on how long it is."""
    monkeypatch.setattr("composer.schedule.MARKS", (0, 5, 15))


@pytest.fixture
def fitted(library, tmp_path):
    return lambda task, choice=None, **options: fit(task, choice, library=library, cache=tmp_path / "cache", **options)


def weights(model: Composition, folder: Path) -> bytes:
    return (model.save(folder) / "model.safetensors").read_bytes()


def two_blocks(task: Task, library, **options) -> Graph:
    offered = offer(task, library.entries())
    names = {candidate.ref.name: candidate for candidate in offered.candidates}
    first, second = ("char-ngrams", "text-statistics") if "char-ngrams" in names else ("standardize", "quantile")
    members = [Member(names[first], 0.7), Member(names[second], 0.3)]
    return set_graph(task, members, offered, **options)


@pytest.mark.parametrize("fusion", ["concat", "gate"])
def test_a_re_run_gives_the_same_bits(library, tmp_path, fusion):
    task = text_task(24)
    graph = two_blocks(task, library, fusion=fusion, seed=3)
    first = fit(task, graph, library=library, cache=tmp_path / "one")
    cached = fit(task, graph, library=library, cache=tmp_path / "one")
    anew = fit(task, graph, library=library, cache=tmp_path / "two")

    assert weights(first, tmp_path / "a") == weights(cached, tmp_path / "b") == weights(anew, tmp_path / "c")
    assert first.model == cached.model == anew.model
    assert first.report["seed"] == 3


FRESH = """
import sys
from pathlib import Path
from composer import schedule
from composer.fit import fit
from priors.library import LocalLibrary
from priors.tasks import Task
schedule.MARKS = (0, 5, 15)
root = Path(sys.argv[1])
library = LocalLibrary(root / "priors")
model = fit(Task.from_dir(root / "task"), library=library, cache=root / sys.argv[2], fusion="gate")
model.save(root / sys.argv[3])
print(model.model)
"""


def in_fresh_processes(root: Path, *runs: tuple[str, str]) -> list[str]:
    """Fits `root`/task in a process a run of (cache, folder), all at once; the models' ids."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    started = [
        subprocess.Popen(
            [sys.executable, "-c", FRESH, str(root), *run], stdout=subprocess.PIPE, env=environment, text=True
        )
        for run in runs
    ]
    found = [process.communicate(timeout=120)[0].strip() for process in started]
    assert [process.returncode for process in started] == [0] * len(runs)
    return found


@pytest.mark.slow
def test_two_processes_at_once_and_this_one_fit_the_same_bits_and_share_a_sound_cache(library, tmp_path):
    task = text_task(24)
    task.save(tmp_path / "task")

    ids = in_fresh_processes(tmp_path, ("shared", "one"), ("shared", "two"))
    here = fit(Task.from_dir(tmp_path / "task"), library=library, cache=tmp_path / "shared", fusion="gate")

    files = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("one", "two")]
    assert files[0] == files[1] == weights(here, tmp_path / "three")
    assert ids == [here.model] * 2
    arrays = list((tmp_path / "shared").glob("*/*.npy"))
    assert len(arrays) >= 3
    assert all(np.load(path).shape[0] == 24 for path in arrays)
    assert not list((tmp_path / "shared").glob("*/*.tmp"))


def test_a_model_that_finds_no_room_leaves_no_folder(fitted, tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
        with pytest.raises(UserError, match=r"model cannot be written: File too large"):
            fitted(text_task()).save(tmp_path / "model")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    assert not (tmp_path / "model").exists()


def test_saved_and_loaded_it_predicts_the_same(fitted, library, tmp_path):
    model = fitted(text_task())
    loaded = Composition.load(model.save(tmp_path / "model"), library=library)

    chances = model.predict_proba(NEW)
    assert np.array_equal(chances, loaded.predict_proba(NEW))
    assert chances.shape == (4, 3)
    np.testing.assert_allclose(chances.sum(1), 1)
    assert model.predict(NEW) == loaded.predict(NEW) == [model.labels[i] for i in chances.argmax(1)]
    assert model.predict(NEW[:2]) == ["food", "work"]
    assert (loaded.report, loaded.model, loaded.structure) == (model.report, model.model, model.structure)
    assert "leave-one-out accuracy" in (tmp_path / "model" / "README.md").read_text()


def test_the_report_says_what_was_fitted_and_expected(fitted, library, tmp_path):
    task = text_task()
    ranking = recommend(task, library=library, cache=tmp_path / "cache")
    model = fitted(task)
    chosen = fitted(task, ranking.best)

    facts = model.report
    assert facts["members"] == [member.to_dict() for member in ranking.best.members] == chosen.report["members"]
    assert facts["expected"] == pytest.approx(ranking.best.expected, abs=0.03)
    assert facts["low"] < facts["expected"] <= facts["high"] <= 1
    assert (facts["rows"], facts["metric"], facts["labels"], facts["steps"]) == (36, "accuracy", list(task.labels), 0)
    assert facts["ranking"]["best"]["name"] == ranking.best.name
    assert "ranking" not in chosen.report
    assert json.loads(json.dumps(facts)) == facts


@pytest.mark.parametrize("make", [text_task, table_task])
def test_the_model_predicts_what_the_benchmark_computed_for_the_same_draw_and_set(library, tmp_path, make):
    task = make(90)
    drawn: Draw = task.draw(12 if task.labels else 30, seed=2)
    offered = offer(task, library.entries())
    blocks = Blocks(task, offered, library, FeatureCache(tmp_path / "cache"))
    arena = Arena(task, offered, blocks)
    chosen = recommend(task.subset(drawn.train), library=library, cache=tmp_path / "cache").sets[0]

    model = fit(task.subset(drawn.train), chosen, library=library, cache=tmp_path / "cache")
    said = model.predict({column.name: np.array(task.values(column.name))[drawn.test] for column in task.inputs})

    judged = arena.judge(drawn.train, drawn.test)["recommended set"]
    rows = np.concatenate([drawn.train, drawn.test])
    made, n = blocks.fitted(drawn.train, rows), len(drawn.train)
    block = np.hstack([m.weight**0.5 * made[m.candidate] for m in chosen.members]).astype(np.float64)
    targets = targets_of(task, drawn.train)
    kernel = block[:n] @ block[:n].T
    dual, intercept = solve(kernel, targets.matrix, probe(kernel, targets).penalty)
    scores = block[n:] @ block[:n].T @ dual + intercept
    if task.labels:
        assert said == [task.labels[i] for i in scores.argmax(1)]
        truth = [task.labels[i] for i in task.y[drawn.test]]
        assert judged.accuracy == pytest.approx(np.mean([a == b for a, b in zip(said, truth, strict=True)]))
    else:
        np.testing.assert_allclose(said, scores[:, 0] * targets.spread + targets.mean, rtol=1e-3, atol=1e-3)
        errors = np.square(np.array(said) - task.y[drawn.test]).sum()
        assert judged.accuracy == pytest.approx(
            1 - errors / np.square(task.y[drawn.test] - task.y[drawn.test].mean()).sum(), abs=1e-4
        )


def test_a_number_is_predicted_and_has_no_class_probabilities(fitted, library, tmp_path):
    task = table_task()
    model = fitted(task)
    loaded = Composition.load(model.save(tmp_path / "model"), library=library)
    rows = {"a": [1.0, 0.0], "b": [5.0, 1005.0], "noise": [0.0, 0.0]}

    assert model.predict(rows) == loaded.predict(rows) == pytest.approx([2, -1], abs=0.4)
    assert model.report["metric"] == "r2"
    with pytest.raises(BadTable, match="no class probabilities"):
        model.predict_proba(rows)


def test_a_task_that_no_prior_helps_with_is_fitted_to_its_words(tmp_path):
    library = function_library(tmp_path / "p", "text-statistics", "word-ngrams")
    task = text_task(60)
    base = recommend(task, library=library, cache=tmp_path / "c").baseline

    model = fit(task, base, library=library, cache=tmp_path / "c")

    assert [ref.name for ref in model.lock.priors.values()] == ["word-ngrams"]
    bare = function_library(tmp_path / "q", "text-statistics")
    with pytest.raises(BadTask, match="nothing was recommended for topics"):
        fit(task, library=bare, cache=tmp_path / "c")


# ---- gates


def test_a_gate_is_trained_saved_loaded_and_uses_the_kernel(fitted, library, tmp_path, monkeypatch):
    task = text_task(48)
    model = fitted(task, two_blocks(task, library, fusion="gate"))
    loaded = Composition.load(model.save(tmp_path / "model"), library=library)
    used = []
    fusion = sys.modules["composer._lower_ops"].gated_fusion
    monkeypatch.setattr("composer._lower_ops.gated_fusion", lambda *a: used.append(1) or fusion(*a))

    quick = loaded.predict_proba(NEW)
    assert np.array_equal(quick, model.predict_proba(NEW))
    monkeypatch.setenv("KERNELS", "reference")
    plain = loaded.predict_proba(NEW)

    assert used
    assert model.report["steps"] in (0, 5, 15)
    np.testing.assert_allclose(quick, plain, atol=1e-5)
    assert model.report["expected"] > 1 / 3


def test_a_gate_of_no_steps_is_its_first_block(library, tmp_path, monkeypatch):
    monkeypatch.setattr("composer.schedule.MARKS", (0,))
    task = text_task(36)
    offered = offer(task, library.entries())
    chars = next(c for c in offered.candidates if c.ref.name == "char-ngrams")
    options = {"library": library, "cache": tmp_path / "cache"}

    gated = fit(task, two_blocks(task, library, fusion="gate"), **options)
    alone = fit(task, set_graph(task, [Member(chars, 1.0)], offered), **options)

    assert gated.report["steps"] == 0
    assert gated.report["expected"] == pytest.approx(alone.report["expected"], abs=1e-3)
    np.testing.assert_allclose(gated.predict_proba(NEW), alone.predict_proba(NEW), atol=0.01)


def test_descent_moves_projections_and_gate_where_that_is_asked_for(library, tmp_path, monkeypatch):
    monkeypatch.setattr("composer.schedule.MARKS", (5,))
    task = text_task(36)
    graph = two_blocks(task, library, fusion="gate")
    trained = fit(task, graph, library=library, cache=tmp_path / "cache")

    assert trained.report["steps"] == 5
    assert float(trained.lowered.learned["gate"].weight.abs().max()) > 0
    assert trained.report["expected"] > 1 / 3


def test_a_kernel_that_is_not_there_is_one_line(library, fitted, tmp_path, monkeypatch, capsys):
    task = text_task(24)
    folder = fitted(task, two_blocks(task, library, fusion="gate")).save(tmp_path / "model")
    (tmp_path / "new.csv").write_text("text\nhello\n")
    monkeypatch.setenv("KERNELS", "abacus")
    arguments = ["predict", str(folder), "--data", str(tmp_path / "new.csv"), "--out", str(tmp_path / "o.csv")]
    monkeypatch.setattr(sys, "argv", ["priorhub", *arguments, "--library", str(tmp_path / "priors")])

    with pytest.raises(SystemExit) as left:
        main()

    assert left.value.code == 1
    err = capsys.readouterr().err
    assert err.startswith("error: KERNELS=abacus is no backend. Use reference, cpu, triton")
    assert err.count("\n") == 1
    with pytest.raises(NoBackend):
        Composition.load(folder, library=library).predict(NEW)


def test_folds_keep_groups_whole_and_classes_even():
    labels = np.arange(40) % 4
    targets = Targets.of_classes(labels, 4)
    groups = np.repeat(np.arange(10), 4)

    plain, whole = folds(targets, 4, 0), folds(targets.grouped(groups), 4, 0)

    assert all(set(np.bincount(labels[plain == k], minlength=4)) <= {2, 3} for k in range(4))
    assert sorted(np.bincount(plain)) == [10, 10, 10, 10]
    assert all(len(set(whole[groups == g])) == 1 for g in range(10))
    assert sorted(set(whole)) == [0, 1, 2, 3]
    assert set(folds(targets.grouped(np.arange(40) // 20), 4, 0)) == {0, 1}


# ---- seeds, projections and the cache


PROJECTED = """
composition: 1
name: projected
adapt: trainable
fit: {seed: 7}
nodes:
  text: {op: input, type: "text.raw[B]:str", column: text}
  counts: {op: fn, in: [text], fn: text_statistics}
  small: {op: proj, in: [counts], d_out: 5, init: random, train: frozen}
  y: {op: head, in: [small], labels: [food, talk, work], loss: cross_entropy, train: full}
outputs: {y: y}
"""


def test_a_frozen_random_projection_is_cached_by_its_seed(fitted, library, tmp_path):
    task, graph = text_task(24), Graph.from_yaml(PROJECTED)

    own, other, again = fitted(task, graph), fitted(task, graph, seed=9), fitted(task, graph)

    assert (own.report["seed"], other.report["seed"], other.lock.seed) == (7, 9, 9)
    assert not torch.equal(own.lowered.learned["small"].weight, other.lowered.learned["small"].weight)
    assert weights(own, tmp_path / "a") == weights(again, tmp_path / "b")
    anew = fit(task, graph, seed=9, library=library, cache=tmp_path / "new")
    assert weights(other, tmp_path / "c") == weights(anew, tmp_path / "d")
    assert own.report["steps"] == 0


SUMMED = """
composition: 1
name: two columns
nodes:
  one: {{op: input, type: "text.raw[B]:str", column: {0}}}
  two: {{op: input, type: "text.raw[B]:str", column: {1}}}
  a: {{op: fn, in: [one], fn: word_ngrams}}
  b: {{op: fn, in: [two], fn: word_ngrams}}
  both: {{op: sum, in: [a, b], weights: [1.0, 0.1]}}
  y: {{op: head, in: [both], labels: [food, talk, work], loss: cross_entropy, train: full}}
outputs: {{y: y}}
"""


def test_columns_that_change_places_do_not_share_cached_features(library, tmp_path):
    texts, labels = sentences(24)
    columns = {"left": texts, "right": texts[3:] + texts[:3], "topic": labels}
    task = Task.from_table(columns, "topic", modalities={"left": "text", "right": "text"})
    cache = tmp_path / "shared"

    shared = [
        fit(task, Graph.from_yaml(SUMMED.format(*c)), library=library, cache=cache)
        for c in (("left", "right"), ("right", "left"))
    ]
    alone = fit(task, Graph.from_yaml(SUMMED.format("right", "left")), library=library, cache=tmp_path / "own")

    assert weights(shared[1], tmp_path / "a") == weights(alone, tmp_path / "b")
    assert weights(shared[0], tmp_path / "c") != weights(alone, tmp_path / "d")


def test_what_reads_one_column_is_cached_under_that_column_alone(library):
    task = text_task(12)
    lock = Lock.of(check(two_blocks(task, library), resolver(library)))

    keys = data_keys(lock, {"in_text": "d" * 64})

    assert {keys[name] for name in lock.frontier} == {"d" * 64}


@pytest.mark.parametrize("fusion", ["concat", "gate"])
def test_a_fit_that_is_stopped_raises_and_keeps_no_half_of_a_file(library, tmp_path, fusion):
    graph, asked = two_blocks(text_task(), library, fusion=fusion), []

    def cancelled():
        asked.append(1)
        return fusion == "concat" or len(asked) > 4

    with pytest.raises(Cancelled):
        fit(text_task(), graph, library=library, cache=tmp_path / "cache", cancelled=cancelled)

    assert not list((tmp_path / "cache").glob("*/*.tmp"))
    fit(text_task(), graph, library=library, cache=tmp_path / "cache")


def test_steps_are_told_in_order(fitted):
    told = []
    fitted(text_task(), report=lambda step, of, message, **metrics: told.append((step, of, message)))

    assert all(0 <= step <= of for step, of, _ in told)
    assert "leave-one-out accuracy" in told[-1][2]


def test_the_gram_of_blocks_side_by_side_is_their_weighted_sum(library, tmp_path):
    task = text_task(24)
    offered = offer(task, library.entries())
    made = Blocks(task, offered, library, FeatureCache(tmp_path)).fitted(np.arange(24))

    for block in made.values():
        np.testing.assert_allclose(gram(block), block.astype(np.float64) @ block.T, atol=1e-5)


def test_a_table_network_is_trained_beside_what_is_known_of_its_number(tmp_path):
    library = tiny_library(tmp_path / "tiny")
    document = """
composition: 1
name: trained
adapt: lossless
nodes:
  x: {op: input, type: "tab.num[B,C:3]:f32{cols=a|b|noise}", column: [a, b, noise]}
  w: {op: load, prior: "prior://tiny/mlp"}
  m: {op: net, in: {w: w, x: x}, tap: output, train: full}
  k: {op: fn, fn: formula, in: [x], out: "vec.feat[B,D:1]:f32", expr: "2*a"}
  h: {op: head, in: [m], target: y, loss: mse}
  y: {op: sum, in: [k, h]}
outputs: {y: y}
"""
    model = fit(table_task(), Graph.from_yaml(document), library=library, cache=tmp_path / "cache")

    assert {"m.network.layers.0.weight", "h.weight"} <= set(model.lowered.learned_state())
    assert model.report["steps"] in (0, 5, 15)
    loaded = Composition.load(model.save(tmp_path / "model"), library=library)
    rows = {name: table_task().values(name) for name in ("a", "b", "noise")}
    assert loaded.predict(rows) == model.predict(rows)
