"""What a facet counts and a filter asks for: each item's `key:value` lines, and the words a search looks at.

form        prior | composition | task | plain           kind       network | function
type        model | dataset | space                      modality   text | image | audio | tab | …
task, library, language, license, arch, dtype, author    may        sell | fine-tune
takes, gives  the head of a port type: text.ids          in, out    the whole type, for "composable with"
tag         a plain tag                                  hf         any tag of the Hugging Face protocol, small
gated       auto | manual
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator

from hub.catalog.models import Item
from hub.repos.models import Repository

_WORD = re.compile(r"\w+")
_OPERATORS = frozenset({"AND", "OR", "WITH"})
_PREFIXED = re.compile(r"(?:license|dataset|base_model|region|arxiv|doi):")
MAX_WORD = 40


def terms_of(item: Item) -> str:
    """The item's lines, each once, in the order of their keys."""
    return "\n".join(dict.fromkeys(f"{key}:{_line(value)}" for key, value in _pairs(item) if value))


def text_of(item: Item) -> str:
    """The words of the item besides its name, as they are written."""
    manifest = item.manifest or {}
    parts = [item.summary, item.modality, item.kind, item.license, item.task, item.library, item.architecture]
    parts += [*item.tags, *manifest.get("training_data", [])]
    return " ".join(part for part in parts if part)


def words(text: str) -> list[str]:
    """Words without case and accents, in order: `Öl-Bild` is `ol`, `bild`."""
    plain = unicodedata.normalize("NFKD", text.casefold())
    plain = "".join(char for char in plain if not unicodedata.combining(char))
    return [word[:MAX_WORD] for word in _WORD.findall(plain)]


def indexed(text: str) -> str:
    """The text as both back ends index it: plain words, and hyphenated ones once more in one piece (n-grams)."""
    joined = [word.replace("-", "") for word in text.split() if "-" in word]
    return " ".join(words(" ".join([text, *joined])))


def license_keys(expression: str) -> list[str]:
    """The licenses an SPDX expression names."""
    return [part for part in re.split(r"[\s()]+", expression) if part and part not in _OPERATORS]


def _pairs(item: Item) -> Iterator[tuple[str, str]]:
    repository = item.repository
    yield "type", repository.type
    yield "form", repository.kind
    yield "author", repository.namespace.name.lower()
    yield "gated", repository.gated
    yield "kind", item.kind
    yield "modality", item.modality
    yield "task", item.task
    yield "library", item.library
    yield "arch", item.architecture
    yield from _each("language", [tag for tag in item.languages if isinstance(tag, str)])
    yield from _each("license", license_keys(item.license))
    yield "may", "sell" if item.may_sell else ""
    yield "may", "fine-tune" if item.may_fine_tune else ""
    yield from _each("dtype", item.dtypes)
    yield from _ports(item)
    known = {item.task, item.library, *item.languages}
    yield from _each("tag", [tag for tag in item.tags if not _PREFIXED.match(tag) and tag not in known])
    yield from _each("hf", [tag.casefold() for tag in item.tags])


def _ports(item: Item) -> Iterator[tuple[str, str]]:
    if item.manifest is None or item.repository.kind == Repository.Kind.COMPOSITION:
        return
    inputs = list(item.manifest.get("inputs", {}).values())
    outputs = list(item.manifest.get("taps", {}).values())
    yield from _each("takes", [_head(port) for port in inputs[:1]])
    yield from _each("gives", [_head(port) for port in outputs])
    yield from _each("in", inputs[:1])
    yield from _each("out", outputs)


def _head(port: str) -> str:
    return port.partition("[")[0]


def _each(key: str, values: Iterable[str]) -> Iterator[tuple[str, str]]:
    return ((key, value) for value in values)


def _line(value: str) -> str:
    return " ".join(value.split())[:300]
