"""Uploads that go into the bucket without this hub.

    begin     gives the addresses to put the bytes to; nothing is anybody's yet
    arrived   the client says that it is done; a worker is told
    settle    the worker reads and verifies the object and stores its chunks (taking.py)
    wait      for who needs it now: until the worker is done, or has refused

Files come so by Git LFS and by the hub's own API. Of uploads in chunks the xorbs do; what only names chunks, shards and
lists, comes through the web process and waits for a worker in the same way, because the worker reads all those chunks.
Without a bucket `begin` gives None, and the bytes come to a route of the hub.

A check that fails by what was sent is a refusal. One that fails by a fault of ours is tried again, later each time, and
given up after a few attempts: the uploader is told so, and the bytes stay for the operator until `forget_old`.
"""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.db import OperationalError, connection
from django.db.models import F, QuerySet
from django.db.models.expressions import Combinable
from django.utils import timezone

from hub.accounts.access import narrow_token
from hub.accounts.models import User
from hub.announce import announce
from hub.errors import BadRequest, BlobLost, CheckFailed, HashMismatch, StillChecking, StorageDown, TooLarge
from hub.repos import quotas
from hub.repos.models import Namespace
from hub.repos.names import check_sha256
from hub.repos.objects import bucket, draft, storage_full
from hub.repos.s3 import S3Objects
from hub.xet import bucketed
from hub.xet.errors import BadShard, BadXorb
from hub.xet.models import DirectUpload, Scope
from hub.xet.taking import take
from priors.errors import NotFound, StorageFull, UserError

logger = logging.getLogger(__name__)

_MOST_AT_ONCE = 5 * 1024**3  # of one PUT; S3's own limit
_STUCK = timedelta(minutes=5)  # a worker that says nothing for so long has died
_BEAT_S = 60.0
_LOST = timedelta(seconds=30)
_POLL_S = 0.2
_XORB_WAIT_S, _SHARD_WAIT_S = 20.0, 60.0  # of a web thread; hf-xet asks again
MOST_ATTEMPTS = 5
"""Of a check that fails by a mistake of ours: about 8 minutes with the pauses."""
MOST_PATIENCE = 60
"""While the bucket or the database does not answer or the disk is full: about a day."""
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 30.0, 1800.0
_OUTSIDE = (StorageDown, StorageFull, OperationalError)
Kind, Status = DirectUpload.Kind, DirectUpload.Status
_REFUSALS: dict[str, type[UserError]] = {
    Kind.FILE: HashMismatch, Kind.XORB: BadXorb, Kind.SHARD: BadShard, Kind.LIST: BadShard,
}  # fmt: skip


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
    if not parts:
        key = bucketed.arriving_key(sha256)
        made = DirectUpload.objects.create(user=user, token=narrow_token(user), name=sha256, size=size, key=key)
        return Begun(made, (store.put_url(key, size),), None)
    key = bucketed.new_key(sha256)
    parts_id, part_size, urls = store.begin_parts(key, size)
    made = DirectUpload.objects.create(
        user=user, token=narrow_token(user), name=sha256, size=size, key=key, parts_id=parts_id
    )
    return Begun(made, tuple(urls), part_size)


def begin_xorb(*, scope: Scope, user: User, payer: Namespace, name: str, size: int) -> Begun:
    """An address for a xorb that the scope does not know. Needs a bucket. Raises OverQuota.

    payer  whose quota it counts for, from now on
    """
    if (begun := _begun_xorb(scope=scope, name=name, size=size)) is not None:
        return begun
    store, key = _bucket(), bucketed.arriving_key(name)
    with quotas.reserved(payer, size) as room:
        made = DirectUpload.objects.create(
            kind=Kind.XORB, user=user, token=scope.token, scope=scope, payer=payer, name=name, size=size, key=key
        )
        room.give_back()  # the upload counts by itself from here on
    return Begun(made, (store.put_url(key, size),), None)


def _begun_xorb(*, scope: Scope, name: str, size: int) -> Begun | None:
    """The same upload, begun before, with a fresh address: a client that asks again takes no more room."""
    rows = DirectUpload.objects.filter(kind=Kind.XORB, scope=scope, name=name, size=size, status=Status.OPEN)
    found = rows.order_by("-pk").first()
    if found is None or not _turn(_rows(found, Status.OPEN), Status.OPEN):
        return None
    return Begun(found, (_bucket().put_url(found.key, size),), None)


def xorb_there(scope: Scope, name: str, size: int) -> DirectUpload | None:
    """An upload of the same xorb that lies in the bucket whole: it need not be sent again."""
    same = DirectUpload.objects.filter(kind=Kind.XORB, scope=scope, name=name, size=size)
    found = same.filter(status__in=[Status.OPEN, Status.ARRIVED, Status.CHECKING]).order_by("-pk").first()
    if found is None or found.status != Status.OPEN:
        return found
    try:
        whole = _bucket().size(found.key) == size
    except BlobLost:
        return None
    return found if whole and _turn(_rows(found, Status.OPEN), Status.OPEN) else None


def xorb_arrived(scope: Scope, name: str, upload: str) -> None:
    """The client has put a xorb there; waits until its chunks are stored.

    Raises NotFound when nothing is there, so that clients begin anew; else as `wait`.
    """
    found = DirectUpload.objects.filter(pk=upload, kind=Kind.XORB, scope=scope, name=name).first()
    if found is None:
        raise NotFound("This upload is over. Ask for a new address.")
    if found.status == Status.OPEN:
        try:
            _bucket().size(found.key)
        except BlobLost as err:
            raise NotFound("Nothing was put at the address. Ask for a new one and put the xorb there.") from err
        arrived(found)
    wait(found, seconds=_XORB_WAIT_S)


def put_shard(*, scope: Scope, user: User, payer: Namespace, data: bytes) -> None:
    """Has a worker make the files of a shard, and waits for it. Raises as `wait`; asked again, it goes on waiting.

    payer  whose quota the files count for
    """
    wait(_hand_over(Kind.SHARD, scope=scope, user=user, payer=payer, data=data), seconds=_SHARD_WAIT_S)


def put_list(*, scope: Scope, user: User, payer: Namespace, sha256: str, chunks: Sequence[bytes]) -> DirectUpload:
    """Has a worker make a file of chunks, which the caller has seen the user may name. Asked again, it is the same.

    payer  whose quota the file counts for
    """
    data = b"".join([bytes.fromhex(sha256), *chunks])
    return _hand_over(Kind.LIST, scope=scope, user=user, payer=payer, data=data)


def _hand_over(kind: str, *, scope: Scope, user: User, payer: Namespace, data: bytes) -> DirectUpload:
    """Puts what this process was sent where a worker reads it, unless it waits for one there."""
    name = hashlib.sha256(data).hexdigest()
    same = DirectUpload.objects.filter(kind=kind, user=user, scope=scope, payer=payer, name=name)
    upload = same.filter(status__in=[Status.ARRIVED, Status.CHECKING]).order_by("pk").last()
    if upload is not None:
        return upload
    store, key = _bucket(), bucketed.arriving_key(name)
    path = draft(store)
    try:
        with storage_full():
            path.write_bytes(data)
        store.put(key, path)
    finally:
        path.unlink(missing_ok=True)
    upload = DirectUpload.objects.create(
        kind=kind, user=user, token=scope.token, scope=scope, payer=payer, name=name, size=len(data), key=key
    )
    arrived(upload)
    return upload


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
    now = timezone.now()
    if _turn(_rows(upload, Status.OPEN), Status.ARRIVED, due_at=now + _LOST):
        announce("xet.settle", str(upload.pk))


def latest(user: User, sha256: str) -> DirectUpload | None:
    """The last upload of the file with these bytes that the user began."""
    return DirectUpload.objects.filter(kind=Kind.FILE, user=user, name=sha256).order_by("-pk").first()


def wait(upload: DirectUpload, *, seconds: float) -> None:
    """Until a worker has taken the upload. Raises as `unfinished`, and StillChecking when it takes longer."""
    if unfinished([upload.pk], seconds=seconds):
        raise StillChecking("The hub is still checking the file. Ask again in a minute; nothing has to be re-sent.")


def unfinished(uploads: Sequence[UUID], *, seconds: float) -> list[UUID]:
    """Waits for workers; those of the uploads that none has taken by then.

    Raises HashMismatch, BadXorb or BadShard when one was refused, CheckFailed when the hub gave one up, NotFound when
    one is forgotten.
    """
    until, left = time.monotonic() + seconds, list(uploads)
    while True:
        rows = {row.pk: row for row in DirectUpload.objects.filter(pk__in=left).only("kind", "status", "refusal")}
        for pk in left:
            if (row := rows.get(pk)) is None:
                raise NotFound("This upload is over. Begin it again.")
            if row.status == Status.REFUSED:
                raise _REFUSALS[row.kind](row.refusal)
            if row.status == Status.FAILED:
                raise CheckFailed(row.refusal)
        left = [pk for pk in left if rows[pk].status != Status.DONE]
        if not left or time.monotonic() > until:
            return left
        time.sleep(_POLL_S)


def begun_by(user: User, uploads: Sequence[UUID]) -> list[DirectUpload]:
    """These uploads, when all were begun by the user with the reach they have now. Raises NotFound."""
    found = DirectUpload.objects.filter(pk__in=uploads, user=user, token=narrow_token(user), parts_id="")
    if len(rows := list(found)) != len(set(uploads)):
        raise NotFound("There is no such upload of yours, or it is over. Begin it again.")
    return rows


def settle(upload_id: str) -> None:
    """Takes what arrived, or refuses it. For a worker; does nothing when another one has it."""
    store = bucket()
    waiting = DirectUpload.objects.filter(pk=upload_id, status=Status.ARRIVED)
    if store is None or not _turn(waiting, Status.CHECKING, attempts=F("attempts") + 1):
        return
    upload = DirectUpload.objects.select_related("user", "token", "scope__namespace", "payer").get(pk=upload_id)
    upload.user.token = upload.token  # acts with no more than the client did
    try:
        with _heartbeat(upload):
            take(store, upload)
    except _OUTSIDE as err:
        logger.warning("upload not checked: upload=%s attempt=%d cause=%r", upload.pk, upload.attempts, err)
        _try_later(upload, type(err).__name__, most=MOST_PATIENCE)
    except (UserError, BlobLost) as err:
        if _turn(_mine(upload), Status.REFUSED, refusal=str(err)[:500]):
            _delete(store, upload)
    except Exception as err:
        logger.exception("upload not checked: upload=%s attempt=%d", upload.pk, upload.attempts)
        _try_later(upload, type(err).__name__, most=MOST_ATTEMPTS)
    except BaseException:  # the worker is told to stop: that costs no attempt
        _turn(_mine(upload), Status.ARRIVED, attempts=F("attempts") - 1)
        raise
    else:
        _turn(_mine(upload), Status.DONE)


def _try_later(upload: DirectUpload, cause: str, *, most: int) -> None:
    """Puts an upload back for another attempt, after a pause; or gives it up."""
    if upload.attempts < most:
        pause_s = min(_FIRST_PAUSE_S * 2 ** min(upload.attempts - 1, 10), _LONGEST_PAUSE_S)
        _turn(_mine(upload), Status.ARRIVED, due_at=timezone.now() + timedelta(seconds=pause_s))
        return
    told = (
        f"The hub could not check what was sent: {cause}, in {upload.attempts} attempts. That is a fault of the hub, "
        f"not of the file. Tell its operator, with the number {upload.pk}, or send the file again later."
    )
    if _turn(_mine(upload), Status.FAILED, refusal=told):
        logger.error("upload given up: upload=%s kind=%s key=%s cause=%s", upload.pk, upload.kind, upload.key, cause)


def wake() -> int:
    """Tells workers again of uploads whose message was lost, whose worker died or whose pause is over; how many."""
    now = timezone.now()
    for upload in DirectUpload.objects.filter(status=Status.CHECKING, changed_at__lt=now - _STUCK):
        _try_later(upload, "its worker died", most=MOST_ATTEMPTS)
        DirectUpload.objects.filter(pk=upload.pk).update(due_at=now)
    waiting = DirectUpload.objects.filter(status=Status.ARRIVED, due_at__lte=now)
    for pk in (found := list(waiting.values_list("pk", flat=True))):
        announce("xet.settle", str(pk))
    return len(found)


def forget_old(*, grace_s: float) -> int:
    """Removes the rows of uploads that are over, and what was put for those that came to nothing; how many."""
    store, removed = bucket(), 0
    old = DirectUpload.objects.filter(changed_at__lt=timezone.now() - timedelta(seconds=grace_s))
    if store is None:
        return 0
    for upload in old.exclude(status__in=[Status.ARRIVED, Status.CHECKING]):
        if upload.status == Status.OPEN and not _turn(_rows(upload, Status.OPEN), Status.REFUSED):
            continue  # its client came back
        if upload.status == Status.OPEN and upload.parts_id:
            store.abort_parts(upload.key, upload.parts_id)
        if upload.status != Status.DONE:
            store.delete(upload.key)
        upload.delete()
        removed += 1
    return removed


def _bucket() -> S3Objects:
    store = bucket()
    if store is None:
        raise NotFound("This hub has no bucket.")
    return store


def _delete(store: S3Objects, upload: DirectUpload) -> None:
    with suppress(StorageDown):  # `forget_old` comes again
        store.delete(upload.key)


@contextmanager
def _heartbeat(upload: DirectUpload) -> Iterator[None]:
    """Says from time to time that the check goes on."""
    over = threading.Event()

    def beat() -> None:
        try:
            while not over.wait(_BEAT_S):
                with suppress(OperationalError):
                    _mine(upload).update(changed_at=timezone.now())
        finally:
            connection.close()

    thread = threading.Thread(target=beat, name=f"check-{upload.pk}", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _rows(upload: DirectUpload, status: str) -> QuerySet[DirectUpload]:
    return DirectUpload.objects.filter(pk=upload.pk, status=status)


def _mine(upload: DirectUpload) -> QuerySet[DirectUpload]:
    """The row, while no later attempt has begun."""
    return _rows(upload, Status.CHECKING).filter(attempts=upload.attempts)


def _turn(rows: QuerySet[DirectUpload], after: str, **fields: datetime | str | Combinable) -> bool:
    """Moves an upload on; False when somebody else did."""
    return bool(rows.update(status=after, changed_at=timezone.now(), **fields))
