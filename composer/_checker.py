"""The work of `composer.check`: types node after node, puts adapters in, and remembers what symbols stand for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from composer._hash import node_hash
from composer._scope import Scope, ValueType, Weights
from composer._typed_node import TypedNode
from composer._typing import type_node
from composer.adapters import MAX_STEPS, Edge, Repair, next_repair
from composer.errors import (
    BadGraph,
    DtypeMismatch,
    ModalityMismatch,
    PortMismatch,
    ShapeMismatch,
    SpaceMismatch,
    VocabularyMismatch,
    WeightsMismatch,
)
from composer.graph import ADAPT, Graph, Node
from priors.errors import BadManifest, BadType, UnknownFunction
from priors.manifest import PriorManifest, PriorRef
from priors.types import PortType, substitute, unify

Resolve = Callable[[PriorRef], PriorManifest]
"""Gives the manifest of the prior a reference names; raises UnknownPrior. `priors.library.resolver` makes one."""


_DEFECT: Mapping[str, type[PortMismatch]] = {
    "encode": ModalityMismatch,
    "bridge": VocabularyMismatch,
    "pool": ShapeMismatch,
    "expand": ShapeMismatch,
    "layout": ShapeMismatch,
    "resample": ShapeMismatch,
    "proj": ShapeMismatch,
    "cast": DtypeMismatch,
}

Allowed = Callable[[Repair], bool]
"""Whether a composition lets an adapter be put in."""

Alternatives = Callable[[PortType, PortType, Allowed], Sequence[str]]
"""Names of priors that read the one type and give the other; `composer.alternatives` makes one of a library."""


def _defect(edge: Edge, repair: Repair) -> type[PortMismatch]:
    """What is wrong with an edge whose repair is not allowed."""
    lengths = {axis.name: axis.dim for axis in repair.gives.axes}
    if repair.op == "proj" and edge.gives.with_(dims=lengths).axes == edge.gives.axes:
        return SpaceMismatch
    return _DEFECT[repair.op]


class Checker(Scope):
    """The state of one check: the nodes so far, their types, and what symbols stand for."""

    def __init__(self, graph: Graph, resolve: Resolve, alternatives: Alternatives | None = None) -> None:
        self._alternatives = alternatives
        self.graph = graph
        self.by_name: dict[str, TypedNode] = {}
        self._types: dict[str, ValueType] = {}
        self._resolve = resolve
        self._manifests: dict[PriorRef, tuple[PriorRef, PriorManifest]] = {}
        self._bindings: Mapping[str, Any] = {}
        self._prefixes = 0
        self._varying: set[str] = set()
        self._origins: dict[str, dict[str, str]] = {}

    def add(self, node: Node) -> None:
        """Types one node of the graph and whatever adapters it needs."""
        try:
            typed = type_node(node, self)
        except PortMismatch as err:
            self._suggest(err)
            raise
        except BadType as err:
            raise PortMismatch(f"node {node.name!r} ({node.op}): {err}") from err
        except (BadManifest, UnknownFunction) as err:
            raise type(err)(f"node {node.name!r} ({node.op}): {err}") from err
        self._put(node.name, node.op, typed.inputs, typed.attrs, typed.type, auto=False)

    def _suggest(self, err: PortMismatch) -> None:
        """Adds to an error the priors that would stand between the two types."""
        if self._alternatives and isinstance(err.gives, PortType) and isinstance(err.wants, PortType):
            names = self._alternatives(err.gives, err.wants, self._allows)
            if names:
                err.args = (f"{err} Priors that fit between them: {', '.join(names)}.",)

    def type_of(self, source: str) -> ValueType:
        return self._types[source]

    def hash_of(self, source: str) -> str:
        return self.by_name[source].hash

    def origins(self, source: str) -> Mapping[str, str]:
        return self._origins[source]

    def reads_input(self, source: str) -> bool:
        """Whether the value differs from row to row."""
        return source in self._varying

    def labels_of(self, source: str) -> list[str] | None:
        node = self.by_name[source]
        if node.op in ("cast", "layout", "sum", "gate", "route") and node.sources:
            return self.labels_of(node.sources[0])
        found: list[str] | None = node.attrs.get("labels")
        return found

    def encoder_of(self, source: str) -> PriorRef | None:
        node = self.by_name[source]
        return PriorRef.parse(node.attrs["prior"]) if node.op in ("encode", "bridge") else None

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
                raise WeightsMismatch.on_edge(
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
            raise edge.mismatch(ShapeMismatch, "Their lengths differ. Give both the same length.") from err

    def _insert(self, edge: Edge, repair: Repair, encoder: Weights | None) -> str:
        self._allow(edge, repair)
        attrs = dict(repair.attrs)
        if repair.op in ("encode", "bridge"):
            if encoder is None:
                raise edge.mismatch(
                    ModalityMismatch,
                    f"Nothing here says how raw {edge.gives.modality} is encoded. Put a prior between them.",
                )
            ref, manifest = encoder.encoding
            attrs |= {"prior": str(ref), "spec": manifest.host_identity()}
        if repair.op == "bridge":
            reads = self.encoder_of(edge.source)
            if reads is None:
                raise edge.mismatch(
                    VocabularyMismatch,
                    f"Whose ids {edge.source!r} has is not known. Put a bridge node there that says it: "
                    f"{{op: bridge, in: [{edge.source}], vocab: {attrs['vocab']}, reads: prior://…, prior: prior://…}}.",
                )
            attrs["reads"] = str(reads)
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

    def _allows(self, repair: Repair) -> bool:
        return ADAPT.index(repair.cost(strict=self.graph.strict)) <= ADAPT.index(self.graph.adapt)

    def _allow(self, edge: Edge, repair: Repair) -> None:
        if not self._allows(repair):
            cost = repair.cost(strict=self.graph.strict)
            raise _defect(edge, repair)(
                f"edge {edge.source!r} -> {edge.target!r} needs {repair.op} ({cost}): "
                f"{edge.target!r} wants {edge.wants}, {edge.source!r} gives {edge.gives}, "
                f"and the composition says adapt: {self.graph.adapt}. "
                f"Write 'adapt: {cost}', or put the {repair.op} node there yourself.",
                gives=edge.gives,
                wants=edge.wants,
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
        if op == "input" or any(source in self._varying for _, source in inputs):
            self._varying.add(name)
        value, architecture = (t, None) if isinstance(t, PortType) else (None, t.architecture)
        self._types[name] = t
        self._origins[name] = self._decided_by(name, op, inputs, attrs, t) if isinstance(t, PortType) else {}
        self.by_name[name] = TypedNode(name, op, inputs, attrs, value, architecture, digest, auto)

    def _decided_by(
        self, name: str, op: str, inputs: tuple[tuple[str, str], ...], attrs: Mapping[str, Any], t: PortType
    ) -> dict[str, str]:
        """For each axis whose length is open: the value that decides it. Two encodings that are equal are one."""
        found = {}
        sources = [source for _, source in inputs]
        for axis in t.axes[1:]:
            if isinstance(axis.dim, int):
                continue
            held = [self._origins[source][axis.name] for source in sources if axis.name in self._origins[source]]
            joined = op == "concat" and len(sources) > 1 and held
            if op in ("encode", "bridge"):
                found[axis.name] = f"{attrs['spec']} of {held[0] if held else sources[0]}"
            elif held and not joined:
                found[axis.name] = held[0]
            else:
                found[axis.name] = name
        return found
