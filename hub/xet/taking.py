"""What a worker does with an upload that lies in the bucket: reads it, checks it, stores its chunks."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import partial
from typing import BinaryIO

from hub.errors import HashMismatch
from hub.repos.blobs import known_blob, put_blob, put_pieces
from hub.repos.gitobjects import blob_header
from hub.repos.s3 import S3Objects
from hub.repos.storage import chunks_of
from hub.xet import bucketed, receive
from hub.xet.chunkstore import WHOLE_MAX_BYTES, ChunksGone, Incoming, keep
from hub.xet.errors import BadXorb
from hub.xet.models import DirectUpload, Scope
from hub.xet.xorbs import pack
from priors.chunks import cut

_TRIES = 5


def take(store: S3Objects, upload: DirectUpload) -> None:
    """Makes of an upload what it was announced as. Raises UserError and BlobLost for what is not that."""
    match upload.kind, upload.scope:
        case DirectUpload.Kind.XORB, Scope() as scope:
            if store.size(upload.key) != upload.size:
                raise BadXorb("The xorb is shorter or longer than announced. Send it again.")
            with store.open(upload.key) as file:
                receive.take_xorb(scope, upload.name, chunks_of(file), payer=upload.payer or scope.namespace)
            store.delete(upload.key)
        case DirectUpload.Kind.SHARD, Scope() as scope if upload.payer is not None:
            data = store.read(upload.key, 0, upload.size)
            receive.take_shard(scope, upload.user, data, into=upload.payer, whole=True)
            store.delete(upload.key)
        case DirectUpload.Kind.LIST, Scope() if upload.payer is not None:
            data = store.read(upload.key, 0, upload.size)
            chunks = [data[at : at + 32] for at in range(32, len(data), 32)]
            receive.receive_list(chunks, data[:32].hex(), upload.user, into=upload.payer, whole=True)
            store.delete(upload.key)
        case _:
            _take_file(store, upload)


def _take_file(store: S3Objects, upload: DirectUpload) -> None:
    size = store.size(upload.key)
    if size != upload.size:
        raise HashMismatch(f"{size} bytes arrived, {upload.size} were announced. Send the file again.")
    if size <= WHOLE_MAX_BYTES:
        put_blob([store.read(upload.key, 0, size)], by=upload.user, expect=upload.name)
        store.delete(upload.key)
        return
    key = _out_of_reach(store, upload)
    for attempt in range(_TRIES):
        seen = _Seen(size)
        pieces = keep(partial(_incoming, store, key, seen))
        if seen.sha256 != upload.name:
            raise HashMismatch(f"The bytes hash to {seen.sha256}, not to {upload.name}. Send the file again.")
        try:
            if known_blob(upload.name, upload.user) is None:
                put_pieces(pieces, sha256=upload.name, git_oid=seen.git_oid, by=upload.user)
            break
        except ChunksGone:
            if attempt == _TRIES - 1:
                raise
    bucketed.adopt(upload.name, key)


def _out_of_reach(store: S3Objects, upload: DirectUpload) -> str:
    """Moves what was put in one piece to a name that the client has no address of, and gives that name.

    The address counts for an hour: who holds it could put other bytes there after they were checked. Addresses of parts
    end with the upload.
    """
    if upload.parts_id or not upload.key.startswith(bucketed.ARRIVING):
        return upload.key
    key, reach = bucketed.new_key(upload.name), upload.key
    store.copy(reach, key)
    DirectUpload.objects.filter(pk=upload.pk, attempts=upload.attempts).update(key=key)
    upload.key = key
    store.delete(reach)
    return key


class _Seen:
    """The hashes of a stream; a new one begins them anew."""

    def __init__(self, size: int) -> None:
        self._size = size
        self.sha256 = self.git_oid = ""

    def passing(self, file: BinaryIO) -> Iterator[bytes]:
        """The pieces of a file; at its end the hashes are known."""
        sha256, sha1 = hashlib.sha256(), hashlib.sha1(blob_header(self._size), usedforsecurity=False)
        for piece in chunks_of(file):
            sha256.update(piece)
            sha1.update(piece)
            yield piece
        self.sha256, self.git_oid = sha256.hexdigest(), sha1.hexdigest()


def _incoming(store: S3Objects, key: str, seen: _Seen) -> Iterator[Incoming]:
    with store.open(key) as file:
        for chunk in cut(seen.passing(file)):
            yield Incoming(chunk.hash, len(chunk.data), partial(pack, chunk.data))
