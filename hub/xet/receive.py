"""What clients send: xorbs, whose new chunks are stored, and shards, whose files become blobs.

Nothing they say is believed: names are hashes of what came with them, and a shard may only name chunks that its scope
is known to have.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from django.conf import settings
from django.db import transaction

from hub.accounts.models import User
from hub.errors import BlobLost, TooLarge
from hub.repos import quotas
from hub.repos.blobs import known_blob, put_blob, put_pieces
from hub.repos.gitobjects import blob_header
from hub.repos.models import Namespace
from hub.repos.objects import bucket, draft, objects, storage_full
from hub.xet import assembled, bucketed, known
from hub.xet.chunkstore import ChunksGone, Incoming, Piece, keep, places
from hub.xet.errors import BadShard, BadXorb
from hub.xet.models import ChunkedBlob, Scope, Xorb
from hub.xet.reader import read_chunks
from hub.xet.shards import MAX_SHARD_BYTES, Segment, ShardFile, read_shard
from hub.xet.xorbs import MAX_BODY_BYTES, read_frames, unpack
from priors.chunks import chunk_hash, file_hash, range_hash, to_hex, xorb_hash
from priors.errors import Conflict

_TRIES = 5


def receive_xorb(scope: Scope, name: str, body: Iterable[bytes], *, payer: Namespace) -> bool:
    """Stores those chunks of a xorb that are new; whether the scope did not know it.

    payer  whose quota they count for until a blob needs them, or `sweep` takes them

    Raises OverQuota, BadXorb, StorageFull.
    """
    with quotas.reserved(payer) as room:
        if is_new := not known.touch(scope, name):
            take_xorb(scope, name, quotas.counted(body, room), payer=payer, room=room)
        else:
            for _ in body:  # to its end: a connection closed early looks like a failure
                pass
    return is_new


def take_xorb(
    scope: Scope, name: str, body: Iterable[bytes], *, payer: Namespace, room: quotas.Room | None = None
) -> None:
    """The same for a xorb that the scope does not know. Gives the room back for it."""
    path = draft(objects())
    try:
        with storage_full(), path.open("xb") as file:
            _copy(body, file)
        pieces = _pieces_of(path)
        if to_hex(xorb_hash(pieces)) != name:
            raise BadXorb(f"The chunks hash to {to_hex(xorb_hash(pieces))}, not to {name}. Send the xorb again.")
        _until_held(lambda: _store_and_know(scope, name, pieces, path, payer, room))
    finally:
        path.unlink(missing_ok=True)


def _copy(body: Iterable[bytes], file: BinaryIO) -> None:
    size = 0
    for piece in body:
        size += len(piece)
        if size > MAX_BODY_BYTES:
            raise TooLarge(f"The xorb has more than {MAX_BODY_BYTES} bytes. Cut it into several.")
        file.write(piece)


def _pieces_of(path: Path) -> list[Piece]:
    with path.open("rb") as file:
        pieces = [Piece(chunk_hash(unpack(frame)), frame.raw_size) for frame in read_frames(file)]
    if not pieces:
        raise BadXorb("The xorb has no chunks. There is nothing to send then.")
    return pieces


def _store_and_know(
    scope: Scope, name: str, pieces: Sequence[Piece], path: Path, payer: Namespace, room: quotas.Room | None
) -> None:
    def frames() -> Iterator[Incoming]:
        with path.open("rb") as file:
            for piece, frame in zip(pieces, read_frames(file), strict=True):
                yield Incoming(piece.hash, piece.raw_size, lambda frame=frame: frame)  # type: ignore[misc]

    keep(frames)
    with transaction.atomic():
        quotas.charge_xorbs(known.know(scope, name, pieces).lie_in.all(), payer)
        if room is not None:
            room.give_back()


def _until_held(work: Callable[[], object]) -> None:
    for _ in range(_TRIES - 1):
        try:
            work()
            return
        except ChunksGone:  # a sweep was faster: bring the chunks again, or find them where they are now
            continue
    work()


def receive_shard(scope: Scope, user: User, body: Iterable[bytes], *, into: Namespace) -> bool:
    """Makes blobs of the files a shard describes, as uploads of `user`; whether any was new.

    into  the namespace whose quota they count for, as its uploads do

    Raises OverQuota, and BadShard for a file that names chunks the scope does not know, or whose hashes are not those
    of its bytes.
    """
    return take_shard(scope, user, shard_bytes(body), into=into)


def shard_bytes(body: Iterable[bytes]) -> bytes:
    """A shard as it arrives. Raises TooLarge."""
    data = bytearray()
    for piece in body:
        data += piece
        if len(data) > MAX_SHARD_BYTES:
            raise TooLarge(f"The shard has more than {MAX_SHARD_BYTES} bytes. Send several.")
    return bytes(data)


def take_shard(scope: Scope, user: User, data: bytes, *, into: Namespace, whole: bool = False) -> bool:
    """The same for a shard that is here. `whole` as in `receive_file`."""
    sent = _Known(scope)
    new = False
    for file in read_shard(data).files:
        pieces = sent.pieces_of(file)
        named = {to_hex(segment.xorb) for segment in file.segments}
        made_of = Xorb.objects.filter(known_as__scope=scope, known_as__hash__in=named)
        with quotas.reserved(into, file.size, sha256=file.sha256 or "", made_of=made_of) as room:
            new |= receive_file(file, pieces, user, room, whole=whole)
    return new


class _Known:
    """The xorbs a scope may name, read once a shard."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self._xorbs: dict[bytes, list[Piece]] = {}

    def pieces_of(self, file: ShardFile) -> list[Piece]:
        """The chunks of a file. Raises BadShard where the shard does not fit what was sent."""
        pieces: list[Piece] = []
        for segment in file.segments:
            xorb = self._xorb(segment.xorb)
            part = xorb[segment.start : segment.stop]
            if segment.stop > len(xorb) or sum(piece.raw_size for piece in part) != segment.size:
                raise BadShard(f"File {to_hex(file.hash)}: xorb {to_hex(segment.xorb)} has no such chunks.")
            if segment.range_hash not in (None, range_hash(piece.hash for piece in part)):
                raise BadShard(f"File {to_hex(file.hash)}: the proof for xorb {to_hex(segment.xorb)} is wrong.")
            pieces += part
        if file_hash(pieces) != file.hash:
            raise BadShard(f"File {to_hex(file.hash)}: its chunks hash to {to_hex(file_hash(pieces))}.")
        if file.size > settings.BLOB_MAX_BYTES:
            raise TooLarge(f"The file is larger than {settings.BLOB_MAX_BYTES} bytes, the most this hub takes.")
        return pieces

    def _xorb(self, name: bytes) -> list[Piece]:
        if name not in self._xorbs:
            pieces = known.find(self._scope, to_hex(name))
            if pieces is None:
                raise BadShard(
                    f"Xorb {to_hex(name)} was not sent here, or is no longer kept. Upload again: the client then asks "
                    "for a new token and sends what is missing."
                )
            self._xorbs[name] = pieces
        return self._xorbs[name]


def receive_file(
    file: ShardFile, pieces: Sequence[Piece], user: User, room: quotas.Room, *, whole: bool = False
) -> bool:
    """Makes a blob of chunks that the sender may name; whether it is new. Raises BadShard for other hashes.

    room   for the file; settled with it
    whole  to put the whole file into the bucket here and now, as a worker does; else a worker is asked to
    """
    if not pieces:
        put_blob([], by=user, expect=file.sha256)
        return False
    same = ChunkedBlob.objects.filter(xet_hash=to_hex(file.hash)).values_list("pk", flat=True).first()
    if same is not None and known_blob(same, user) is not None:
        _check_sha256(file, same)
        room.settle(same, file.size)
        return False
    path = draft(objects())
    try:
        try:
            sha256, git_oid = _write_and_hash(pieces, path)
            _check_sha256(file, sha256)
            _until_held(lambda: _put(pieces, sha256, git_oid, user, room))
        except (ChunksGone, BlobLost) as err:
            raise BadShard(
                f"File {to_hex(file.hash)}: some of its chunks are no longer kept. Upload it again."
            ) from err
        if whole:
            bucketed.adopt_file(sha256, path)
            return True
        with suppress(OSError):
            assembled.adopt(sha256, path)
        if bucket() is not None:
            bucketed.assemble_soon(sha256)
        return True
    finally:
        path.unlink(missing_ok=True)


def receive_list(chunks: Sequence[bytes], sha256: str, user: User, *, into: Namespace, whole: bool = False) -> int:
    """Makes a blob of chunks, which the caller has seen the user may name; its size. `into`, `whole` as above.

    Raises Conflict for chunks that are not here, TooLarge, OverQuota, and BadShard for other bytes than `sha256`.
    """
    where = places(set(chunks))
    if lacking := set(chunks) - where.keys():
        raise Conflict(f"{len(lacking)} of the file's chunks are not here. Ask which, and send those first.")
    pieces = [Piece(chunk, where[chunk].raw_size) for chunk in chunks]
    segment = Segment(xorb=b"", start=0, stop=len(pieces), size=sum(piece.raw_size for piece in pieces))
    if segment.size > settings.BLOB_MAX_BYTES:  # one chunk a million times is soon sent
        raise TooLarge(f"The file is larger than {settings.BLOB_MAX_BYTES} bytes, the most this hub takes.")
    made_of = Xorb.objects.filter(pk__in={place.xorb for place in where.values()})
    with quotas.reserved(into, segment.size, sha256=sha256, made_of=made_of) as room:
        receive_file(ShardFile(file_hash(pieces), (segment,), sha256), pieces, user, room, whole=whole)
    return segment.size


@transaction.atomic
def _put(pieces: Sequence[Piece], sha256: str, git_oid: str, user: User, room: quotas.Room) -> None:
    # Together: from here on the file counts, and the xorbs that it needs no longer do.
    blob = put_pieces(pieces, sha256=sha256, git_oid=git_oid, by=user)
    room.settle(sha256, blob.size)


def _check_sha256(file: ShardFile, sha256: str) -> None:
    if file.sha256 not in (None, sha256):
        raise BadShard(f"File {to_hex(file.hash)}: its bytes have SHA-256 {sha256}, not {file.sha256}.")


def _write_and_hash(pieces: Sequence[Piece], path: Path) -> tuple[str, str]:
    """The SHA-256 and git's id of the file of these chunks, which is written on the way."""
    sha256 = hashlib.sha256()
    sha1 = hashlib.sha1(blob_header(sum(piece.raw_size for piece in pieces)), usedforsecurity=False)
    with storage_full(), path.open("xb") as file:
        for data in read_chunks(piece.hash for piece in pieces):
            sha256.update(data)
            sha1.update(data)
            file.write(data)
    return sha256.hexdigest(), sha1.hexdigest()
