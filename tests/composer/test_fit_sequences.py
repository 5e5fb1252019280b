"""Fitting what reads sequences and networks: it beats its frozen start where that is not enough, and is saved."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from composer.blocks import encoded_values, frozen_values
from composer.cache import FeatureCache
from composer.check import check
from composer.composition import Composition
from composer.descent import Learner, _bytes_a_place, _Run, descend
from composer.errors import Cancelled
from composer.examples import Examples
from composer.fit import fit
from composer.graph import Graph
from composer.lock import Lock
from composer.lower import Lowered, lower
from composer.rank.probe import Targets
from composer.schedule import Role, Schedule
from priors.library import resolver
from priors.tasks import Task
from tests.composer._tiny import tiny_library

FIT = "{seed: 3, steps: 150, lr: 0.01}"
FILLERS = ["a", "the", "sat", "ran", "on", "under", "very"]

HEADER = """
composition: 1
name: {name}
adapt: trainable
nodes:
  text: {{op: input, type: "text.raw[B]:str", column: text}}
  w: {{op: load, prior: "prior://tiny/words"}}
  tokens: {{op: net, in: {{w: w, ids: text}}, tap: {tap}, train: {train}}}
{nodes}
  y: {{op: head, in: [{end}], labels: [animal, thing]}}
outputs: {{y: y}}
fit: {fit}
"""


def graph(
    nodes: str, end: str, *, name: str = "made", train: str = "frozen", tap: str = "layer_1", fit: str = FIT
) -> Graph:
    return Graph.from_yaml(HEADER.format(name=name, nodes=nodes, end=end, train=train, tap=tap, fit=fit))


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    return tiny_library(tmp_path_factory.mktemp("library"))


@pytest.fixture(autouse=True)
def few_comparisons(monkeypatch):
    monkeypatch.setattr("composer.schedule.MARKS", (0,))
    monkeypatch.setattr("composer.schedule.FOLDS", 2)


def begun(rows: int = 96) -> Task:
    """Both words are in every text, and the one that it begins with says which: a mean of all hardly knows."""
    rng = np.random.default_rng(0)
    texts, labels = [], []
    for i in range(rows):
        words = ["cat", "mat"][:: (1, -1)[i % 2]]
        rest = [*rng.choice(FILLERS, size=6 + i % 9), words[1]]
        texts.append(" ".join([words[0], *rng.permutation(rest)]))
        labels.append(("animal", "thing")[i % 2])
    return Task.from_table({"text": texts, "kind": labels}, target="kind", name="kinds")


@pytest.mark.parametrize(
    ("nodes", "end"),
    [
        ("  p: {op: pool, in: [tokens], axis: T, kind: attn}", "p"),
        ("  s: {op: resample, in: [tokens], axis: T, n: 2, mode: perceiver}\n  p: {op: pool, in: [s], axis: T}", "p"),
        (
            "  m: {op: pool, in: [tokens], axis: T}\n"
            "  x: {op: attend, in: {q: m, kv: tokens}, heads: 2}",
            "x",
        ),
        (
            "  m: {op: pool, in: [tokens], axis: T}\n"
            "  e: {op: expand, in: [m], axis: T, n: 2, kind: prefix}\n"
            "  x: {op: attend, in: {q: e, kv: tokens}, heads: 2}\n"
            "  p: {op: pool, in: [x], axis: T}",
            "p",
        ),
    ],
    ids=["attention pooling", "perceiver", "attend", "prefix"],
)  # fmt: skip
def test_what_reads_tokens_is_fitted_saved_and_loaded(library, tmp_path, nodes, end):
    task, options = begun(), {"library": library, "cache": tmp_path / "cache"}
    frozen = fit(task, graph("  p: {op: pool, in: [tokens], axis: T}", "p"), **options)
    model = fit(task, graph(nodes, end), **options)
    loaded = Composition.load(model.save(tmp_path / "model"), library=library)

    assert frozen.report["expected"] < 0.7
    assert (model.report["steps"], model.report["judged"]) == (150, "cross-validated")
    assert model.report["expected"] > 0.9
    texts = task.values("text")
    assert np.array_equal(model.predict_proba(texts), loaded.predict_proba(texts))


@pytest.mark.parametrize("train", [pytest.param("full", marks=pytest.mark.slow), "{last: 1}"])
def test_a_networks_own_weights_are_fitted_all_of_them_or_its_last_layers(library, tmp_path, train):
    task, options = begun(), {"library": library, "cache": tmp_path / "cache"}
    document = "  p: {op: pool, in: [tokens], axis: T}"
    model = fit(
        task, graph(document, "p", train=train, tap="layer_2", fit="{seed: 3, steps: 100, lr: {net: 0.003}}"), **options
    )
    loaded = Composition.load(model.save(tmp_path / "model"), library=library)

    start, learned = lower(model.lock, library).learned_state(), model.lowered.learned_state()
    changed = {name for name, x in learned.items() if name.startswith("tokens.") and not torch.equal(x, start[name])}
    assert model.report["expected"] > 0.9
    assert any("layers.1." in name for name in changed)
    assert any("layers.0." in name for name in learned) == (train == "full")
    texts = task.values("text")
    assert np.array_equal(model.predict_proba(texts), loaded.predict_proba(texts))


@pytest.mark.slow
def test_a_delta_learns_beside_a_gate_and_each_role_has_its_rate(library, tmp_path):
    nodes = """
  d: {op: delta, in: [w], kind: lora, r: 2, targets: ["layers.1.*"]}
  deep: {op: net, in: {w: d, ids: text}, tap: layer_2, train: delta}
  g: {op: gate, in: [deep, tokens], type: "vec.feat[B,D:16]:f32"}"""
    rates = "{seed: 3, steps: 100, lr: {delta: 0.02, adapter: 0}}"
    task, options = begun(), {"library": library, "cache": tmp_path / "cache"}

    model = fit(task, graph(nodes, "g", fit=rates.replace("adapter: 0", "adapter: 0.02")), **options)
    still = fit(task, graph(nodes, "g", fit=rates), **options)
    loaded = Composition.load(model.save(tmp_path / "model"), library=library)

    assert model.report["expected"] > 0.8
    start = lower(still.lock, library).learned_state()
    for one, expected in ((model, True), (still, False)):
        learned = one.lowered.learned_state()
        assert not torch.equal(learned["d.layers.1.attention.self.query.b"], start["d.layers.1.attention.self.query.b"])
        assert torch.equal(learned["g.weight"], start["g.weight"]) is not expected
    texts = task.values("text")
    assert np.array_equal(model.predict_proba(texts), loaded.predict_proba(texts))


def test_the_gradient_of_a_batch_in_pieces_is_that_of_the_whole(library, tmp_path):
    model, examples, targets, schedule = attending(library, tmp_path)
    learner = Learner(model.learned["p"], "adapter")
    body = model.part(examples.slots, ["p"])
    gradients = []
    for positions in (1, 40, 10_000):
        run = _Run(body, [learner], examples, targets, np.arange(24), schedule, seed=0)
        run.gradients(np.arange(24), positions)
        gradients.append(learner.parameters[0].grad.clone())
        run.close()

    assert [len(list(examples.pieces(np.arange(24), n))) for n in (1, 10_000)] == [24, 1]
    assert gradients[0].abs().max() > 1e-6
    torch.testing.assert_close(gradients[0], gradients[2], rtol=1e-4, atol=1e-7)
    torch.testing.assert_close(gradients[1], gradients[2], rtol=1e-4, atol=1e-7)


def test_a_network_is_trained_in_bf16_with_nearly_the_same_gradients_and_nothing_left_behind(
    library, tmp_path, monkeypatch
):
    task = begun(24)
    document = graph("  p: {op: pool, in: [tokens], axis: T}", "p", train="{last: 1}", tap="layer_2")
    model = lower(Lock.of(check(document, resolver(library))), library)
    values = frozen_values(model, task, FeatureCache.of(tmp_path)) | encoded_values(model, task)
    examples, targets = Examples(model, values), Targets.of_classes(task.y, 2)
    learner, body = Learner(model.learned["tokens"], "net"), model.part(examples.slots, ["p"])
    monkeypatch.setattr("composer.schedule.products_in_bf16", lambda: True)
    monkeypatch.setattr("composer.schedule.WIDE", 1)

    def schedule(role: Role, **said: str) -> Schedule:
        return Schedule.of(said, rows=24, sequences=True, body=body, roles={role})

    gradients = []
    for found in (schedule("net"), schedule("net", precision="f32")):
        run = _Run(body, [learner], examples, targets, np.arange(24), found, seed=0)
        run.gradients(np.arange(24), 10_000)
        gradients.append(torch.cat([p.grad.flatten() for p in learner.parameters if p.grad is not None]))
        run.close()

    quick, plain = gradients
    assert (schedule("net").bf16, schedule("net", precision="f32").bf16, schedule("adapter").bf16) == (
        True,
        False,
        False,
    )
    assert quick.dtype == torch.float32 and not torch.equal(quick, plain)
    assert float((quick - plain).norm() / plain.norm()) < 0.05
    assert not any("forward" in module.__dict__ for module in body.modules())


def test_more_memory_lets_more_rows_be_taken_at_once(library, tmp_path):
    model, examples, *_ = attending(library, tmp_path)
    body = model.part(examples.slots, ["p"])
    for parameter in model.learned["p"].parameters():
        parameter.requires_grad_(True)

    place = _bytes_a_place(body, examples)

    assert 16 * 4 <= place <= 16 * 4 * 8  # each place has 16 features, of which a few copies are remembered


@pytest.mark.parametrize("after", [3, 30])
def test_a_fit_that_is_stopped_goes_on_to_the_same_bits(library, tmp_path, after):
    nodes = "  p: {op: pool, in: [tokens], axis: T, kind: attn}"
    task, made = begun(32), graph(nodes, "p", fit="{seed: 3, steps: 20, batch: 8, lr: 0.01}")
    whole = fit(task, made, library=library, cache=tmp_path / "cache")
    calls = iter(range(1000))

    with pytest.raises(Cancelled, match="goes on from here"):
        fit(task, made, library=library, cache=tmp_path / "other", cancelled=lambda: next(calls) > after)
    assert list((tmp_path / "other" / "adapting").glob("*/descent.safetensors"))
    resumed = fit(task, made, library=library, cache=tmp_path / "other")

    assert not list((tmp_path / "other" / "adapting").glob("*"))
    assert resumed.report["expected"] == whole.report["expected"]
    for name, x in whole.lowered.learned_state().items():
        assert torch.equal(x, resumed.lowered.learned_state()[name]), name


def test_a_fold_that_gets_worse_is_trained_no_further(library, tmp_path, monkeypatch):
    model, examples, _, schedule = attending(library, tmp_path)
    worse = iter(range(100))
    monkeypatch.setattr("composer.descent._held_out", lambda *_: np.full((1, 12, 2), float(next(worse))))
    taken = []
    steps, _ = descend(
        model.part(examples.slots, ["p"]),
        [Learner(model.learned["p"], "adapter")],
        examples,
        Targets.of_sets(np.zeros((24, 2), int)),
        replace(schedule, marks=(0, 1, 2, 3, 4)),
        report=lambda step, of, message, **_: taken.append(message),
    )

    assert (steps, len(taken)) == (0, 4)  # two steps in each of two folds, and none in the end


def attending(library, tmp_path) -> tuple[Lowered, Examples, Targets, Schedule]:
    """An attention pool over tokens, and 24 rows for it."""
    task = begun(24)
    document = graph("  p: {op: pool, in: [tokens], axis: T, kind: attn}", "p")
    model = lower(Lock.of(check(document, resolver(library))), library)
    examples = Examples(model, frozen_values(model, task, FeatureCache.of(tmp_path)))
    roles: set = {"adapter"}
    schedule = Schedule.of({}, rows=24, sequences=True, body=model.part(examples.slots, ["p"]), roles=roles)
    return model, examples, Targets.of_classes(task.y, 2), schedule
