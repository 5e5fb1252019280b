"""Cutting a stream where its content says so, as hf-xet does; _marks.py finds the places."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from priors.chunks._hashes import chunk_hash

TARGET_CHUNK = 64 * 1024
MIN_CHUNK = TARGET_CHUNK // 8
MAX_CHUNK = TARGET_CHUNK * 2


@dataclass(frozen=True)
class Chunk:
    """A piece of a file."""

    hash: bytes
    data: bytes


def cut(pieces: Iterable[bytes]) -> Iterator[Chunk]:
    """The chunks of a stream that comes in pieces of any size. Holds no more than one piece and one chunk."""
    from priors.chunks._marks import Finder  # numpy, which nobody needs who only passes chunks on

    pending = bytearray()  # what is not yet in a chunk
    marks: list[int] = []  # where in `pending` the content allows a cut
    finder = Finder()
    for piece in pieces:
        marks += [len(pending) + mark for mark in finder.marks(piece)]
        pending += piece
        start = 0
        while (stop := _next_cut(start, marks, len(pending))) is not None:
            yield _chunk(pending, start, stop)
            start = stop
        del pending[:start]
        marks = [mark - start for mark in marks if mark > start]
    if pending:
        yield _chunk(pending, 0, len(pending))


def _chunk(buffer: bytearray, start: int, stop: int) -> Chunk:
    data = bytes(memoryview(buffer)[start:stop])
    return Chunk(chunk_hash(data), data)


def _next_cut(start: int, marks: list[int], length: int) -> int | None:
    """Where the chunk that begins at `start` ends, or None while that is not known. Drops the marks it passes."""
    while marks and marks[0] < start + MIN_CHUNK:
        marks.pop(0)
    if marks and marks[0] <= start + MAX_CHUNK:
        return marks[0]
    return start + MAX_CHUNK if length >= start + MAX_CHUNK else None
