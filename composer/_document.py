"""Reads a composition's text, YAML or JSON, into plain values; everything a hostile text could do is refused here.

The YAML is the part people need: no tags, no anchors or aliases (so no "billion laughs"), one document.
Plain scalars follow YAML 1.2's core schema, so `no`, `on` and 2024-01-01 stay text and a label is what it looks like.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from typing import Any

import yaml

from composer.errors import BadGraph

MAX_YAML = 512 << 10
MAX_JSON = 4 << 20
MAX_DEPTH = 16
MAX_VALUES = 100_000
MAX_INTEGER = 2**53
"""Beyond it, a number changes when another program reads the JSON (RFC 8259, section 6)."""

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_INTEGER = re.compile(r"[-+]?[0-9]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_WORDS = {"": None, "~": None, "null": None, "true": True, "false": False}


def read_yaml(text: str) -> Any:
    """The values of a YAML document. Raises BadGraph with the line of what is wrong or not allowed."""
    _limit(text, MAX_YAML, "YAML")
    try:
        return _Builder(yaml.parse(text, Loader=_LOADER)).document()
    except yaml.YAMLError as err:
        mark = getattr(err, "problem_mark", None)
        where = f"line {mark.line + 1}: " if mark else ""
        cause = " ".join(str(getattr(err, "problem", None) or err).split())
        raise BadGraph(f"the YAML cannot be read: {where}{cause}. Correct it.") from err


def read_json(text: str) -> Any:
    """The values of a JSON document, without duplicate keys, NaN or infinity. Raises BadGraph."""
    _limit(text, MAX_JSON, "JSON")
    try:
        return json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)
    except RecursionError as err:
        raise BadGraph(f"the JSON is nested too deeply. The limit is {MAX_DEPTH} levels.") from err
    except ValueError as err:
        raise BadGraph(f"the JSON cannot be read: {str(err)[:200]}. Correct it.") from err


def plain(value: Any) -> Any:
    """A deep copy made of dict, list, str, int, float, bool and None alone, within the limits. Raises BadGraph."""
    budget = [MAX_VALUES]
    return _plain(value, "the document", 0, budget)


def _plain(value: Any, path: str, depth: int, budget: list[int]) -> Any:
    budget[0] -= 1
    if budget[0] < 0:
        raise BadGraph(f"the document has more than {MAX_VALUES:,} values. Make it smaller.")
    if depth > MAX_DEPTH:
        raise BadGraph(f"{path[:200]} is nested too deeply. The limit is {MAX_DEPTH} levels.")
    match value:
        case None | bool():
            return value
        case int():
            if abs(value) > MAX_INTEGER:
                raise BadGraph(f"{path}: a number is beyond 2^53. Write a smaller one.")
            return value
        case float():
            if not math.isfinite(value):
                raise BadGraph(f"{path}: NaN and infinity are not allowed. Write a number.")
            return value
        case str():
            return _text(value, path)
        case dict():
            if not all(isinstance(key, str) for key in value):
                raise BadGraph(f"{path}: a key is not text. Put it in quotes.")
            return {_text(k, path): _plain(v, f"{path}.{k[:60]}", depth + 1, budget) for k, v in value.items()}
        case list() | tuple():
            return [_plain(v, f"{path}[{i}]", depth + 1, budget) for i, v in enumerate(value)]
    raise BadGraph(f"{path} is a {type(value).__name__}. Use text, numbers, lists and tables.")


def _text(value: str, path: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError as err:
        raise BadGraph(f"{path}: a text holds half a character (a lone surrogate). Write it as UTF-8.") from err
    return value


def _limit(text: str, most: int, kind: str) -> None:
    if len(text) > most:
        raise BadGraph(f"the {kind} has {len(text):,} characters, the limit is {most:,}. Make it smaller.")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        raise BadGraph(f"key {next(n for n in names if names.count(n) > 1)[:60]!r} appears twice. Keep one of them.")
    return found


def _no_constant(name: str) -> None:
    raise BadGraph(f"{name} is not allowed. Write a number.")


class _Builder:
    """Builds values from YAML's events one at a time: a text is refused at the first thing that is not allowed."""

    def __init__(self, events: Iterator[Any]) -> None:
        self.events = events
        self.left = MAX_VALUES

    def document(self) -> Any:
        self.next()  # the stream's start
        if isinstance(self.next(), yaml.StreamEndEvent):
            raise BadGraph("the YAML is empty. A composition starts with 'composition: 1'.")
        value = self.value(self.next(), 0)
        self.next()  # the document's end
        if not isinstance(self.next(), yaml.StreamEndEvent):
            raise BadGraph("the YAML holds several documents. Keep the first one only.")
        return value

    def next(self) -> Any:
        self.left -= 1
        if self.left < 0:
            raise BadGraph(f"the YAML has more than {MAX_VALUES:,} values. Make it smaller.")
        return next(self.events)

    def value(self, event: Any, depth: int) -> Any:
        line = event.start_mark.line + 1
        if isinstance(event, yaml.AliasEvent) or event.anchor is not None:
            raise BadGraph(f"line {line}: anchors and aliases (& and *) are not allowed. Write the value out.")
        if event.tag is not None:
            raise BadGraph(f"line {line}: tags such as {event.tag[:60]!r} are not allowed. Write plain values.")
        if depth > MAX_DEPTH:
            raise BadGraph(f"line {line}: nested too deeply. The limit is {MAX_DEPTH} levels.")
        if isinstance(event, yaml.ScalarEvent):
            return _scalar(event.value, line) if event.implicit[0] else event.value
        if isinstance(event, yaml.SequenceStartEvent):
            items = []
            while not isinstance(event := self.next(), yaml.SequenceEndEvent):
                items.append(self.value(event, depth + 1))
            return items
        return self.table(depth)

    def table(self, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        while not isinstance(event := self.next(), yaml.MappingEndEvent):
            line = event.start_mark.line + 1
            key = self.value(event, depth + 1)
            if not isinstance(key, str):
                raise BadGraph(f"line {line}: key {str(key)[:60]!r} is not text. Put it in quotes.")
            if key in found:
                raise BadGraph(f"line {line}: key {key[:60]!r} appears twice. Keep one of them.")
            found[key] = self.value(self.next(), depth + 1)
        return found


def _scalar(text: str, line: int) -> Any:
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        if len(text) > 17:
            raise BadGraph(f"line {line}: a number is beyond 2^53. Write a smaller one, or put it in quotes.")
        return int(text)
    return float(text) if _FLOAT.fullmatch(text) else text
