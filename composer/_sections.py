"""The sections of a composition beside its nodes: name, adapt, strict, opset, dims, fit; each read by one function."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from composer.errors import BadGraph

Adapt = Literal["none", "lossless", "trainable", "lossy"]

ADAPT: tuple[Adapt, ...] = ("none", "lossless", "trainable", "lossy")
ROLES = ("head", "adapter", "delta", "net")
OPSET: Mapping[str, int] = {"core": 1, "fn": 1, "arch": 1}


def read_name(found: Any) -> str:
    if not isinstance(found, str) or not 0 < len(found) <= 200 or not found.isprintable():
        raise BadGraph("'name' is not a line of 1 to 200 characters. Give the composition a short name.")
    return found


def read_adapt(found: Any) -> Adapt:
    if found not in ADAPT:
        raise BadGraph(f"adapt: {str(found)[:60]!r} is not known. Use one of {', '.join(ADAPT)}.")
    return ADAPT[ADAPT.index(found)]


def read_flag(found: Any) -> bool:
    if not isinstance(found, bool):
        raise BadGraph(f"strict: {str(found)[:60]!r} is not true or false. Write one of them.")
    return found


def read_opset(found: Any) -> dict[str, int]:
    if not isinstance(found, dict):
        raise BadGraph("'opset' is not a table. Write {core: 1}.")
    for key, version in found.items():
        if key not in OPSET:
            raise BadGraph(f"opset {key[:60]!r} is not known. Opsets are {', '.join(OPSET)}.")
        if type(version) is not int or not 1 <= version <= OPSET[key]:
            raise BadGraph(
                f"opset {key} {version!r} is not known here, the newest is {OPSET[key]}. Update, or lower it."
            )
    return {**OPSET, **found}


def read_dims(found: Any) -> dict[str, Any]:
    if not isinstance(found, dict):
        raise BadGraph("'dims' is not a table. Write {B: batch, T: [1, 256]}.")
    for name, value in found.items():
        match value:
            case "batch":
                continue
            case int() if not isinstance(value, bool) and value >= 1:
                continue
            case [int() as low, int() as high] if 1 <= low <= high:
                continue
        raise BadGraph(f"dims: {name[:60]} is {str(value)[:60]!r}. Write batch, a number, or [least, most].")
    return found


def read_fit(found: Any) -> dict[str, Any]:
    if not isinstance(found, dict):
        raise BadGraph("'fit' is not a table. Write {seed: 7}.")
    seed = found.get("seed", 0)
    if type(seed) is not int or not 0 <= seed < 2**32:
        raise BadGraph(f"fit: seed {str(seed)[:60]!r} is not a whole number from 0 to 2^32. Write one.")
    for key in ("steps", "epochs", "batch", "memory_mb"):
        value = found.get(key, 1)
        if type(value) is not int or not 1 <= value <= 1_000_000:
            raise BadGraph(f"fit: {key} {str(value)[:60]!r} is not a whole number from 1 to 1,000,000. Write one.")
    if found.get("precision", "auto") not in ("auto", "f32"):
        raise BadGraph(f"fit: precision {str(found['precision'])[:60]!r} is not known. Write auto or f32.")
    _read_rates(found.get("lr", {}))
    return found


def _read_rates(found: Any) -> None:
    rates = found if isinstance(found, dict) else dict.fromkeys(ROLES, found)
    for role, rate in rates.items():
        if role not in ROLES:
            raise BadGraph(f"fit: lr of {role[:60]!r}, which is no role. Roles are {', '.join(ROLES)}.")
        if type(rate) not in (int, float) or not 0 <= rate <= 1:
            raise BadGraph(f"fit: lr {str(rate)[:60]!r} is not a number from 0 to 1. Write one, or a table by role.")
