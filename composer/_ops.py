"""The closed set of operations: for each its inputs and its attributes. composition-ir opset core 1.

Adding an op adds a row, its attributes (`_attributes.py`) and its typing rule (`_typing.py`); changing a meaning takes
a new opset number.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from pydantic import ValidationError

from composer import _attributes as a
from composer._attributes import MAX_INPUTS as MAX_INPUTS
from composer.errors import BadGraph


@dataclass(frozen=True)
class Op:
    """One operation: what it is told, and how many inputs it takes, by name (`named`) or as a list."""

    attributes: type[a.Attributes]
    least: int = 0
    most: int = 0
    named: bool = False
    weights: bool = False
    """Whether it gives parameters (Wt) rather than a value."""


def _list(attributes: type[a.Attributes], least: int = 1, most: int = 1, *, weights: bool = False) -> Op:
    return Op(attributes, least, most, weights=weights)


OPS: Mapping[str, Op] = {
    "input": _list(a.Input, 0, 0),
    "const": _list(a.Const, 0, 0),
    "load": _list(a.Load, 0, 0, weights=True),
    "net": Op(a.Net, 1, MAX_INPUTS, named=True),
    "fn": _list(a.Fn, 1, 2),
    "encode": _list(a.Encode),
    "decode": _list(a.Decode),
    "proj": _list(a.Proj),
    "resample": _list(a.Resample),
    "pool": _list(a.Pool),
    "expand": _list(a.Expand),
    "layout": _list(a.Layout),
    "cast": _list(a.Cast),
    "bridge": _list(a.Bridge),
    "sum": _list(a.Sum, 1, MAX_INPUTS),
    "concat": _list(a.Concat, 1, MAX_INPUTS),
    "gate": _list(a.Gate, 1, MAX_INPUTS),
    "attend": Op(a.Attend, 2, 2, named=True),
    "route": _list(a.Route, 1, MAX_INPUTS),
    "head": _list(a.Head),
    "merge": _list(a.Merge, 1, MAX_INPUTS, weights=True),
    "delta": _list(a.Delta, 1, 2, weights=True),
    "splice": _list(a.Splice, 1, MAX_INPUTS, weights=True),
    "retok": _list(a.Retok, weights=True),
}


def find_op(name: object, node: str) -> Op:
    """The op called `name`. Raises BadGraph naming the node and near ops."""
    if not isinstance(name, str) or name not in OPS:
        near = get_close_matches(str(name)[:60], OPS, n=3, cutoff=0.5) or OPS
        raise BadGraph(
            f"node {node!r}: unknown op {str(name)[:60]!r}, the set is closed. Use one of {', '.join(near)}."
        )
    return OPS[name]


_SAID = {"missing": "must be given", "extra_forbidden": "is not known"}
"""Kinds of pydantic's errors in words for whoever wrote the node."""


def read_attributes(op: str, given: Mapping[str, Any], node: str) -> dict[str, Any]:
    """The attributes of a node with defaults filled in, absent ones left out. Raises BadGraph naming both.

    A function's configuration may be written beside its attributes; it is gathered under `config`.
    """
    schema = OPS[op].attributes
    if op == "fn":
        given = _gather_config(given, node)
    try:
        return schema.model_validate(dict(given)).model_dump(exclude_none=True)
    except ValidationError as err:
        first = err.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        near = get_close_matches(where, schema.model_fields, n=1) if first["type"] == "extra_forbidden" else []
        known = ", ".join(schema.model_fields) or "none"
        message = _SAID.get(first["type"], first["msg"].removeprefix("Value error, ").rstrip("."))
        raise BadGraph(
            f"node {node!r} ({op}): {where + ': ' if where else ''}{message}"
            f"{f', did you mean {near[0]}' if near else ''}. Its attributes: {known}."
        ) from err


def _gather_config(given: Mapping[str, Any], node: str) -> dict[str, Any]:
    beside = {key: value for key, value in given.items() if key not in a.Fn.model_fields}
    config = given.get("config", {})
    if beside and config:
        raise BadGraph(f"node {node!r} (fn): {next(iter(beside))!r} stands beside 'config'. Put it into config.")
    return {key: value for key, value in given.items() if key not in beside} | ({"config": beside} if beside else {})
