"""A composition as people and `fit` write it, checked against priors that are made up."""

from typing import Any

from composer.check import Checked, check
from composer.graph import Graph
from tests.composer._placeholders import resolve

TEXT = {"op": "input", "type": "text.raw[B]:str", "column": "text"}
LOAD = {"op": "load", "prior": "prior://minilm"}
NET = {"op": "net", "in": {"w": "w", "ids": "text"}, "tap": "last_hidden"}
HEAD = {"op": "head", "labels": ["a", "b"]}


def run(nodes: dict[str, Any], adapt: str = "trainable", output: str = "y", **more: Any) -> Checked:
    document = {"composition": 1, "adapt": adapt, "nodes": nodes, "outputs": {"y": output}, **more}
    return check(Graph.from_dict(document), resolve)


def composition(**more: Any) -> dict[str, Any]:
    """Two blocks of one text, standardized and put side by side: what `fit` writes."""
    return {
        "text": TEXT,
        "w": LOAD,
        "deep": NET,
        "char": {"op": "fn", "fn": "char_ngrams", "in": ["text"], "dim": 64},
        "b0": {"op": "fn", "fn": "standardize", "in": ["deep"], "config": {"mode": "block", "weight": 2.0}},
        "b1": {"op": "fn", "fn": "standardize", "in": ["char"], "config": {"mode": "block"}},
        "all": {"op": "concat", "in": ["b0", "b1"]},
        "y": {**HEAD, "in": ["all"]},
        **more,
    }
