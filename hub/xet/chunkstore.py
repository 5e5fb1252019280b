"""Chunks into the store, each of them once, and blobs as runs of chunks."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from itertools import islice
from pathlib import Path
from typing import BinaryIO, NamedTuple

from django.db import IntegrityError, transaction
from django.db.models import Exists, F, OuterRef, QuerySet
from django.utils import timezone

from hub.repos.objects import draft, objects, storage_full
from hub.xet.models import Chunk, ChunkedBlob, KnownXorb, Scope, Segment, Xorb
from hub.xet.xorbs import MAX_XORB_BYTES, MAX_XORB_CHUNKS, Frame, pack
from priors.chunks import cut, file_hash, to_hex, xorb_hash

WHOLE_MAX_BYTES = 128 * 1024
"""Blobs up to here lie whole: they would be a chunk or two that nothing else shares."""

_BATCH = 64  # chunks of a stream in memory at once: 8 MiB at most
_ROWS = 500  # SQLite and PostgreSQL both take that many parameters
_TRIES = 5


class Piece(NamedTuple):
    """A chunk by name."""

    hash: bytes
    raw_size: int


class Incoming(NamedTuple):
    """A chunk on its way in. `frame` is asked only when the chunk is new."""

    hash: bytes
    raw_size: int
    frame: Callable[[], Frame]


class ChunksGone(Exception):
    """A sweep removed or moved chunks between their arrival and the blob that needs them. Bring them again."""


def chunks_of_file(path: Path) -> Iterator[Incoming]:
    """A file cut into chunks."""
    with path.open("rb") as file:
        for chunk in cut(iter(partial(file.read, 1 << 20), b"")):
            yield Incoming(chunk.hash, len(chunk.data), partial(pack, chunk.data))


def keep(source: Callable[[], Iterable[Incoming]]) -> list[Piece]:
    """Stores those chunks of a stream that are new, and names all of them. Raises StorageFull.

    They stay for the grace of `sweep`; `attach` makes them a blob's. `source` may be called several times: when two
    uploads bring the same chunk at once, one of them starts anew and finds it here.
    """
    for _ in range(_TRIES - 1):
        try:
            return _keep(source())
        except IntegrityError:
            continue
    return _keep(source())


def _keep(stream: Iterable[Incoming]) -> list[Piece]:
    pieces: list[Piece] = []
    writer, rest = _Writer(), iter(stream)
    try:
        while batch := list(islice(rest, _BATCH)):
            known = {
                bytes(name)
                for name in Chunk.objects.filter(hash__in={each.hash for each in batch}).values_list("hash", flat=True)
            }
            for each in batch:
                pieces.append(Piece(each.hash, each.raw_size))
                if each.hash not in known:
                    writer.add(each)
        writer.close()
    finally:
        writer.discard()
    return pieces


class _Writer:
    """Puts new chunks into xorbs; a full one is stored with its rows before the next is begun."""

    def __init__(self) -> None:
        self._written: set[bytes] = set()
        self._rows: list[Chunk] = []
        self._size = self._raw_size = 0
        self._path: Path | None = None
        self._file: BinaryIO | None = None

    def add(self, chunk: Incoming) -> None:
        if chunk.hash in self._written:
            return
        if self._raw_size + chunk.raw_size > MAX_XORB_BYTES or len(self._rows) == MAX_XORB_CHUNKS:
            self.close()
        frame = chunk.frame()
        with storage_full():
            self._open().write(frame.data)
        self._rows.append(
            Chunk(
                hash=chunk.hash, number=len(self._rows), offset=self._size, size=len(frame.data),
                raw_size=chunk.raw_size,
            )
        )  # fmt: skip
        self._written.add(chunk.hash)
        self._size += len(frame.data)
        self._raw_size += chunk.raw_size

    def close(self) -> None:
        """Stores what was added since the last time. Raises IntegrityError when a chunk came here meanwhile."""
        if self._file is None or self._path is None:
            return
        with storage_full():
            self._file.close()
        name = to_hex(xorb_hash([(bytes(row.hash), row.raw_size) for row in self._rows]))
        key = f"xorbs/{name[:2]}/{name}.{secrets.token_hex(8)}"
        store = objects()
        store.put(key, self._path)
        try:
            with transaction.atomic():
                xorb = Xorb.objects.create(hash=name, key=key, size=self._size, raw_size=self._raw_size)
                for row in self._rows:
                    row.xorb = xorb
                # In the order of their hashes, so that two writers of the same chunks cannot wait for each other.
                Chunk.objects.bulk_create(sorted(self._rows, key=lambda row: bytes(row.hash)), batch_size=_ROWS)
        except BaseException:
            store.delete(key)
            raise
        self._rows, self._size, self._raw_size, self._file, self._path = [], 0, 0, None, None

    def discard(self) -> None:
        """Forgets what is not stored."""
        if self._file is not None:
            self._file.close()
        if self._path is not None:
            self._path.unlink(missing_ok=True)

    def _open(self) -> BinaryIO:
        if self._file is None:
            self._path = draft(objects())
            self._file = self._path.open("xb")
        return self._file


@dataclass(frozen=True)
class Place:
    """Where a chunk lies."""

    xorb: int
    number: int
    raw_size: int


def places(hashes: Iterable[bytes]) -> dict[bytes, Place]:
    """Where the chunks lie; those that are not here are left out."""
    found: dict[bytes, Place] = {}
    rest = iter(dict.fromkeys(hashes))
    while batch := list(islice(rest, _ROWS)):
        rows = Chunk.objects.filter(hash__in=batch).values_list("hash", "xorb_id", "number", "raw_size")
        found |= {bytes(name): Place(xorb, number, raw_size) for name, xorb, number, raw_size in rows}
    return found


@transaction.atomic
def attach(blob_id: str, pieces: Sequence[Piece]) -> ChunkedBlob:
    """Records that a blob is these chunks. Raises ChunksGone. Over the same blob again it changes nothing."""
    if (there := ChunkedBlob.objects.filter(pk=blob_id).first()) is not None:
        return there
    where = hold({piece.hash for piece in pieces})
    chunked = ChunkedBlob.objects.create(pk=blob_id, xet_hash=to_hex(file_hash(pieces)))
    segments: list[Segment] = []
    offset = 0
    for piece in pieces:
        place, last = where[piece.hash], segments[-1] if segments else None
        if last is not None and last.xorb_id == place.xorb and last.stop == place.number:
            last.stop += 1
            last.size += piece.raw_size
        else:
            segments.append(
                Segment(
                    chunked=chunked, offset=offset, xorb_id=place.xorb, start=place.number, stop=place.number + 1,
                    size=piece.raw_size,
                )
            )  # fmt: skip
        offset += piece.raw_size
    Segment.objects.bulk_create(segments, batch_size=_ROWS)
    return chunked


def xet_hashes(blobs: Iterable[str]) -> dict[str, str]:
    """What Xet calls those blobs that lie in chunks, by SHA-256; only these can be downloaded by chunks."""
    found: dict[str, str] = {}
    rest = iter(dict.fromkeys(blobs))
    while batch := list(islice(rest, _ROWS)):
        found |= dict(ChunkedBlob.objects.filter(pk__in=batch).values_list("pk", "xet_hash"))
    return found


def hold(hashes: Iterable[bytes]) -> dict[bytes, Place]:
    """Where chunks lie, with their xorbs locked until the transaction ends, for rows that refer to them.

    Raises ChunksGone when one is missing, or was moved at this moment: asked again, it is found.
    """
    wanted = set(hashes)
    where = places(wanted)
    xorbs = sorted({place.xorb for place in where.values()})
    held: set[int] = set()
    for start in range(0, len(xorbs), _ROWS):
        held |= set(locked(Xorb.objects.filter(pk__in=xorbs[start : start + _ROWS], retired_at=None)))
        Xorb.objects.filter(pk__in=xorbs[start : start + _ROWS]).update(touched_at=timezone.now())
    if len(where) < len(wanted) or len(held) < len(xorbs):
        raise ChunksGone
    return where


def locked(xorbs: QuerySet[Xorb]) -> list[int]:
    """The keys of these, locked until the transaction ends, in the one order in which everybody locks several.

    An update of several rows takes them in any order, and two who wait for each other are a deadlock: lock first.
    """
    return list(xorbs.select_for_update().order_by("pk").values_list("pk", flat=True))


def leave(blobs: Sequence[str]) -> None:
    """Marks the xorbs of blobs that go: little of them may be in use then. Belongs into the transaction of that."""
    xorbs = sorted(set(Segment.objects.filter(chunked__in=blobs).values_list("xorb", flat=True)))
    for start in range(0, len(xorbs), _ROWS):
        held = locked(Xorb.objects.filter(pk__in=xorbs[start : start + _ROWS]))
        Xorb.objects.filter(pk__in=held).update(may_be_thin=True)


def collect(*, before: datetime, among: Iterable[int] | None = None) -> int:
    """Removes xorbs that no blob needs and nobody touched since `before`; all when `among` is None. How many.

    Clients that remember one are made to forget: the epoch of their scope rises.
    """
    needing = Segment.objects.filter(xorb=OuterRef("pk"))
    unused = Xorb.objects.filter(~Exists(needing), touched_at__lt=before, retired_at=None)
    if among is None:
        found = list(unused.values_list("pk", flat=True))
    else:
        found, rest = [], iter(among)
        while batch := list(islice(rest, _ROWS)):
            found += unused.filter(pk__in=batch).values_list("pk", flat=True)
    return sum(_collect(pk, before) for pk in found)


def _collect(pk: int, before: datetime) -> bool:
    with transaction.atomic():
        # Locked first and looked at then: a blob may have come to need it.
        xorb = Xorb.objects.select_for_update().filter(pk=pk, touched_at__lt=before, retired_at=None).first()
        if xorb is None or xorb.segments.exists():
            return False
        known = list(KnownXorb.objects.filter(lie_in=xorb).values_list("pk", "scope_id"))
        Scope.objects.filter(pk__in={scope for _, scope in known}).update(epoch=F("epoch") + 1)
        KnownXorb.objects.filter(pk__in=[row for row, _ in known]).delete()
        xorb.delete()
    # After the rows: should this process die in between, the object is a stray, and no row promises what is not there.
    objects().delete(xorb.key)
    return True


def collect_strays(*, before: datetime) -> int:
    """Removes objects of xorbs that no row names, as writers leave that die; how many."""
    store, removed = objects(), 0
    for key, arrived in list(store.listing("xorbs/")):
        if arrived < before.timestamp() and not Xorb.objects.filter(key=key).exists():
            store.delete(key)
            removed += 1
    return removed
