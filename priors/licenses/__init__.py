"""Licenses as SPDX expressions, and what they permit: selling, and publishing a fine-tuned model.

What a license permits is read from its text; `TABLE` names the clause. Whatever is not in the table is unknown, which
is neither yes nor no. This is a search filter and a warning, not legal advice.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from priors.licenses._table import TABLE, Restriction, Terms

if TYPE_CHECKING:
    from license_expression import Licensing

__all__ = [
    "TABLE", "Permissions", "Restriction", "Terms", "alternatives", "is_known", "normalise", "permissions",
]  # fmt: skip

MAX_LENGTH = 200
_MAX_WAYS = 16


@dataclass(frozen=True)
class Permissions:
    """May one sell it or use it to earn money; may one publish what was fine-tuned from it. None is unknown."""

    sell: bool | None = None
    fine_tune: bool | None = None


_HUGGING_FACE = {
    "agpl-3.0": "AGPL-3.0-only", "bsd": "LicenseRef-bsd", "bsd-3-clause-clear": "BSD-3-Clause-Clear",
    "cc": "LicenseRef-cc", "deepfloyd-if-license": "LicenseRef-deepfloyd-if-license", "gfdl": "LicenseRef-gfdl",
    "gpl": "LicenseRef-gpl", "gpl-2.0": "GPL-2.0-only", "gpl-3.0": "GPL-3.0-only", "lgpl": "LicenseRef-lgpl",
    "lgpl-2.1": "LGPL-2.1-only", "lgpl-3.0": "LGPL-3.0-only", "odc-by": "ODC-By-1.0", "odbl": "ODbL-1.0",
    "pddl": "PDDL-1.0", "lppl-1.3c": "LPPL-1.3c", "epl": "EPL-2.0", "unlicense": "Unlicense", "ms-pl": "MS-PL",
    "cdla-permissive": "CDLA-Permissive-1.0", "cdla-sharing": "CDLA-Sharing-1.0",
    "apple-ascl": "LicenseRef-apple-ascl", "c-uda": "C-UDA-1.0", "wtfpl": "WTFPL", "zlib": "Zlib", "isc": "ISC",
}  # fmt: skip
"""Identifiers of Hugging Face cards that are not SPDX written small."""

_OWN = (
    "openrail", "openrail++", "openrail-m", "creativeml-openrail-m", "bigscience-openrail-m", "bigcode-openrail-m",
    "bigscience-bloom-rail-1.0", "llama2", "llama3", "llama3.1", "llama3.2", "llama3.3", "llama4", "gemma",
    "apple-amlr", "apple-ascl", "h-research", "intel-research", "fair-noncommercial-research-license", "open-mdw",
    "etalab-2.0",
)  # fmt: skip
_UNKNOWN = frozenset({"", "other", "unknown", "none", "noassertion"})


def normalise(text: Any) -> str:
    """The SPDX expression of what a card or a manifest says; LicenseRef-… for a name SPDX lacks; "" for unknown.

    A list means any one of them, as Hugging Face cards use it.
    """
    if isinstance(text, list):
        parts = [part for part in map(normalise, text[:8]) if part]
        return " OR ".join(dict.fromkeys(parts))[:MAX_LENGTH]
    if not isinstance(text, str) or text.strip().lower() in _UNKNOWN or len(text) > MAX_LENGTH:
        return ""
    name = text.strip()
    return _one(name) or _expression(name) or f"LicenseRef-{_reference(name)}"


def is_known(text: str) -> bool:
    """Whether a card's `license` is an SPDX expression, a Hugging Face identifier or "other"."""
    name = text.strip()
    return name.lower() in {*_UNKNOWN, *_OWN, *_HUGGING_FACE} or bool(_one(name) or _expression(name))


@lru_cache(maxsize=4096)
def permissions(expression: str) -> Permissions:
    """What the whole expression permits: of A AND B what both do, of A OR B what one does."""
    if not expression:
        return Permissions()
    parsed = _parse(expression)
    return Permissions() if parsed is None else _permits(parsed)


@lru_cache(maxsize=4096)
def alternatives(expression: str) -> tuple[tuple[str, ...], ...]:
    """The ways to comply: one of them, and of that all licenses. Empty when the expression cannot be read.

    `MIT OR (GPL-2.0-only AND CC-BY-4.0)` gives `(("MIT",), ("GPL-2.0-only", "CC-BY-4.0"))`. What `WITH` adds only
    permits more and is left out. More than 16 ways are cut off.
    """
    parsed = _parse(expression) if expression else None
    return () if parsed is None else tuple(dict.fromkeys(_ways(parsed)))


def _ways(node: Any) -> list[tuple[str, ...]]:
    node = getattr(node, "license_symbol", node)
    if hasattr(node, "key"):
        return [(str(node.key),)]
    parts = [_ways(part) for part in node.args]
    if node.operator.strip() == "OR":
        return [way for part in parts for way in part][:_MAX_WAYS]
    ways: list[tuple[str, ...]] = [()]
    for part in parts:
        ways = [tuple(dict.fromkeys((*way, *more))) for way in ways for more in part][:_MAX_WAYS]
    return ways


def _permits(node: Any) -> Permissions:
    node = getattr(node, "license_symbol", node)  # of `license WITH exception`: an exception only adds permissions
    if hasattr(node, "key"):
        entry = TABLE.get(node.key)
        return Permissions(entry.sell, entry.fine_tune) if entry else Permissions()
    parts = [_permits(part) for part in node.args]
    both = _all if node.operator.strip() == "AND" else _any
    return Permissions(both([part.sell for part in parts]), both([part.fine_tune for part in parts]))


def _all(values: list[bool | None]) -> bool | None:
    return False if False in values else None if None in values else True


def _any(values: list[bool | None]) -> bool | None:
    return True if True in values else None if None in values else False


def _one(name: str) -> str:
    """The SPDX identifier that is written so in some case, or is named so by Hugging Face."""
    small = name.lower()
    if small in _HUGGING_FACE:
        return _HUGGING_FACE[small]
    if small in _OWN:
        return f"LicenseRef-{_reference(small)}"
    return _identifiers().get(small.replace(" ", "-"), "")


def _expression(name: str) -> str:
    parsed = _parse(name)
    return str(parsed)[:MAX_LENGTH] if parsed is not None else ""


def _parse(text: str) -> Any:
    try:
        parsed = _licensing().parse(text, validate=False)
        unknown = [key for key in _licensing().unknown_license_keys(parsed) if not key.startswith("LicenseRef-")]
        return None if unknown else parsed
    except (
        Exception
    ):  # to the parser `()` is an IndexError and `(AND 0` a failed assertion: any text may be a stranger's
        return None


@lru_cache(maxsize=1)
def _licensing() -> Licensing:
    from license_expression import get_spdx_licensing  # reads an index of 2,000 licenses: 0.3 s, once

    return get_spdx_licensing()


@lru_cache(maxsize=1)
def _identifiers() -> dict[str, str]:
    found = {key.lower(): key for key in _licensing().known_symbols if " " not in key}
    return found | {key.lower(): key for key in TABLE}


def _reference(name: str) -> str:
    return "".join(char if char.isascii() and (char.isalnum() or char in ".-") else "-" for char in name)[:100]
