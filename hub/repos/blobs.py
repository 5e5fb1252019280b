"""Bytes in and out of the store, with the rows that say who sent them and who still needs them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

from django.db import transaction
from django.utils import timezone

from hub.accounts.access import narrow_token
from hub.accounts.models import User
from hub.repos import trees
from hub.repos.models import Blob, BlobUpload
from hub.repos.names import check_sha256
from hub.repos.storage import Staged, chunks_of, sha256_of, store
from hub.xet import assembled, bucketed, chunkstore, compact
from hub.xet.chunkstore import WHOLE_MAX_BYTES, ChunksGone, Piece
from hub.xet.models import AssembledBlob, Segment

_TRIES = 5
_ROWS = 500
_TOGETHER = 64
"""Blobs deleted in one transaction: one each took 14 ms, and with SQLite everybody who writes waits for it."""

_NOBODY = "made and taken back"
"""Instead of a git id in a row that nobody sees, as one transaction makes it and takes it back."""

_STRAY_S = 3600.0
"""Grace of an object without a row, whatever grace `sweep` is told: its writer may be about to record it."""


def put_blob(chunks: Iterable[bytes], *, by: User | None, expect: str | None = None) -> Blob:
    """Stores bytes and records who sent them. Raises HashMismatch, TooLarge, StorageFull; then nothing stays behind."""
    if expect is not None:
        check_sha256(expect)
    staged = store().stage(chunks, expect=expect)
    try:
        return put_staged(staged, by=by)
    finally:
        store().discard(staged)


def put_staged(staged: Staged, *, by: User | None) -> Blob:
    """Stores and records what was staged; the caller discards it."""
    if staged.size <= WHOLE_MAX_BYTES:
        return put_small([staged], by=by)[0]
    return known_blob(staged.sha256, by) or _put_chunks(staged, by)


@transaction.atomic
def put_small(many: Sequence[Staged], *, by: User | None) -> list[Blob]:
    """The same for several of at most WHOLE_MAX_BYTES, of which no two are alike; sorted by hash."""
    # In the order of their hashes, so that two writers of the same bytes cannot wait for each other.
    staged = {each.sha256: each for each in sorted(many, key=lambda each: each.sha256)}
    here = {blob.sha256: blob for blob in _locked(staged)}
    new = [each for sha256, each in staged.items() if sha256 not in here]
    while missing := [each for sha256, each in staged.items() if sha256 not in here]:
        # Rows first: they hold the locks that `sweep` needs to delete the same blobs, so no bytes can go in between.
        rows = [Blob(sha256=each.sha256, size=each.size, git_oid=each.git_oid) for each in missing]
        Blob.objects.bulk_create(rows, ignore_conflicts=True)
        here = {blob.sha256: blob for blob in _locked(staged)}
    if new:
        store().publish(new)
    _touch(list(staged), by)
    return [here[sha256] for sha256 in staged]


def _locked(hashes: Iterable[str]) -> Iterable[Blob]:
    return Blob.objects.select_for_update().filter(pk__in=list(hashes)).order_by("pk")


def put_file(path: Path, *, by: User | None) -> Blob:
    """Stores a file of this machine; one whose bytes are here already is only read."""
    with path.open("rb") as file:
        if (known := known_blob(sha256_of(file), by)) is not None:
            return known
        file.seek(0)
        return put_blob(chunks_of(file), by=by)


def put_pieces(pieces: Sequence[Piece], *, sha256: str, git_oid: str, by: User | None) -> Blob:
    """Records a blob whose chunks are in the store and whose hashes the caller computed. Raises ChunksGone."""
    with transaction.atomic():
        blob = _record(sha256, sum(piece.raw_size for piece in pieces), git_oid, by)
        chunkstore.attach(blob.sha256, pieces)
    return blob


@transaction.atomic
def known_blob(sha256: str, by: User | None) -> Blob | None:
    """The blob, when its bytes are here already; `by`, who has just proved to have them too, may use it from now on."""
    blob = Blob.objects.select_for_update().filter(pk=sha256).first()
    if blob is not None:
        _touch([sha256], by)
    return blob


def _put_chunks(staged: Staged, by: User | None) -> Blob:
    for attempt in range(_TRIES):
        pieces = chunkstore.keep(partial(chunkstore.chunks_of_file, staged.temporary))
        try:
            blob = put_pieces(pieces, sha256=staged.sha256, git_oid=staged.git_oid, by=by)
        except ChunksGone:
            if attempt == _TRIES - 1:
                raise
            continue
        with suppress(OSError):  # another disk: whoever asks for the whole file first makes it
            assembled.adopt(staged.sha256, staged.temporary)
        return blob
    raise AssertionError("the last try returns or raises")


def _record(sha256: str, size: int, git_oid: str, by: User | None) -> Blob:
    # Row first: it holds the lock that `sweep` needs to delete the same blob, so the bytes cannot go away in between.
    blob, _ = Blob.objects.select_for_update().get_or_create(sha256=sha256, defaults={"size": size, "git_oid": git_oid})
    _touch([sha256], by)
    return blob


def _touch(hashes: Sequence[str], by: User | None) -> None:
    Blob.objects.filter(pk__in=hashes).update(touched_at=timezone.now())
    if by is not None:
        sent = [BlobUpload(blob_id=sha256, user=by, token=narrow_token(by)) for sha256 in hashes]
        BlobUpload.objects.bulk_create(sent, ignore_conflicts=True)


def missing_blobs(hashes: Sequence[str], *, by: User) -> list[str]:
    """Those of `hashes` that `by` has to send. The others are kept from `sweep` for another grace period."""
    for sha256 in hashes:
        check_sha256(sha256)
    have = set(Blob.objects.usable_by(by).filter(sha256__in=hashes).values_list("sha256", flat=True))
    Blob.objects.filter(sha256__in=have).update(touched_at=timezone.now())
    return [sha256 for sha256 in dict.fromkeys(hashes) if sha256 not in have]


@dataclass(frozen=True)
class Swept:
    """What `sweep` removed."""

    blobs: int
    xorbs: int
    strays: int
    temporary: int
    compacted_bytes: int


def sweep(*, grace_s: float) -> Swept:
    """Removes what nothing refers to: folders, and once nobody touched them for `grace_s`, blobs, chunks, stray files.

    A xorb goes when no blob needs any of its chunks; one of which little is needed is rewritten.
    """
    blobs = store()
    trees.drop_unused()
    before = timezone.now() - timedelta(seconds=grace_s)
    unused = Blob.objects.unused().filter(touched_at__lt=before).values_list("sha256", flat=True)
    removed = sum(_delete_unused(batch, before=before) for batch in _batches(unused))
    xorbs = compact.remove_retired(before=before) + chunkstore.collect(before=before)
    compacted = compact.compact(before=before)
    strays_before = min(before, timezone.now() - timedelta(seconds=_STRAY_S))
    strays = chunkstore.collect_strays(before=strays_before)
    strays += bucketed.collect_strays(before_s=strays_before.timestamp())
    old = [sha256 for sha256, arrived in blobs.stored() if arrived < strays_before.timestamp()]
    strays += sum(_delete_unrecorded(batch) for batch in _batches(_unrecorded([*old, *assembled.hashes()])))
    assembled.evict()
    bucketed.evict()
    return Swept(
        blobs=removed,
        xorbs=xorbs,
        strays=strays,
        compacted_bytes=compacted,
        temporary=blobs.sweep_temporary(older_than_s=max(grace_s, _STRAY_S)),
    )


def drop_unused(hashes: Iterable[str]) -> int:
    """Removes those of `hashes` that nothing refers to, without grace, and their chunks: for data its owner deleted."""
    hashes = list(hashes)
    xorbs: set[int] = set()
    for start in range(0, len(hashes), _ROWS):
        xorbs |= set(Segment.objects.filter(chunked__in=hashes[start : start + _ROWS]).values_list("xorb", flat=True))
    removed = sum(_delete_unused(batch, before=timezone.now()) for batch in _batches(hashes))
    chunkstore.collect(before=timezone.now(), among=xorbs)
    return removed


def _batches(hashes: Iterable[str]) -> list[list[str]]:
    """In the order that writers lock them in."""
    ordered = sorted(hashes)
    return [ordered[start : start + _TOGETHER] for start in range(0, len(ordered), _TOGETHER)]


def _delete_unused(hashes: Sequence[str], *, before: datetime) -> int:
    with transaction.atomic():
        # Locked first and looked at then: a commit may have come to refer to one, and holds it until it does.
        locked = [blob.pk for blob in _locked(hashes) if blob.touched_at < before]
        unused = Blob.objects.unused().filter(pk__in=locked)
        gone = sorted(unused.values_list("pk", flat=True))  # the others were touched or committed since
        wholes = list(AssembledBlob.objects.filter(pk__in=gone).values_list("key", flat=True))
        chunkstore.leave(gone)
        Blob.objects.filter(pk__in=gone).delete()
    # After the rows: should this process die in between, the bytes are strays, and no row promises what is not there.
    for whole in wholes:
        bucketed.delete(whole)
    _delete_unrecorded(gone)
    return len(gone)


def _unrecorded(hashes: Sequence[str]) -> Iterator[str]:
    for start in range(0, len(hashes), _ROWS):
        batch = hashes[start : start + _ROWS]
        recorded = set(Blob.objects.filter(pk__in=batch).values_list("pk", flat=True))
        yield from (sha256 for sha256 in batch if sha256 not in recorded)


@transaction.atomic
def _delete_unrecorded(hashes: Sequence[str]) -> int:
    # Rows made and taken back again: whoever stores the same bytes at this moment waits, or has the row already.
    Blob.objects.bulk_create([Blob(sha256=sha256, size=0, git_oid=_NOBODY) for sha256 in hashes], ignore_conflicts=True)
    made = Blob.objects.filter(pk__in=hashes, git_oid=_NOBODY)
    gone = list(made.values_list("pk", flat=True))
    for sha256 in gone:
        store().delete(sha256)
    made.delete()
    return len(gone)
