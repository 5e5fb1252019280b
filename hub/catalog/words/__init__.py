"""Which items have which words. One interface, two back ends: FTS5 on SQLite, tsvector and pg_trgm on PostgreSQL.

Both index `terms.indexed` text, so case, accents and hyphens are treated alike; both stem English and find beginnings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from django.db import connection

from hub.catalog.models import Word
from hub.catalog.terms import MAX_WORD

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MIN_WORD = 3
"""Shorter words are not corrected: nearly every other short word is near them."""


@dataclass(frozen=True)
class Matches:
    """The ids of items that have a word, in no order."""

    begun: NDArray[np.int64]
    """Those with it, or with words that begin so."""
    whole: NDArray[np.int64]
    named: NDArray[np.int64]
    """Those of `begun` that have it in their name."""


class Index(Protocol):
    """A back end. Words are plain (`terms.words`)."""

    def put(self, item_id: int, name: str, text: str) -> None:
        """Indexes an item's text in place of what stood there."""

    def drop(self, item_id: int) -> None:
        """Takes the item out."""

    def matching(self, word: str) -> Matches:
        """Who has a word."""

    def near(self, word: str, edits: int) -> list[str]:
        """Words of the catalogue that look as if they were about so many edits away, in no order."""

    def lacks(self) -> str:
        """What this database cannot do and what happens instead; "" when nothing is missing."""


def index() -> Index:
    """The back end of the database in use."""
    if connection.vendor == "sqlite":
        from hub.catalog.words.sqlite import Fts5

        return Fts5()
    from hub.catalog.words.postgres import TextSearch

    return TextSearch()


def learn(words: Sequence[str]) -> None:
    """Makes these words known to `near`."""
    fresh = {word for word in words if MIN_WORD < len(word) <= MAX_WORD and not word.isdecimal()}
    known = set(Word.objects.filter(text__in=fresh).values_list("text", flat=True)) if fresh else set()
    Word.objects.bulk_create([Word(text=word) for word in sorted(fresh - known)], ignore_conflicts=True)


def corrections(word: str) -> list[str]:
    """The known words at the smallest distance from a mistyped one, three at most; none when all are far."""
    if len(word) < MIN_WORD:
        return []
    for edits in range(1, 2 if len(word) < 6 else 3):
        scored = ((distance(word, other, edits), other) for other in index().near(word, edits))
        if found := sorted(other for d, other in scored if d <= edits):
            return found[:3]
    return []


def distance(a: str, b: str, most: int) -> int:
    """Letters to insert, drop, change or swap with a neighbour to get from one to the other; `most` + 1 for more.

    Optimal string alignment: Damerau 1964, without changing what was swapped.
    """
    if abs(len(a) - len(b)) > most:
        return most + 1
    before: list[int] = []
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        last, before, row = before, row, [i] + [0] * len(b)
        for j, y in enumerate(b, 1):
            row[j] = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (x != y))
            if i > 1 and j > 1 and x == b[j - 2] and a[i - 2] == y:
                row[j] = min(row[j], last[j - 2] + 1)
        if min(row) > most:
            return most + 1
    return row[-1]
