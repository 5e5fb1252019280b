"""What a graph cannot be: the error names the node or edge, and what to write instead."""

from typing import Any

import pytest

from composer.errors import BadGraph, PortMismatch
from priors.errors import BadManifest, PriorhubError, UnknownFunction, UnknownPrior
from tests.composer._written import HEAD, LOAD, NET, composition, run


def refused(nodes: dict[str, Any], output: str = "y", adapt: str = "lossy") -> str:
    with pytest.raises(PriorhubError) as caught:
        run(nodes, adapt=adapt, output=output)
    assert isinstance(caught.value, PortMismatch | BadGraph | UnknownFunction | UnknownPrior | BadManifest)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"deep": {"op": "net", "in": {"ids": "text"}}}, "no weights"),
        ({"deep": {"op": "net", "in": {}}}, "takes 1 to 64"),
        ({"deep": {"op": "net", "in": {"w": "w"}}}, "'ids' is not wired"),
        ({"deep": {"op": "net", "in": {"w": "w", "id": "text"}}}, "Wire exactly: ids"),
        ({"deep": {"op": "net", "in": {"w": "w", "ids": "text", "mask": "text"}}}, "'mask' does not exist"),
        ({"deep": {"op": "net", "in": {"w": "text", "ids": "text"}}}, "reads weights here"),
        ({"deep": {"op": "net", "in": {"w": "w", "ids": "w"}}}, "reads values"),
        ({"deep": {**NET, "tap": "last_hiden"}}, "Nearest: last_hidden"),
        ({"w": {**LOAD, "prior": "prior://minilm@sha256:cccc"}}, "the library has sha256:bbbb"),
        ({"w": {**LOAD, "prior": "prior://nobody/knows"}}, "no prior is called"),
        ({"w": {**LOAD, "arch": "bert-small"}}, "is a minilm"),
        ({"char": {"op": "fn", "fn": "char_ngram", "in": ["text"]}}, "Nearest: char_ngrams"),
        ({"char": {"op": "fn", "fn": "char_ngrams", "in": ["text"], "dim": "many"}}, "'dim'"),
        ({"char": {"op": "fn", "fn": "char_ngrams", "in": ["text"], "fit": "train"}}, "learns nothing"),
        ({"char": {"op": "fn", "fn": "char_ngrams", "in": ["text", "text"]}}, "takes one input"),
        ({"char": {"op": "fn", "fn": "pixels", "in": ["text"]}}, "image.raw"),
        ({"char": {"op": "fn", "fn": "standardize", "in": ["text"]}}, "is raw"),
        ({"char": {"op": "fn", "fn": "char_ngrams", "in": ["deep"]}}, "cannot be made from tensors"),
        ({"all": {"op": "concat", "in": ["b0", "text"]}}, "Put a prior"),
        ({"all": {"op": "concat", "in": ["b0", "b1"], "axis": "B"}}, "not B"),
        ({"all": {"op": "concat", "in": ["b0", "b1"], "axis": "T"}}, "axis T"),
        ({"all": {"op": "gate", "in": ["b0", "w"]}}, "gives weights"),
        ({"all": {"op": "gate", "in": ["b0", "text"]}}, "Put a prior"),
        ({"all": {"op": "route", "in": ["b0", "b1"], "top_k": 3}}, "top_k"),
        ({"all": {"op": "sum", "in": ["b0", "b1"], "weights": [1.0]}}, "1 weights for 2"),
        ({"all": {"op": "proj", "in": ["b0"], "d_out": 8, "d_in": 9}, "b1": ..., "char": ...}, "Leave d_in out"),
        ({"y": {**HEAD, "in": ["text"]}}, "Put a prior"),
        ({"unused": LOAD}, "'unused' leads to no output"),
    ],
)
def test_a_node_that_cannot_be_is_named_with_the_fix(changes: dict[str, Any], says: str) -> None:
    nodes = {name: body for name, body in composition(**changes).items() if body is not ...}

    assert says in refused(nodes)


def test_weights_are_no_output() -> None:
    assert "gives weights" in refused({"w": LOAD}, output="w")


def test_nothing_learns_a_matrix_that_fills_the_memory() -> None:
    wide = {"x": {"op": "input", "type": "vec.feat[B,D:16777216]:f32"}}

    assert "limit is 268,435,456" in refused({**wide, "y": {"op": "proj", "in": ["x"], "d_out": 1_000}})
    assert "limit is" in refused({**wide, "y": {"op": "concat", "in": ["x", "x"]}})
    assert "limit is" in refused({**wide, "y": {**HEAD, "in": ["x"], "labels": [str(i) for i in range(100)]}})
    assert "limit is" in refused({**wide, "y": {"op": "gate", "in": ["x"] * 64}})
