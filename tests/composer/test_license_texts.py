"""The texts in NOTICE: a prior's own first, published ones for the rest, none where nothing has to be kept."""

from pathlib import Path

from composer.check import check
from composer.composition import Composition
from composer.graph import Graph
from composer.license import Verdict, judge
from composer.license_texts import MAX_FILE, from_library, texts
from composer.lock import Lock
from composer.lower import lower
from composer.nested import resolver
from priors.manifest import PriorRef
from tests.composer._tiny import fill, tiny_library

NODES = {
    "text": {"op": "input", "type": "text.raw[B]:str"},
    "x": {"op": "input", "type": "tab.num[B,C:3]:f32"},
    "w": {"op": "load", "prior": "prior://tiny/words"},
    "v": {"op": "load", "prior": "prior://tiny/mlp"},
    "deep": {"op": "net", "in": {"w": "w", "ids": "text"}},
    "flat": {"op": "pool", "in": ["deep"], "axis": "T"},
    "m": {"op": "net", "in": {"w": "v", "x": "x"}},
    "both": {"op": "concat", "in": ["flat", "m"]},
    "y": {"op": "head", "in": ["both"], "labels": ["a", "b"]},
}


def graph(words: str, mlp: str) -> Graph:
    nodes = {**NODES, "w": {**NODES["w"], "license": words}, "v": {**NODES["v"], "license": mlp}}
    return Graph.from_dict({"composition": 1, "adapt": "trainable", "nodes": nodes, "outputs": {"y": "y"}})


def verdict(root: Path, words: str, mlp: str) -> Verdict:
    return judge(Lock.of(check(graph(words, mlp), resolver(tiny_library(root)))))


def test_a_saved_composition_carries_the_texts_of_its_priors(tmp_path: Path) -> None:
    library = tiny_library(tmp_path)
    (tmp_path / "tiny/words/LICENSE").write_text("Copyright 1999 Somebody")
    (tmp_path / "tiny/words/NOTICE").write_text("Made by Somebody.")
    made = graph("MIT", "BSD-3-Clause")
    model = lower(Lock.of(check(made, resolver(library))), library)
    fill(model)

    Composition(made, model.lock, model, {}).save(tmp_path / "out")

    notice = (tmp_path / "out/NOTICE").read_text()
    assert "For tiny/words\n\nCopyright 1999 Somebody" in notice and "Made by Somebody." in notice
    assert "Permission is hereby granted" not in notice  # its own text stands for it
    assert "did not come with the files: https://spdx.org/licenses/BSD-3-Clause.html" in notice


def test_published_texts_stand_once_for_all_who_came_without_their_own(tmp_path: Path) -> None:
    found = texts(verdict(tmp_path, "Apache-2.0", "Apache-2.0"), lambda ref: ())

    [(heading, text)] = found
    assert heading == "For tiny/words, tiny/mlp" and "TERMS AND CONDITIONS FOR USE" in text


def test_what_asks_for_nothing_or_is_no_text_is_left_out(tmp_path: Path) -> None:
    def beside(ref: PriorRef) -> tuple[bytes, ...]:
        return (b"x" * (MAX_FILE + 1), b"  ", b"kept \xff")

    assert texts(verdict(tmp_path / "a", "CC0-1.0", "CC0-1.0"), beside) == []
    assert texts(verdict(tmp_path / "b", "MIT", "CC0-1.0"), beside) == [("For tiny/words", "kept \ufffd")]


def test_a_prior_that_cannot_be_had_has_no_files(tmp_path: Path) -> None:
    assert from_library(tiny_library(tmp_path))(PriorRef.parse("ada/absent")) == []
