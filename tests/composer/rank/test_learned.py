"""The learned tier: what it predicts, when it is on, and that it comes back from its files as it was."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from composer.errors import Cancelled
from composer.rank._episodes import drawn_tasks
from composer.rank.cold import Cold
from composer.rank.history import History, PriorCard, TaskCard
from composer.rank.learned import (
    Config,
    Gate,
    Held,
    Learned,
    Ranker,
    build,
    gate,
    retrain,
    task_folds,
    too_little,
    train,
)
from composer.rank.standing import blended
from priors.errors import BadWeights

TINY = Config(width=16, layers=1, heads=2, members=2, steps=12, batch=4)


@pytest.fixture(scope="module")
def history() -> History:
    rng = np.random.default_rng(0)
    priors = [PriorCard(f"maker{i % 3}/m{i}", {"parameters": 10.0 ** (6 + i / 5)}) for i in range(10)]
    priors.append(PriorCard("maker0/m0 + maker1/m1"))
    tasks = [TaskCard(f"task {i}", "text", type="ab"[i % 2]) for i in range(9)]
    scores = np.arange(11)[:, None] / 10 + 0.3 * rng.standard_normal((11, 9))
    return History(tuple(priors), tuple(tasks), scores)


@pytest.fixture(scope="module")
def tier(history: History) -> Cold:
    return Cold(history)


@pytest.fixture(scope="module")
def learned(history: History, tier: Cold) -> Learned:
    return train(history, tier, TINY)


def test_it_corrects_priors_with_and_without_history_and_says_how_surely(history: History, learned: Learned):
    cards = (*history.priors, PriorCard("maker9/never-seen", {"parameters": 1e7}))
    cold = Cold(history, cards).ask(TaskCard("new", "text"))

    plain = learned(TaskCard("new", "text"), cards, cold)
    shown = learned(TaskCard("new", "text"), cards, cold, {0: 3.0})

    assert plain.correction.shape == plain.sd.shape == (12,)
    assert np.isfinite(plain.correction).all()
    assert (plain.sd > 0).all()
    assert not np.allclose(plain.correction, shown.correction)


def test_many_priors_are_looked_at_in_parts_that_all_know_what_was_revealed(
    history: History, learned: Learned, monkeypatch: pytest.MonkeyPatch
):
    cold = Cold(history).ask(TaskCard("new", "text", type="a"))
    asked = TaskCard("new", "text", type="a"), history.priors, cold
    whole = learned(*asked, {2: 1.5})
    monkeypatch.setattr("composer.rank.learned.AT_ONCE", 6)

    parts = learned(*asked, {2: 1.5})

    assert np.isfinite(parts.correction).all() and (parts.sd > 0).all()
    assert 0 < np.abs(parts.correction - whole.correction).max() < 0.5
    assert (parts.correction != learned(*asked).correction).all()


def test_a_subset_has_a_utility_and_a_synergy_whatever_the_order_of_its_members(
    history: History, tier: Cold, learned: Learned
):
    cold = tier.ask(TaskCard("new", "text"))

    mean, sd, synergy = learned.sets(TaskCard("new", "text"), history.priors, cold, [(0, 1), (1, 0), (4,)])

    assert mean.shape == sd.shape == synergy.shape == (3,)
    assert mean[0] == pytest.approx(mean[1])
    assert synergy[0] == pytest.approx(synergy[1])


def test_the_same_history_trains_the_same_networks(history: History, tier: Cold, learned: Learned):
    again = train(history, tier, TINY).save()

    assert all((tensor == again[name]).all() for name, tensor in learned.save().items())


def test_it_is_small():
    assert sum(p.numel() for p in build(Config(), 2_000).parameters()) < 2_000_000
    with pytest.raises(ValueError, match="fewer than 2,000,000"):
        build(Config(width=256), 20_000)


def test_the_gate_opens_for_a_sure_gain_and_for_nothing_else(history: History, tier: Cold):
    truth = blended(history.scores)
    noise = np.random.default_rng(0).standard_normal(truth.shape)
    ones = np.ones(truth.shape)

    assert gate(history, Held(truth - noise, ones, noise)).enabled
    closed = gate(history, Held(noise, ones, truth))
    assert not closed.enabled
    assert closed.why.startswith("off: -")
    assert not gate(history, Held(0 * ones, ones, truth)).enabled


def test_too_few_tasks_are_said_to_be_too_few_and_nothing_is_trained(history: History, tmp_path: Path):
    few = history.without_tasks({task.name for task in history.tasks[3:]})

    gates = retrain(few, tmp_path, lambda *_: None, lambda: False, config=TINY)

    assert not gates["text"].enabled
    cold = Cold(few).ask(TaskCard("new", "text"))
    standing, said = Ranker.load(tmp_path).adjust(TaskCard("new", "text"), few.priors, cold)
    assert standing is cold
    assert "3 tasks are too few" in said
    assert "no history of modality 'image'" in Ranker.load(tmp_path).adjust(TaskCard("x", "image"), (), cold)[1]


@pytest.mark.parametrize("known", [3, 6])
def test_tasks_with_results_of_few_priors_teach_nothing(known: int, tmp_path: Path):
    scores = np.random.default_rng(0).random((known, 10))
    scores[3:] = np.nan
    scores[3:, :2] = 0.5  # two tasks have more
    priors = tuple(PriorCard(f"lab/{i}#out") for i in range(known))
    history = History(priors, tuple(TaskCard(f"t{j}", "text") for j in range(10)), scores)

    [found] = retrain(history, tmp_path, lambda *_: None, lambda: False, config=TINY).values()

    assert not found.enabled
    assert "8 with 4 priors each" in found.why


def test_tasks_of_one_source_are_judged_together_and_count_as_one(history: History, tier: Cold):
    cut = [replace(task, source=f"rows {i // 3}") for i, task in enumerate(history.tasks)]
    shared = replace(history, tasks=tuple(cut))
    sure = Held(blended(history.scores) - 0.0, np.ones(history.scores.shape), np.zeros(history.scores.shape))

    assert len(set(task_folds(shared, 0))) == 3
    assert all(len(set(task_folds(shared, 0)[i : i + 3])) == 1 for i in (0, 3, 6))
    assert gate(history, sure).enabled
    assert "9 tasks of 3 sources are too few" in gate(shared, sure).why
    assert "9 tasks of 3 sources are too few" in too_little(shared)
    pairs = [replace(task, source=f"rows {min(i, 7)}") for i, task in enumerate(history.tasks)]
    assert "on 9 tasks of 8 sources left out" in gate(replace(history, tasks=tuple(pairs)), sure).why


def test_a_task_with_few_priors_makes_one_batch_small_and_not_all_of_them():
    sizes, rng = [4, *[30] * 9], np.random.default_rng(0)

    batches = [drawn_tasks(sizes, range(10), 8, rng) for _ in range(40)]

    assert {count for _, count in batches} == {4, 30}
    assert sum(count == 30 for _, count in batches) > 30
    assert all(len(tasks) == 8 and all(sizes[t] >= count for t in tasks) for tasks, count in batches)


def test_what_is_saved_is_read_back_and_adjusts_as_before(
    history: History, tier: Cold, learned: Learned, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("composer.rank.learned.cross_fit", lambda *_, **__: None)
    monkeypatch.setattr("composer.rank.learned.gate", lambda *_: Gate(True, 0.02, 0.01, 0.03, 9, "on: made up", 2.0))

    retrain(history, tmp_path, lambda *_: None, lambda: False, config=TINY)

    task = TaskCard("new", "text")
    cold = tier.ask(task)
    standing, said = Ranker.load(tmp_path).adjust(task, history.priors, cold)
    np.testing.assert_allclose(standing.terms["learned"], learned(task, history.priors, cold).correction, atol=1e-6)
    np.testing.assert_allclose(sum(standing.terms.values()), standing.mean, atol=1e-9)
    assert said == "learned tier on: made up"


def test_a_folder_that_is_none_is_refused_and_a_stop_leaves_nothing(history: History, tmp_path: Path):
    (tmp_path / "ranker.json").write_text(json.dumps({"ranker": 1}))
    with pytest.raises(BadWeights, match="Train it anew"):
        Ranker.load(tmp_path)
    with pytest.raises(Cancelled):
        retrain(history, tmp_path / "stopped", lambda *_: None, lambda: True, config=replace(TINY, steps=2))
    assert not (tmp_path / "stopped").exists()
