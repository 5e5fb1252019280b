"""Sets that somebody names: weighed by leave-one-out, fitted, and not led astray by a member that knows nothing."""

import json

import numpy as np
import pytest

from composer.assemble import Unit
from composer.choices import Candidate
from composer.fit import fit
from composer.given import given, trusted_over
from composer.rank.probe import Targets, gram, probe
from composer.rank.sets import weigh
from priors.errors import BadTask
from priors.manifest import PriorRef
from priors.tasks import Task
from tests.composer._made_up import function_library, sentences, text_task


@pytest.fixture
def library(tmp_path):
    return function_library(tmp_path / "priors", "char-ngrams", "word-ngrams", "text-statistics", "standardize")


def blocks(count: int, seed: int = 0, classes: int = 3):
    """Kernels of a block that knows the class, one that knows it less well in another way, and one of noise."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % classes
    means = np.eye(classes)[labels]
    found = {
        "good": rng.normal(size=(count, 12)) + 1.6 * np.pad(means, ((0, 0), (0, 12 - classes))),
        "fair": rng.normal(size=(count, 12)) + 1.0 * np.pad(means, ((0, 0), (12 - classes, 0))),
        "noise": rng.normal(size=(count, 40)),
    }
    return {name: gram(block) for name, block in found.items()}, Targets.of_classes(labels, classes)


def test_what_knows_the_class_leads_and_noise_gets_little():
    kernels, targets = blocks(120)
    found = weigh(kernels, targets)
    assert sum(found.weights.values()) == pytest.approx(1)
    assert max(found.weights, key=found.weights.__getitem__) == "good"
    assert found.weights.get("noise", 0) < 0.2
    best = min(probe(kernel, targets).loss for kernel in kernels.values())
    assert found.probe.loss < best


def test_a_set_of_one_is_itself_and_equal_blocks_share():
    kernels, targets = blocks(60)
    assert weigh({"good": kernels["good"]}, targets).weights == {"good": 1.0}
    shared = weigh({"a": kernels["good"], "b": kernels["good"]}, targets).weights
    assert shared["a"] == pytest.approx(shared["b"])
    with pytest.raises(ValueError, match="at least one block"):
        weigh({}, targets)


def test_a_trusted_block_leads_what_reads_its_column_even_where_few_rows_say_otherwise():
    kernels, targets = blocks(6)
    trusted = {"fair": ["good", "noise"]}
    found = weigh(kernels, targets, trusted=trusted).weights
    assert max(found, key=found.__getitem__) == "fair"
    assert found["fair"] > 0.7
    free = weigh(kernels, targets).weights
    assert free.get("noise", 0) > found.get("noise", 0)


def test_only_pretrained_networks_are_trusted_and_only_over_their_column():
    ref = PriorRef.parse("prior://a/b")
    units = [
        Unit(name, (Candidate(ref, "out", column),), trusted)
        for name, column, trusted in (("net", "text", True), ("words", "text", False), ("numbers", ("x",), False))
    ]
    assert trusted_over(units) == {"net": ["words"]}


def test_many_rows_are_searched_on_a_part_and_judged_on_all():
    kernels, targets = blocks(300)
    found = weigh(kernels, targets)
    assert len(found.probe.losses) == 300
    assert max(found.weights, key=found.weights.__getitem__) == "good"


def test_a_named_set_is_fitted(library, tmp_path):
    task = text_task(36)
    choice = given(task, ["char-ngrams", "priorhub/word-ngrams"], library=library, cache=tmp_path / "c")
    assert {member.candidate.ref.name for member in choice.members} <= {"char-ngrams", "word-ngrams"}
    assert "a set that was given" in choice.why
    model = fit(task, choice, library=library, cache=tmp_path / "c")
    assert model.report["expected"] == pytest.approx(choice.expected, abs=0.03)


def test_a_name_may_say_which_column(library, tmp_path):
    titles, labels = sentences(30)
    bodies, _ = sentences(30, seed=5)
    task = Task.from_table(
        {"title": titles, "body": bodies, "n": np.arange(30) * 1.5, "y": labels}, "y",
        modalities={"title": "text", "body": "text"},
    )  # fmt: skip
    both = given(task, ["word-ngrams"], library=library, cache=tmp_path / "c")
    one = given(task, ["word-ngrams:title", "standardize"], library=library, cache=tmp_path / "c")
    assert {member.candidate.column for member in both.members} <= {"title", "body"}
    assert "body" not in {member.candidate.column for member in one.members}
    with pytest.raises(BadTask, match=r"no prior 'word-ngram:n' reads table\. Those that do: word-ngrams"):
        given(task, ["word-ngram:n"], library=library, cache=tmp_path / "c")


def test_the_command_line_fits_a_named_set(library, run, tmp_path, monkeypatch):
    monkeypatch.setenv("PRIORHUB_CACHE", str(tmp_path / "cache"))
    texts, labels = sentences(30)
    lines = [json.dumps({"text": text, "topic": label}) for text, label in zip(texts, labels, strict=True)]
    (tmp_path / "t.jsonl").write_text("\n".join(lines))
    arguments = ["fit", "--data", tmp_path / "t.jsonl", "--target", "topic", "--out", tmp_path / "m", "--with",
                 "char-ngrams", "--with", "text-statistics", "--library", tmp_path / "priors", "--json"]  # fmt: skip
    code, out, err = run(*arguments)
    assert code == 0, err
    refs = {member["ref"].partition("@")[0].rpartition("/")[2] for member in json.loads(out)["report"]["members"]}
    assert refs <= {"char-ngrams", "text-statistics"}
