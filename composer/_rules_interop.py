"""Typing rules of adapters: proj, resample, pool, expand, layout, cast, bridge; inserted ones get the same types."""

from __future__ import annotations

import math

from composer._layout import LayoutTerm, read_layout
from composer._scope import Scope, Typed, along, as_features, check_matrix, known_length, number, unmasked, value_of
from composer.adapters import FEATURE_AXES
from composer.errors import BadGraph, DtypeMismatch, ModalityMismatch, ShapeMismatch, VocabularyMismatch
from composer.graph import Node
from priors.manifest import PriorRef
from priors.types import MAX_DIM, Axis, Dim, PortType


def proj_rule(node: Node, scope: Scope) -> Typed:
    [(_, source)] = node.inputs
    gives = value_of(scope, node, source)
    axis = next((a for a in gives.axes if a.name in ("D", "C")), None)
    if axis is None or not isinstance(axis.dim, int):
        raise ShapeMismatch.on_edge(
            source, node.name, wants="features of a known length", gives=gives, fix="Pool or encode it."
        )
    if node.attrs.get("d_in", axis.dim) != axis.dim:
        raise BadGraph(
            f"node {node.name!r}: d_in is {node.attrs['d_in']}, {source!r} gives {axis.dim}. Leave d_in out."
        )
    d_out = node.attrs["d_out"]
    check_matrix(node, axis.dim, d_out)
    return Typed(node.inputs, {**node.attrs, "d_in": axis.dim}, gives.with_(dims={axis.name: d_out}).in_space(None))


def resample_rule(node: Node, scope: Scope) -> Typed:
    gives, axis, mode = along(node, scope), node.attrs["axis"], node.attrs["mode"]
    _floats(node, gives)
    if mode == "perceiver":
        check_matrix(node, node.attrs["n"], known_length(node, gives.dim("D")))
    if mode != "pad-crop":  # which fills up with nothing, and says so in the mask
        gives = unmasked(gives, axis)
    return Typed(node.inputs, node.attrs, gives.with_(dims={axis: node.attrs["n"]}))


def pool_rule(node: Node, scope: Scope) -> Typed:
    gives, axis = along(node, scope), node.attrs["axis"]
    if axis == "B":
        raise BadGraph(f"node {node.name!r}: the batch cannot be pooled away. Pool another axis.")
    if node.attrs["kind"] in ("mean", "attn"):
        _floats(node, gives)
    if node.attrs["kind"] == "attn":
        known_length(node, gives.dim("D") if axis != "D" else None)
    axes = tuple(a for a in gives.axes if a.name != axis)
    return Typed(node.inputs, node.attrs, as_features(unmasked(gives, axis).with_(axes=axes)))


def expand_rule(node: Node, scope: Scope) -> Typed:
    [(_, source)] = node.inputs
    gives, axis = value_of(scope, node, source), node.attrs["axis"]
    if gives.axis(axis) is not None or gives.is_raw:
        raise ShapeMismatch.on_edge(
            source, node.name, wants=f"a tensor without axis {axis}", gives=gives, fix="Remove it."
        )
    if node.attrs["kind"] == "prefix":
        check_matrix(node, 2 * node.attrs["n"], known_length(node, gives.dim("D")))
    axes = (*gives.axes[:1], Axis(axis, node.attrs["n"]), *gives.axes[1:])
    return Typed(node.inputs, node.attrs, gives.with_(axes=axes))


def layout_rule(node: Node, scope: Scope) -> Typed:
    [(_, source)] = node.inputs
    gives = number(scope, node, source)
    if "expr" in node.attrs:
        return Typed(node.inputs, node.attrs, as_features(_by_expression(node, source, gives)))
    rename, order = node.attrs["rename"], node.attrs["order"]
    dims: dict[str, Dim] = {rename.get(axis.name, axis.name): axis.dim for axis in gives.axes}
    if sorted(dims) != sorted(order) or len(dims) != len(gives.axes):
        raise ShapeMismatch.on_edge(
            source, node.name, wants=f"axes {','.join(order)}", gives=gives, fix="Name each axis once."
        )
    return Typed(
        node.inputs, node.attrs, as_features(gives.with_(axes=tuple(Axis(name, dims[name]) for name in order)))
    )


def _by_expression(node: Node, source: str, gives: PortType) -> PortType:
    """The type after a layout expression; a mask goes with an axis that is made of others or split."""
    left, right = read_layout(node.attrs["expr"])
    if tuple(term.name for term in left) != gives.axis_names:
        wants = f"axes {','.join(term.name for term in left)}"
        raise ShapeMismatch.on_edge(source, node.name, wants=wants, gives=gives, fix="Begin 'expr' with its axes.")
    dims: dict[str, Dim] = {}
    for term, axis in zip(left, gives.axes, strict=True):
        dims |= _split(node, source, gives, term, axis.dim) if term.parts else {axis.name: axis.dim}
    axes = []
    for term in right:
        lengths = [dims[name] for name, _ in term.parts] or [dims[term.name]]
        known = [n for n in lengths if isinstance(n, int)]
        whole = math.prod(known) if len(known) == len(lengths) else None
        if whole is not None and whole > MAX_DIM:
            raise BadGraph(f"node {node.name!r}: axis {term.name} would be {whole:,} long. The limit is {MAX_DIM:,}.")
        axes.append(Axis(term.name, whole if term.parts else lengths[0]))
    if right[0].name != "B" or right[0].parts or left[0].name != "B":
        raise ShapeMismatch(f"node {node.name!r}: the batch stays the first axis. Begin both sides of 'expr' with B.")
    touched = {term.name for term in (*left, *right) if term.parts}
    touched |= {name for term in (*left, *right) for name, _ in term.parts}
    for axis_name in touched & set(gives.axis_names):
        gives = unmasked(gives, axis_name)
    # Features that were split or joined are no vector of their space any more.
    return gives.with_(axes=tuple(axes)).in_space(None if touched & set(FEATURE_AXES) else gives.space)


def _split(node: Node, source: str, gives: PortType, term: LayoutTerm, whole: Dim) -> dict[str, Dim]:
    known = math.prod(n for _, n in term.parts if n is not None)
    rest = [name for name, n in term.parts if n is None]
    lengths: dict[str, Dim] = dict(term.parts)
    if isinstance(whole, int) and (whole % known if rest else whole != known):
        wants = f"axis {term.name} of {'a multiple of ' if rest else ''}{known}"
        raise ShapeMismatch.on_edge(source, node.name, wants=wants, gives=gives, fix="Correct the lengths in 'expr'.")
    if rest and isinstance(whole, int):
        lengths[rest[0]] = whole // known
    return lengths


def _floats(node: Node, gives: PortType) -> None:
    if gives.dtype not in ("f16", "bf16", "f32", "f64"):
        raise DtypeMismatch.on_edge(
            node.sources[0], node.name, wants="numbers with fractions", gives=gives, fix="Cast it to f32 first."
        )


def cast_rule(node: Node, scope: Scope) -> Typed:
    [(_, source)] = node.inputs
    gives, attrs = value_of(scope, node, source), node.attrs
    if gives.is_raw:
        raise ModalityMismatch.on_edge(
            source, node.name, wants="numbers", gives=gives, fix="Encode the raw value first."
        )
    if attrs.get("domain") in ("probs", "logits"):
        if gives.modality != "dist":
            raise ModalityMismatch.on_edge(source, node.name, wants="classes", gives=gives, fix="Put a head before it.")
        gives = gives.with_(level=attrs["domain"])
    if "unit" in attrs:
        gives = gives.with_(attrs={**dict(gives.attrs), "unit": attrs["unit"]})
    moved = attrs.get("domain") == "l2" or "clip" in attrs or "unit" in attrs
    return Typed(node.inputs, attrs, gives.with_(dtype=attrs.get("dtype")).in_space(None if moved else gives.space))


def bridge_rule(node: Node, scope: Scope) -> Typed:
    """Ids become text and then ids again: whose tokenizers do it is found where the graph does not say it."""
    [(_, source)] = node.inputs
    gives, attrs = value_of(scope, node, source), dict(node.attrs)
    if gives.kind != "text.ids":
        raise VocabularyMismatch.on_edge(source, node.name, wants="text.ids", gives=gives, fix="Encode the text first.")
    reads = attrs.get("reads") or scope.encoder_of(source)
    if reads is None:
        raise VocabularyMismatch.on_edge(
            source, node.name, wants="ids of a known tokenizer", gives=gives, fix="Add 'reads: prior://namespace/name'."
        )
    if "prior" not in attrs:
        raise BadGraph(f"node {node.name!r} (bridge) does not say whose ids it makes. Add 'prior: prior://…'.")
    ref, manifest = scope.manifest(PriorRef.parse(attrs["prior"]), node.name)
    to = next((t for t in manifest.inputs.values() if t.attr("vocab") == attrs["vocab"]), None)
    if to is None:
        known = ", ".join(str(t.attr("vocab")) for t in manifest.inputs.values())
        raise BadGraph(f"node {node.name!r}: {ref.repo} has no vocabulary {attrs['vocab']!r}. Write one of: {known}.")
    from_ref, _ = scope.manifest(PriorRef.parse(reads), node.name)
    attrs |= {"prior": str(ref), "reads": str(from_ref), "spec": manifest.host_identity()}
    open_ended: dict[str, Dim] = {axis.name: None for axis in to.axes if not isinstance(axis.dim, int)}
    return Typed(node.inputs, attrs, to.with_(dims=open_ended))
