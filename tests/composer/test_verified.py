"""A composition beside its placebos: what each way may see, what is said of ways that cannot be tried."""

from dataclasses import replace

import numpy as np
import pytest

from composer import adapt as adapting
from composer.check import check
from composer.lock import Lock
from composer.nested import resolver
from composer.placebo import without_knowledge
from composer.verified import graph_of, kind_of, members_of, said_of, shuffled, verify
from priors.errors import BadTask
from priors.load import load
from tests.composer._made_up import function_library, text_task
from tests.composer._tiny import tiny_library
from tests.composer.test_adapt import RECIPE, tiny_task

ARMS = {"no_prior", "random_weights", "shuffled", "single", "adapted", "everything"}


@pytest.fixture
def library(tmp_path, monkeypatch):
    monkeypatch.setattr(adapting, "RECIPES", {kind: replace(RECIPE, kind=kind) for kind in ("lora", "full")})
    function_library(tmp_path / "priors", "char-ngrams")
    return tiny_library(tmp_path / "priors")


def judged(task, name, library, tmp_path, **options):
    options = {"labels": 4, "seeds": [3, 4], "folder": tmp_path / "placebos", **options}
    return verify(task, graph_of(task, name, library), name=name, library=library, cache=tmp_path / "cache", **options)


def test_every_arm_is_in_every_run_and_the_submission_stands_first(library, tmp_path):
    task = tiny_task(40)

    found = judged(task, "tiny/words#layer_3", library, tmp_path)

    assert {way.arm for way in found.ways[1:]} == ARMS
    assert all(len(way.scores) == len(way.errors) == 2 for way in found.ways), [way.skipped for way in found.ways]
    assert found.submitted is found.ways[0]
    assert found.submitted.members == ("tiny/words#layer_3",)
    assert np.nanmean(found.submitted.hits) == pytest.approx(np.mean(found.submitted.scores), abs=0.02)
    assert found.lock["structure"].startswith("sha256:")


def test_a_function_has_no_weights_to_shuffle_and_nothing_to_adapt_and_both_are_said(tmp_path):
    library = function_library(tmp_path / "priors", "char-ngrams", "word-ngrams")

    found = judged(text_task(60), "priorhub/char-ngrams", library, tmp_path, seeds=[1], curve=(4, 8, 5_000))

    said = {way.arm: way.skipped for way in found.ways}
    assert "no network" in said["random_weights"] and "no network" in said["adapted"]
    by_arm = {way.arm: way for way in found.ways[1:]}
    assert {labels: [way.arm for way in ways] for labels, ways in found.curve.items()} == {8: ["single", "no_prior"]}
    assert found.submitted.scores[0] > by_arm["shuffled"].scores[0] + 0.1


def test_adapting_that_has_no_time_left_is_skipped_and_said(library, tmp_path):
    found = judged(tiny_task(24), "tiny/words", library, tmp_path, seeds=[1], adapt_seconds=0.0)

    [adapted] = [way for way in found.ways if way.arm == "adapted"]
    assert adapted.scores == () and "time" in adapted.skipped


def test_random_weights_are_the_same_numbers_in_another_order_under_another_hash(library, tmp_path):
    graph = graph_of(tiny_task(), "tiny/words", library)

    blind, instead = without_knowledge(graph, library, tmp_path / "placebo", seed=1)

    [ref] = {ref for ref in Lock.of(check(blind, resolver(instead))).priors.values() if ref.repo == "tiny/words"}
    known = load(tmp_path / "priors" / "tiny" / "words").tensors()
    placebo = load(instead.directory(ref)).tensors()
    assert known.keys() == placebo.keys()
    for name, tensor in known.items():
        assert sorted(tensor.flatten().tolist()) == sorted(placebo[name].flatten().tolist())
    assert any((known[name] != placebo[name]).any() for name in known)
    assert ref.identity != next(e.ref.identity for e in library.entries() if e.ref.repo == "tiny/words")


def test_shuffled_labels_keep_their_counts_and_leave_the_task_alone():
    task = text_task(36)

    found = shuffled(task, 5)

    assert sorted(found.y) == sorted(task.y) and (found.y != task.y).any()
    assert found.rows.column("text") == task.rows.column("text")


def test_members_and_their_kind_are_read_from_the_lock(library):
    task = tiny_task()
    lock = Lock.of(check(graph_of(task, "tiny/words#layer_3", library), resolver(library)))

    assert members_of(lock) == ("tiny/words#layer_3",)
    assert kind_of(lock, members_of(lock)) == "single"
    assert kind_of(lock, ["a/b#x", "a/b#y"]) == "taps"
    assert kind_of(lock, ["a/b#x", "a/c#out"]) == "set"
    assert kind_of(lock, ["a/b@adapted"]) == "adapted"
    with pytest.raises(BadTask, match="no tap 'none'"):
        graph_of(task, "tiny/words#none", library)


def test_an_answer_that_is_no_label_is_refused():
    with pytest.raises(BadTask, match="no label"):
        said_of(["food", "never"], text_task(12))
