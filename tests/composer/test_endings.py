"""What a composition that is fitted may end in, and what it takes along when it is saved."""

import hashlib
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from composer.composition import Composition
from composer.errors import BadGraph
from composer.fit import fit
from composer.graph import Graph
from composer.predictions import score
from priors.errors import BadWeights
from priors.library import LocalLibrary
from priors.tasks import Task

NUMBERS = {
    "x": {"op": "input", "type": "tab.num[B,C:2]:f32", "column": ["a", "b"]},
    "z": {"op": "fn", "fn": "standardize", "in": ["x"], "fit": "train"},
}
HEAD = {"op": "head", "in": ["z"], "labels": ["high", "low"], "loss": "cross_entropy", "train": "full"}
ROWS = {"a": np.arange(12.0), "b": np.arange(12.0) % 3}


def graph(nodes: dict[str, Any], outputs: dict[str, str]) -> Graph:
    return Graph.from_dict({"composition": 1, "name": "ends", "nodes": {**NUMBERS, **nodes}, "outputs": outputs})


def levels() -> Task:
    return Task.from_table({**ROWS, "y": ["low" if a < 6 else "high" for a in ROWS["a"]]}, "y", name="levels")


@pytest.fixture
def empty(tmp_path):
    (tmp_path / "none").mkdir()
    return LocalLibrary(tmp_path / "none")


@pytest.mark.parametrize("outputs", [{"word": "d"}, {"y": "y", "word": "d", "sure": "s"}])
def test_a_composition_that_ends_in_the_words_of_a_head_is_fitted_as_the_head(empty, tmp_path, outputs):
    nodes = {
        "y": HEAD,
        "d": {"op": "decode", "in": ["y"]},
        "s": {"op": "decode", "in": ["y"], "gives": "score"},
    }
    if "sure" not in outputs:
        del nodes["s"]
    task = levels()
    plain = fit(task, graph({"y": HEAD}, {"y": "y"}), library=empty, cache=tmp_path / "c")
    model = fit(task, graph(nodes, outputs), library=empty, cache=tmp_path / "c")
    loaded = Composition.load(model.save(tmp_path / "m"), library=empty)

    assert loaded.predict(ROWS) == plain.predict(ROWS)
    np.testing.assert_allclose(loaded.predict_proba(ROWS), plain.predict_proba(ROWS))
    assert loaded.labels == ("high", "low")
    assert score(loaded, task)["score"] == score(plain, task)["score"]
    said = loaded.lowered.words(loaded.lowered.module(*loaded.lowered.encode({"x": np.stack([*ROWS.values()], 1)})))
    assert said["word"] == plain.predict(ROWS)


def test_what_no_rows_could_fit_is_refused_with_what_to_do(empty, tmp_path):
    with pytest.raises(BadGraph, match=r"outputs are y, z\..*ends in one head.*decode"):
        fit(levels(), graph({"y": HEAD}, {"y": "y", "z": "z"}), library=empty, cache=tmp_path / "c")
    with pytest.raises(BadGraph, match="output is a fn"):
        fit(levels(), graph({}, {"z": "z"}), library=empty, cache=tmp_path / "c")


def test_files_of_constants_go_where_the_composition_goes(empty, tmp_path):
    (tmp_path / "spec").mkdir()
    file = tmp_path / "spec" / "added.safetensors"
    save_file({"added": torch.tensor([1.0, -1.0])}, file)
    const = {"op": "const", "type": "vec.feat[B,D:2]:f32", "file": file.name, "tensor": "added"}
    nodes = {
        "c": {**const, "sha256": hashlib.sha256(file.read_bytes()).hexdigest()},
        "m": {"op": "sum", "in": ["z", "c"]},
        "y": {**HEAD, "in": ["m"]},
    }
    task, spec = levels(), graph(nodes, {"y": "y"})

    model = fit(task, spec, library=empty, cache=tmp_path / "c", folder=file.parent)
    model.save(tmp_path / "first")
    file.unlink()
    first = Composition.load(tmp_path / "first", library=empty)
    again = Composition.load(first.save(tmp_path / "second"), library=empty)

    assert again.predict(ROWS) == model.predict(ROWS)
    assert Composition.load(again.save(tmp_path / "second"), library=empty).model == model.model
    (tmp_path / "second" / file.name).write_bytes(b"other")
    with pytest.raises(BadWeights, match="was changed since"):
        again.save(tmp_path / "third")
    with pytest.raises(BadGraph, match="no folder"):
        fit(task, spec, library=empty, cache=tmp_path / "c")


def test_a_file_of_constants_has_another_name_than_what_is_learned():
    const = {"op": "const", "type": "vec.feat[B,D:2]:f32", "file": "model.safetensors", "tensor": "t"}
    with pytest.raises(BadGraph, match="another name"):
        graph({"c": {**const, "sha256": "0" * 64}}, {"c": "c"})
