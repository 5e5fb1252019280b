"""Typing rules of what mixes values: sum, concat, gate, attend, route, head."""

from __future__ import annotations

from composer._scope import Scope, Typed, check_matrix, feature, known_length, masked_axis, number, value_of
from composer.adapters import FEATURE_AXES
from composer.errors import BadGraph, ShapeMismatch, UnitMismatch
from composer.graph import Node
from priors.types import MAX_DIM, Axis, PortType, parse


def sum_rule(node: Node, scope: Scope) -> Typed:
    weights = node.attrs.get("weights")
    if isinstance(weights, list) and len(weights) != len(node.inputs):
        raise BadGraph(f"node {node.name!r}: {len(weights)} weights for {len(node.inputs)} inputs. Give one each.")
    wants = _common(node, scope, node.sources)
    return Typed(_all_into(node, scope, node.sources, wants), node.attrs, wants)


def _common(node: Node, scope: Scope, sources: tuple[str, ...]) -> PortType:
    """What all operands become: the first one, in its space. One without a space among others with one is given one."""
    given = [number(scope, node, source) for source in sources]
    first = given[0]
    for source, other in zip(sources, given, strict=True):
        if other.attr("unit") != first.attr("unit"):
            unit = first.attr("unit") or other.attr("unit")
            raise UnitMismatch.on_edge(
                source,
                node.name,
                wants=f"{first} like {sources[0]!r}",
                gives=other,
                fix=f"Units are never guessed: put {{op: cast, unit: {unit}, scale: <factor>}} before the one without.",
            )
    if first.space is None and any(other.space for other in given):
        return first.in_space(f"{node.op}/{scope.hash_of(sources[0])[:16]}")
    return first


def concat_rule(node: Node, scope: Scope) -> Typed:
    axis = node.attrs["axis"]
    first = number(scope, node, node.sources[0])
    if axis == "D":
        # Rows of features side by side: two encoders cut a text into different tokens, so tokens are pooled first.
        wants = PortType("vec", "feat", (Axis("B"), Axis("D")), first.dtype)
        inputs = _all_into(node, scope, node.sources, wants)
    else:
        if first.axis(axis) is None or axis == "B":
            raise ShapeMismatch.on_edge(
                node.sources[0], node.name, wants=f"axis {axis}", gives=first, fix="Name an axis it has, but not B."
            )
        wants = _common(node, scope, node.sources).with_(dims={axis: None})
        inputs = _all_into(node, scope, node.sources, wants, along=axis)
        given = [value_of(scope, node, source) for _, source in inputs]
        mask = next((t.attr("mask") for t in given if masked_axis(t) == axis), None)
        if mask is not None:  # a mask of one operand is one of all: the others have every place
            wants = wants.with_(attrs={**dict(wants.attrs), "mask": mask})
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
    if wants.axis_names[-1] not in FEATURE_AXES:
        raise BadGraph(f"node {node.name!r}: a gate mixes along its last axis, {wants} ends in none of features.")
    head = scope.adapt(node.sources[0], node.name, wants)
    adapted = value_of(scope, node, head)
    space = adapted.space or f"gate/{scope.hash_of(head)[:16]}"
    wants = wants.with_(dims={axis.name: axis.dim for axis in adapted.axes}).in_space(space)
    rest = [
        (str(i), head if source == node.sources[0] else scope.adapt(source, node.name, wants))
        for i, source in enumerate(node.sources[1:], start=1)
    ]
    inputs = (("0", head), *rest)
    _same_lengths(node, scope, inputs)
    check_matrix(node, len(node.inputs), len(node.inputs) * known_length(node, feature(node, adapted).dim))
    return Typed(inputs, node.attrs, _masked_as(wants, adapted))


def attend_rule(node: Node, scope: Scope) -> Typed:
    wires = dict(node.inputs)
    if set(wires) != {"q", "kv"}:
        raise BadGraph(f"node {node.name!r} (attend) has inputs {', '.join(wires)}. Write 'in: {{q: …, kv: …}}'.")
    query, context = number(scope, node, wires["q"]), number(scope, node, wires["kv"])
    width = query.dim("D")
    if not isinstance(width, int):
        wants = "features with a known length D"
        raise ShapeMismatch.on_edge(wires["q"], node.name, wants=wants, gives=query, fix="Attend from tokens.")
    if context.axis("D") is None:
        raise ShapeMismatch.on_edge(wires["kv"], node.name, wants="axis D", gives=context, fix="Attend to tokens.")
    if width % node.attrs["heads"]:
        raise BadGraph(
            f"node {node.name!r}: {width} features do not divide into {node.attrs['heads']} heads. Change heads."
        )
    check_matrix(node, width, width)
    context_node = scope.adapt(wires["kv"], node.name, context.with_(dims={"D": width}, dtype="f32").in_space(None))
    query_node = scope.adapt(wires["q"], node.name, query.with_(dtype="f32"))
    inputs = tuple((port, context_node if port == "kv" else query_node) for port, _ in node.inputs)
    return Typed(inputs, node.attrs, query.with_(dtype="f32").in_space(None))


def route_rule(node: Node, scope: Scope) -> Typed:
    sources, tag = node.sources, tuple[tuple[str, str], ...]()
    if node.attrs["by"] == "tag":
        sources, [(_, source)] = sources[:-1], node.inputs[-1:]
        given = scope.adapt(source, node.name, parse("scalar.value[B]:i64"))
        tag = ((str(len(sources)), given),)
    if not sources or node.attrs["top_k"] > len(sources):
        raise BadGraph(f"node {node.name!r}: top_k is {node.attrs['top_k']} of {len(sources)} operands. Lower it.")
    wants = _common(node, scope, sources)
    inputs = _all_into(node, scope, sources, wants)
    if node.attrs["by"] == "gate":
        if wants.axis_names[-1] not in FEATURE_AXES:
            raise BadGraph(f"node {node.name!r}: gates read the last axis, {wants} ends in none of features.")
        check_matrix(node, len(inputs), len(inputs) * known_length(node, feature(node, wants).dim))
    return Typed((*inputs, *tag), node.attrs, wants)


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


def _all_into(
    node: Node, scope: Scope, sources: tuple[str, ...], wants: PortType, *, along: str | None = None
) -> tuple[tuple[str, str], ...]:
    for source in sources:
        number(scope, node, source)
    own = wants.in_space(value_of(scope, node, sources[0]).space)  # the first one's space is the one it is in
    inputs = tuple(
        (str(i), scope.adapt(source, node.name, own if source == sources[0] else wants))
        for i, source in enumerate(sources)
    )
    _same_lengths(node, scope, inputs, along=along)
    return inputs


def _same_lengths(node: Node, scope: Scope, inputs: tuple[tuple[str, str], ...], *, along: str | None = None) -> None:
    """Two texts are cut into different numbers of tokens: what is mixed place by place must come from one of them."""
    (_, first), *others = inputs
    known = scope.origins(first)
    for _, source in others:
        for axis, origin in scope.origins(source).items():
            if axis != along and known.get(axis, origin) != origin:
                raise ShapeMismatch.on_edge(
                    source,
                    node.name,
                    wants=f"axis {axis} as long as that of {first!r}",
                    gives=f"{scope.type_of(source)} of another length",
                    fix=f"Pool both over {axis}, or resample both to one length: {{op: resample, axis: {axis}, n: …}}.",
                )


def _masked_as(t: PortType, other: PortType) -> PortType:
    """`t`, with the mask of a value that has the masked axis too."""
    axis = masked_axis(other)
    if axis is None or t.axis(axis) is None:
        return t
    return t.with_(attrs={**dict(t.attrs), "mask": str(other.attr("mask"))})
