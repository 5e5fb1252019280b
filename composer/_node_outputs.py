"""References to one of several outputs of a node: `deep.layer_3`, `words.score`.

A network has an output a tap, `decode` has `label` and `score`. Such a reference is short for a node of that name with
the same inputs, and is written out as one when the graph is read: hashes, types and locks know nothing of it, and
lowering computes all taps of one network on one value in one pass anyway.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from composer.errors import BadGraph

if TYPE_CHECKING:
    from composer.graph import Node

_DECODED = ("label", "score")


def with_outputs_of_nodes(nodes: Mapping[str, Node], outputs: Mapping[str, object]) -> dict[str, Node]:
    """`nodes` with a node for each reference to an output of one. A node of which only such outputs are read goes.

    Raises BadGraph for an output of a node that has one only.
    """
    named = [source for node in nodes.values() for source in node.sources] + [
        source for source in outputs.values() if isinstance(source, str)
    ]
    made: dict[str, Node] = {}
    through = set()
    for source in named:
        base, _, output = source.rpartition(".")
        if source not in nodes and base in nodes and source not in made:
            made[source] = _output(nodes[base], source, output)
            through.add(base)
    unread = through.difference(named)
    found: dict[str, Node] = {}
    for name, node in nodes.items():
        if name not in unread:
            found[name] = node
        found |= {source: one for source, one in made.items() if source.rpartition(".")[0] == name}
    return found


def _output(node: Node, name: str, output: str) -> Node:
    if node.op == "net":
        return replace(node, name=name, attrs={**node.attrs, "tap": output})
    if node.op == "decode" and output in _DECODED:
        return replace(node, name=name, attrs={**node.attrs, "gives": output})
    has = "outputs label and score" if node.op == "decode" else "one output"
    raise BadGraph(f"{name!r} is read, and {node.name!r} ({node.op}) has {has}. Read {node.name!r}.")
