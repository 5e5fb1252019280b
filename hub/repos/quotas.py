"""How much a namespace may store. Room is reserved before bytes arrive, so parallel uploads cannot exceed it together.

What counts: the blobs that commits of the namespace have, each once, and open reservations. A reservation is settled
when its bytes have arrived and from then on counts until a commit has them, or until `sweep` would remove them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import Exists, Max, OuterRef, Sum
from django.utils import timezone

from hub.accounts.models import User
from hub.accounts.permissions import can
from hub.errors import OverQuota
from hub.repos.blobs import put_blob
from hub.repos.models import Blob, Namespace, Repository, RepositoryBlob, Reservation

_OPEN_S = 3600
"""How long bytes may be on their way since the last that came; then the writer counts as dead."""


@dataclass(frozen=True)
class Use:
    """What a namespace stores, of how much; None: as much as the disk holds."""

    used: int
    quota: int | None

    @property
    def left(self) -> int | None:
        return None if self.quota is None else max(0, self.quota - self.used)


def payer(repository: Repository, user: User) -> Namespace:
    """Whose room bytes take before a commit has them: the repository's for who may write there, else the sender's own.

    Otherwise anybody who may open a pull request could fill a stranger's quota.
    """
    if can(user, "write", repository):
        return repository.namespace
    return Namespace.objects.get(owner=user, kind=Namespace.Kind.USER)


def use_of(namespace: Namespace) -> Use:
    """What counts now, by adding it up."""
    had = RepositoryBlob.objects.filter(repository__namespace=namespace).values("blob")
    committed = Blob.objects.filter(pk__in=had).aggregate(sum=Sum("size"))["sum"] or 0
    open_now = Reservation.objects.filter(namespace=namespace, expires_at__gt=timezone.now())
    waiting = open_now.exclude(Exists(RepositoryBlob.objects.filter(blob=OuterRef("sha256"))))
    return Use(committed + (waiting.aggregate(sum=Sum("size"))["sum"] or 0), quota_of(namespace))


def quota_of(namespace: Namespace) -> int | None:
    """The namespace's own quota, or the hub's STORAGE_QUOTA_BYTES; None: no limit."""
    return namespace.quota_bytes if namespace.quota_bytes is not None else settings.STORAGE_QUOTA_BYTES or None


class Room:
    """A reservation in the making: grows with what arrives. Without a quota, or for bytes that count already, none.

    sha256  of the bytes, when it was announced; the caller refuses other bytes
    """

    def __init__(self, namespace: Namespace, size: int = 0, *, sha256: str = "") -> None:
        self._namespace = namespace
        self._row: Reservation | None = None
        self._limited = quota_of(namespace) is not None
        self._size = _counted_already(namespace, sha256) if self._limited else 0
        self.grow(size)

    def grow(self, size: int) -> None:
        """Takes room for `size` bytes in all. Raises OverQuota, naming how much is left."""
        if not self._limited or size <= self._size:
            return
        with transaction.atomic():
            locked = Namespace.objects.select_for_update().get(pk=self._namespace.pk)  # one who counts at a time
            use = use_of(locked)
            if use.left is not None and size - self._size > use.left:
                raise over_quota(locked, size - self._size, use)
            until = timezone.now() + timedelta(seconds=_OPEN_S)
            if self._row is None:
                self._row = Reservation.objects.create(namespace=locked, size=size, expires_at=until)
            else:
                Reservation.objects.filter(pk=self._row.pk).update(size=size, expires_at=until)
            self._size = size

    def settle(self, sha256: str, size: int) -> None:
        """The bytes are here: they count, once, until a commit has them or `sweep` takes them."""
        if self._row is None:
            return
        with transaction.atomic():
            until = timezone.now() + timedelta(seconds=settings.BLOB_GRACE_SECONDS)
            same = Reservation.objects.filter(namespace=self._namespace, sha256=sha256).exclude(pk=self._row.pk)
            same.delete()
            Reservation.objects.filter(pk=self._row.pk).update(sha256=sha256, size=size, expires_at=until)

    def give_back(self) -> None:
        """The bytes did not arrive."""
        if self._row is not None:
            Reservation.objects.filter(pk=self._row.pk).delete()


@contextmanager
def reserved(namespace: Namespace, size: int = 0, *, sha256: str = "") -> Iterator[Room]:
    """Room for an upload; the block calls `settle`, and an exception gives the room back."""
    room = Room(namespace, size, sha256=sha256)
    try:
        yield room
    except BaseException:
        room.give_back()
        raise


def counted(chunks: Iterable[bytes], room: Room) -> Iterator[bytes]:
    """The chunks, with room taken for each before it is passed on; for bodies whose length nobody announced, too."""
    arrived = taken = 0
    for chunk in chunks:
        arrived += len(chunk)
        if arrived > taken:
            room.grow(arrived)
            taken = arrived
        yield chunk


def put_counted(
    chunks: Iterable[bytes], *, by: User, place: Namespace, size: int = 0, expect: str | None = None
) -> Blob:
    """Stores bytes, with room for them taken in `place` before they arrive. Raises OverQuota, and what `put_blob` does.

    size    as announced; 0 when nobody said
    expect  the SHA-256, when it was announced
    """
    with reserved(place, size, sha256=expect or "") as room:
        blob = put_blob(counted(chunks, room), by=by, expect=expect)
        room.settle(blob.sha256, blob.size)
    return blob


def require_within(namespace: Namespace) -> None:
    """Raises OverQuota when the namespace has more than it may; a commit asks at its end, inside its transaction."""
    if quota_of(namespace) is None:
        return
    use = use_of(Namespace.objects.select_for_update().get(pk=namespace.pk))
    if use.quota is not None and use.used > use.quota:
        raise over_quota(namespace, use.used - use.quota, Use(use.quota, use.quota))


def over_quota(namespace: Namespace, wanted: int, use: Use) -> OverQuota:
    """The refusal."""
    return OverQuota(
        f"{namespace} has {use.left:,} bytes left of {use.quota:,}, and this needs {wanted:,}. Delete something, or "
        "ask an administrator for more."
    )


def _counted_already(namespace: Namespace, sha256: str) -> int:
    """How many of these bytes count for the namespace: all once a commit has them, else what was announced of them."""
    if not sha256:
        return 0
    had = RepositoryBlob.objects.filter(repository__namespace=namespace, blob=sha256)
    if (size := had.values_list("blob__size", flat=True).first()) is not None:
        return size
    open_now = Reservation.objects.filter(namespace=namespace, sha256=sha256, expires_at__gt=timezone.now())
    return open_now.aggregate(most=Max("size"))["most"] or 0


def clean() -> int:
    """Removes reservations that are over. How many."""
    return Reservation.objects.filter(expires_at__lt=timezone.now()).delete()[0]
