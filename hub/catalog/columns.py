"""The catalogue in memory: columns of numbers and lists of positions, so that a question costs no pass over rows.

Each process keeps one `Columns`, of the whole catalogue at one revision. A change of an item raises the revision
(services.py); the next question reads what changed and makes a new `Columns`. Nothing in one is ever altered, so
threads share it. It says which items match and how many; what is shown of them is read from the database again, through
`visible_to`, so a stale or wrong column can never show what an actor may not see.

A mask is an array of bool, one a row. Measured at 100,000 rows: 3 s to read them once, 100 MB; 1 ms for all facets.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from django.db import connection
from numpy.typing import NDArray

from hub.catalog.models import Item, Removed, Revision

Mask = NDArray[np.bool_]
Positions = NDArray[np.int64]

NUMBERS = ("parameters", "size_bytes", "score", "price_cents", "downloads", "likes", "trending")
TIMES = ("created_at", "updated_at")
ORDERS = (*NUMBERS, *TIMES)
OPEN_FACETS = ("task", "library", "language", "license", "arch", "dtype", "tag", "takes", "gives")
CLOSED_FACETS = ("type", "form", "kind", "modality", "may", "gated")
FACETS = (*CLOSED_FACETS, *OPEN_FACETS)
TOP = 48
"""How many values of a facet are counted when more than `_FEW` rows match: those most frequent in the catalogue."""
_FEW = 400
_QUICK, _MAX_REST = 0.05, 5.0  # seconds
_ROWS = 5000  # a query, so that a catalogue of any size is read in bounded memory


@dataclass(frozen=True)
class Columns:
    """All items, by id. `numbers` have NaN for unknown; `codes` are indices into `vocabulary`, row after row."""

    revision: int
    ids: Positions
    names: list[str]
    public: Mask
    numbers: dict[str, NDArray[np.float64]]
    vocabulary: list[str]
    codes: NDArray[np.int32]
    starts: NDArray[np.int64]
    by_word: dict[str, Any] = field(default_factory=dict)
    """Rows of the words that somebody asked for; wording.py fills it."""
    _orders: dict[str, Positions] = field(default_factory=dict)
    _keys: dict[str, NDArray[np.float64]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def public_count(self) -> int:
        """How many everybody may see."""
        return int(np.count_nonzero(self.public))

    @cached_property
    def code(self) -> dict[str, int]:
        """A term's index in the vocabulary."""
        return {term: number for number, term in enumerate(self.vocabulary)}

    @cached_property
    def rows_of_codes(self) -> NDArray[np.int64]:
        """The row of each entry of `codes`."""
        return np.repeat(np.arange(len(self), dtype=np.int64), np.diff(self.starts))

    @cached_property
    def _postings(self) -> tuple[Positions, NDArray[np.int64]]:
        small = len(self.vocabulary) < 1 << 16  # of 16 bits numpy sorts by digits, ten times as fast
        order = np.argsort(self.codes.astype(np.uint16) if small else self.codes, kind="stable")
        bounds = np.concatenate([[0], np.cumsum(np.bincount(self.codes, minlength=len(self.vocabulary)))])
        return self.rows_of_codes[order], bounds

    def prepare(self) -> None:
        """Works out what nearly every question needs, before anybody waits for it."""
        self._bitmaps  # noqa: B018 a cached property, like the next
        for column in ORDERS:
            self.order(column)

    def rows_with(self, term: str) -> Positions:
        """The rows that carry `key:value`."""
        number = self.code.get(term)
        if number is None:
            return np.empty(0, dtype=np.int64)
        rows, bounds = self._postings
        found: Positions = rows[bounds[number] : bounds[number + 1]]
        return found

    def having(self, terms: Iterable[str]) -> Mask:
        """Rows that carry any of the terms."""
        mask = np.zeros(len(self), dtype=bool)
        for term in terms:
            mask[self.rows_with(term)] = True
        return mask

    def at(self, ids: Collection[int] | NDArray[np.int64]) -> Positions:
        """The positions of these ids; unknown ones are left out."""
        asked = np.fromiter(ids, dtype=np.int64) if not isinstance(ids, np.ndarray) else ids
        if not len(self) or not len(asked):
            return np.empty(0, dtype=np.int64)
        near = np.minimum(np.searchsorted(self.ids, asked), len(self) - 1)
        found: Positions = near[self.ids[near] == asked]
        return found

    def between(self, column: str, low: float | None, high: float | None) -> Mask:
        """Rows whose number is known and in the range, ends included."""
        values = self.numbers[column]
        mask = np.ones(len(self), dtype=bool) if low is None else values >= low
        return mask if high is None else mask & (values <= high)

    def order(self, column: str) -> Positions:
        """All rows, the largest number first, unknown ones last, the newest id first among equals."""
        if column not in self._orders:
            self._orders[column] = np.lexsort((-self.ids, -self.keys(column)))
        return self._orders[column]

    def keys(self, column: str) -> NDArray[np.float64]:
        """What `order` sorts by: the numbers, and less than any where one is unknown."""
        if column not in self._keys:
            self._keys[column] = np.nan_to_num(self.numbers[column], nan=-np.inf)
        return self._keys[column]

    def by_key(self, key: str) -> list[str]:
        """Every value that some item has, or had, for a key of few values: port types."""
        return self._values.get(key, [])

    @cached_property
    def _values(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {"in": [], "out": []}
        for term in self.vocabulary:
            if term.startswith(("in:", "out:")):
                key, _, value = term.partition(":")
                found[key].append(value)
        return found

    def count(self, key: str, mask: Mask, packed: NDArray[np.uint8] | None = None) -> dict[str, int]:
        """How many rows of the mask carry each value of a facet; values nobody carries are left out.

        Exact for each value given. With more than `_FEW` rows only the `TOP` values of the catalogue are counted.
        """
        if packed is None:
            packed = np.packbits(mask)
        values, bitmaps = self._bitmaps[key]
        numbers = np.bitwise_count(bitmaps & packed).sum(axis=1, dtype=np.int64)
        return {value: int(n) for value, n in zip(values, numbers.tolist(), strict=True) if n}

    def count_few(self, rows: Positions) -> dict[str, dict[str, int]]:
        """The same for a few rows and all facets at once, with every value they carry."""
        codes, _ = _gathered(self.codes, self.starts, rows)
        codes, numbers = np.unique(codes, return_counts=True)
        found: dict[str, dict[str, int]] = {key: {} for key in FACETS}
        for number, n in zip(codes.tolist(), numbers.tolist(), strict=True):
            key, _, value = self.vocabulary[number].partition(":")
            if key in found:
                found[key][value] = n
        return found

    def facet_counts(self, mask: Mask, keys: Collection[str]) -> dict[str, dict[str, int]]:
        """Values with their numbers of rows, for each of the facets."""
        rows = np.flatnonzero(mask)
        if len(rows) <= _FEW:
            found = self.count_few(rows)
            return {key: found[key] for key in keys}
        packed = np.packbits(mask)
        return {key: self.count(key, mask, packed) for key in keys}

    @cached_property
    def _bitmaps(self) -> dict[str, tuple[list[str], NDArray[np.uint8]]]:
        """For each facet its most frequent values, and a row of bits for each."""
        _, bounds = self._postings
        sizes = np.diff(bounds)
        by_key: dict[str, list[tuple[int, str]]] = {key: [] for key in FACETS}
        for number, term in enumerate(self.vocabulary):
            key = term.partition(":")[0]
            if key in by_key and sizes[number]:
                by_key[key].append((-int(sizes[number]), term))
        made = {}
        for key, found in by_key.items():
            top = [term for _, term in sorted(found)[:TOP]]
            bits = np.zeros((len(top), (len(self) + 7) // 8), dtype=np.uint8)
            for number, term in enumerate(top):
                bits[number] = np.packbits(self.having([term]))
            made[key] = ([term.partition(":")[2] for term in top], bits)
        return made


_EMPTY = Columns(
    revision=-1,
    ids=np.empty(0, dtype=np.int64),
    names=[],
    public=np.empty(0, dtype=bool),
    numbers={name: np.empty(0) for name in ORDERS},
    vocabulary=[],
    codes=np.empty(0, dtype=np.int32),
    starts=np.zeros(1, dtype=np.int64),
)
_FIELDS = (
    "pk", "repository__namespace__name", "repository__name", "repository__private", *NUMBERS, *TIMES, "terms",
)  # fmt: skip


class Keeper:
    """The newest `Columns` of this process. Threads that ask while the first are read wait for them.

    A change is seen by the next question. Only where taking it in is slow (0.3 s of 100,000 rows) is the catalogue up
    to `_MAX_REST` behind: one thread takes in what changed, one second in ten at most, and the others do not wait.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held = _EMPTY
        self._epoch = ""
        self._rests_until = 0.0

    def columns(self) -> Columns:
        """The catalogue as it is, or was a moment ago. One query while nothing changes."""
        epoch, revision = _now()
        held = self._held
        if held.revision == revision and self._epoch == epoch:
            return held
        if self._epoch == epoch and held.revision < revision:
            if time.monotonic() < self._rests_until or not self._lock.acquire(blocking=False):
                return held
        else:
            self._lock.acquire()
        try:
            began = time.thread_time()
            # The number is read first: what is written meanwhile has a higher one and is read next time, perhaps twice.
            epoch, revision = _now()
            if self._epoch != epoch or self._held.revision != revision:
                # From nothing for another database, or one that was put back. What is held is exchanged when it is
                # whole, so nobody is answered from half a catalogue.
                known = self._epoch == epoch and self._held.revision < revision
                made = _refresh(self._held if known else _EMPTY, revision)
                made.prepare()
                self._held, self._epoch, cost = made, epoch, time.thread_time() - began
                self._rests_until = time.monotonic() + min(10 * cost, _MAX_REST) if cost > _QUICK else 0.0
            return self._held
        finally:
            self._lock.release()


def _now() -> tuple[str, int]:
    # Every question begins with this: through the ORM it took a tenth of a list's time.
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT epoch, value FROM {Revision._meta.db_table}")  # noqa: S608 a table's name
        return cursor.fetchone() or ("", 0)


def _refresh(held: Columns, revision: int) -> Columns:
    gone = (
        set(Removed.objects.filter(revision__gt=held.revision).values_list("item_id", flat=True)) if len(held) else ()
    )
    changed = Item.objects.filter(revision__gt=held.revision).order_by("pk")
    rows: list[tuple[Any, ...]] = []
    last = 0
    while batch := list(changed.filter(pk__gt=last).values_list(*_FIELDS)[:_ROWS]):
        rows += batch
        last = batch[-1][0]
    return _merge(held, rows, gone, revision)


def _merge(held: Columns, rows: Sequence[tuple[Any, ...]], gone: Collection[int], revision: int) -> Columns:
    ids = np.fromiter((row[0] for row in rows), dtype=np.int64, count=len(rows))
    kept = ~np.isin(held.ids, np.concatenate([ids, np.fromiter(gone, dtype=np.int64)]))
    joined = np.concatenate([held.ids[kept], ids])
    order = np.argsort(joined, kind="stable")
    names = [name for name, keep in zip(held.names, kept.tolist(), strict=True) if keep]
    names += [f"{row[1]}/{row[2]}".lower() for row in rows]
    public = np.concatenate([held.public[kept], np.fromiter((not row[3] for row in rows), dtype=bool, count=len(rows))])
    numbers = {
        name: np.concatenate([held.numbers[name][kept], _column(rows, 4 + at, name)])[order]
        for at, name in enumerate(ORDERS)
    }
    vocabulary, code = list(held.vocabulary), dict(held.code)
    fresh: list[int] = []
    lengths = np.concatenate([np.diff(held.starts)[kept], np.zeros(len(rows), dtype=np.int64)])
    for number, row in enumerate(rows, start=int(kept.sum())):
        terms = row[-1].split("\n") if row[-1] else []
        lengths[number] = len(terms)
        for term in terms:
            found = code.get(term)
            if found is None:
                found = code[term] = len(vocabulary)
                vocabulary.append(term)
            fresh.append(found)
    old = held.codes[np.repeat(kept, np.diff(held.starts))] if len(held) else held.codes
    codes = np.concatenate([old, np.asarray(fresh, dtype=np.int32)])
    starts = np.concatenate([[0], np.cumsum(lengths)])
    codes, starts = _gathered(codes, starts, order)
    made = Columns(
        revision=revision, ids=joined[order], names=[names[at] for at in order.tolist()], public=public[order],
        numbers=numbers, vocabulary=vocabulary, codes=codes, starts=starts,
    )  # fmt: skip
    made.__dict__["code"] = code  # known already: not counted again
    return made


def _gathered(
    codes: NDArray[np.int32], starts: NDArray[np.int64], rows: Positions
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """The codes of these rows, one row's after the other's, and where each row's start."""
    lengths = np.diff(starts)[rows]
    ends = np.cumsum(lengths)
    within = np.arange(int(ends[-1]) if len(ends) else 0) - np.repeat(ends - lengths, lengths)
    return codes[np.repeat(starts[:-1][rows], lengths) + within], np.concatenate([[0], ends])


def _column(rows: Sequence[tuple[Any, ...]], at: int, name: str) -> NDArray[np.float64]:
    if name in TIMES:
        return np.fromiter((row[at].timestamp() for row in rows), dtype=np.float64, count=len(rows))
    return np.fromiter(
        (float("nan") if row[at] is None else row[at] for row in rows), dtype=np.float64, count=len(rows)
    )


_keeper = Keeper()


def columns() -> Columns:
    """The catalogue as it is now."""
    return _keeper.columns()
