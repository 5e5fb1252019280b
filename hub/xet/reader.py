"""Blobs read back from their chunks, every one of which is checked."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, BinaryIO, cast

from hub.errors import BlobLost
from hub.repos.objects import objects
from hub.xet.errors import BadXorb
from hub.xet.models import Chunk, Segment
from hub.xet.xorbs import HEADER, Frame, Scheme, unpack
from priors.chunks import chunk_hash, to_hex

_ROWS = 500
_TRIES = 5
_FIRST_WINDOW, _WINDOW = 128 * 1024, 4 * 1024 * 1024
"""Of a xorb read at once, a request when it lies in a bucket. It doubles: who looks at a file's beginning only, as a
commit does, has not read the next megabytes too."""


@dataclass(frozen=True)
class ChunkAt:
    """A chunk with its place in a xorb and in the file that is read."""

    hash: bytes
    key: str
    offset: int
    size: int
    raw_size: int
    file_offset: int


def chunks_of(sha256: str, start: int = 0, stop: int | None = None) -> Iterator[ChunkAt]:
    """The chunks of a blob that hold any of its bytes from `start` to `stop`, in order. Raises BlobLost."""
    segments = Segment.objects.filter(chunked=sha256).select_related("xorb").order_by("offset")
    for segment in segments:
        if segment.offset + segment.size <= start:
            continue
        if stop is not None and segment.offset >= stop:
            return
        at = segment.offset
        key, rows = chunks_at(segment)
        for row in rows:
            if at + row.raw_size > start and (stop is None or at < stop):
                yield ChunkAt(bytes(row.hash), key, row.offset, row.size, row.raw_size, at)
            at += row.raw_size


def chunks_at(segment: Segment) -> tuple[str, list[Chunk]]:
    """The chunks of a segment, and the object they lie in. Raises BlobLost.

    They may have moved to another xorb since the segment was read (compact.py): then it is read again, in place.
    """
    for _ in range(_TRIES):
        rows = Chunk.objects.filter(xorb=segment.xorb_id, number__gte=segment.start, number__lt=segment.stop)
        found = list(rows.order_by("number"))
        if len(found) == segment.stop - segment.start:
            return segment.xorb.key, found
        if (now := Segment.objects.filter(pk=segment.pk).select_related("xorb").first()) is None:
            break
        segment.xorb, segment.start, segment.stop = now.xorb, now.start, now.stop
    raise BlobLost(f"Chunks of blob {segment.chunked_id}, byte {segment.offset}, are not in the store.")


def read_blob(sha256: str, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
    """Its bytes from `start` to `stop`, a chunk at a time. Raises BlobLost for a chunk that is gone or changed."""
    for chunk, data in _read(chunks_of(sha256, start, stop)):
        before = max(start - chunk.file_offset, 0)
        after = len(data) if stop is None else min(stop - chunk.file_offset, len(data))
        yield data if (before, after) == (0, len(data)) else data[before:after]


def read_chunks(hashes: Iterable[bytes]) -> Iterator[bytes]:
    """Chunks by name, in the order asked for. Raises BlobLost."""
    return (data for _, data in _read(_by_name(hashes)))


def _by_name(hashes: Iterable[bytes]) -> Iterator[ChunkAt]:
    rest = iter(hashes)
    while batch := list(islice(rest, _ROWS)):
        rows = Chunk.objects.filter(hash__in=set(batch)).select_related("xorb")
        found = {bytes(row.hash): row for row in rows}
        for name in batch:
            if (row := found.get(name)) is None:
                raise BlobLost(f"Chunk {to_hex(name)} is not in the store. Send it again.")
            yield ChunkAt(name, row.xorb.key, row.offset, row.size, row.raw_size, 0)


def _read(chunks: Iterator[ChunkAt]) -> Iterator[tuple[ChunkAt, bytes]]:
    return ((chunk, _open(chunk, packed)) for chunk, packed in _read_packed(chunks))


def _read_packed(chunks: Iterator[ChunkAt]) -> Iterator[tuple[ChunkAt, bytes]]:
    for window in _windows(chunks):
        first, last = window[0], window[-1]
        packed = objects().read(first.key, first.offset, last.offset + last.size)
        for chunk in window:
            at = chunk.offset - first.offset
            yield chunk, packed[at : at + chunk.size]


def frames_at(chunks: Iterator[ChunkAt]) -> Iterator[bytes]:
    """The packed bytes of chunks, each of which is checked. Raises BlobLost."""
    for chunk, packed in _read_packed(chunks):
        _open(chunk, packed)
        yield packed


def open_blob(sha256: str, size: int) -> BinaryIO:
    """A blob as a file at position 0; nothing is read before it is asked for."""
    return cast(BinaryIO, io.BufferedReader(_ChunkedFile(sha256, size), buffer_size=256 * 1024))


def _windows(chunks: Iterator[ChunkAt]) -> Iterator[list[ChunkAt]]:
    """Runs of chunks that lie one after another in a xorb, as many as are worth one read."""
    window: list[ChunkAt] = []
    most = _FIRST_WINDOW
    for chunk in chunks:
        follows = bool(window) and (window[-1].key, window[-1].offset + window[-1].size) == (chunk.key, chunk.offset)
        if window and (not follows or chunk.offset + chunk.size - window[0].offset > most):
            yield window
            window, most = [], min(2 * most, _WINDOW)
        window.append(chunk)
    if window:
        yield window


def _open(chunk: ChunkAt, packed: bytes) -> bytes:
    try:
        data = unpack(Frame(packed, Scheme(packed[HEADER // 2]), chunk.raw_size))
    except (BadXorb, ValueError) as err:
        raise _changed(chunk) from err
    if chunk_hash(data) != chunk.hash:
        raise _changed(chunk)
    return data


def _changed(chunk: ChunkAt) -> BlobLost:
    return BlobLost(
        f"Chunk {to_hex(chunk.hash)} in {chunk.key}, byte {chunk.offset}, has changed. Restore the file from a backup."
    )


class _ChunkedFile(io.RawIOBase):
    """A blob's bytes from its chunks; a seek begins a new read."""

    def __init__(self, sha256: str, size: int) -> None:
        self._sha256, self._size, self._at = sha256, size, 0
        self._stream: Iterator[bytes] | None = None
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._rest:
            if self._at >= self._size:
                return 0
            if self._stream is None:
                self._stream = read_blob(self._sha256, self._at)
            self._rest = memoryview(next(self._stream, b""))
        taken = self._rest[: len(buffer)]
        buffer[: len(taken)] = taken
        self._rest = self._rest[len(taken) :]
        self._at += len(taken)
        return len(taken)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise ValueError(f"A file has no position {base + offset}.")
        if base + offset != self._at:
            self._at, self._stream, self._rest = base + offset, None, memoryview(b"")
        return self._at

    def tell(self) -> int:
        return self._at
