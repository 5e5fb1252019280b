"""Content hashes of nodes and compositions: a Merkle tree over what decides outputs.

    node        sha256 of op, attributes, type and the inputs' hashes, as canonical JSON
    structure   sha256 of the outputs' hashes and the versions
    model       sha256 of the structure and of the learned parameters

Names, prices, licenses, what is trained and which column feeds an input are left out: renaming changes nothing. A
loaded prior counts by its content alone. Symbols count by their position, because they carry names too.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from composer.errors import BadLock
from priors.manifest import PriorRef
from priors.types import Axis, PortType, Sym

_LEFT_OUT = ("train", "license", "fee_bp", "fees", "column", "arch", "prior", "file")
_BY_CONTENT: Mapping[str, tuple[str, ...]] = {
    "load": ("prior",), "decode": ("prior",), "bridge": ("reads",), "retok": ("prior",)
}  # fmt: skip
"""References that count by what they name: others say only where an encoder's files come from, `spec` what they do."""


def node_hash(op: str, attrs: Mapping[str, Any], t: PortType | str, inputs: Mapping[str, str]) -> str:
    """The hash of a node in hex, given the hashes of what it reads by port."""
    kept = {key: value for key, value in attrs.items() if key not in _LEFT_OUT}
    for key in _BY_CONTENT.get(op, ()):
        if key in attrs:
            kept[key] = PriorRef.parse(attrs[key]).identity
    shown = str(_by_position(t)) if isinstance(t, PortType) else t
    return digest({"op": op, "attrs": kept, "type": shown, "in": dict(inputs)})


def structure_hash(outputs: Mapping[str, str], opset: Mapping[str, int]) -> str:
    """`sha256:<hex>` of a composition, from its outputs' node hashes by name."""
    return f"sha256:{digest({'composition': 1, 'opset': dict(opset), 'outputs': dict(outputs)})}"


def model_hash(structure: str, weights: str | None) -> str:
    """`sha256:<hex>` of a fitted composition; `weights` is the sha256 of its parameter file, None when it has none."""
    return f"sha256:{digest({'structure': structure, 'weights': weights})}"


def digest(content: Any) -> str:
    """sha256 in hex of canonical JSON: sorted keys, no white space, whole floats as integers, shortest round trip."""
    text = json.dumps(_canonical(content), sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _canonical(value: Any) -> Any:
    """1.0 and 1 are one number: JSON written by another program does not keep them apart."""
    match value:
        case float():
            return int(value) if value.is_integer() and abs(value) < 2**53 else value
        case dict():
            return {key: _canonical(item) for key, item in value.items()}
        case list() | tuple():
            return [_canonical(item) for item in value]
        case None | bool() | int() | str():
            return value
    raise BadLock(f"a {type(value).__name__} cannot be hashed. Use plain JSON values.")


def _by_position(t: PortType) -> PortType:
    seen: dict[str, str] = {}
    axes = []
    for axis in t.axes:
        dim = axis.dim
        if isinstance(dim, str):
            dim = seen.setdefault(dim, f"s{len(seen)}")
        elif isinstance(dim, Sym):
            dim = replace(dim, symbol=seen.setdefault(dim.symbol, f"s{len(seen)}"))
        axes.append(Axis(axis.name, dim))
    return replace(t, axes=tuple(axes))
