"""The YAML block above a card: read as data, written back with the rest untouched, and checked before a commit."""

from __future__ import annotations

import datetime
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from hub.texts import storable
from priors import licenses
from priors.errors import UserError

MAX_BYTES = 64 * 1024
_MAX_DEPTH = 24
_BLOCK = re.compile(r"\A\ufeff?---[ \t]*(\r?\n)(.*?)(?:^|(?<=\n))---[ \t]*(?:\r?\n|\Z)", re.DOTALL)
_LANGUAGE = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*|multilingual|code|other|unknown")
_TEXT_KEYS = ("license_name", "license_link", "library_name", "pipeline_tag", "pretty_name", "sdk")
_LIST_KEYS = ("language", "tags", "datasets", "metrics", "base_model")


class BadFrontMatter(UserError):
    """The block is no YAML mapping, or one that nobody writes by hand."""

    code = "bad_front_matter"


@dataclass(frozen=True)
class Verdict:
    """What is wrong with a card: errors stop a commit, warnings are told."""

    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def split(card: str) -> tuple[str, str]:
    """The YAML text of the block and the Markdown below it; ("", card) without a block."""
    match = _BLOCK.match(card)
    return (match[2], card[match.end() :]) if match else ("", card)


def parse(card: str) -> dict[str, Any]:
    """The block's data as JSON has it, {} without a block. Raises BadFrontMatter."""
    text, _ = split(card)
    if not text.strip():
        return {}
    data = _load(text)
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise BadFrontMatter("The block between the --- lines is not a list of `key: value` lines. Write it so.")
    return {storable(str(key)): _plain(value) for key, value in data.items()}


def lenient(card: str) -> dict[str, Any]:
    """`parse`, and {} for a block that cannot be read: a plain repository may hold any README."""
    try:
        return parse(card[:MAX_BYTES])
    except BadFrontMatter:
        return {}


def write(card: str, data: Mapping[str, Any]) -> str:
    """The card with this data in its block: keys that did not change keep their lines, comments and order included.

    The Markdown below stays as it is, byte for byte. Raises BadFrontMatter for a block that cannot be read.
    """
    match = _BLOCK.match(card)
    if match is None:
        return f"---\n{_dump(data)}---\n{card}" if data else card
    newline, text, before = match[1], match[2], parse(card)
    lines = text.splitlines(keepends=True)
    spans = _spans(text, len(lines))
    if spans is None:  # `{a: 1, b: 2}` shares its lines
        return f"---{newline}{_dump(data).replace(chr(10), newline)}---{newline}{card[match.end() :]}"
    kept = lines[: spans[0][1]] if spans else lines
    for key, start, end in spans:
        if key not in data:
            continue
        same = key in before and before[key] == _plain(data[key])
        kept += lines[start:end] if same else [_dump({key: data[key]}).replace("\n", newline)]
    new = {key: value for key, value in data.items() if key not in before}
    block = "".join(kept) + (_dump(new).replace("\n", newline) if new else "")
    return f"---{newline}{block}---{newline}{card[match.end() :]}"


def validate(card: str, *, repository_type: str = "model") -> Verdict:
    """What a commit of this card would be refused for, and what its readers will miss."""
    if len(card.encode()) > 1 << 20:
        return Verdict(errors=["The card is longer than 1 MiB. Move details to other files."])
    try:
        data = parse(card)
    except BadFrontMatter as err:
        return Verdict(errors=[str(err)])
    if not data:
        return Verdict(warnings=["empty or missing yaml metadata in repo card: nobody finds it by license or task"])
    errors = [f'"{key}" must be a text' for key in _TEXT_KEYS if not isinstance(data.get(key, ""), str)]
    errors += [
        f'"{key}" must be a text or a list of texts' for key in _LIST_KEYS if key in data and not _texts(data[key])
    ]
    warnings: list[str] = []
    license_ = data.get("license")
    if license_ is None:
        warnings.append('"license" is missing: people do not know what they may do with it')
    elif not _texts(license_):
        errors.append('"license" must be a text or a list of texts')
    else:
        for name in license_ if isinstance(license_, list) else [license_]:
            if not licenses.is_known(name):
                warnings.append(f'"license": {name[:60]!r} is neither an SPDX expression nor a known identifier')
        if license_ == "other" and not data.get("license_name"):
            warnings.append('"license_name" is missing, which `license: other` needs')
    warnings += [
        f'"language": {language[:30]!r} is not a language code such as "en"'
        for language in languages(data)
        if not _LANGUAGE.fullmatch(language)
    ]
    if repository_type == "space" and not data.get("sdk"):
        warnings.append('"sdk" is missing: this hub stores spaces and does not run them')
    return Verdict(errors, warnings)


def languages(data: Mapping[str, Any]) -> list[str]:
    """The card's languages. YAML reads Norway's `no` as false; here it is a language again."""
    found = data.get("language", [])
    values = found if isinstance(found, list) else [found]
    return ["no" if value is False else value for value in values if value is False or isinstance(value, str)]


def texts(data: Mapping[str, Any], key: str, *, limit: int = 100) -> list[str]:
    """The texts of a key that may hold one or a list of them; what is neither is left out."""
    found = data.get(key, [])
    values = found if isinstance(found, list) else [found]
    return [value.strip()[:200] for value in values if isinstance(value, str) and value.strip()][:limit]


def _texts(value: Any) -> bool:
    values = value if isinstance(value, list) else [value]
    return all(isinstance(one, str) or one is False for one in values)


def _load(text: str) -> Any:
    if len(text.encode()) > MAX_BYTES:
        raise BadFrontMatter(f"The block between the --- lines is longer than {MAX_BYTES // 1024} KiB. Shorten it.")
    try:
        depth = 0
        for event in yaml.parse(text, Loader=_parser()):
            if isinstance(event, yaml.AliasEvent):
                raise BadFrontMatter(f"YAML aliases (*{event.anchor}) are not allowed. Write the value out.")
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > _MAX_DEPTH:
                raise BadFrontMatter(f"The block is nested deeper than {_MAX_DEPTH} levels. Flatten it.")
        return yaml.load(text, Loader=_parser())  # noqa: S506 a safe loader
    except yaml.YAMLError as err:
        mark = getattr(err, "problem_mark", None)
        where = f" (line {mark.line + 2})" if mark else ""
        raise BadFrontMatter(
            f"The block is not valid YAML{where}: {getattr(err, 'problem', err)}. Correct it."
        ) from err
    except (ValueError, RecursionError) as err:  # a date such as 2024-13-45, a number of ten thousand digits
        raise BadFrontMatter(f"The block holds a value that cannot be read: {str(err)[:100]}. Quote it.") from err


def _parser() -> Any:
    return getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def _plain(value: Any) -> Any:
    """The value as JSON can hold it."""
    match value:
        case dict():
            return {storable(str(key)): _plain(one) for key, one in value.items()}
        case list() | tuple() | set():
            return [_plain(one) for one in value]
        case str():  # "\0" is an escape in YAML
            return storable(value)
        case bool() | None:
            return value
        case int():
            return value if abs(value) < 1 << 63 else str(value)
        case float():
            return value if math.isfinite(value) else None
        case datetime.date() | datetime.datetime():
            return value.isoformat()
    return str(value)


def _spans(text: str, count: int) -> list[tuple[str, int, int]] | None:
    """(key, first line, line after the last) of each top-level key; None where keys share lines."""
    node = yaml.compose(text, Loader=_parser())
    if not isinstance(node, yaml.MappingNode):
        return []
    if node.flow_style:
        return None
    starts = [(str(key.value), key.start_mark.line) for key, _ in node.value]
    ends = [line for _, line in starts[1:]] + [count]
    return [(key, start, end) for (key, start), end in zip(starts, ends, strict=True)]


def _dump(data: Mapping[str, Any]) -> str:
    return yaml.safe_dump(dict(data), sort_keys=False, allow_unicode=True, width=120)
