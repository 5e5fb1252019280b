"""Types a graph: every node gets a type and a hash, adapters go where values do not fit, or the error says why.

    checked = check(graph, resolver(library))
    checked.nodes            in order, adapters included        checked.frontier   what to cache while fitting
    checked.type_of("y")     the type of a node                 checked.structure  the hash of it all

The result is the same on every machine; `composer.lock` writes it down. Needs no torch, takes milliseconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from composer._checker import Alternatives as Alternatives
from composer._checker import Checker
from composer._checker import Resolve as Resolve
from composer._hash import structure_hash
from composer._typed_node import TypedNode as TypedNode
from composer.errors import BadGraph
from composer.graph import Graph
from priors.types import PortType


@dataclass(frozen=True)
class Checked:
    """A graph whose every edge fits.

    nodes        in order: each after what it reads
    frontier     values that do not change while fitting and are read by something that does: compute them once
    structure    `sha256:<hex>` over everything that decides outputs but the learned parameters
    """

    graph: Graph
    nodes: tuple[TypedNode, ...]
    frontier: tuple[str, ...]
    structure: str

    @property
    def outputs(self) -> Mapping[str, str]:
        """Output name -> node."""
        return self.graph.outputs

    @property
    def inserted(self) -> tuple[TypedNode, ...]:
        """The adapters that were inserted."""
        return tuple(node for node in self.nodes if node.auto)

    @property
    def needs_fit(self) -> bool:
        """Whether any node has parameters of its own."""
        return any(node.has_parameters for node in self.nodes)

    def node(self, name: str) -> TypedNode:
        """The node called `name`. Raises BadGraph when there is none."""
        for node in self.nodes:
            if node.name == name:
                return node
        raise BadGraph(f"there is no node {name!r}. Nodes are {', '.join(node.name for node in self.nodes)}.")

    def type_of(self, name: str) -> PortType:
        """The type of a node's value. Raises BadGraph for a node of weights."""
        found = self.node(name).type
        if found is None:
            raise BadGraph(f"node {name!r} gives weights, not a value. Ask for the type of a net node.")
        return found


def check(graph: Graph, resolve: Resolve, alternatives: Alternatives | None = None) -> Checked:
    """Types `graph`, inserting adapters up to its `adapt` level. `alternatives` names priors for edges that do not fit.

    Raises PortMismatch naming the edge, both types and the fix; BadGraph for a node that cannot be; UnknownPrior,
    UnknownFunction.
    """
    scope = Checker(graph, resolve, alternatives)
    for node in graph.nodes:
        scope.add(node)
    _refuse_unused(graph)
    _refuse_read_words(graph)
    for name, source in graph.outputs.items():
        if scope.by_name[source].type is None:
            raise BadGraph(f"output {name!r} is {source!r}, which gives weights. Name a node that gives a value.")
        if not scope.reads_input(source):
            raise BadGraph(f"output {name!r} is {source!r}, which reads no input. Wire one.")
    nodes = tuple(scope.by_name.values())
    hashes = {name: scope.by_name[source].hash for name, source in graph.outputs.items()}
    return Checked(graph, nodes, frozen_frontier(nodes, graph.outputs), structure_hash(hashes, graph.opset))


def frozen_frontier(nodes: tuple[TypedNode, ...], outputs: Mapping[str, str]) -> tuple[str, ...]:
    """The last values with nothing trainable before them: read by a node that changes in a fit, or an output.

    Features beside a column that says which rows are there count each by themselves: so they are computed once for
    compositions with gaps and without.
    """
    still: set[str] = set()
    wanted = set(outputs.values())
    there = {node.name for node in nodes if node.attrs.get("fn") in ("present", "known")}
    for node in nodes:
        if not node.learns and still.issuperset(node.sources) and there.isdisjoint(node.sources):
            still.add(node.name)
        else:
            wanted.update(node.sources)
    return tuple(
        node.name
        for node in nodes
        if node.name in still and node.name in wanted and node.type is not None and node.op not in ("input", "const")
    )


def _refuse_unused(graph: Graph) -> None:
    used = set(graph.outputs.values())
    for node in reversed(graph.nodes):
        if node.name not in used:
            raise BadGraph(f"node {node.name!r} leads to no output. Remove it, or name it under 'outputs'.")
        used.update(node.sources)


def _refuse_read_words(graph: Graph) -> None:
    """Words come after the last tensor: nothing inside a composition reads them."""
    words = {node.name for node in graph.nodes if node.op == "decode" and node.attrs["gives"] == "label"}
    for node in graph.nodes:
        if words.intersection(node.sources):
            raise BadGraph(f"node {node.name!r} reads a decode node, which ends a composition. Read what it decodes.")
