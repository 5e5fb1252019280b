"""Bytes by their SHA-256: small blobs lie whole, larger ones in chunks that they share with others.

A write is staged first: a temporary file, hashed on the way. What happens to it then is blobs.py's: the rows
and the bytes have to come and go together.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from django.conf import settings

from hub.errors import BlobLost, HashMismatch, TooLarge
from hub.repos.gitobjects import blob_header
from hub.repos.objects import bucket, draft, objects, storage_full, sweep_drafts
from hub.xet import assembled, bucketed, reader
from hub.xet.models import ChunkedBlob

CHUNK = 1 << 20
_ASSEMBLE_AT_ONCE = 256 * 1024 * 1024
"""A file up to here is put together while its reader waits, well under a second; a larger one is streamed meanwhile."""


@dataclass(frozen=True)
class Staged:
    """Bytes in a file under a temporary name, which may be lost when the machine stops."""

    sha256: str
    size: int
    git_oid: str
    temporary: Path


class BlobStore:
    """Content-addressed bytes over the objects that STORAGE_URL names."""

    def stage(self, chunks: Iterable[bytes], *, expect: str | None = None) -> Staged:
        """Bytes written, not yet visible. Raises HashMismatch, TooLarge, StorageFull; then nothing stays."""
        temporary = draft(objects())
        try:
            with storage_full():
                sha256, size = _write(temporary, chunks)
            if expect is not None and sha256 != expect:
                raise HashMismatch(
                    f"The bytes hash to {sha256}, not to {expect}. Send the file again; it may be truncated."
                )
            return Staged(sha256, size, _git_oid(temporary, size), temporary)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise

    def publish(self, many: Iterable[Staged]) -> None:
        """Makes staged bytes blobs that lie whole and stay, each atomically; over the same bytes without harm."""
        objects().put_all({_key(staged.sha256): staged.temporary for staged in many})

    def discard(self, staged: Staged) -> None:
        """Forgets staged bytes; after `publish` it does nothing."""
        staged.temporary.unlink(missing_ok=True)

    def open(self, sha256: str) -> BinaryIO:
        """The bytes as a file at position 0; a chunked one is read as far as it is asked for. Raises BlobLost."""
        for path in (objects().path(_key(sha256)), assembled.cached(sha256)):
            if path is not None:
                return path.open("rb")
        if (chunked := _chunked(sha256)) is not None:
            return reader.open_blob(sha256, chunked.blob.size)
        return objects().open(_key(sha256))

    def open_to_send(self, sha256: str) -> BinaryIO:
        """The same as a real file where that is soon to be had, so that the kernel can send it. Raises BlobLost."""
        chunked = _chunked(sha256) if bucket() is None and assembled.cached(sha256) is None else None
        if chunked is not None and chunked.blob.size <= _ASSEMBLE_AT_ONCE:
            return assembled.assemble(sha256).open("rb")
        if chunked is not None:
            assembled.assemble_soon(sha256)
        return self.open(sha256)

    def url(self, sha256: str, *, name: str, patient: bool = False) -> str | None:
        """Where a client gets the bytes without this hub, as an attachment called `name`; None where it has to ask us.

        That is so without a bucket, and for a chunked blob until a worker has made a whole object of it.

        patient  waits for the worker a few seconds
        """
        if bucket() is None:
            return None
        if _chunked(sha256) is None:
            return objects().url(_key(sha256), name=name)
        if (key := bucketed.key_of(sha256)) is not None:
            return objects().url(key, name=name)
        bucketed.assemble_soon(sha256)
        if patient and (key := bucketed.wait_for(sha256)) is not None:
            return objects().url(key, name=name)
        return None

    def path(self, sha256: str) -> Path:
        """Where the whole bytes lie on this machine, for linking; made when they do not. Raises BlobLost."""
        if (path := objects().path(_key(sha256))) is not None:
            return path
        if (path := assembled.cached(sha256)) is not None:
            return path
        if _chunked(sha256) is not None:
            return assembled.assemble(sha256)
        with objects().open(_key(sha256)) as file:
            return assembled.write(sha256, chunks_of(file))

    def delete(self, sha256: str) -> None:
        """Removes what lies whole of a blob; what is not there is no error. Its chunks are for `collect`."""
        objects().delete(_key(sha256))
        assembled.drop(sha256)

    def verify(self, sha256: str) -> bool:
        """Reads everything, from the chunks where there are any, and tells whether it still has its hash."""
        chunked = _chunked(sha256)
        try:
            file = objects().open(_key(sha256)) if chunked is None else reader.open_blob(sha256, chunked.blob.size)
            with file:
                return sha256_of(file) == sha256
        except BlobLost:
            return False

    def stored(self) -> Iterator[tuple[str, float]]:
        """Every hash whose bytes lie whole, with the time they arrived (seconds since 1970)."""
        return ((key.rpartition("/")[2], arrived) for key, arrived in objects().listing("sha256/"))

    def sweep_temporary(self, *, older_than_s: float) -> int:
        """Removes temporary files of writers that died; how many."""
        return sweep_drafts(objects(), older_than_s=older_than_s)


def store() -> BlobStore:
    """The hub's blobs."""
    return _STORE


_STORE = BlobStore()


def chunks_of(file: BinaryIO) -> Iterator[bytes]:
    """A file's bytes in pieces of CHUNK."""
    while piece := file.read(CHUNK):
        yield piece


def sha256_of(file: BinaryIO) -> str:
    """The hash of everything from where `file` stands."""
    hasher = hashlib.sha256()
    for piece in chunks_of(file):
        hasher.update(piece)
    return hasher.hexdigest()


def _key(sha256: str) -> str:
    return f"sha256/{sha256[:2]}/{sha256[2:4]}/{sha256}"


def _chunked(sha256: str) -> ChunkedBlob | None:
    return ChunkedBlob.objects.select_related("blob").filter(pk=sha256).first()


def _write(temporary: Path, chunks: Iterable[bytes]) -> tuple[str, int]:
    hasher, size = hashlib.sha256(), 0
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        for chunk in chunks:
            size += len(chunk)
            if size > settings.BLOB_MAX_BYTES:
                raise TooLarge(f"The file is larger than {settings.BLOB_MAX_BYTES} bytes, the most this hub takes.")
            hasher.update(chunk)
            rest = memoryview(chunk)
            while rest:
                rest = rest[os.write(descriptor, rest) :]
    finally:
        os.close(descriptor)
    return hasher.hexdigest(), size


def _git_oid(path: Path, size: int) -> str:
    """A second pass over the file: git hashes the size first, and a stream does not tell it before its end."""
    hasher = hashlib.sha1(blob_header(size), usedforsecurity=False)
    with path.open("rb") as file:
        for piece in chunks_of(file):
            hasher.update(piece)
    return hasher.hexdigest()
