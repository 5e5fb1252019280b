"""Which adapter an edge needs: one defect at a time, in a fixed order, each with exactly one repair.

    1 raw where encoded is wanted   encode    lossless       6 axis order or name     layout    lossless
    2 another vocabulary            bridge    trainable      7 fixed length           resample  lossy
    3 unit, modality, meaning       an error                 8 features, space        proj      trainable
    4 an extra axis                 pool      trainable      9 dtype, value domain    cast      lossless
    5 a missing axis                expand    trainable

A repair removes its own defect and creates none above it, so an edge gets the same adapters on every machine. A module
needs the exact dtype, so `cast` is inserted even where subtyping would let a narrower one through: nothing is implicit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from composer._ops import read_attributes
from composer.errors import (
    DtypeMismatch,
    MeaningMismatch,
    ModalityMismatch,
    PortMismatch,
    RateMismatch,
    ShapeMismatch,
    UnitMismatch,
    VocabularyMismatch,
)
from priors.types import INFORMATIVE, Axis, PortType, widens

Cost = Literal["lossless", "trainable", "lossy"]

MAX_STEPS = 16
"""More repairs than an edge can need (at most one a defect and axis); passing it is a fault in this module."""

FEATURE_AXES = ("D", "C", "K", "F", "E")
"""Axes whose entries are features: they may be renamed into each other, and are never pooled away."""

_POOLED = ("T", "S", "H", "W")
_COST: Mapping[str, Cost] = {
    "encode": "lossless",
    "bridge": "trainable",
    "pool": "trainable",
    "expand": "trainable",
    "layout": "lossless",
    "resample": "lossy",
    "proj": "trainable",
    "cast": "lossless",
}
_ATTRIBUTE: Mapping[str, type[PortMismatch]] = {"sr": RateMismatch, "unit": UnitMismatch}
_FLOATS = ("f16", "bf16", "f32", "f64")


@dataclass(frozen=True)
class Edge:
    """What lies between two nodes: what `source` gives and what `target` wants."""

    source: str
    target: str
    gives: PortType
    wants: PortType

    def mismatch(self, kind: type[PortMismatch], fix: str) -> PortMismatch:
        """The error that names this edge, both types and the fix."""
        return kind.on_edge(self.source, self.target, wants=self.wants, gives=self.gives, fix=fix)


@dataclass(frozen=True)
class Repair:
    """An adapter: the op, its attributes, and the type after it."""

    op: str
    attrs: Mapping[str, Any]
    gives: PortType

    def cost(self, *, strict: bool) -> Cost:
        """What inserting it costs."""
        return cost_of(self.op, self.attrs, strict=strict)


def cost_of(op: str, attrs: Mapping[str, Any], *, strict: bool) -> Cost:
    """What an adapter costs; a `strict` composition counts a pool over time as lossy."""
    if strict and op == "pool" and attrs["axis"] == "T":
        return "lossy"
    return _COST[op]


def next_repair(edge: Edge) -> Repair | None:
    """The repair of an edge's first defect, None when its value fits. Raises PortMismatch instead of guessing."""
    for defect in (_raw, _vocabulary, _meaning, _extra_axis, _missing_axis, _axis_order, _length, _features, _dtype):
        repair = defect(edge)
        if repair is not None:
            return repair
    return None


def _repair(op: str, gives: PortType, **attrs: Any) -> Repair:
    return Repair(op, read_attributes(op, attrs, op), gives)


def _raw(edge: Edge) -> Repair | None:
    gives, wants = edge.gives, edge.wants
    if not gives.is_raw and not wants.is_raw:
        return None
    if gives.modality != wants.modality:
        raise edge.mismatch(
            ModalityMismatch,
            f"There is no encoder from {gives.modality} to {wants.modality}. "
            f"Feed {edge.target!r} {_a(wants.modality)} input.",
        )
    if not gives.is_raw:
        raise edge.mismatch(
            ModalityMismatch,
            f"Raw {wants.modality} cannot be made from tensors. Feed {edge.target!r} the input itself.",
        )
    if wants.is_raw:
        if gives.dtype != wants.dtype:
            raise edge.mismatch(DtypeMismatch, f"Write the input's type as '{wants}'.")
        return None
    # A length left to a symbol is free here: the symbol's name says where the edge is, not what is encoded.
    free = {axis.name: None for axis in wants.axes if not isinstance(axis.dim, int)}
    encoded = wants.with_(dims=free).in_space(None)
    return _repair("encode", encoded, to=str(encoded))


def _vocabulary(edge: Edge) -> Repair | None:
    wanted = edge.wants.attr("vocab")
    if wanted is None or edge.gives.attr("vocab") == wanted:
        return None
    if edge.gives.kind != "text.ids":
        raise edge.mismatch(VocabularyMismatch, f"Feed {edge.target!r} raw text, so that it is tokenized for it.")
    attrs = {**dict(edge.gives.attrs), "vocab": wanted}
    return _repair("bridge", edge.gives.with_(attrs=attrs), vocab=wanted)


def _meaning(edge: Edge) -> Repair | None:
    """Nothing here is ever guessed: units, modalities, normalizations."""
    gives, wants = edge.gives, edge.wants
    if not _convertible(gives, wants):
        raise edge.mismatch(
            ModalityMismatch,
            f"{_a(gives.kind).capitalize()} is not {_a(wants.kind)}. "
            "Put a prior between them that turns one into the other.",
        )
    unit = wants.attr("unit")
    if unit is not None and gives.attr("unit") != unit:
        raise edge.mismatch(
            UnitMismatch,
            f"Units are never guessed: put {{op: cast, in: [{edge.source}], unit: {unit}, scale: <factor>}} "
            "between them.",
        )
    for key, value in wants.attrs:
        if key not in (*INFORMATIVE, "vocab", "unit") and gives.attr(key) != value:
            raise edge.mismatch(
                _ATTRIBUTE.get(key, MeaningMismatch),
                f"{key} is {gives.attr(key) or 'not given'}, wanted {value}. Feed it the raw input.",
            )
    return None


def _a(name: str) -> str:
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def _convertible(gives: PortType, wants: PortType) -> bool:
    """Whether adapters exist between the two kinds at all."""
    if gives.kind == wants.kind:
        return True
    if "text.ids" in (gives.kind, wants.kind):
        return False
    if gives.modality == wants.modality == "dist" or wants.kind in ("vec.feat", "tab.num"):
        return True
    return gives.kind == "vec.feat" and wants.axis("D") is not None and wants.modality != "dist"


def _extra_axis(edge: Edge) -> Repair | None:
    renamed = _renamed(edge)
    extra = [name for name in edge.gives.axis_names if name not in edge.wants.axis_names and name not in renamed]
    if not extra:
        return None
    axis = extra[0]
    if axis not in _POOLED:
        raise edge.mismatch(
            ShapeMismatch, f"Axis {axis} cannot be pooled away. Select or combine along it in a node of your own."
        )
    _floating(edge, "averaged")
    axes = tuple(a for a in edge.gives.axes if a.name != axis)
    return _repair("pool", _become(edge, axes), axis=axis)


def _missing_axis(edge: Edge) -> Repair | None:
    renamed = _renamed(edge).values()
    missing = [axis for axis in edge.wants.axes if edge.gives.axis(axis.name) is None and axis.name not in renamed]
    if not missing:
        return None
    axis = missing[0]
    if axis.name == "B":
        raise edge.mismatch(
            ShapeMismatch, "A value without a batch cannot be given to every row. Declare it with axis B."
        )
    _floating(edge, "repeated")
    n = axis.dim if isinstance(axis.dim, int) else 1
    # After the axes that come before it in the consumer; the rest of the order is `layout`'s to repair.
    before = edge.wants.axis_names[: edge.wants.axis_names.index(axis.name)]
    at = max((i + 1 for i, a in enumerate(edge.gives.axes) if a.name in before), default=0)
    axes = (*edge.gives.axes[:at], Axis(axis.name, n), *edge.gives.axes[at:])
    return _repair("expand", _become(edge, axes), axis=axis.name, n=n)


def _axis_order(edge: Edge) -> Repair | None:
    order = edge.wants.axis_names
    if edge.gives.axis_names == order:
        return None
    renamed = _renamed(edge)
    by_name = {renamed.get(axis.name, axis.name): axis.dim for axis in edge.gives.axes}
    return _repair(
        "layout", _become(edge, tuple(Axis(n, by_name[n]) for n in order)), order=list(order), rename=renamed
    )


def _length(edge: Edge) -> Repair | None:
    for axis in edge.wants.axes:
        if axis.name in _POOLED and isinstance(axis.dim, int) and edge.gives.dim(axis.name) != axis.dim:
            _floating(edge, "resampled")
            return _repair("resample", edge.gives.with_(dims={axis.name: axis.dim}), axis=axis.name, n=axis.dim)
    return None


def _features(edge: Edge) -> Repair | None:
    gives, wants = edge.gives, edge.wants
    differ = [a for a in wants.axes if a.name in FEATURE_AXES and isinstance(a.dim, int) and gives.dim(a.name) != a.dim]
    moved = wants.space is not None and wants.space != gives.space
    if not differ and not moved:
        return None
    axis = differ[0] if differ else next((a for a in gives.axes if a.name in ("D", "C")), None)
    if axis is None or axis.name not in ("D", "C") or len(differ) > 1:
        raise edge.mismatch(
            ShapeMismatch,
            "Classes, experts and frequencies are not projected into each other. Use a head of the same size.",
        )
    d_in = gives.dim(axis.name)
    d_out = axis.dim if differ else d_in
    if not isinstance(d_in, int) or not isinstance(d_out, int):
        raise edge.mismatch(
            ShapeMismatch,
            f"A projection needs to know how many features there are. Write axis {axis.name} with its length.",
        )
    _floating(edge, "projected")
    after = gives.with_(dims={axis.name: d_out}).in_space(wants.space)
    return _repair("proj", after, d_in=d_in, d_out=d_out)


def _dtype(edge: Edge) -> Repair | None:
    gives, wants = edge.gives, edge.wants
    if gives.kind != wants.kind and gives.modality == wants.modality == "dist":
        return _repair("cast", gives.with_(level=wants.level), domain=wants.level)
    if gives.kind != wants.kind:
        return _repair("layout", _become(edge, gives.axes), order=list(gives.axis_names))
    if gives.dtype == wants.dtype:
        return None
    if not widens(gives.dtype, wants.dtype) and not (gives.dtype in _FLOATS and wants.dtype in _FLOATS):
        raise edge.mismatch(
            DtypeMismatch,
            f"{gives.dtype} does not fit into {wants.dtype}. Put {{op: cast, dtype: {wants.dtype}}} between them.",
        )
    return _repair("cast", gives.with_(dtype=wants.dtype), dtype=wants.dtype)


def _renamed(edge: Edge) -> dict[str, str]:
    """The feature axis that only has another name on the other side: {its name: the wanted one}, or nothing."""
    here = [n for n in edge.gives.axis_names if n in FEATURE_AXES and n not in edge.wants.axis_names]
    there = [n for n in edge.wants.axis_names if n in FEATURE_AXES and n not in edge.gives.axis_names]
    return {here[0]: there[0]} if len(here) == len(there) == 1 else {}


def _become(edge: Edge, axes: tuple[Axis, ...]) -> PortType:
    """The producer's type with other axes; of the consumer's kind as soon as the axis names are the consumer's."""
    after = edge.gives.with_(axes=axes)
    if tuple(axis.name for axis in axes) != edge.wants.axis_names or after.kind == edge.wants.kind:
        return after
    if edge.wants.modality == "dist":
        return after
    kept = {
        key: value for key, value in after.attrs if key == "unit"
    }  # a mask or a vocabulary says nothing about features
    return replace(after, modality=edge.wants.modality, level=edge.wants.level, attrs=tuple(kept.items()))


def _floating(edge: Edge, done: str) -> None:
    if edge.gives.dtype not in _FLOATS:
        raise edge.mismatch(
            DtypeMismatch, f"{edge.gives.dtype} values cannot be {done}. Cast or encode them to numbers first."
        )
