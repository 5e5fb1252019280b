"""Which xorbs a client may name: those its scope sent, and those the hub told it of because it may read them anyway."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence

from django.db import transaction
from django.db.models import Exists, OuterRef, Q
from django.utils import timezone

from hub.accounts.access import Actor
from hub.repos.models import Blob, BlobUpload, Repository, RepositoryBlob
from hub.xet.chunkstore import ChunksGone, Piece, hold, locked, places
from hub.xet.models import Chunk, KnownXorb, Scope, Segment, Xorb
from hub.xet.reader import chunks_of
from hub.xet.shards import Shard, ShardXorb, write_shard
from hub.xet.tokens import Bearer
from hub.xet.xorbs import MAX_XORB_BYTES, MAX_XORB_CHUNKS
from priors.chunks import from_hex, to_hex, xorb_hash
from priors.errors import NotFound

_ANSWER_CHUNKS = 64 * 1024  # 4 GiB of file, a shard of 5 MB
_ANSWER_FILES = 4
_ROWS = 500
PIECE = struct.Struct("<32sI")
"""Of KnownXorb.chunks: a chunk's hash and raw size."""


def find(scope: Scope, name: str) -> list[Piece] | None:
    """The chunks of a xorb that the scope may name."""
    row = KnownXorb.objects.filter(scope=scope, hash=name).first()
    return None if row is None else _unpacked(row)


def touch(scope: Scope, name: str) -> bool:
    """Whether the scope may name a xorb; its chunks then wait for their blob for another grace."""
    row = KnownXorb.objects.filter(scope=scope, hash=name).first()
    return row is not None and bool(row.lie_in.update(touched_at=timezone.now()))


def know(scope: Scope, name: str, pieces: Sequence[Piece]) -> KnownXorb:
    """Remembers that the scope may name these chunks by that xorb. Raises ChunksGone. Needs a transaction."""
    where = hold(piece.hash for piece in pieces)
    packed = b"".join(PIECE.pack(*piece) for piece in pieces)
    row, _ = KnownXorb.objects.get_or_create(scope=scope, hash=name, defaults={"chunks": packed})
    row.lie_in.set({place.xorb for place in where.values()})
    return row


def _unpacked(row: KnownXorb) -> list[Piece]:
    return [Piece(*piece) for piece in PIECE.iter_unpack(row.chunks)]


def shard_about(bearer: Bearer, scope: Scope, chunk: bytes) -> bytes:
    """What the client need not send, when its file has this chunk. Raises NotFound.

    Tells of xorbs the scope sent and of files the actor may read anyway, and of nothing else that has the chunk.
    """
    row = Chunk.objects.filter(hash=chunk).first()
    if row is None:
        raise NotFound("No file that you may read has this chunk.")
    xorbs: dict[bytes, ShardXorb] = {}
    for known in KnownXorb.objects.filter(scope=scope, lie_in=row.xorb_id)[:_ANSWER_FILES]:
        pieces = _unpacked(known)
        if any(piece.hash == chunk for piece in pieces):
            name = from_hex(known.hash)
            xorbs[name] = ShardXorb(name, tuple((piece.hash, piece.raw_size) for piece in pieces))
    left = _ANSWER_CHUNKS
    for blob in _files_with(row, bearer):
        runs = _runs(Piece(found.hash, found.raw_size) for found in chunks_of(blob))
        # A blob that goes meanwhile has no run with the chunk any more.
        first = next((at for at, run in enumerate(runs) if any(piece.hash == chunk for piece in run)), len(runs))
        for run in runs[first:]:
            if (left := left - len(run)) < 0:
                break
            name = xorb_hash(run)
            xorbs[name] = ShardXorb(name, tuple((piece.hash, piece.raw_size) for piece in run))
    if not xorbs:
        raise NotFound("No file that you may read has this chunk.")
    try:
        with transaction.atomic():
            for name, xorb in xorbs.items():
                know(scope, to_hex(name), [Piece(*piece) for piece in xorb.chunks])
    except ChunksGone as err:
        raise NotFound("The files that had this chunk are going.") from err
    return write_shard(Shard((), tuple(xorbs.values())))


def namable(scope: Scope, actor: Actor, chunks: Iterable[bytes]) -> set[bytes]:
    """Those of the chunks that need not be sent: the scope sent them before, or the actor may read them anyway.

    They wait for their blob for another grace.
    """
    by_xorb: dict[int, dict[int, bytes]] = {}
    for name, place in places(chunks).items():
        by_xorb.setdefault(place.xorb, {})[place.number] = name
    found: set[bytes] = set()
    for at in range(0, len(by_xorb), _ROWS):
        batch = sorted(by_xorb)[at : at + _ROWS]
        asked = {name for xorb in batch for name in by_xorb[xorb].values()}
        for row in KnownXorb.objects.filter(scope=scope, lie_in__in=batch).distinct():
            found |= asked & {piece.hash for piece in _unpacked(row)}
        runs = Segment.objects.filter(xorb__in=batch, chunked__blob__in=Blob.objects.filter(_may_have(actor)))
        for xorb, start, stop in runs.values_list("xorb", "start", "stop").distinct():
            found |= {name for number, name in by_xorb[xorb].items() if start <= number < stop}
        needed = {xorb for xorb in batch if found.intersection(by_xorb[xorb].values())}
        with transaction.atomic():
            Xorb.objects.filter(pk__in=locked(Xorb.objects.filter(pk__in=needed))).update(touched_at=timezone.now())
    return found


def _files_with(chunk: Chunk, bearer: Bearer) -> list[str]:
    """Blobs with a chunk whose bytes the actor may have: of repositories, and of their own uploads."""
    with_chunk = Segment.objects.filter(xorb=chunk.xorb_id, start__lte=chunk.number, stop__gt=chunk.number)
    found = Blob.objects.filter(_may_have(bearer.actor), pk__in=with_chunk.values("chunked")).order_by("-touched_at")
    return list(found.values_list("pk", flat=True)[:_ANSWER_FILES])


def _may_have(actor: Actor) -> Q:
    """Blobs whose bytes the actor may have."""
    repositories = Repository.objects.open_to(actor).unheld().order_by()
    may = Q(Exists(RepositoryBlob.objects.filter(blob=OuterRef("pk"), repository__in=repositories)))
    return may | Q(Exists(BlobUpload.objects.made_by(actor).filter(blob=OuterRef("pk"))))


def _runs(pieces: Iterable[Piece]) -> list[list[Piece]]:
    """A file's chunks in pieces of a xorb's size, cut as clients cut them."""
    runs: list[list[Piece]] = [[]]
    size = 0
    for piece in pieces:
        if size + piece.raw_size > MAX_XORB_BYTES or len(runs[-1]) == MAX_XORB_CHUNKS:
            runs.append([])
            size = 0
        runs[-1].append(piece)
        size += piece.raw_size
    return runs
