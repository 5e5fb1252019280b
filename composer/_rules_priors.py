"""Typing rules of sources, priors and weights: input, const, load, net, fn, encode, decode, weights from weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from composer._hash import node_hash
from composer._retok import with_vocabulary
from composer._scope import Scope, Typed, Weights, masked_axis, value_of, weights_of
from composer.errors import BadGraph, ModalityMismatch, PortMismatch, ShapeMismatch, WeightsMismatch
from composer.graph import Node
from priors.functions.signatures import find_signature
from priors.manifest import PriorManifest, PriorRef
from priors.types import Dim, PortType, parse, rename_symbols

NESTED = "composition"
"""The architecture of weights that are a whole composition (`composer.nested`)."""


def input_rule(node: Node, scope: Scope) -> Typed:
    return Typed((), node.attrs, parse(node.attrs["type"]))


def const_rule(node: Node, scope: Scope) -> Typed:
    t = parse(node.attrs["type"])
    if t.is_raw or t.axis_names[0] != "B":
        raise BadGraph(f"node {node.name!r} (const): {t} does not begin with the batch. Write B first.")
    if "value" in node.attrs:
        dims = [axis.dim for axis in t.axes[1:]]
        number_everywhere = isinstance(node.attrs["value"], int | float) and all(isinstance(n, int) for n in dims)
        _check_shape(node, node.attrs["value"], [] if number_everywhere else dims)
    elif any(not isinstance(axis.dim, int) for axis in t.axes[1:]):
        raise BadGraph(f"node {node.name!r} (const): {t} leaves a length open. Write the shape that the file has.")
    return Typed((), node.attrs, t)


def _check_shape(node: Node, value: Any, dims: list[Dim]) -> None:
    """Nested lists of numbers, as deep and as long as the type says."""
    if not dims:
        if isinstance(value, bool | int | float):
            return
        raise ShapeMismatch(f"node {node.name!r} (const): {str(value)[:40]} stands where a number belongs. Correct it.")
    if not isinstance(value, list) or (isinstance(dims[0], int) and len(value) != dims[0]) or not value:
        found = f"a list of {len(value)}" if isinstance(value, list) else str(value)[:40]
        raise ShapeMismatch(
            f"node {node.name!r} (const): its value has {found} where its type has {dims[0] or 'a list'}. "
            "Leave the batch out of the value, and give every other axis its length."
        )
    rest = dims[1:]
    if rest and rest[0] is None and isinstance(value[0], list):
        rest = [len(value[0]), *rest[1:]]  # an open length is the first one's, for all of them
    for item in value:
        _check_shape(node, item, rest)


def load_rule(node: Node, scope: Scope) -> Typed:
    ref, manifest = scope.manifest(PriorRef.parse(node.attrs["prior"]), node.name)
    if manifest.kind != "network":
        raise BadGraph(f"node {node.name!r}: {ref.repo} is a function. Use {{op: fn, fn: {manifest.definition.id}}}.")
    architecture = manifest.definition.id
    if node.attrs.get("arch", architecture) != architecture:
        raise BadGraph(
            f"node {node.name!r}: arch is {node.attrs['arch']!r}, {ref.repo} is a {architecture}. Correct 'arch'."
        )
    stated = {key: value for key, value in node.attrs.items() if key != "fees"}  # the manifest says what they are
    attrs = _stated(stated, ref, manifest, arch=architecture)
    if architecture == NESTED and manifest.definition.config["fees"]:
        attrs["fees"] = dict(manifest.definition.config["fees"])
    return Typed(
        (),
        attrs,
        Weights(ref, manifest, _short(manifest.identity())),
    )


def net_rule(node: Node, scope: Scope) -> Typed:
    wires = dict(node.inputs)
    if "w" not in wires:
        raise BadGraph(f"node {node.name!r} (net) has no weights. Add 'w: <a load node>' to 'in'.")
    weights = weights_of(scope, node, wires["w"])
    manifest = weights.manifest
    for port in {**wires, **manifest.inputs}:
        if port != "w" and (port not in manifest.inputs or port not in wires):
            cause = "is not wired" if port in manifest.inputs else f"does not exist in {weights.ref.repo}"
            raise PortMismatch(
                f"node {node.name!r}: port {port!r} {cause}. Wire exactly: {', '.join(manifest.inputs)}."
            )
    nested = weights.architecture == NESTED
    if nested and node.attrs["train"] != "frozen":
        raise BadGraph(
            f"node {node.name!r}: {weights.ref.repo} is a composition and stays frozen. To train parts of it, copy its "
            "nodes from its composition.json."
        )
    tap = node.attrs.get("tap", manifest.default_tap)
    prefix = scope.fresh()
    wanted = {port: rename_symbols(t, prefix) for port, t in manifest.inputs.items()}
    for port in wanted:
        value_of(scope, node, wires[port])
    given = [
        (port, source if port == "w" else scope.adapt(source, node.name, wanted[port], None if nested else weights))
        for port, source in node.inputs
    ]
    gives = _with_mask(scope.solved(rename_symbols(manifest.tap(tap), prefix)), manifest)
    # A space that several networks share is named by the file they were taken from; changed weights leave it. What a
    # composition gives is already named inside it: features by their prior, classes by nothing.
    unchanged = weights.identity == _short(manifest.identity())
    kept = nested or (gives.space and unchanged)
    space = gives.space if kept else f"{weights.architecture}/{tap}/{weights.identity}"
    return Typed(tuple(given), {**node.attrs, "tap": tap}, gives.in_space(space))


def _with_mask(t: PortType, manifest: PriorManifest) -> PortType:
    """A value that has the masked axis of an input is masked as that is."""
    for port in manifest.inputs.values():
        axis = masked_axis(port)
        if axis and t.axis(axis) is not None and not isinstance(t.dim(axis), int):
            return t.with_(attrs={**dict(t.attrs), "mask": str(port.attr("mask"))})
    return t


def fn_rule(node: Node, scope: Scope) -> Typed:
    signature = find_signature(node.attrs["fn"])
    attrs = dict(node.attrs)
    if "prior" in attrs:
        attrs = _from_function_prior(node, scope, attrs)
    if signature.fitted:
        attrs["fit"] = "train"
    elif "fit" in attrs:
        raise BadGraph(f"node {node.name!r}: function {attrs['fn']!r} learns nothing. Remove 'fit'.")
    if signature.trained(attrs["config"]):
        attrs.setdefault("train", "full")
    elif "train" in attrs:
        raise BadGraph(f"node {node.name!r}: function {attrs['fn']!r} has no constants to train. Remove 'train'.")
    if len(node.inputs) != 1:
        raise BadGraph(f"node {node.name!r}: function {attrs['fn']!r} takes one input. Correct 'in'.")
    [(port, source)] = node.inputs
    gives = value_of(scope, node, source)
    source = scope.adapt(source, node.name, signature.takes(gives))
    return Typed(((port, source),), attrs, signature.gives(attrs["config"], value_of(scope, node, source)))


def _from_function_prior(node: Node, scope: Scope, attrs: dict[str, Any]) -> dict[str, Any]:
    """The attributes with the configuration, license and full reference of the function prior they name."""
    ref, manifest = scope.manifest(PriorRef.parse(attrs["prior"]), node.name)
    definition = manifest.definition
    if manifest.kind != "function" or definition.id != attrs["fn"]:
        raise BadGraph(
            f"node {node.name!r}: fn is {attrs['fn']!r}, {ref.repo} is {definition.id!r}. Correct one of them."
        )
    config = attrs["config"] or dict(definition.config)
    return _stated({**attrs, "config": config}, ref, manifest)


def encode_rule(node: Node, scope: Scope) -> Typed:
    [(_, source)] = node.inputs
    gives, to = value_of(scope, node, source), parse(node.attrs["to"])
    if not gives.is_raw or to.is_raw or gives.modality != to.modality:
        raise ModalityMismatch.on_edge(
            source, node.name, wants=f"raw {to.modality}", gives=gives, fix="Encode an input node."
        )
    attrs = dict(node.attrs)
    if "prior" not in attrs:
        raise BadGraph(f"node {node.name!r} (encode) does not say whose encoder. Add 'prior: prior://namespace/name'.")
    ref, manifest = scope.manifest(PriorRef.parse(attrs["prior"]), node.name)
    if to not in manifest.inputs.values():
        known = ", ".join(str(t) for t in manifest.inputs.values())
        raise BadGraph(f"node {node.name!r}: {ref.repo} does not encode to {to}. Write one of: {known}.")
    return Typed(node.inputs, {**attrs, "prior": str(ref), "spec": manifest.host_identity()}, to)


def decode_rule(node: Node, scope: Scope) -> Typed:
    """Classes become the most probable one's label, ids the text they stand for; both end a composition."""
    [(_, source)] = node.inputs
    gives, attrs = value_of(scope, node, source), dict(node.attrs)
    if gives.kind == "text.ids" and attrs["gives"] == "label":
        reads = attrs.get("prior") or scope.encoder_of(source)
        if reads is None:
            raise BadGraph(f"node {node.name!r} (decode) does not say whose ids it reads. Add 'prior: prior://…'.")
        ref, _ = scope.manifest(PriorRef.parse(reads), node.name)
        return Typed(node.inputs, {**attrs, "prior": str(ref)}, parse("text.raw[B]:str"))
    if gives.modality != "dist" or gives.axis_names != ("B", "K"):
        raise ModalityMismatch.on_edge(
            source, node.name, wants="classes or token ids", gives=gives, fix="Decode a head's output."
        )
    if attrs["gives"] == "score":
        attrs.pop("labels", None)  # a probability needs no names
        return Typed(node.inputs, attrs, parse("scalar.value[B]:f32"))
    labels = attrs.get("labels") or scope.labels_of(source)
    if labels is None:
        raise BadGraph(f"node {node.name!r} (decode) does not know the names of its classes. Add 'labels: […]'.")
    if gives.dim("K") not in (len(labels), None):
        raise ShapeMismatch.on_edge(
            source, node.name, wants=f"{len(labels)} classes", gives=gives, fix="Name as many labels as there are."
        )
    return Typed(node.inputs, {**attrs, "labels": labels}, parse("text.raw[B]:str"))


def derive_rule(node: Node, scope: Scope) -> Typed:
    """Weights from weights: the architecture stays the first one's, the content is the derivation's, near its base."""
    all_weights = [weights_of(scope, node, source) for source in node.sources]
    base = all_weights[0]
    if any(weights.architecture == NESTED for weights in all_weights):
        raise WeightsMismatch(
            f"node {node.name!r}: {node.op} changes the weights of one network, and a composition has many. "
            "Change the priors inside it, or combine its values with gate or concat."
        )
    families = sorted({weights.architecture for weights in all_weights})
    if len(families) > 1:
        raise WeightsMismatch(
            f"node {node.name!r}: {node.op} across architectures {' and '.join(families)}. "
            "Use splice or retok on one of them, or combine their values with gate or concat."
        )
    manifest, host, attrs = base.manifest, base.host, dict(node.attrs)
    if node.op == "retok" and "prior" in attrs:
        host = scope.manifest(PriorRef.parse(attrs["prior"]), node.name)
        attrs = _stated(attrs, *host)
        try:
            manifest = with_vocabulary(manifest, host[1], attrs["vocab"])
        except BadGraph as error:
            raise BadGraph(f"node {node.name!r} (retok): {error}") from None
    root = base.identity.rpartition("~near:")[2]
    inputs = {port: scope.hash_of(source) for port, source in node.inputs}
    made = node_hash(node.op, attrs, str(base), inputs)
    return Typed(node.inputs, attrs, Weights(base.ref, manifest, f"{made[:16]}~near:{root}", host))


def _stated(attrs: Mapping[str, Any], ref: PriorRef, manifest: PriorManifest, **more: Any) -> dict[str, Any]:
    """Attributes with the full reference, and the license and fee of the manifest where the graph states none."""
    return {
        **attrs,
        **more,
        "prior": str(ref),
        "license": attrs.get("license", manifest.license.spdx),
        "fee_bp": attrs.get("fee_bp", manifest.fee_bp),
    }


def _short(identity: str) -> str:
    return identity.removeprefix("sha256:")[:16]
