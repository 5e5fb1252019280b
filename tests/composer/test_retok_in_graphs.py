"""Another vocabulary inside a composition: the tokenizer of one prior before the layers of another."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from composer.check import check
from composer.composition import Composition
from composer.errors import BadGraph
from composer.export import export
from composer.export_plain import export_plain
from composer.graph import Graph
from composer.lock import Lock
from composer.lower import Lowered, lower
from composer.nested import resolver
from composer.parts import parts
from composer.runner import Runner
from priors.library import LocalLibrary
from tests.composer._tiny import BERT, TOKENIZER, WORDS, fill, tiny_library, word_tokenizer, write_prior

TEXTS = ["the cat sat on the mat", "dog", "a very big red dog ran"]
NEW = ["bird", "fish"]


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> LocalLibrary:
    root = tmp_path_factory.mktemp("library")
    tiny_library(root)
    words = [*WORDS[:2], *reversed(WORDS[2:]), *NEW]
    config = {**BERT, "vocab": "other", "vocab_size": len(words) + 3}
    write_prior(
        root / "tiny/other", "bert", config, taps=("layer_3",), host=TOKENIZER, tokenizer=word_tokenizer(words), seed=5
    )
    return LocalLibrary(root)


def graph(weights: str = "r", *, between: str = "", train: str = "frozen", whose: str = "tiny/other") -> Graph:
    return Graph.from_yaml(f"""
composition: 1
adapt: trainable
nodes:
  text: {{op: input, type: "text.raw[B]:str"}}
  w: {{op: load, prior: "prior://tiny/words"}}
{f'  r: {{op: retok, in: [w], vocab: other, prior: "prior://{whose}"}}' if weights != "w" else ""}
{between}
  n: {{op: net, in: {{w: {weights}, ids: text}}, train: {train}}}
  p: {{op: pool, in: [n], axis: T}}
  y: {{op: head, in: [p], labels: [no, yes]}}
outputs: {{y: y}}
""")


def built(library: LocalLibrary, made: Graph) -> Lowered:
    model = lower(Lock.from_json(Lock.of(check(made, resolver(library))).to_json()), library)
    fill(model)
    return model


def test_words_that_both_know_mean_the_same_under_other_ids(library: LocalLibrary) -> None:
    plain, model = built(library, graph("w")), built(library, graph())

    assert model.lock.node("text~encode~n").attrs["prior"].startswith("prior://tiny/other@")
    assert not torch.equal(model.encode({"text": TEXTS})[0], plain.encode({"text": TEXTS})[0])
    np.testing.assert_allclose(
        model.features({"text": TEXTS}, ["p"])["p"], plain.features({"text": TEXTS}, ["p"])["p"], atol=1e-5
    )
    new = model.features({"text": ["the bird", "the fish"]}, ["p"])["p"]
    assert np.isfinite(new).all()
    assert model.lock.structure != plain.lock.structure
    [base, donor] = parts(model.lock)
    assert (base.name, base.path, donor.name, donor.path) == ("tiny/words", "changed", "tiny/other", "unchanged")


def test_it_takes_a_delta_saves_loads_and_runs_as_a_file(library: LocalLibrary, tmp_path: Path) -> None:
    made = graph("d", between='  d: {op: delta, in: [r], kind: lora, r: 2, targets: ["layers.1.*"]}', train="delta")
    model = built(library, made)
    Composition(made, model.lock, model, {}).save(tmp_path / "saved")

    found = Composition.load(tmp_path / "saved", library=library)
    report = export(found, tmp_path / "m.onnx", "onnx")

    assert np.array_equal(
        found.lowered.features({"text": TEXTS}, ["y"])["y"], model.features({"text": TEXTS}, ["y"])["y"]
    )
    assert report.max_abs_diff < 1e-4 and Runner(tmp_path / "m.onnx").predict(TEXTS) == found.predict(TEXTS)


def test_it_becomes_a_plain_repository_with_the_other_tokenizer(library: LocalLibrary, tmp_path: Path) -> None:
    report = export_plain(built(library, graph()), tmp_path / "plain")

    assert report.max_abs_diff < 1e-3
    held = json.loads((tmp_path / "plain/tokenizer.json").read_text())["model"]["vocab"]
    assert set(NEW) < held.keys()
    assert json.loads((tmp_path / "plain/config.json").read_text())["vocab_size"] == len(WORDS) + len(NEW) + 3


@pytest.mark.parametrize(
    ("whose", "says"),
    [("tiny/words", "not to text.ids"), ("tiny/mlp", "does not say how many tokens"), ("tiny/none", "no prior")],
)
def test_a_prior_without_that_vocabulary_is_refused(library: LocalLibrary, whose: str, says: str) -> None:
    with pytest.raises(Exception, match=says) as caught:
        check(graph(whose=whose), resolver(library))

    assert "'r'" in str(caught.value) if isinstance(caught.value, BadGraph) else says == "no prior"
