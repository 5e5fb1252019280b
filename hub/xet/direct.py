"""Uploads that go into the bucket without this hub.

    begin     gives the addresses to put the bytes to; nothing is anybody's yet
    arrived   the client says that it is done; a worker is told
    settle    the worker reads, verifies and chunks the object, and it becomes a blob of the uploader
    wait      for who needs the blob now: until the worker is done, or has refused

Without a bucket `begin` gives None, and the bytes come to a route of the hub, which hands them to `put_blob`.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import BinaryIO

from django.conf import settings
from django.utils import timezone

from hub.accounts.models import User
from hub.announce import announce
from hub.errors import BadRequest, BlobLost, HashMismatch, StillChecking, TooLarge
from hub.repos.blobs import known_blob, put_blob, put_pieces
from hub.repos.gitobjects import blob_header
from hub.repos.models import Blob
from hub.repos.names import check_sha256
from hub.repos.objects import bucket
from hub.repos.s3 import S3Objects
from hub.repos.storage import chunks_of
from hub.xet import bucketed
from hub.xet.chunkstore import WHOLE_MAX_BYTES, ChunksGone, Incoming, keep
from hub.xet.models import DirectUpload
from hub.xet.xorbs import pack
from priors.chunks import cut

logger = logging.getLogger(__name__)

_MOST_AT_ONCE = 5 * 1024**3  # of one PUT; S3's own limit
_STUCK = timedelta(minutes=30)  # a worker that says nothing for so long has died
_LOST = timedelta(seconds=30)
_POLL_S = 0.2
_TRIES = 5
Status = DirectUpload.Status


@dataclass(frozen=True)
class Begun:
    """Where the bytes are to be put: one address, or one for each part of `part_size` bytes."""

    upload: DirectUpload
    urls: tuple[str, ...]
    part_size: int | None


def begin(*, user: User, sha256: str, size: int, parts: bool) -> Begun | None:
    """Addresses for an upload of these bytes; None when the store is no bucket. Raises TooLarge.

    parts  whether the client sends it in parts
    """
    store = bucket()
    if store is None:
        return None
    check_sha256(sha256)
    if size > settings.BLOB_MAX_BYTES:
        raise TooLarge(f"The file is larger than {settings.BLOB_MAX_BYTES} bytes, the most this hub takes.")
    if not parts and size > _MOST_AT_ONCE:
        raise TooLarge(f"{size} bytes are too many for one piece. Send the file with the transfer `multipart`.")
    key = bucketed.new_key(sha256)
    if not parts:
        made = DirectUpload.objects.create(user=user, sha256=sha256, size=size, key=key)
        return Begun(made, (store.put_url(key, size),), None)
    parts_id, part_size, urls = store.begin_parts(key, size)
    made = DirectUpload.objects.create(user=user, sha256=sha256, size=size, key=key, parts_id=parts_id)
    return Begun(made, tuple(urls), part_size)


def arrived(upload: DirectUpload, etags: Sequence[str] = ()) -> None:
    """Notes that the client has put everything. Said twice it changes nothing. Raises BadRequest for missing parts."""
    store = bucket()
    if store is None or upload.status != Status.OPEN:
        return
    if upload.parts_id:
        try:
            store.end_parts(upload.key, upload.parts_id, list(etags))
        except BlobLost as err:
            raise BadRequest("The upload is over, or parts of it are missing. Begin it again.") from err
    if _turn(upload, Status.OPEN, Status.ARRIVED):
        announce("xet.settle", str(upload.pk))


def latest(user: User, sha256: str) -> DirectUpload | None:
    """The last upload of these bytes that the user began."""
    return DirectUpload.objects.filter(user=user, sha256=sha256).order_by("-pk").first()


def wait(upload: DirectUpload, *, seconds: float) -> Blob:
    """The blob, once a worker has made it. Raises HashMismatch when it refused, StillChecking when it takes longer."""
    until = time.monotonic() + seconds
    while True:
        upload.refresh_from_db()
        if upload.status == Status.DONE:
            return Blob.objects.get(pk=upload.sha256)
        if upload.status == Status.REFUSED:
            raise HashMismatch(upload.refusal)
        if time.monotonic() > until:
            raise StillChecking("The hub is still checking the file. Ask again in a minute; nothing has to be re-sent.")
        time.sleep(_POLL_S)


def settle(upload_id: str) -> None:
    """Makes a blob of what arrived, or refuses it. For a worker; does nothing when another one has it."""
    store = bucket()
    upload = DirectUpload.objects.select_related("user").filter(pk=upload_id).first()
    if store is None or upload is None or not _turn(upload, Status.ARRIVED, Status.CHECKING):
        return
    try:
        _take(store, upload)
    except (HashMismatch, BlobLost) as err:
        DirectUpload.objects.filter(pk=upload.pk).update(refusal=str(err)[:300])
        _turn(upload, Status.CHECKING, Status.REFUSED)
        store.delete(upload.key)
        return
    except BaseException:
        _turn(upload, Status.CHECKING, Status.ARRIVED)  # another worker, or another time
        raise
    _turn(upload, Status.CHECKING, Status.DONE)


def _take(store: S3Objects, upload: DirectUpload) -> None:
    size = store.size(upload.key)
    if size != upload.size:
        raise HashMismatch(f"{size} bytes arrived, {upload.size} were announced. Send the file again.")
    if size <= WHOLE_MAX_BYTES:
        put_blob([store.read(upload.key, 0, size)], by=upload.user, expect=upload.sha256)
        store.delete(upload.key)
        return
    for attempt in range(_TRIES):
        seen = _Seen(size)
        pieces = keep(partial(_incoming, store, upload.key, seen))
        if seen.sha256 != upload.sha256:
            raise HashMismatch(f"The bytes hash to {seen.sha256}, not to {upload.sha256}. Send the file again.")
        try:
            if known_blob(upload.sha256, upload.user) is None:
                put_pieces(pieces, sha256=upload.sha256, git_oid=seen.git_oid, by=upload.user)
            break
        except ChunksGone:
            if attempt == _TRIES - 1:
                raise
    bucketed.adopt(upload.sha256, upload.key)


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


def wake() -> int:
    """Tells workers again of uploads whose message was lost or whose worker died; how many."""
    now = timezone.now()
    DirectUpload.objects.filter(status=Status.CHECKING, changed_at__lt=now - _STUCK).update(status=Status.ARRIVED)
    waiting = DirectUpload.objects.filter(status=Status.ARRIVED, changed_at__lt=now - _LOST)
    for pk in (found := list(waiting.values_list("pk", flat=True))):
        announce("xet.settle", str(pk))
    return len(found)


def forget_old(*, grace_s: float) -> int:
    """Removes the rows of uploads that are over, and what was put for those that never ended; how many."""
    store, removed = bucket(), 0
    old = DirectUpload.objects.filter(changed_at__lt=timezone.now() - timedelta(seconds=grace_s))
    if store is None:
        return 0
    for upload in old.exclude(status__in=[Status.ARRIVED, Status.CHECKING]):
        if upload.status == Status.OPEN and not _turn(upload, Status.OPEN, Status.REFUSED):
            continue  # its client came back
        if upload.status == Status.OPEN:
            if upload.parts_id:
                store.abort_parts(upload.key, upload.parts_id)
            store.delete(upload.key)
        upload.delete()
        removed += 1
    return removed


def _turn(upload: DirectUpload, before: str, after: str) -> bool:
    """Moves an upload on; False when somebody else did."""
    rows = DirectUpload.objects.filter(pk=upload.pk, status=before)
    return bool(rows.update(status=after, changed_at=timezone.now()))
