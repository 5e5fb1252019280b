"""What the words of a question find, what is meant by mistyped ones, and how well each row answers.

A row has to have every word, or a word that begins so. Its worth is the sum over the words of

    idf(word) * (1 + 1 where it stands whole + 3 where it stands in the name),   idf = log(1 + public rows / with it)

(Robertson & Spärck Jones 1976 for the idf; of a summary's few words, counting how often each stands says nothing) and,
so that what people use comes first among equals, a tenth of the logarithm of its downloads. Computed here from sets of
rows, it is the same on every database, and needs no second look at the texts.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from hub.catalog import words
from hub.catalog.columns import Columns, Mask

_KEPT = 2048
"""Words whose rows are kept until the catalogue changes, 40 kB each at most of 100,000 rows, mostly far less."""


@dataclass(frozen=True)
class Having:
    """The rows that have a word; packed, see `_packed`."""

    begun: NDArray[np.generic]
    whole: NDArray[np.generic]
    named: NDArray[np.generic]


class Wording:
    """The words of one question, asked by somebody who sees the rows of `visible`."""

    def __init__(self, held: Columns, asked: list[str], visible: Mask) -> None:
        self._held, self._asked, self._visible = held, asked, visible

    @property
    def mask(self) -> Mask:
        """Rows that have all of the words, or what they were taken for."""
        return self._read[0]

    @property
    def corrected(self) -> dict[str, tuple[str, ...]]:
        """Words nobody uses, with those that were looked for instead."""
        return self._read[1]

    @cached_property
    def worth(self) -> NDArray[np.float64]:
        """How well each row answers; a number for rows of `mask` alone."""
        held, public = self._held, max(self._held.public_count, 1)
        rows = np.flatnonzero(self.mask)
        found = 0.1 * np.log10(1 + held.numbers["downloads"][rows])
        for spellings in self._read[2]:
            best = np.zeros(len(rows))
            for word in spellings:
                having = self._having(word)
                begun = self._mask(having.begun)
                idf = np.log(1 + public / (1 + np.count_nonzero(begun & held.public)))
                here = begun[rows] * (1.0 + self._mask(having.whole)[rows] + 3.0 * self._mask(having.named)[rows])
                best = np.maximum(best, idf * here)
            found += best
        worth = np.zeros(len(held))
        worth[rows] = np.round(found, 6)
        return worth

    @cached_property
    def _read(self) -> tuple[Mask, dict[str, tuple[str, ...]], list[list[str]]]:
        wanted = [[word] for word in self._asked]
        hits = self._with_all(wanted)
        if (self._visible & hits).any():
            return hits, {}, wanted
        corrected = {}
        for number, word in enumerate(self._asked):
            if self._anybody_has(word):
                continue
            # A correction is only told when it leads to what the actor may see: words of private items stay private.
            near = [other for other in words.corrections(word) if self._anybody_has(other)]
            if not near:
                return hits, {}, wanted
            wanted[number], corrected[word] = near, tuple(near)
        return (self._with_all(wanted), corrected, wanted) if corrected else (hits, {}, wanted)

    def _anybody_has(self, word: str) -> bool:
        return bool((self._visible & self._mask(self._having(word).begun)).any())

    def _with_all(self, wanted: list[list[str]]) -> Mask:
        mask = np.ones(len(self._held), dtype=bool)
        for spellings in wanted:
            mask &= np.logical_or.reduce([self._mask(self._having(word).begun) for word in spellings])
        return mask

    def _having(self, word: str) -> Having:
        """Rows that have a word. The database is asked once for each revision of the catalogue."""
        kept = self._held.by_word
        having = kept.get(word)
        if having is None:
            found = words.index().matching(word)
            having = Having(*(_packed(self._held, ids) for ids in (found.begun, found.whole, found.named)))
            for oldest in list(kept)[: len(kept) - _KEPT + 1]:
                kept.pop(oldest, None)
            kept[word] = having
        return having

    def _mask(self, packed: NDArray[np.generic]) -> Mask:
        if packed.dtype == np.uint8:
            return np.unpackbits(packed.view(np.uint8), count=len(self._held)).view(bool)
        mask = np.zeros(len(self._held), dtype=bool)
        mask[packed] = True
        return mask


def _packed(held: Columns, ids: NDArray[np.int64]) -> NDArray[np.generic]:
    """Positions of 4 bytes while they are few, a bit for each row when they are many."""
    rows = held.at(ids)
    if len(rows) * 32 < len(held):
        return rows.astype(np.int32)
    mask = np.zeros(len(held), dtype=bool)
    mask[rows] = True
    return np.packbits(mask)
