"""Licenses as SPDX expressions, and what they permit: selling, and publishing a fine-tuned model.

What a license permits is read from its text; `_TABLE` names the clause. Whatever is not in the table is unknown, which
is neither yes nor no. This is a search filter, not legal advice.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from license_expression import Licensing

MAX_LENGTH = 200


@dataclass(frozen=True)
class Permissions:
    """May one sell it or use it to earn money; may one publish what was fine-tuned from it. None is unknown."""

    sell: bool | None = None
    fine_tune: bool | None = None


@dataclass(frozen=True)
class _Entry:
    sell: bool | None
    fine_tune: bool | None
    source: str


_PERMISSIVE = "grants use, modification and distribution, sale included"
_TABLE: dict[str, _Entry] = {
    "0BSD": _Entry(True, True, _PERMISSIVE),
    "AFL-3.0": _Entry(True, True, "section 1(a) to (c)"),
    "AGPL-3.0-only": _Entry(True, True, "sections 4 and 5: any price; changed versions under the same license"),
    "AGPL-3.0-or-later": _Entry(True, True, "as AGPL-3.0-only"),
    "Apache-2.0": _Entry(True, True, "section 2: reproduce, prepare derivative works, sublicense, distribute"),
    "Artistic-2.0": _Entry(True, True, "sections 1 to 4: a reasonable fee; modified versions with conditions"),
    "BSD-2-Clause": _Entry(True, True, _PERMISSIVE),
    "BSD-3-Clause": _Entry(True, True, _PERMISSIVE),
    "BSD-3-Clause-Clear": _Entry(True, True, _PERMISSIVE),
    "BSL-1.0": _Entry(True, True, _PERMISSIVE),
    "CC-BY-2.0": _Entry(True, True, "section 3: reproduce, derivative works, commercial use not reserved"),
    "CC-BY-2.5": _Entry(True, True, "as CC-BY-2.0"),
    "CC-BY-3.0": _Entry(True, True, "section 3"),
    "CC-BY-4.0": _Entry(True, True, "section 2(a)(1)"),
    "CC-BY-NC-2.0": _Entry(False, True, "section 4(b): no commercial advantage"),
    "CC-BY-NC-3.0": _Entry(False, True, "section 4(b): no commercial advantage"),
    "CC-BY-NC-4.0": _Entry(False, True, "section 2(a)(1): NonCommercial purposes only"),
    "CC-BY-NC-ND-3.0": _Entry(False, False, "sections 3 and 4(b): verbatim, no commercial advantage"),
    "CC-BY-NC-ND-4.0": _Entry(False, False, "section 2(a)(1): adapted material may not be shared"),
    "CC-BY-NC-SA-2.0": _Entry(False, True, "section 4(c)"),
    "CC-BY-NC-SA-3.0": _Entry(False, True, "section 4(c)"),
    "CC-BY-NC-SA-4.0": _Entry(False, True, "sections 2(a)(1) and 3(b)"),
    "CC-BY-ND-4.0": _Entry(True, False, "section 2(a)(1): adapted material may not be shared"),
    "CC-BY-SA-3.0": _Entry(True, True, "section 4(b): the same license"),
    "CC-BY-SA-4.0": _Entry(True, True, "section 3(b): the same license"),
    "CC0-1.0": _Entry(True, True, "section 2: waiver of all rights"),
    "CDLA-Permissive-1.0": _Entry(True, True, "section 2.1"),
    "CDLA-Permissive-2.0": _Entry(True, True, "section 2"),
    "CDLA-Sharing-1.0": _Entry(True, True, "sections 2.1 and 3.1: the same agreement"),
    "ECL-2.0": _Entry(True, True, "section 2, as Apache-2.0"),
    "EPL-1.0": _Entry(True, True, "section 2"),
    "EPL-2.0": _Entry(True, True, "section 2"),
    "EUPL-1.1": _Entry(True, True, "article 2"),
    "EUPL-1.2": _Entry(True, True, "article 2"),
    "GPL-2.0-only": _Entry(True, True, "sections 1 and 2: a fee for copies; changed versions under the same license"),
    "GPL-2.0-or-later": _Entry(True, True, "as GPL-2.0-only"),
    "GPL-3.0-only": _Entry(True, True, "sections 4 and 5: any price; changed versions under the same license"),
    "GPL-3.0-or-later": _Entry(True, True, "as GPL-3.0-only"),
    "ISC": _Entry(True, True, _PERMISSIVE),
    "LGPL-2.1-only": _Entry(True, True, "sections 1 and 2"),
    "LGPL-2.1-or-later": _Entry(True, True, "sections 1 and 2"),
    "LGPL-3.0-only": _Entry(True, True, "as GPL-3.0-only, with section 4"),
    "LGPL-3.0-or-later": _Entry(True, True, "as GPL-3.0-only, with section 4"),
    "LPPL-1.3c": _Entry(True, True, "clauses 2 and 6"),
    "MIT": _Entry(True, True, _PERMISSIVE),
    "MIT-0": _Entry(True, True, _PERMISSIVE),
    "MPL-2.0": _Entry(True, True, "section 2.1"),
    "MS-PL": _Entry(True, True, "section 2(A)"),
    "NCSA": _Entry(True, True, _PERMISSIVE),
    "ODbL-1.0": _Entry(True, True, "section 3.1: commercial use is not excluded; derivatives under 4.4"),
    "ODC-By-1.0": _Entry(True, True, "section 3.1"),
    "OFL-1.1": _Entry(None, True, "conditions 1 and 5: not sold by itself, bundled sale allowed"),
    "OSL-3.0": _Entry(True, True, "section 1"),
    "PDDL-1.0": _Entry(True, True, "section 3: dedication to the public domain"),
    "PostgreSQL": _Entry(True, True, _PERMISSIVE),
    "Unlicense": _Entry(True, True, "sell for any purpose, commercial or not"),
    "WTFPL": _Entry(True, True, "clause 0"),
    "Zlib": _Entry(True, True, "any purpose, commercial applications included"),
    "LicenseRef-openrail": _Entry(True, True, "BigScience OpenRAIL-M sections II.2, II.3 and III.4, with use limits"),
    "LicenseRef-openrail-m": _Entry(True, True, "BigScience OpenRAIL-M sections II.2, II.3 and III.4, with use limits"),
    "LicenseRef-creativeml-openrail-m": _Entry(True, True, "sections 2 to 4 and paragraph 5, with use limits"),
    "LicenseRef-bigscience-openrail-m": _Entry(True, True, "sections II.2 and III.4, with use limits"),
    "LicenseRef-bigscience-bloom-rail-1.0": _Entry(True, True, "sections 2 and 4, with use limits"),
    "LicenseRef-bigcode-openrail-m": _Entry(True, True, "sections 2 and 4, with use limits"),
    "LicenseRef-llama2": _Entry(None, True, "sections 1.a and 2: not above 700 million monthly users without asking"),
    "LicenseRef-llama3": _Entry(None, True, "sections 1.a and 2: not above 700 million monthly users without asking"),
    "LicenseRef-llama3.1": _Entry(None, True, "sections 1.a and 2, as Llama 3"),
    "LicenseRef-llama3.2": _Entry(None, True, "sections 1.a and 2, as Llama 3"),
    "LicenseRef-llama3.3": _Entry(None, True, "sections 1.a and 2, as Llama 3"),
    "LicenseRef-gemma": _Entry(True, True, "Gemma Terms sections 2.1 and 3.1, with use limits"),
}  # fmt: skip

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


def _permits(node: Any) -> Permissions:
    node = getattr(node, "license_symbol", node)  # of `license WITH exception`: an exception only adds permissions
    if hasattr(node, "key"):
        entry = _TABLE.get(node.key)
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
    from boolean.boolean import ParseError
    from license_expression import ExpressionError

    try:
        parsed = _licensing().parse(text, validate=False)
        unknown = [key for key in _licensing().unknown_license_keys(parsed) if not key.startswith("LicenseRef-")]
        return None if unknown else parsed
    except (ExpressionError, ParseError, AttributeError, TypeError):
        return None


@lru_cache(maxsize=1)
def _licensing() -> Licensing:
    from license_expression import get_spdx_licensing  # reads an index of 2,000 licenses: 0.3 s, once

    return get_spdx_licensing()


@lru_cache(maxsize=1)
def _identifiers() -> dict[str, str]:
    found = {key.lower(): key for key in _licensing().known_symbols if " " not in key}
    return found | {key.lower(): key for key in _TABLE}


def _reference(name: str) -> str:
    return "".join(char if char.isascii() and (char.isalnum() or char in ".-") else "-" for char in name)[:100]
