"""Fits and models that cannot be: each is refused with what to do, and nothing half made is left behind."""

import pytest

from composer.composition import Composition
from composer.errors import BadGraph, BadLock
from composer.fit import fit
from composer.graph import Graph
from composer.recommend import recommend
from priors.errors import BadTable, BadTask, UserError
from tests.composer._made_up import function_library, table_task, text_task


@pytest.fixture
def library(tmp_path):
    return function_library(tmp_path / "priors")


@pytest.fixture
def fitted(library, tmp_path):
    return lambda task, choice=None, **options: fit(task, choice, library=library, cache=tmp_path / "cache", **options)


GRAPH = """
composition: 1
name: own
nodes:
  text: {{op: input, type: "{type}", column: {column}}}
  words: {{op: fn, in: [text], fn: {fn}}}
  y: {head}
outputs: {{y: y}}
"""
OWN = {"type": "text.raw[B]:str", "column": "text", "fn": "word_ngrams", "labels": "food, talk, work"}
HEAD = "{{op: head, in: [words], labels: [{labels}], loss: cross_entropy, train: full}}"


@pytest.mark.parametrize(
    ("changed", "error", "words"),
    [
        ({"labels": "food, talk"}, BadGraph, "head 'y' predicts food, talk, topics has food, talk, work"),
        ({"labels": "work, talk, food"}, BadGraph, "predicts work, talk, food"),
        ({"head": "{op: proj, in: [words], d_out: 3}"}, BadGraph, "the output is a proj"),
        ({"column": "txt"}, BadTask, "reads text from column 'txt', which is no input in topics"),
        ({"column": "topic"}, BadTask, "which is no input"),
        (
            {"type": "image.raw[B]:u8", "fn": "pixels"},
            BadTask,
            "reads image from column 'text', which is text in topics",
        ),
        ({"type": "tab.num[B,C:1]:f32", "fn": "fourier_features"}, BadTask, "reads tab from column 'text'"),
    ],
)
def test_a_graph_that_is_not_of_the_task_is_refused(fitted, changed, error, words):
    facts = {**OWN, **changed}
    facts.setdefault("head", HEAD.format(labels=facts["labels"]))
    with pytest.raises(error, match=words):
        fitted(text_task(12), Graph.from_yaml(GRAPH.format(**facts)))

    own = GRAPH.format(head=HEAD.format(labels=OWN["labels"]), **OWN)
    assert fitted(text_task(12), Graph.from_yaml(own)).labels == ("food", "talk", "work")


def test_a_choice_of_priors_that_are_not_here_is_refused(library, tmp_path):
    choice = recommend(text_task(), library=library, cache=tmp_path / "c").best
    with pytest.raises(UserError):
        fit(text_task(), choice, library=function_library(tmp_path / "other", "text-statistics"), cache=tmp_path / "c")


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ("free soup", "was given one text. Put it in a list"),
        ({"txt": ["a"]}, r"no column 'text'\. topics reads: text"),
    ],
)
def test_rows_that_cannot_be_predicted_are_refused(fitted, rows, words):
    with pytest.raises(BadTable, match=words):
        fitted(text_task(12)).predict(rows)


@pytest.mark.parametrize(
    ("cell", "words"),
    [
        ("x", "column 'b' is not numeric"),
        (float("inf"), "no finite number in row 2"),
        (1e300, "no finite number in row 2"),
    ],
)
def test_cells_that_are_no_numbers_are_refused(fitted, cell, words):
    with pytest.raises(BadTable, match=words):
        fitted(table_task()).predict({"a": [1.0, 1.0], "b": [0.0, cell], "noise": [0.0, 0.0]})


def test_a_table_model_wants_all_its_columns_by_name(fitted):
    with pytest.raises(BadTable, match=r"reads several columns\. Give a mapping with: a, b, noise"):
        fitted(table_task()).predict([1.0])


def test_folders_that_are_no_model_are_refused(fitted, library, tmp_path):
    folder = fitted(text_task(12)).save(tmp_path / "model")
    (folder / "report.json").write_text("{")
    with pytest.raises(BadLock, match="is not JSON"):
        Composition.load(folder, library=library)
    (folder / "report.json").unlink()
    assert Composition.load(folder, library=library).report == {}
    with pytest.raises(BadLock, match=r"has no composition\.json"):
        Composition.load(tmp_path, library=library)
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        fitted(text_task(12)).save(tmp_path / "file")


def test_no_rows_give_no_predictions(fitted):
    model = fitted(text_task(12))

    assert model.predict([]) == []
    assert model.predict_proba([]).shape == (0, 3)
