"""Exported ONNX files of other endings than one head: several labels a row, known physics, ensembles, stacks."""

from typing import Any

import numpy as np
import pytest

from composer.check import check
from composer.composition import Composition
from composer.export import export
from composer.graph import Graph
from composer.lock import Lock
from composer.lower import lower
from composer.nested import resolver
from composer.runner import Runner
from priors.library import LocalLibrary
from tests.composer._tiny import fill, tiny_library

TEXT = """
composition: 1
name: endings
adapt: trainable
nodes:
  text: {op: input, type: "text.raw[B]:str", column: message}
  char: {op: fn, fn: char_ngrams, in: [text], dim: 32}
  word: {op: fn, fn: word_ngrams, in: [text], dim: 32}
"""
ROW = """
composition: 1
name: endings
adapt: trainable
nodes:
  row: {op: input, type: "tab.num[B,C:2]:f32{cols=t|start}", column: [t, start]}
  known: {op: fn, fn: formula, in: [row], expr: "start * exp(-t)", out: "vec.feat[B,D:1]:f32{unit=m}"}
  rest: {op: head, in: [row], target: height, unit: m, loss: mse}
  y: {op: sum, in: [known, rest], weights: [1, 1]}
outputs: {y: y}
"""
SEVERAL = "  y: {op: head, in: [char], labels: [a, b, c], loss: binary_cross_entropy}\noutputs: {y: y}\n"
HEADS = """  one: {op: head, in: [char], labels: [a, b, c]LOSS}
  two: {op: head, in: [word], labels: [a, b, c]LOSS}
"""
ENSEMBLE = f"{HEADS}  y: {{op: sum, in: [one, two], weights: [0.5, 0.5]}}\noutputs: {{y: y}}\n"
STACK = f"""{HEADS}  all: {{op: concat, in: [one, two]}}
  y: {{op: head, in: [all], labels: [a, b, c]LOSS}}
outputs: {{y: y}}
"""
LOSS = ", loss: binary_cross_entropy"
TEXTS = ["the cat sat", "", "a very big dog ran", "dog", "under the red mat"]
CASES = {
    "several labels": TEXT.rpartition("  word:")[0] + SEVERAL,
    "ensemble of several labels": TEXT + ENSEMBLE.replace("LOSS", LOSS),
    "stack": TEXT + STACK.replace("LOSS", ""),
    "physics and a learned rest": ROW,
}


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> LocalLibrary:
    return tiny_library(tmp_path_factory.mktemp("library"))


def composition(document: str, library: LocalLibrary) -> Composition:
    graph = Graph.from_yaml(document)
    model = lower(Lock.of(check(graph, resolver(library))), library)
    fill(model)
    return Composition(graph, model.lock, model, {})


@pytest.mark.parametrize("name", CASES)
def test_the_file_says_what_the_composition_says(name: str, library: LocalLibrary, tmp_path: Any) -> None:
    model = composition(CASES[name], library)
    rows = {"message": TEXTS} if "text" in CASES[name] else {"t": [0.0, 1.0, 2.5], "start": [1.0, 2.0, 1.5]}

    report = export(model.lowered, tmp_path / "m.onnx", "onnx")
    runner = Runner(tmp_path / "m.onnx")

    assert report.max_abs_diff < 1e-4 and runner.labels == model.labels and runner.answers == model.answers
    if model.labels:
        assert runner.predict(rows) == model.predict(rows)
        np.testing.assert_allclose(runner.predict_proba(rows), model.predict_proba(rows), atol=1e-5)
        assert runner.answers.several == ("several" in name)
    else:
        np.testing.assert_allclose(runner.predict(rows), model.predict(rows), rtol=1e-5)
        assert runner.answers.unit == "m"
