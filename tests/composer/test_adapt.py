"""Few-shot adaptation: what it learns, that it may be stopped and go on, and that it is judged on rows it never saw."""

import json
from dataclasses import replace
from importlib import import_module

import numpy as np
import pytest
import torch

from composer import adapt as adapting
from composer.adapt import Budget, leading_network
from composer.assemble import offer
from composer.choices import Choice, Member
from composer.composition import Composition
from composer.contrast import Recipe, Subject, _front_kept, alike, contrastive_loss, tune
from composer.delta import upper_half
from composer.errors import Cancelled
from composer.fit import fit
from composer.graph import Graph
from composer.lower import lower
from composer.rank.probe import Targets, chance
from composer.recommend import recommend
from priors.errors import BadTask
from priors.load import load
from priors.tasks import Task
from tests.composer._made_up import function_library
from tests.composer._tiny import tiny_library

NOUNS = {"animal": ["cat", "dog"], "thing": ["mat", "big"]}
RECIPE = Recipe(kind="lora", r=2, steps=8, lr=1e-2, warm_up=2)


def tiny_task(rows: int = 24) -> Task:
    """Sentences about animals or things, of two to six words that say nothing and one that says which."""
    rng = np.random.default_rng(0)
    texts, labels = [], []
    for i in range(rows):
        label = sorted(NOUNS)[i % 2]
        words = [
            *rng.choice(["a", "the", "sat", "ran", "on", "under", "very", "not"], size=2 + i % 5),
            rng.choice(NOUNS[label]),
        ]
        texts.append(" ".join(rng.permutation(words)))
        labels.append(label)
    return Task.from_table({"text": texts, "kind": labels}, target="kind", name="kinds")


@pytest.fixture
def library(tmp_path, monkeypatch):
    monkeypatch.setattr(adapting, "RECIPES", {kind: replace(RECIPE, kind=kind) for kind in ("lora", "full")})
    function_library(tmp_path / "priors", "char-ngrams")
    return tiny_library(tmp_path / "priors")


@pytest.fixture
def subject(library, tmp_path):
    return Subject(load(tmp_path / "priors" / "tiny" / "words"), "layer_3", tiny_task().values("text"))


@pytest.fixture
def adapted(library, tmp_path):
    def run(task=None, **options):
        options = {"adapt": "lora", "cache": tmp_path / "cache", "library": library, **options}
        task = task or tiny_task()
        choice = options.pop("choice", None) or words(task, library, tmp_path / "cache")
        return fit(task, choice, **options)

    return run


def words(task, library, cache):
    """The choice of the network alone, as the ranking has it."""
    return next(
        one
        for one in recommend(task, library=library, cache=cache).singles
        if one.members[0].candidate.ref.name == "words"
    )


def targets(task: Task) -> Targets:
    return Targets.of_classes(task.y, len(task.labels))


# ---- the loss and the descent


def test_the_loss_is_lowest_where_rows_of_one_label_lie_together():
    together = alike(Targets.of_classes(np.array([0, 0, 1, 1]), 2))
    near, far = torch.tensor([[1.0, 0], [1, 0], [0, 1], [0, 1]]), torch.tensor([[1.0, 0], [0, 1], [1, 0], [0, 1]])

    assert contrastive_loss(near, together, 0.1) < 0.01 < 1 < contrastive_loss(far, together, 0.1)


def test_a_row_without_companion_says_nothing():
    z = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    alone = alike(Targets.of_classes(np.array([0, 0, 1]), 2))

    assert torch.isfinite(contrastive_loss(z, alone, 0.1))
    z.requires_grad_(True)
    loss = contrastive_loss(z, torch.eye(3), 0.1)  # a fold of one row a class
    loss.backward()
    assert loss == 0 and (z.grad == 0).all()


def test_numbers_belong_together_by_how_near_they_are():
    weight = alike(Targets.of_values(np.array([0.0, 0.1, 3.0])))

    assert weight[0, 1] > 0.9 > 0.1 > weight[0, 2]


@pytest.mark.parametrize("kind", ["lora", "full"])
def test_tuning_pulls_labels_apart_and_leaves_the_network_as_it_was(subject, kind):
    task, rows = tiny_task(), np.arange(24)
    before = {name: value.clone() for name, value in subject.network.state_dict().items()}
    losses = []
    recipe = replace(RECIPE, kind=kind, targets=("*",), steps=20)
    delta = recipe.make(subject.network, 0)

    tune(subject, delta, rows, alike(targets(task)), recipe, report=lambda *a, **m: losses.append(m["loss"]))

    assert losses[-1] < 0.95 * losses[0]
    assert all(torch.equal(value, before[name]) for name, value in subject.network.state_dict().items())
    assert not np.allclose(subject.features(rows), subject.features(rows, delta), atol=1e-3)


def test_lower_layers_are_computed_once_and_nothing_else_changes(subject, monkeypatch):
    rows, together = np.arange(24), alike(targets(tiny_task()))
    recipe = replace(RECIPE, targets=tuple(upper_half(subject.network)))
    calls = []
    subject.network.layers[0].register_forward_pre_hook(lambda *_: calls.append(1))
    kept, anew = recipe.make(subject.network, 0), recipe.make(subject.network, 0)

    assert recipe.targets == ("layers.1.*", "layers.2.*")
    tune(subject, kept, rows, together, recipe)
    monkeypatch.setattr("composer.contrast.KEPT_BYTES", 0)
    tune(subject, anew, rows, together, recipe)

    assert all(torch.equal(a, b) for a, b in zip(kept.state_dict().values(), anew.state_dict().values(), strict=True))
    with _front_kept(subject.network, kept.paths) as begin:
        begin(0)
        assert "forward" in subject.network.layers[0].__dict__
        assert "forward" not in subject.network.layers[1].__dict__
    assert "forward" not in subject.network.layers[0].__dict__


def test_products_in_bf16_learn_nearly_the_same_and_leave_nothing_behind(subject, monkeypatch):
    rows, together = np.arange(24), alike(targets(tiny_task()))
    recipe = replace(RECIPE, targets=("layers.1.*", "layers.2.attention.self.query"))
    deltas = []
    for quick in (False, True):
        monkeypatch.setattr("composer.contrast.products_in_bf16", lambda quick=quick: quick)
        deltas.append(recipe.make(subject.network, 0))
        tune(subject, deltas[-1], rows, together, recipe)

    plain, mixed = (torch.cat([value.flatten() for value in delta.state_dict().values()]) for delta in deltas)
    assert mixed.dtype == torch.float32
    assert not torch.equal(plain, mixed)
    assert torch.cosine_similarity(plain, mixed, dim=0) > 0.99
    assert not any("forward" in module.__dict__ for module in subject.network.modules())


def test_many_rows_take_turns(subject, monkeypatch):
    monkeypatch.setattr("composer.contrast.STEP_POSITIONS", 40)
    monkeypatch.setattr("priors.load.BATCH_POSITIONS", 20)
    delta = replace(RECIPE, targets=("*",)).make(subject.network, 0)

    tune(subject, delta, np.arange(24), alike(targets(tiny_task())), RECIPE)

    assert any(parameter.abs().sum() > 0 for name, parameter in delta.named_parameters() if name.endswith(".b"))


@pytest.mark.parametrize("stop", [1, 5, 7])
def test_a_run_that_was_stopped_goes_on_to_the_same_bits(subject, tmp_path, stop):
    rows, together = np.arange(24), alike(targets(tiny_task()))
    recipe = replace(RECIPE, targets=("*",))
    straight, again = recipe.make(subject.network, 0), recipe.make(subject.network, 0)
    tune(subject, straight, rows, together, recipe)
    asked = iter([False] * stop + [True])

    with pytest.raises(Cancelled, match="goes on from here"):
        tune(
            subject, again, rows, together, recipe, checkpoint=tmp_path / "c.safetensors", cancelled=lambda: next(asked)
        )
    again = recipe.make(subject.network, 0)
    steps = []
    tune(
        subject, again, rows, together, recipe, checkpoint=tmp_path / "c.safetensors",
        report=lambda step, *_, **__: steps.append(step),
    )  # fmt: skip

    assert steps[0] == stop + 1
    assert all(
        torch.equal(a, b) for a, b in zip(straight.state_dict().values(), again.state_dict().values(), strict=True)
    )
    assert [path.name for path in tmp_path.glob("*.part")] == []


def test_a_checkpoint_that_a_full_disk_cut_short_is_begun_again(subject, tmp_path):
    rows, together = np.arange(24), alike(targets(tiny_task()))
    recipe = replace(RECIPE, targets=("*",))
    straight, again = recipe.make(subject.network, 0), recipe.make(subject.network, 0)
    tune(subject, straight, rows, together, recipe)
    (tmp_path / "c.safetensors").write_bytes(b"\x10\0\0\0")

    tune(subject, again, rows, together, recipe, checkpoint=tmp_path / "c.safetensors")

    assert all(torch.equal(a, b) for a, b in zip(straight.parameters(), again.parameters(), strict=True))


# ---- in a fit


def test_an_adapted_model_is_saved_small_and_predicts_the_same_when_loaded(adapted, library, tmp_path):
    task = tiny_task()
    model = adapted(task)
    folder = model.save(tmp_path / "model")
    loaded = Composition.load(folder, library=library)

    texts = task.values("text")
    assert np.array_equal(model.predict_proba(texts), loaded.predict_proba(texts))
    assert model.lock.model == loaded.lock.model
    names = set(loaded.lowered.learned_state())
    assert "delta.layers.2.attention.self.query.a" in names
    assert not any(name.startswith("delta.embeddings") or name.startswith("delta.layers.0") for name in names)
    base = (tmp_path / "priors" / "tiny" / "words" / "model.safetensors").stat().st_size
    assert (folder / "model.safetensors").stat().st_size < base
    assert sum(node.op == "delta" for node in loaded.lock.nodes) == 1


def test_the_report_says_what_was_chosen_and_why_with_both_scores(adapted):
    facts = adapted().report["adaptation"]

    assert facts["chosen"] == "lora"
    assert "cross-validated loss" in facts["why"]
    assert set(facts["scores"]) == {"frozen", "adapted", "chosen"}
    assert json.loads(json.dumps(facts)) == facts


def test_expected_is_the_cross_validated_score_and_no_leave_one_out_of_rows_it_was_trained_on(adapted):
    model = adapted()

    assert model.report["expected"] == model.report["adaptation"]["scores"]["chosen"]["score"]


@pytest.mark.parametrize("mode", ["lora", "full"])
def test_adapting_again_gives_the_same_bits(adapted, tmp_path, mode):
    first = adapted(adapt=mode).save(tmp_path / "a") / "model.safetensors"
    second = adapted(adapt=mode, cache=tmp_path / "other").save(tmp_path / "b") / "model.safetensors"

    assert first.read_bytes() == second.read_bytes()


def test_a_fit_that_was_stopped_while_adapting_goes_on_to_the_same_bits_and_cleans_up(adapted, tmp_path):
    whole = adapted().save(tmp_path / "a") / "model.safetensors"
    seen = []

    def report(step, of, message, **metrics):
        seen.append(message)

    with pytest.raises(Cancelled):
        adapted(cache=tmp_path / "other", report=report, cancelled=lambda: sum("adapting" in m for m in seen) > 10)
    left = sorted(path.name for path in (tmp_path / "other" / "adapting").glob("*/*"))
    rest = []
    resumed = adapted(cache=tmp_path / "other", report=lambda step, of, message, **_: rest.append(message))

    assert "fold-0.safetensors" in left
    assert not any(name.endswith(".part") for name in left)
    assert (resumed.save(tmp_path / "b") / "model.safetensors").read_bytes() == whole.read_bytes()
    assert sum("adapting" in m for m in rest) < 3 * RECIPE.steps
    assert not list((tmp_path / "other" / "adapting").glob("*"))


def test_auto_stays_frozen_where_adapting_lowers_no_loss_on_rows_left_out(adapted, monkeypatch):
    monkeypatch.setattr(adapting, "_verdict", lambda *given: adapting._frozen("it was no better"))

    model = adapted(adapt="auto")

    assert model.report["adaptation"] == {"chosen": "frozen", "why": "it was no better"}
    assert not any(node.op == "delta" for node in model.lock.nodes)


@pytest.mark.parametrize("mode", ["auto", "lora"])
def test_noise_is_not_mixed_into_a_set_that_knows_better_unless_that_is_asked_for(mode):
    rng = np.random.default_rng(1)
    wanted = Targets.of_classes(np.arange(40) % 2, 2)
    knows, noise = wanted.matrix + 0.5 * rng.normal(size=(40, 2)), rng.normal(size=(40, 2))

    verdict = adapting._verdict(_candidate(), RECIPE, knows, noise, wanted, mode)

    assert (verdict.adapted is None) == (mode == "auto")
    assert verdict.facts["scores"]["frozen"]["loss"] < verdict.facts["scores"]["adapted"]["loss"]
    assert verdict.adapted is None or verdict.adapted.part <= 0.5


def test_what_is_chosen_is_never_worse_than_its_best_part_on_the_rows_left_out(monkeypatch):
    monkeypatch.setattr(adapting, "NOISE", 0.0)
    rng = np.random.default_rng(1)
    for trial in range(40):
        wanted = Targets.of_classes(rng.integers(0, 3, 30), 3)
        frozen, tuned = (wanted.matrix * rng.uniform(0, 2) + rng.normal(size=(30, 3)) for _ in range(2))
        verdict = adapting._verdict(_candidate(), RECIPE, frozen, tuned, wanted, "auto")
        losses = [adapting._mixed(frozen, tuned, part, wanted).loss for part in (0.0, 1.0)]
        spared = adapting.WORTH * chance(wanted).mean()
        chosen = losses[0] - spared if verdict.adapted is None else verdict.adapted.probe.loss
        assert chosen <= min(losses) + 1e-9, trial


def test_auto_gives_the_adapted_network_no_more_than_its_frozen_self_has_in_the_set(monkeypatch):
    monkeypatch.setattr(adapting, "NOISE", 0.0)
    rng = np.random.default_rng(3)
    wanted = Targets.of_classes(np.arange(40) % 2, 2)
    frozen, tuned = wanted.matrix + rng.normal(size=(40, 2)), 3 * wanted.matrix + 0.1 * rng.normal(size=(40, 2))
    parts = [
        adapting._verdict(_candidate(), RECIPE, frozen, tuned, wanted, mode, 0.25).adapted.part
        for mode in ("auto", "full")
    ]

    assert parts[0] <= 0.25 < parts[1]


@pytest.mark.parametrize(("better", "noise", "stays"), [(0.2, 1.0, True), (0.2, 0.0, False), (2.0, 1.0, False)])
def test_a_gain_within_its_standard_error_is_no_reason_to_adapt(monkeypatch, better, noise, stays):
    monkeypatch.setattr(adapting, "NOISE", noise)
    rng = np.random.default_rng(3)
    wanted = Targets.of_classes(np.arange(40) % 2, 2)
    frozen = wanted.matrix + rng.normal(size=(40, 2))
    tuned = frozen + better * wanted.matrix + 0.5 * rng.normal(size=(40, 2))

    verdict = adapting._verdict(_candidate(), RECIPE, frozen, tuned, wanted, "auto")

    assert (verdict.adapted is None) == stays
    assert ("give or take" in verdict.facts["why"]) == stays


@pytest.mark.parametrize(
    ("name", "gives", "why", "trained"),
    [
        ("LEAST_PART", 2.0, "has only 100% of the set", 0),
        ("_least", lambda *_: 1e9, "leaves nothing to win", 0),
        ("_hopeful", lambda *_: False, "no mixture with words", 1),
    ],
)
def test_auto_stops_training_as_soon_as_nothing_can_come_of_it(adapted, monkeypatch, name, gives, why, trained):
    monkeypatch.setattr(adapting, name, gives)
    seen = []

    model = adapted(adapt="auto", report=lambda step, of, message, **_: seen.append(message))

    assert why in model.report["adaptation"]["why"]
    assert sum("adapting" in message for message in seen) == trained * RECIPE.steps


def _candidate():
    from composer.choices import Candidate
    from priors.manifest import PriorRef

    return Candidate(PriorRef("tiny", "words"), "layer_3", "text")


def test_a_budget_that_allows_no_comparison_leaves_the_set_frozen(adapted):
    model = adapted(adapt="auto", budget_seconds=0.001)

    assert model.report["adaptation"]["chosen"] == "frozen"
    assert "not enough" in model.report["adaptation"]["why"]


def test_steps_are_planned_from_the_budget_and_never_more_than_the_recipe(subject, monkeypatch):
    together = alike(targets(tiny_task()))
    recipe = replace(RECIPE, targets=("*",))
    clock = iter(np.arange(0.0, 100.0, 1.0))
    monkeypatch.setattr("composer.adapt.time.monotonic", lambda: float(next(clock)))

    # the clock ticks a second a call: two steps take one, so a step half of one
    assert adapting._steps(subject, together, recipe, Budget(7.0), 0) == int(0.8 * 4 / 0.5)
    assert adapting._steps(subject, together, recipe, Budget(1000.0), 0) == recipe.steps
    assert adapting._steps(subject, together, recipe, Budget(None), 0) == recipe.steps


def test_a_choice_without_a_network_says_so(library, tmp_path):
    task = tiny_task()
    chosen = next(
        one for one in recommend(task, library=library, cache=tmp_path / "c").singles
        if one.members[0].candidate.ref.name == "char-ngrams"
    )  # fmt: skip

    assert leading_network(chosen, offer(task, library.entries())) is None
    with pytest.raises(BadTask, match="has no network that can be adapted"):
        fit(task, chosen, library=library, cache=tmp_path / "c", adapt="lora")
    model = fit(task, chosen, library=library, cache=tmp_path / "c", adapt="auto")
    assert model.report["adaptation"]["chosen"] == "frozen"


def test_a_number_is_adapted_to_as_well(adapted, library, tmp_path):
    texts = tiny_task().values("text")
    task = Task.from_table(
        {"text": texts, "size": [float(len(text)) + ("cat" in text) * 5 for text in texts]},
        target="size",
        kind="regression",
        name="sizes",
    )
    model = adapted(task)

    assert model.report["metric"] == "r2"
    assert set(model.report["adaptation"]["scores"]["adapted"]) == {"score", "low", "high", "loss"}
    assert np.isfinite(model.predict(texts)).all()


def test_an_adapted_model_exports_with_the_delta_in_its_weights(adapted, library, tmp_path):
    model = Composition.load(adapted().save(tmp_path / "model"), library=library)

    report = model.export(tmp_path / "model.pt2")

    assert report.max_abs_diff < 1e-4


# ---- graphs that name a delta themselves

GRAPH = """
composition: 1
name: kinds
adapt: trainable
nodes:
  text: {op: input, type: "text.raw[B]:str", column: text}
  w: {op: load, prior: "prior://tiny/words"}
  d: {op: delta, in: [w], kind: KIND, r: 2, targets: ["layers.2.*"]}
  deep: {op: net, in: {w: d, ids: text}, tap: layer_3, train: delta}
  b: {op: fn, fn: standardize, in: [deep]}
  y: {op: head, in: [b], labels: [animal, thing]}
outputs: {y: y}
fit: {steps: 6, lr: {delta: 0.02}}
"""


@pytest.mark.parametrize("kind", ["lora", "dora", "ia3", "bias", "full"])
def test_a_graph_with_a_delta_is_fitted_judged_by_folds_saved_and_loaded(library, tmp_path, kind):
    task, graph = tiny_task(), Graph.from_yaml(GRAPH.replace("KIND", kind))
    model = fit(task, graph, library=library, cache=tmp_path / "cache")
    again = fit(task, graph, library=library, cache=tmp_path / "elsewhere")
    loaded = Composition.load(model.save(tmp_path / "model"), library=library)

    texts = task.values("text")
    assert np.array_equal(model.predict_proba(texts), loaded.predict_proba(texts))
    assert np.array_equal(model.predict_proba(texts), again.predict_proba(texts))
    assert model.report["steps"] == 6
    start = lower(model.lock, library).learned_state()
    learned = model.lowered.learned_state()
    assert any(not torch.equal(value, start[name]) for name, value in learned.items() if name.startswith("d."))


def test_a_delta_can_stay_as_it_is(library, tmp_path):
    frozen = (
        GRAPH.replace("KIND", "lora").replace("r: 2,", "r: 2, train: frozen,").replace("train: delta", "train: frozen")
    )

    model = fit(tiny_task(), Graph.from_yaml(frozen), library=library, cache=tmp_path / "cache")

    assert "adaptation" not in model.report


# ---- one adapted branch beside frozen ones


def test_one_branch_is_adapted_beside_frozen_ones_and_a_row_may_lack_it(library, tmp_path, monkeypatch):
    function_library(tmp_path / "numbers", "standardize")
    (tmp_path / "numbers" / "priorhub" / "standardize").rename(tmp_path / "priors" / "priorhub" / "standardize")
    library = type(library)(tmp_path / "priors")
    plain = tiny_task()
    texts = [None if row in (3, 8) else text for row, text in enumerate(plain.values("text"))]
    numbers = np.random.default_rng(0).normal(size=len(plain)) + plain.y
    labels = [plain.labels[k] for k in plain.y]
    task = Task.from_table({"text": texts, "n": list(numbers), "kind": labels}, "kind", modalities={"text": "text"})
    offered = offer(task, library.entries())
    members = tuple(Member(one, 0.5) for one in offered.candidates if one.ref.name in ("words", "standardize"))
    choice = Choice("both", "set", members, 0.5, 0.4, 0.6, 0.0, False, "named", 0.0)

    dropped = []
    fitting = import_module("composer.fit")  # by a string the function of that name would be found
    monkeypatch.setattr(fitting, "with_dropout", lambda *given, **how: dropped.append(given[3]) or given[0])
    model = fit(task, choice, library=library, cache=tmp_path / "cache", adapt="lora")

    assert [len(set(columns)) for columns in dropped] == [2]
    monkeypatch.undo()
    trained = {node.attrs["train"]: node.name for node in model.lock.nodes if node.op == "net"}
    assert trained.keys() == {"delta", "frozen"}
    assert model.report["adaptation"]["chosen"] != "frozen" and model.report["gaps"] == {"text": 2}
    rows = {"text": ["the cat sat", None, "a mat"], "n": [0.0, 1.5, None]}
    assert np.isfinite(model.predict_proba(rows)).all()
    low, high = model.predict_proba({"text": [None, None], "n": [-3.0, 3.0]})[:, 1]
    assert low < high
