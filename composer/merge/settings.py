"""A parameter of a merge as it is written, and its value for one tensor: selectors and depth gradients.

    0.5                                         the same everywhere
    [0, 0.5, 1]                                 over the depth: interpolated between the first layer and the last
    [{filter: mlp, value: [0, 1]}, {value: 1}]  the first whose filter is part of the tensor's name

Tensors outside the layers have depth 0. Filters are plain text, never patterns; one that is absent or `*` always fits.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from composer.errors import BadGraph

Setting = Any
Settings = Mapping[str, Setting]
Scalar = float | bool


def value_at(setting: Setting, tensor: str, depth: float, kind: type, where: str) -> Scalar | None:
    """The value for a tensor, or None when no selector fits. `kind` is float, int or bool. Raises BadGraph."""
    if isinstance(setting, Mapping):
        setting = [setting]
    if not isinstance(setting, list):
        return _scalar(setting, kind, where)
    if setting and all(isinstance(item, Mapping) for item in setting):
        for item in setting:
            if not set(item) <= {"filter", "value"} or "value" not in item:
                raise BadGraph(f"{where}: a selector is {{filter: text, value: number}}, not {str(item)[:80]}.")
            text = item.get("filter")
            if text is None or text == "*" or str(text) in tensor:
                return value_at(item["value"], tensor, depth, kind, where)
        return None
    if not setting or any(isinstance(item, Mapping | list) for item in setting):
        raise BadGraph(f"{where} is {str(setting)[:80]}. Write a number, a list of numbers, or a list of selectors.")
    values = [_scalar(item, kind, where) for item in setting]
    at = depth * (len(values) - 1)
    low = int(at)
    if kind is bool:
        return values[low]
    high = min(len(values) - 1, low + 1)
    return _scalar((1 - (at - low)) * values[low] + (at - low) * values[high], kind, where)


def first_value(
    scopes: Iterable[Settings], name: str, tensor: str, depth: float, kind: type, default: Scalar | None, where: str
) -> Scalar:
    """The value from the narrowest scope that has one for the tensor, else `default`. Raises BadGraph without."""
    for scope in scopes:
        if name in scope:
            found = value_at(scope[name], tensor, depth, kind, f"{where}{name}")
            if found is not None:
                return found
    if default is None:
        raise BadGraph(
            f"{where}parameter {name!r} has no value for tensor {tensor}. Give one, or a selector that fits."
        )
    return default


def _scalar(value: Any, kind: type, where: str) -> Scalar:
    if kind is bool:
        if isinstance(value, bool):
            return value
        raise BadGraph(f"{where} is {str(value)[:60]!r}. Write true or false.")
    if isinstance(value, str):  # YAML reads 1e-3 as text
        try:
            value = float(value)
        except ValueError:
            value = None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise BadGraph(f"{where} is {str(value)[:60]!r}. Write a finite number.")
    return int(value) if kind is int else float(value)
