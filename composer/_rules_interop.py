"""Typing rules of adapters: proj, resample, pool, expand, layout, cast, bridge; inserted ones get the same types."""

from __future__ import annotations

from composer._scope import Scope, Typed, along, as_features, check_matrix, value_of
from composer.errors import BadGraph, PortMismatch
from composer.graph import Node
from priors.types import Axis, Dim


def proj_rule(node: Node, scope: Scope) -> Typed:
    [(_, source)] = node.inputs
    gives = value_of(scope, node, source)
    axis = next((a for a in gives.axes if a.name in ("D", "C")), None)
    if axis is None or not isinstance(axis.dim, int):
        raise PortMismatch.on_edge(
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
    gives = along(node, scope)
    return Typed(node.inputs, node.attrs, gives.with_(dims={node.attrs["axis"]: node.attrs["n"]}))


def pool_rule(node: Node, scope: Scope) -> Typed:
    gives, axis = along(node, scope), node.attrs["axis"]
    axes = tuple(a for a in gives.axes if a.name != axis)
    if axis == "B":
        raise BadGraph(f"node {node.name!r}: the batch cannot be pooled away. Pool another axis.")
    return Typed(node.inputs, node.attrs, as_features(gives.with_(axes=axes)))


def expand_rule(node: Node, scope: Scope) -> Typed:
    [(_, source)] = node.inputs
    gives, axis = value_of(scope, node, source), node.attrs["axis"]
    if gives.axis(axis) is not None or gives.is_raw:
        raise PortMismatch.on_edge(
            source, node.name, wants=f"a tensor without axis {axis}", gives=gives, fix="Remove it."
        )
    return Typed(
        node.inputs, node.attrs, gives.with_(axes=(*gives.axes[:1], Axis(axis, node.attrs["n"]), *gives.axes[1:]))
    )


def layout_rule(node: Node, scope: Scope) -> Typed:
    [(_, source)] = node.inputs
    gives, rename, order = value_of(scope, node, source), node.attrs["rename"], node.attrs["order"]
    dims: dict[str, Dim] = {rename.get(axis.name, axis.name): axis.dim for axis in gives.axes}
    if sorted(dims) != sorted(order) or len(dims) != len(gives.axes):
        raise PortMismatch.on_edge(
            source, node.name, wants=f"axes {','.join(order)}", gives=gives, fix="Name each axis once."
        )
    return Typed(
        node.inputs, node.attrs, as_features(gives.with_(axes=tuple(Axis(name, dims[name]) for name in order)))
    )


def cast_rule(node: Node, scope: Scope) -> Typed:
    [(_, source)] = node.inputs
    gives, attrs = value_of(scope, node, source), node.attrs
    if gives.is_raw:
        raise PortMismatch.on_edge(source, node.name, wants="numbers", gives=gives, fix="Encode the raw value first.")
    if attrs.get("domain") in ("probs", "logits"):
        if gives.modality != "dist":
            raise PortMismatch.on_edge(source, node.name, wants="classes", gives=gives, fix="Put a head before it.")
        gives = gives.with_(level=attrs["domain"])
    if "unit" in attrs:
        gives = gives.with_(attrs={**dict(gives.attrs), "unit": attrs["unit"]})
    moved = attrs.get("domain") == "l2" or "clip" in attrs or "unit" in attrs
    return Typed(node.inputs, attrs, gives.with_(dtype=attrs.get("dtype")).in_space(None if moved else gives.space))


def bridge_rule(node: Node, scope: Scope) -> Typed:
    [(_, source)] = node.inputs
    gives = value_of(scope, node, source)
    if gives.kind != "text.ids":
        raise PortMismatch.on_edge(source, node.name, wants="text.ids", gives=gives, fix="Encode the text first.")
    return Typed(node.inputs, node.attrs, gives.with_(attrs={**dict(gives.attrs), "vocab": node.attrs["vocab"]}))
