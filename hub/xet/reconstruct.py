"""How a client puts a file of a repository together by itself: which bytes of which xorbs, in order."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from django.db.models import Exists, OuterRef

from hub.errors import RangeNotSatisfiable
from hub.repos.models import Repository, RepositoryBlob
from hub.safety.holds import servable, standing
from hub.xet.chunkstore import xet_hashes
from hub.xet.models import Chunk, ChunkedBlob, Segment
from hub.xet.reader import chunks_at
from priors.errors import NotFound


def offered(repository: Repository, blobs: Iterable[str]) -> dict[str, str]:
    """What Xet calls those blobs of a repository that clients may fetch by chunks, by SHA-256.

    None while something of the repository is held: a hold may be of one revision, which chunks do not know.
    """
    return {} if standing(repository) else xet_hashes(blobs)


@dataclass(frozen=True)
class Term:
    """Chunks of a xorb that make the next bytes of a file, and where they lie in it."""

    xorb: str
    xorb_id: int
    key: str
    start: int
    stop: int
    raw_size: int
    first_byte: int
    stop_byte: int


@dataclass(frozen=True)
class Reconstruction:
    """How some bytes of a file are put together; the first `skip` bytes of the first term are before them."""

    skip: int
    terms: tuple[Term, ...]


def reconstruction(repository: Repository, name: str, start: int, stop: int | None) -> Reconstruction:
    """The terms of a file's bytes from `start` to `stop`. Raises NotFound, RangeNotSatisfiable, Quarantined.

    Only for files of the repository: a hash alone opens nothing.
    """
    mine = RepositoryBlob.objects.filter(repository=repository, blob=OuterRef("pk"))
    chunked = ChunkedBlob.objects.select_related("blob").filter(Exists(mine), xet_hash=name).first()
    if chunked is None:
        raise NotFound(f"{repository} has no file {name}.")
    servable(repository, [chunked.pk])
    if start >= chunked.blob.size:
        raise RangeNotSatisfiable(f"The file has {chunked.blob.size} bytes; the range begins at {start}.")
    terms: list[Term] = []
    skip = 0
    for segment in chunked.segments.select_related("xorb").order_by("offset"):
        if segment.offset + segment.size <= start or (stop is not None and segment.offset >= stop):
            continue
        term, before = _term(segment, start, stop)
        skip = skip if terms else start - before
        terms.append(term)
    return Reconstruction(skip, tuple(terms))


def _term(segment: Segment, start: int, stop: int | None) -> tuple[Term, int]:
    """The chunks of a segment that hold bytes of the range, and where in the file they begin."""
    taken: list[Chunk] = []
    at = begin = segment.offset
    _, rows = chunks_at(segment)
    for row in rows:
        if at + row.raw_size > start and (stop is None or at < stop):
            if not taken:
                begin = at
            taken.append(row)
        at += row.raw_size
    first, last = taken[0], taken[-1]
    raw_size = sum(row.raw_size for row in taken)
    term = Term(
        segment.xorb.hash, segment.xorb_id, segment.xorb.key, first.number, last.number + 1, raw_size,
        first.offset, last.offset + last.size,
    )  # fmt: skip
    return term, begin
