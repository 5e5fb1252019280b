"""What can be asked of the catalogue, and a page of the answer. search.py answers; it loads numpy, this does not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from hub.catalog.models import Item
from hub.catalog.terms import words

Row = TypeVar("Row")
RANGES = ("parameters", "size_bytes", "score", "price_cents")
SORTS = {
    "relevance": "", "updated": "updated_at", "created": "created_at", "downloads": "downloads", "likes": "likes",
    "trending": "trending", "score": "score",
}  # fmt: skip
MAX_WORDS = 16
WAYS = ("after", "before", "beside")


@dataclass(frozen=True)
class Partner:
    """The ports of a prior that others are to fit."""

    name: str
    takes: str
    gives: tuple[str, ...]

    @classmethod
    def of(cls, item: Item) -> Partner:
        return cls(item.repository.full_name, item.takes, tuple(dict.fromkeys(item.gives.values())))


@dataclass(frozen=True)
class Query:
    """What is asked for. Values of one facet are alternatives; facets, words and ranges all have to hold."""

    q: str = ""
    facets: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    ranges: Mapping[str, tuple[float | None, float | None]] = field(default_factory=dict)
    partner: Partner | None = None
    ways: tuple[str, ...] = ()
    name_part: str = ""
    required: tuple[str, ...] = ()
    """Terms that all have to be there: `hf:license:mit`."""
    excluded: tuple[str, ...] = ()
    """Terms of which none may be there."""

    @property
    def words(self) -> list[str]:
        return words(self.q)[:MAX_WORDS]


@dataclass(frozen=True)
class Page(Generic[Row]):
    """Some rows in order, and where the next page starts."""

    items: list[Row]
    next: str | None
