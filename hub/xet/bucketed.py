"""Whole files in the bucket, which clients get without this hub: made by a worker, the least used go first."""

from __future__ import annotations

import hashlib
import secrets
import threading
import time
from datetime import timedelta
from pathlib import Path

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import Sum
from django.utils import timezone

from hub.announce import announce
from hub.errors import BlobLost
from hub.repos.objects import bucket, draft, objects, storage_full
from hub.xet import assembled
from hub.xet.models import AssembledBlob, ChunkedBlob, DirectUpload
from hub.xet.reader import read_blob

_TOUCH_EVERY = timedelta(minutes=1)  # a download must not cost a write each
_WAIT_S, _POLL_S = 8.0, 0.1  # the stock client gives up after 10 seconds
_waiters = threading.BoundedSemaphore(8)


ARRIVING = "arriving/"
"""Where clients put what a worker takes away from there."""


def new_key(sha256: str) -> str:
    """A name for a whole file that no other object has or will have."""
    return f"assembled/{sha256[:2]}/{sha256}.{secrets.token_hex(8)}"


def arriving_key(name: str) -> str:
    """A name of the same kind for what a client puts."""
    return f"{ARRIVING}{name[:2]}/{name}.{secrets.token_hex(8)}"


def key_of(sha256: str) -> str | None:
    """The object that is a chunked blob as a whole, if there is one; it then counts as used now."""
    found = AssembledBlob.objects.filter(pk=sha256).first()
    if found is None:
        return None
    now = timezone.now()
    if found.used_at < now - _TOUCH_EVERY:
        AssembledBlob.objects.filter(pk=sha256).update(used_at=now)
    return found.key


def assemble_soon(sha256: str) -> None:
    """Asks a worker for the whole file."""
    announce("xet.assemble", sha256)


def wait_for(sha256: str) -> str | None:
    """The whole file that a worker was asked for, once it is there; None when that takes longer than a few seconds.

    A thread that waits is free sooner than one that passes the file on. Where many wait no worker seems to come.
    """
    if not _waiters.acquire(blocking=False):
        return None
    try:
        until = time.monotonic() + _WAIT_S
        while (key := key_of(sha256)) is None and time.monotonic() < until:
            time.sleep(_POLL_S)
        return key
    finally:
        _waiters.release()


def assemble(sha256: str) -> None:
    """Makes the whole file from its chunks, checked against its hash. Raises BlobLost."""
    if bucket() is None:
        return
    with assembled.one_at_a_time(sha256):  # several who ask for ranges of it ask for it several times
        if key_of(sha256) is None and ChunkedBlob.objects.filter(pk=sha256).exists():
            _assemble(sha256)


def _assemble(sha256: str) -> None:
    path, hasher = draft(objects()), hashlib.sha256()
    try:
        with storage_full(), path.open("xb") as file:
            for data in read_blob(sha256):
                hasher.update(data)
                file.write(data)
        if hasher.hexdigest() != sha256:
            raise BlobLost(f"The chunks of blob {sha256} are those of {hasher.hexdigest()}. Restore a backup.")
        adopt_file(sha256, path)
    finally:
        path.unlink(missing_ok=True)


def adopt_file(sha256: str, path: Path) -> None:
    """Makes a checked file of this machine, which is gone then, the whole file of a blob."""
    if (store := bucket()) is not None:
        key = new_key(sha256)
        store.put(key, path)
        adopt(sha256, key)


def adopt(sha256: str, key: str) -> None:
    """Makes an object that was checked the whole file of a blob; when another one is that already, this one goes."""
    try:
        with transaction.atomic():
            row, new = AssembledBlob.objects.get_or_create(pk=sha256, defaults={"key": key})
    except IntegrityError:  # the blob went meanwhile
        row, new = None, False
    if not new and (row is None or row.key != key):
        delete(key)


def delete(key: str) -> None:
    """Removes an object that no row names any more."""
    if (store := bucket()) is not None:
        store.delete(key)


def evict() -> int:
    """Removes whole files that were not used for longest until ASSEMBLED_MAX_BYTES are left; how many."""
    if bucket() is None:
        return 0
    rows = AssembledBlob.objects.select_related("blob").order_by("used_at")
    total, removed = rows.aggregate(sum=Sum("blob__size"))["sum"] or 0, 0
    for row in rows.iterator():
        # An address for a file that was just used may still be followed for an hour.
        if total <= settings.ASSEMBLED_MAX_BYTES or row.used_at > timezone.now() - timedelta(hours=1):
            break
        total -= row.blob.size
        key = row.key
        row.delete()
        delete(key)
        removed += 1
    return removed


def collect_strays(*, before_s: float) -> int:
    """Removes objects that neither a blob nor an upload has, as writers leave that die or come late; how many."""
    store, removed = bucket(), 0
    if store is None:
        return 0
    for key, arrived in [*store.listing("assembled/"), *store.listing(ARRIVING)]:
        named = (rows.objects.filter(key=key).exists for rows in (AssembledBlob, DirectUpload))
        if arrived < before_s and not any(is_named() for is_named in named):
            store.delete(key)
            removed += 1
    return removed
