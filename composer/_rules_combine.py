"""Typing rules of what mixes values: sum, concat, gate, attend, route, head."""

from __future__ import annotations

from composer._scope import Scope, Typed, check_matrix, feature, known_length, number, value_of
from composer.errors import BadGraph, PortMismatch
from composer.graph import Node
from priors.types import MAX_DIM, Axis, PortType, parse


def sum_rule(node: Node, scope: Scope) -> Typed:
    weights = node.attrs.get("weights")
    if isinstance(weights, list) and len(weights) != len(node.inputs):
        raise BadGraph(f"node {node.name!r}: {len(weights)} weights for {len(node.inputs)} inputs. Give one each.")
    first = number(scope, node, node.sources[0])
    return Typed(_all_into(node, scope, node.sources, first), node.attrs, first)


def concat_rule(node: Node, scope: Scope) -> Typed:
    axis = node.attrs["axis"]
    first = number(scope, node, node.sources[0])
    if axis == "D":
        # Rows of features side by side: two encoders cut a text into different tokens, so tokens are pooled first.
        wants = PortType("vec", "feat", (Axis("B"), Axis("D")), first.dtype)
        inputs = _all_into(node, scope, node.sources, wants)
    else:
        if first.axis(axis) is None or axis == "B":
            raise PortMismatch.on_edge(
                node.sources[0], node.name, wants=f"axis {axis}", gives=first, fix="Name an axis it has, but not B."
            )
        wants = first.with_(dims={axis: None})
        inputs = _all_into(node, scope, node.sources, wants)
    lengths = [value_of(scope, node, source).dim(axis) for _, source in inputs]
    total = sum(n for n in lengths if isinstance(n, int)) if all(isinstance(n, int) for n in lengths) else None
    if axis == "D" and total is None:
        raise BadGraph(f"node {node.name!r}: an input's number of features is not known. Write axis D with its length.")
    if total is not None and total > MAX_DIM:
        raise BadGraph(
            f"node {node.name!r}: {total:,} entries along {axis}, the limit is {MAX_DIM:,}. Project the inputs."
        )
    return Typed(inputs, node.attrs, wants.with_(dims={axis: total}).in_space(None if axis == "D" else wants.space))


def gate_rule(node: Node, scope: Scope) -> Typed:
    """All operands come into the first one's space; one without a space is given one by its content."""
    first, *_ = [number(scope, node, source) for source in node.sources]
    wants = (
        parse(node.attrs["type"])
        if "type" in node.attrs
        else PortType("vec", "feat", (Axis("B"), feature(node, first)), "f32")
    )
    head = scope.adapt(node.sources[0], node.name, wants)
    adapted = value_of(scope, node, head)
    space = adapted.space or f"gate/{scope.hash_of(head)[:16]}"
    wants = wants.with_(dims={axis.name: axis.dim for axis in adapted.axes}).in_space(space)
    rest = [
        (str(i), head if source == node.sources[0] else scope.adapt(source, node.name, wants))
        for i, source in enumerate(node.sources[1:], start=1)
    ]
    check_matrix(node, len(node.inputs), len(node.inputs) * known_length(node, feature(node, adapted).dim))
    return Typed((("0", head), *rest), node.attrs, wants)


def attend_rule(node: Node, scope: Scope) -> Typed:
    wires = dict(node.inputs)
    if set(wires) != {"q", "kv"}:
        raise BadGraph(f"node {node.name!r} (attend) has inputs {', '.join(wires)}. Write 'in: {{q: …, kv: …}}'.")
    query, context = number(scope, node, wires["q"]), number(scope, node, wires["kv"])
    width = query.dim("D")
    if not isinstance(width, int) or context.axis("D") is None:
        raise PortMismatch.on_edge(
            wires["q"], node.name, wants="tokens with axis D", gives=query, fix="Attend between tokens."
        )
    if width % node.attrs["heads"]:
        raise BadGraph(
            f"node {node.name!r}: {width} features do not divide into {node.attrs['heads']} heads. Change heads."
        )
    check_matrix(node, width, width)
    context_node = scope.adapt(wires["kv"], node.name, context.with_(dims={"D": width}).in_space(None))
    inputs = tuple((port, context_node if port == "kv" else source) for port, source in node.inputs)
    return Typed(inputs, node.attrs, query.in_space(None))


def route_rule(node: Node, scope: Scope) -> Typed:
    first = number(scope, node, node.sources[0])
    if node.attrs["top_k"] > len(node.inputs):
        raise BadGraph(f"node {node.name!r}: top_k is {node.attrs['top_k']} of {len(node.inputs)} inputs. Lower it.")
    return Typed(_all_into(node, scope, node.sources, first), node.attrs, first)


def head_rule(node: Node, scope: Scope) -> Typed:
    [(port, source)] = node.inputs
    attrs = dict(node.attrs)
    width = known_length(node, feature(node, number(scope, node, source)).dim)
    given = scope.adapt(source, node.name, parse(f"vec.feat[B,D:{width}]:f32"))
    if "labels" in attrs:
        attrs.setdefault("loss", "cross_entropy")
        gives = parse(f"dist.logits[B,K:{len(attrs['labels'])}]:f32")
        check_matrix(node, width, len(attrs["labels"]))
    else:
        attrs.setdefault("loss", "mse")
        unit = {"unit": attrs["unit"]} if "unit" in attrs else {}
        gives = parse("vec.feat[B,D:1]:f32").with_(attrs=unit)
    return Typed(((port, given),), attrs, gives)


def _all_into(node: Node, scope: Scope, sources: tuple[str, ...], wants: PortType) -> tuple[tuple[str, str], ...]:
    for source in sources:
        number(scope, node, source)
    return tuple((str(i), scope.adapt(source, node.name, wants)) for i, source in enumerate(sources))
