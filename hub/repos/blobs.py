"""Bytes in and out of the store, with the rows that say who sent them and who still needs them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from django.db import transaction
from django.utils import timezone

from hub.accounts.models import User
from hub.repos import trees
from hub.repos.models import Blob, BlobUpload
from hub.repos.names import check_sha256
from hub.repos.storage import Staged, chunks_of, sha256_of, store


def put_blob(chunks: Iterable[bytes], *, by: User | None, expect: str | None = None) -> Blob:
    """Stores bytes and records who sent them. Raises HashMismatch, TooLarge, StorageFull; then nothing stays behind."""
    if expect is not None:
        check_sha256(expect)
    blobs = store()
    staged = blobs.stage(chunks, expect=expect)
    try:
        return _record(staged, by)
    finally:
        blobs.discard(staged)


def put_file(path: Path, *, by: User | None) -> Blob:
    """Stores a file of this machine; one whose bytes are here already is only read."""
    with path.open("rb") as file:
        if (known := _known(sha256_of(file), by)) is not None:
            return known
        file.seek(0)
        return put_blob(chunks_of(file), by=by)


@transaction.atomic
def _known(sha256: str, by: User | None) -> Blob | None:
    blob = Blob.objects.select_for_update().filter(pk=sha256).first()
    if blob is not None:
        Blob.objects.filter(pk=sha256).update(touched_at=timezone.now())
        if by is not None:
            BlobUpload.objects.get_or_create(blob=blob, user=by)
    return blob


@transaction.atomic
def _record(staged: Staged, by: User | None) -> Blob:
    # Row first: it holds the lock that `sweep` needs to delete the same blob, so the bytes cannot go away in between.
    blob, created = Blob.objects.select_for_update().get_or_create(
        sha256=staged.sha256, defaults={"size": staged.size, "git_oid": staged.git_oid}
    )
    if not created:
        Blob.objects.filter(pk=blob.pk).update(touched_at=timezone.now())
    if by is not None:
        BlobUpload.objects.get_or_create(blob=blob, user=by)
    store().publish(staged)
    return blob


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
    strays: int
    temporary: int


def sweep(*, grace_s: float) -> Swept:
    """Removes what nothing refers to: folders, and once nobody touched them for `grace_s`, blobs and stray files."""
    blobs = store()
    trees.drop_unused()
    before = timezone.now() - timedelta(seconds=grace_s)
    unused = Blob.objects.unused().filter(touched_at__lt=before).values_list("sha256", flat=True)
    removed = sum(_delete_if_unused(sha256, before=before) for sha256 in list(unused))
    strays = 0
    for sha256, arrived in list(blobs.stored()):
        if arrived < before.timestamp():
            strays += _delete_if_unrecorded(sha256)
    return Swept(blobs=removed, strays=strays, temporary=blobs.sweep_temporary(older_than_s=grace_s))


def drop_unused(hashes: Iterable[str]) -> int:
    """Removes those of `hashes` that nothing refers to, without grace: for data that its owner deleted."""
    return sum(_delete_if_unused(sha256, before=timezone.now()) for sha256 in hashes)


@transaction.atomic
def _delete_if_unused(sha256: str, *, before: datetime) -> bool:
    blob = Blob.objects.unused().select_for_update(of=("self",)).filter(pk=sha256, touched_at__lt=before).first()
    if blob is None:
        return False  # it was touched or committed since
    blob.delete()
    store().delete(sha256)
    return True


@transaction.atomic
def _delete_if_unrecorded(sha256: str) -> bool:
    if Blob.objects.filter(pk=sha256).exists():
        return False
    store().delete(sha256)
    return True
