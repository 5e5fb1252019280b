"""The search page's filters: read from the address, written back into links, with what each of them would leave."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote

from django.http import QueryDict

from hub.accounts.access import Actor
from hub.catalog.models import Item
from hub.catalog.query import SORTS, WAYS, Partner, Query
from hub.web.templatetags.show import MODALITIES, bytes_short
from hub.web.templatetags.show import count as count_short

if TYPE_CHECKING:
    from hub.catalog.search import Found

FORMS = {"prior": "Priors", "composition": "Compositions", "task": "Tasks", "plain": "Plain repositories"}
KINDS = {"network": "Networks", "function": "Functions"}
PERMITS = {"sell": "Selling", "fine-tune": "Publishing a fine-tuned version"}
FITS = {"after": "It reads what this gives", "before": "This reads what it gives", "beside": "It reads the same values"}
TYPES = {"model": "Models", "dataset": "Datasets", "space": "Spaces"}
ACCESS = {"auto": "Granted when asked", "manual": "Granted by the owner"}
_TITLES = {
    "form": "What it is", "modality": "What goes in", "kind": "Kind", "task": "Task", "may": "License permits",
    "license": "License", "takes": "Takes", "gives": "Gives", "library": "Library", "language": "Language",
    "arch": "Architecture", "dtype": "Number format", "tag": "Tag", "gated": "Access", "type": "Type",
}  # fmt: skip
_CLOSED: dict[str, dict[str, str]] = {
    "form": FORMS, "modality": MODALITIES, "kind": KINDS, "may": PERMITS, "type": TYPES, "gated": ACCESS,
}  # fmt: skip
_RANGES = {
    "parameters": ("parameters", "Parameters", "1M"),
    "size": ("size_bytes", "Size", "100 MB"),
    "score": ("score", "Verified gain, points", "5"),
    "price": ("price_cents", "Price", "0"),
}
SORT_NAMES = {
    "relevance": "Best match", "updated": "Newest change", "created": "Newest", "score": "Verified gain",
    "trending": "Trending", "downloads": "Downloads",
}  # fmt: skip
_NUMBER = re.compile(r"\s*(\d{1,15}(?:\.\d{1,6})?|\.\d{1,6})\s*([kKmMgGbBtT]?)(?:i?[bB])?\s*\Z")
_UNITS = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9, "b": 1e9, "t": 1e12}
_MAX_VALUES = 20
_MAX_TEXT = 400
_SHOWN = 8
_MORE = 16


class Value(NamedTuple):
    """One choice of a facet, and the address that takes it or drops it."""

    value: str
    name: str
    number: int
    chosen: bool
    address: str


@dataclass(frozen=True)
class Facet:
    """A filter: its parameter, its title, and its choices, the most frequent first."""

    key: str
    title: str
    values: tuple[Value, ...]
    more: tuple[Value, ...] = ()


@dataclass(frozen=True)
class Range:
    """Two numbers, as they were typed, and what there is to choose from."""

    key: str
    title: str
    low: str
    high: str
    example: str
    known: str


@dataclass(frozen=True)
class Chip:
    """A filter that holds, and the address without it."""

    said: str
    address: str


@dataclass(frozen=True)
class Filters:
    """What was asked for; what cannot be read counts as not given."""

    q: str = ""
    chosen: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    ranges: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    partner: Partner | None = None
    ways: tuple[str, ...] = ()
    sort: str = "relevance"

    @classmethod
    def of(cls, given: QueryDict, *, actor: Actor) -> Filters:
        chosen = {}
        for key in _TITLES:
            known = _CLOSED.get(key)
            values = dict.fromkeys(value.strip()[:200] for value in given.getlist(key)[:_MAX_VALUES])
            if kept := tuple(value for value in values if value and (known is None or value in known)):
                chosen[key] = kept
        ranges = {}
        for key in _RANGES:
            low, high = given.get(f"{key}_min", "")[:24].strip(), given.get(f"{key}_max", "")[:24].strip()
            bounds = low if _number(low) is not None else "", high if _number(high) is not None else ""
            if any(bounds):
                ranges[key] = bounds
        partner = _partner(given.get("with", "").strip()[:200], actor)
        sort = given.get("sort", "")
        return cls(
            q=given.get("q", "").strip()[:_MAX_TEXT],
            chosen=chosen,
            ranges=ranges,
            partner=partner,
            ways=tuple(way for way in WAYS if partner and way in given.getlist("fits")),
            sort=sort if sort in SORTS else "relevance",
        )

    @property
    def query(self) -> Query:
        """The same for the catalogue."""
        ranges = {_RANGES[key][0]: (_bound(key, low), _bound(key, high)) for key, (low, high) in self.ranges.items()}
        return Query(q=self.q, facets=self.chosen, ranges=ranges, partner=self.partner, ways=self.ways)

    @property
    def is_empty(self) -> bool:
        return not (self.q or self.chosen or self.ranges or self.partner)

    def parameters(self) -> QueryDict:
        """The filters as an address's parameters, the page left out."""
        made = QueryDict(mutable=True)
        if self.q:
            made["q"] = self.q
        for key, values in self.chosen.items():
            made.setlist(key, list(values))
        for key, (low, high) in self.ranges.items():
            for name, bound in ((f"{key}_min", low), (f"{key}_max", high)):
                if bound:
                    made[name] = bound
        if self.partner:
            made["with"] = self.partner.name
        if self.ways:
            made.setlist("fits", list(self.ways))
        if self.sort != "relevance":
            made["sort"] = self.sort
        return made

    def hidden(self) -> list[tuple[str, str]]:
        """What a form has to carry that has no field of its own there."""
        pairs = [(key, value) for key, values in self.chosen.items() for value in values]
        return pairs + [("fits", way) for way in self.ways]

    def toggled(self, key: str, value: str) -> str:
        """The address with one choice taken, or dropped where it is taken."""
        taken = self.ways if key == "fits" else self.chosen.get(key, ())
        if value not in taken:  # a page has a hundred of these: only the end differs
            return f"{self._base}{'&' if self._base != '?' else ''}{key}={quote(value, safe='/:.')}"
        made = self.parameters()
        made.setlist(key, [one for one in taken if one != value])
        return _address(made)

    @cached_property
    def _base(self) -> str:
        return _address(self.parameters())

    def without(self, *keys: str) -> str:
        """The address with these parameters dropped."""
        made = self.parameters()
        for key in keys:
            made.pop(key, None)
        return _address(made)

    def chips(self) -> list[Chip]:
        """What holds, each with the address that drops it."""
        chips = [Chip(f"“{self.q}”", self.without("q"))] if self.q else []
        for key, values in self.chosen.items():
            chips += [Chip(_chip_name(key, value), self.toggled(key, value)) for value in values]
        for key, (low, high) in self.ranges.items():
            said = f"{low} to {high}" if low and high else f"at least {low}" if low else f"at most {high}"
            chips.append(Chip(f"{_RANGES[key][1]}: {said}", self.without(f"{key}_min", f"{key}_max")))
        if self.partner:
            chips.append(Chip(f"Fits {self.partner.name}", self.without("with", "fits")))
            chips += [Chip(FITS[way], self.toggled("fits", way)) for way in self.ways]
        return chips


def facets(filters: Filters, found: Found) -> list[Facet]:
    """Every facet that has something to choose, with its counts."""
    made = []
    if filters.partner:
        ways = [_value(filters, "fits", way, FITS[way], n, filters.ways) for way, n in found.way_counts.items()]
        made.append(Facet("fits", f"How it fits {filters.partner.name}", tuple(ways)))
    for key, title in _TITLES.items():
        counts, chosen = found.counts.get(key, {}), filters.chosen.get(key, ())
        ordered = [(value, n) for value, n in _top(counts, _MORE + len(chosen)) if value not in chosen]
        values = [_value(filters, key, value, _name(key, value), counts.get(value, 0), chosen) for value in chosen]
        values += [_value(filters, key, value, _name(key, value), n, chosen) for value, n in ordered]
        if values:
            shown = max(_SHOWN, len(chosen))
            made.append(Facet(key, title, tuple(values[:shown]), tuple(values[shown:_MORE])))
    return made


def _top(counts: Mapping[str, int], limit: int) -> list[tuple[str, int]]:
    """The most frequent values, by name among equals."""
    return sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))[:limit]


def ranges(filters: Filters, found: Found) -> list[Range]:
    """The ranges, with the smallest and largest number among what was found."""
    made = []
    for key, (column, title, example) in _RANGES.items():
        low, high = filters.ranges.get(key, ("", ""))
        known = found.known(column)
        if known is None and not (low or high):
            continue  # nothing has this number: a filter would only leave nothing
        said = bytes_short if key == "size" else count_short
        text = f"{said(known[0])} to {said(known[1])}" if known else "unknown everywhere"
        made.append(Range(key, title, low, high, example, text))
    return made


def removals(filters: Filters, *, actor: Actor) -> list[tuple[str, str, int]]:
    """For a search that found nothing: what to drop, the address without it, and how many appear."""
    from hub.catalog.search import removals as fewer

    by_column = {column: key for key, (column, _, _) in _RANGES.items()}
    made = []
    for key, value, n in fewer(filters.query, visible_to=actor):
        if key == "q":
            made.append((f"“{filters.q}”", filters.without("q"), n))
        elif key == "with":
            made.append((f"fitting {value}", filters.without("with", "fits"), n))
        elif key in by_column:
            name = by_column[key]
            made.append((_RANGES[name][1], filters.without(f"{name}_min", f"{name}_max"), n))
        else:
            said = ", ".join(_name(key, one) for one in filters.chosen[key])
            made.append((said, filters.without(key), n))
    return made


def _value(filters: Filters, key: str, value: str, name: str, count: int, chosen: tuple[str, ...]) -> Value:
    return Value(value, name, count, value in chosen, filters.toggled(key, value))


def _name(key: str, value: str) -> str:
    return _CLOSED.get(key, {}).get(value, value.removeprefix("LicenseRef-"))


def _chip_name(key: str, value: str) -> str:
    return _name(key, value) if key in ("form", "modality", "kind", "type") else f"{_TITLES[key]}: {_name(key, value)}"


def _address(made: QueryDict) -> str:
    text = made.urlencode(safe="/:.")
    return f"?{text}" if text else "?"


def _number(text: str) -> float | None:
    match = _NUMBER.match(text)
    return float(match[1]) * _UNITS[match[2].lower()] if match else None


def _bound(key: str, text: str) -> float | None:
    number = _number(text)
    return number * 100 if number is not None and key == "price" else number


def _partner(name: str, actor: Actor) -> Partner | None:
    if name.count("/") != 1:
        return None
    namespace, _, rest = name.partition("/")
    found = Item.objects.visible_to(actor).priors().for_cards()
    item = found.filter(repository__namespace__name=namespace, repository__name=rest).first()
    return Partner.of(item) if item else None
