"""What typing rules share: the type of weights, what a rule may ask about the graph, and checks many of them need."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from composer.adapters import FEATURE_AXES
from composer.errors import BadGraph, ModalityMismatch, ShapeMismatch, WeightsMismatch
from composer.graph import Node
from priors.manifest import PriorManifest, PriorRef
from priors.types import Axis, Dim, PortType, parse

MAX_MATRIX = 2**28
"""Most entries of one learned matrix: 1 GiB of float32. A larger one is a mistake in a length."""


@dataclass(frozen=True)
class Weights:
    """The type of a parameter set: whose architecture, and the name its latent spaces carry.

    manifest   of the prior it was loaded from, or derived from
    identity   names the content: the prior's hash, or the derivation's with `~near:` the base's
    host       whose host encoding its inputs take, where that is another prior's
    """

    ref: PriorRef
    manifest: PriorManifest
    identity: str
    host: tuple[PriorRef, PriorManifest] | None = None

    @property
    def encoding(self) -> tuple[PriorRef, PriorManifest]:
        """The prior that encodes raw values for it."""
        return self.host or (self.ref, self.manifest)

    @property
    def architecture(self) -> str:
        return self.manifest.definition.id

    def __str__(self) -> str:
        return f"wt[{self.architecture}]"


ValueType = PortType | Weights


@dataclass(frozen=True)
class Typed:
    """What a rule found: the adapted inputs, the completed attributes, the type of what comes out."""

    inputs: tuple[tuple[str, str], ...]
    attrs: Mapping[str, Any]
    type: ValueType


class Scope(Protocol):
    """What a rule may ask about the graph around its node."""

    def type_of(self, source: str) -> ValueType:
        """The type of an earlier node."""

    def hash_of(self, source: str) -> str:
        """The hash of an earlier node."""

    def adapt(self, source: str, target: str, wants: PortType, encoder: Weights | None = None) -> str:
        """The node that gives `wants`: the source, or the last of the adapters inserted after it. Raises PortMismatch.

        `encoder` is whose host encoding turns raw values into `wants`.
        """

    def origins(self, source: str) -> Mapping[str, str]:
        """Of the axes whose length is not known before the values are: what decides it. Equal texts, equal lengths."""

    def labels_of(self, source: str) -> list[str] | None:
        """The names of the classes a value is about, from the head it comes from; None where there is none."""

    def encoder_of(self, source: str) -> PriorRef | None:
        """The prior whose encoder made the value, None where none did."""

    def solved(self, t: PortType) -> PortType:
        """`t` with the symbols that earlier edges bound replaced."""

    def manifest(self, ref: PriorRef, node: str) -> tuple[PriorRef, PriorManifest]:
        """The prior a node names, its reference with the full hash. Raises UnknownPrior, BadGraph."""

    def fresh(self) -> str:
        """A prefix for symbols that no other node has."""


def value_of(scope: Scope, node: Node, source: str) -> PortType:
    found = scope.type_of(source)
    if isinstance(found, Weights):
        raise WeightsMismatch(
            f"edge {source!r} -> {node.name!r}: {node.op} reads values, {source!r} gives weights ({found}). "
            "Turn them into a function first: {op: net, in: {w: " + source + ", …}}."
        )
    return found


def weights_of(scope: Scope, node: Node, source: str) -> Weights:
    found = scope.type_of(source)
    if not isinstance(found, Weights):
        raise WeightsMismatch(
            f"edge {source!r} -> {node.name!r}: {node.op} reads weights here, {source!r} gives {found}. "
            "Wire a load node to it."
        )
    return found


def number(scope: Scope, node: Node, source: str) -> PortType:
    gives = value_of(scope, node, source)
    if gives.is_raw:
        error = ModalityMismatch.on_edge(
            source,
            node.name,
            wants="numbers",
            gives=gives,
            fix="Put a prior (net or fn) between the input and this node.",
        )
        error.wants = parse("vec.feat[B,D]:f32")  # what a prior between them would give
        raise error
    return gives


def masked_axis(t: PortType) -> str | None:
    """The axis that the value's mask goes along, None when it has none: time, slots, or what follows the batch."""
    if not t.attr("mask") or len(t.axes) < 2:
        return None
    return next((name for name in ("T", "S") if t.axis(name)), t.axes[1].name)


def unmasked(t: PortType, axis: str) -> PortType:
    """The type without its mask where that goes along `axis`, which is gone or has another length now."""
    if masked_axis(t) != axis:
        return t
    return t.with_(attrs={key: value for key, value in t.attrs if key != "mask"})


def along(node: Node, scope: Scope) -> PortType:
    [(_, source)] = node.inputs
    gives = number(scope, node, source)
    if gives.axis(node.attrs["axis"]) is None:
        raise ShapeMismatch.on_edge(
            source,
            node.name,
            wants=f"axis {node.attrs['axis']}",
            gives=gives,
            fix=f"Name one of {', '.join(gives.axis_names)}.",
        )
    return gives


def as_features(t: PortType) -> PortType:
    """A value of axes B and D is a feature vector, whatever it was pooled from."""
    if t.axis_names != ("B", "D") or t.modality in ("dist", "vec"):
        return t
    kept = {key: value for key, value in t.attrs if key == "unit"}
    return t.with_(modality="vec", level="feat", attrs=kept)


def feature(node: Node, t: PortType) -> Axis:
    axis = next((axis for name in FEATURE_AXES if (axis := t.axis(name)) is not None), None)
    if axis is None:
        raise ShapeMismatch(f"node {node.name!r}: {t} has no feature axis. Feed it something with axis D.")
    return Axis("D", axis.dim)


def known_length(node: Node, dim: Dim) -> int:
    if not isinstance(dim, int):
        raise ShapeMismatch(
            f"node {node.name!r}: the number of features it reads is not known. Write axis D with its length."
        )
    return dim


def check_matrix(node: Node, rows: int, columns: int) -> None:
    if rows * columns > MAX_MATRIX:
        raise BadGraph(
            f"node {node.name!r} would learn a matrix of {rows:,} x {columns:,}, the limit is {MAX_MATRIX:,} entries. "
            "Project to fewer features first."
        )
