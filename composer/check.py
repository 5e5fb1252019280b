"""Types a graph: every node gets a type and a hash, adapters go where values do not fit, or the error says why.

    checked = check(graph, resolver(library))
    checked.nodes            in order, adapters included        checked.frontier   what to cache while fitting
    checked.type_of("y")     the type of a node                 checked.structure  the hash of it all

The result is the same on every machine; `composer.lock` writes it down. Needs no torch, takes milliseconds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from composer._hash import node_hash, structure_hash
from composer._scope import Scope, ValueType, Weights
from composer._typing import type_node
from composer.adapters import MAX_STEPS, Edge, Repair, next_repair
from composer.errors import BadGraph, PortMismatch
from composer.graph import ADAPT, Graph, Node
from priors.errors import BadManifest, BadType, UnknownFunction
from priors.manifest import PriorManifest, PriorRef
from priors.types import PortType, substitute, unify

Resolve = Callable[[PriorRef], PriorManifest]
"""Gives the manifest of the prior a reference names; raises UnknownPrior. `priors.library.resolver` makes one."""


@dataclass(frozen=True)
class TypedNode:
    """A node of a checked composition or a lock.

    inputs        (port, source) pairs; sources include inserted adapters
    attrs         complete: defaults, taps, full prior references
    type          of the value it gives; None for weights, which have an `architecture` instead
    hash          sha256 in hex over what decides its value, given the values of the input nodes it depends on
    auto          inserted by `check`
    """

    name: str
    op: str
    inputs: tuple[tuple[str, str], ...]
    attrs: Mapping[str, Any]
    type: PortType | None
    architecture: str | None
    hash: str
    auto: bool = False

    @property
    def sources(self) -> tuple[str, ...]:
        """The nodes it reads, in order."""
        return tuple(source for _, source in self.inputs)

    @property
    def shown_type(self) -> str:
        """The type as a text: a port type, or `wt[architecture]`."""
        return f"wt[{self.architecture}]" if self.type is None else str(self.type)

    @property
    def learns(self) -> bool:
        """Whether fitting changes it: it is trained, or learns from the training rows."""
        match self.op:
            case "fn":
                return self.attrs.get("fit") == "train" or self.attrs.get("train") == "full"
            case "net":
                return bool(self.attrs.get("train", "frozen") != "frozen")
            case _:
                return self.has_parameters and self.attrs.get("train", "full") != "frozen"

    @property
    def has_parameters(self) -> bool:
        """Whether it has parameters of its own, which only a fit can give a meaning."""
        match self.op:
            case "proj" | "bridge" | "gate" | "attend" | "head" | "delta" | "retok":
                return True
            case "fn":
                return "fit" in self.attrs or "train" in self.attrs
            case "net":
                return self.attrs.get("train", "frozen") not in ("frozen", "delta")  # a delta node holds its own
            case "sum":
                return self.attrs.get("weights") in ("learned", "search")
            case "expand":
                return self.attrs.get("kind") == "prefix"
            case "pool":
                return self.attrs.get("kind") == "attn"
            case "resample":
                return self.attrs.get("mode") == "perceiver"
            case "route":
                return self.attrs.get("by") == "gate"
            case _:
                return False


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


def check(graph: Graph, resolve: Resolve) -> Checked:
    """Types `graph`, inserting adapters up to its `adapt` level.

    Raises PortMismatch naming the edge, both types and the fix; BadGraph for a node that cannot be; UnknownPrior,
    UnknownFunction.
    """
    scope = _Checker(graph, resolve)
    for node in graph.nodes:
        scope.add(node)
    _refuse_unused(graph)
    for name, source in graph.outputs.items():
        if scope.by_name[source].type is None:
            raise BadGraph(f"output {name!r} is {source!r}, which gives weights. Name a node that gives a value.")
    nodes = tuple(scope.by_name.values())
    hashes = {name: scope.by_name[source].hash for name, source in graph.outputs.items()}
    return Checked(graph, nodes, frozen_frontier(nodes, graph.outputs), structure_hash(hashes, graph.opset))


def frozen_frontier(nodes: tuple[TypedNode, ...], outputs: Mapping[str, str]) -> tuple[str, ...]:
    """The last values with nothing trainable before them: read by a node that changes in a fit, or an output."""
    still: set[str] = set()
    wanted = set(outputs.values())
    for node in nodes:
        if not node.learns and still.issuperset(node.sources):
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


class _Checker(Scope):
    """The state of one check: the nodes so far, their types, and what symbols stand for."""

    def __init__(self, graph: Graph, resolve: Resolve) -> None:
        self.graph = graph
        self.by_name: dict[str, TypedNode] = {}
        self._types: dict[str, ValueType] = {}
        self._resolve = resolve
        self._manifests: dict[PriorRef, tuple[PriorRef, PriorManifest]] = {}
        self._bindings: Mapping[str, Any] = {}
        self._prefixes = 0

    def add(self, node: Node) -> None:
        """Types one node of the graph and whatever adapters it needs."""
        try:
            typed = type_node(node, self)
        except BadType as err:
            raise PortMismatch(f"node {node.name!r} ({node.op}): {err}") from err
        except (BadManifest, UnknownFunction) as err:
            raise type(err)(f"node {node.name!r} ({node.op}): {err}") from err
        self._put(node.name, node.op, typed.inputs, typed.attrs, typed.type, auto=False)

    def type_of(self, source: str) -> ValueType:
        return self._types[source]

    def hash_of(self, source: str) -> str:
        return self.by_name[source].hash

    def fresh(self) -> str:
        self._prefixes += 1
        return f"n{self._prefixes}"

    def solved(self, t: PortType) -> PortType:
        return substitute(t, self._bindings)

    def manifest(self, ref: PriorRef, node: str) -> tuple[PriorRef, PriorManifest]:
        if ref not in self._manifests:
            manifest = self._resolve(ref)
            identity = manifest.identity()
            if not ref.matches(identity):
                raise BadGraph(
                    f"node {node!r} asks for {ref}, the library has {identity}. Pull that version, or change the hash."
                )
            self._manifests[ref] = (ref.pinned(identity), manifest)
        return self._manifests[ref]

    def adapt(self, source: str, target: str, wants: PortType, encoder: Weights | None = None) -> str:
        for _ in range(MAX_STEPS):
            gives = self._types[source]
            if isinstance(gives, Weights):
                raise PortMismatch.on_edge(
                    source, target, wants=wants, gives=gives, fix="Wire a net node's value to it."
                )
            edge = Edge(source, target, gives, self.solved(wants))
            repair = next_repair(edge)
            if repair is None:
                self._bindings = self._bind(edge, wants)
                return source
            source = self._insert(edge, repair, encoder)
        raise AssertionError(f"adapters on {source!r} -> {target!r} did not come to an end")

    def _bind(self, edge: Edge, wants: PortType) -> Mapping[str, Any]:
        try:
            return unify(edge.gives, wants, self._bindings)
        except BadType as err:
            raise edge.mismatch("Their lengths differ. Give both the same length.") from err

    def _insert(self, edge: Edge, repair: Repair, encoder: Weights | None) -> str:
        self._allow(edge, repair)
        attrs = dict(repair.attrs)
        if repair.op == "encode":
            if encoder is None:
                raise edge.mismatch(
                    f"Nothing here says how raw {edge.gives.modality} is encoded. Put a prior between them."
                )
            attrs |= {"prior": str(encoder.ref), "spec": encoder.manifest.host_identity()}
        name = stem = f"{edge.source}~{repair.op}~{edge.target}"
        count = 1
        inputs = (("0", edge.source),)
        while name in self.by_name:
            made = self.by_name[name]
            if (made.inputs, made.attrs, made.type) == (inputs, attrs, repair.gives):
                return name  # the consumer reads the same value through two ports
            count += 1
            name = f"{stem}~{count}"
        self._put(name, repair.op, inputs, attrs, repair.gives, auto=True)
        return name

    def _allow(self, edge: Edge, repair: Repair) -> None:
        cost = repair.cost(strict=self.graph.strict)
        if ADAPT.index(cost) > ADAPT.index(self.graph.adapt):
            raise PortMismatch(
                f"edge {edge.source!r} -> {edge.target!r} needs {repair.op} ({cost}): "
                f"{edge.target!r} wants {edge.wants}, {edge.source!r} gives {edge.gives}, "
                f"and the composition says adapt: {self.graph.adapt}. "
                f"Write 'adapt: {cost}', or put the {repair.op} node there yourself."
            )

    def _put(
        self,
        name: str,
        op: str,
        inputs: tuple[tuple[str, str], ...],
        attrs: Mapping[str, Any],
        t: ValueType,
        *,
        auto: bool,
    ) -> None:
        digest = node_hash(op, attrs, t if isinstance(t, PortType) else str(t), {p: self.hash_of(s) for p, s in inputs})
        value, architecture = (t, None) if isinstance(t, PortType) else (None, t.architecture)
        self._types[name] = t
        self.by_name[name] = TypedNode(name, op, inputs, attrs, value, architecture, digest, auto)
