"""How much a namespace may store. Room is reserved before bytes arrive, so parallel uploads cannot exceed it together.

What counts, each once:

- blobs that commits of the namespace have, except what others only propose in pull requests: that counts for who
  proposed it, until a branch has it
- open reservations; one is settled when its bytes have arrived, and from then on counts until a commit has them, or
  until `sweep` would remove them
- xorbs that were sent and that no blob needs, until `sweep` removes them
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import Exists, Max, OuterRef, Q, QuerySet, Sum
from django.utils import timezone

from hub.accounts.models import User
from hub.accounts.permissions import can
from hub.errors import OverQuota
from hub.repos.blobs import put_blob
from hub.repos.models import Blob, Namespace, Repository, RepositoryBlob, Reservation
from hub.xet.chunkstore import locked
from hub.xet.models import DirectUpload, Segment, Xorb

_ROWS = 500
_UNNEEDED = ~Exists(Segment.objects.filter(xorb=OuterRef("pk"))) & Q(retired_at=None)
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
    had = RepositoryBlob.objects.filter(repository__namespace=namespace, payer=None).values("blob")
    proposed = RepositoryBlob.objects.filter(payer=namespace).values("blob")
    open_now = Reservation.objects.filter(namespace=namespace, expires_at__gt=timezone.now())
    coming = DirectUpload.objects.filter(payer=namespace, kind=DirectUpload.Kind.XORB)
    counted: list[QuerySet[Any]] = [
        Blob.objects.filter(pk__in=had),
        Blob.objects.filter(pk__in=proposed).exclude(pk__in=had),
        open_now.exclude(Exists(RepositoryBlob.objects.filter(blob=OuterRef("sha256")))),
        _waiting_xorbs(namespace),
        coming.exclude(status__in=[DirectUpload.Status.DONE, DirectUpload.Status.REFUSED]),
    ]
    return Use(sum(rows.aggregate(sum=Sum("size"))["sum"] or 0 for rows in counted), quota_of(namespace))


def quota_of(namespace: Namespace) -> int | None:
    """The namespace's own quota, or the hub's STORAGE_QUOTA_BYTES; None: no limit."""
    return namespace.quota_bytes if namespace.quota_bytes is not None else settings.STORAGE_QUOTA_BYTES or None


class Room:
    """A reservation in the making: grows with what arrives. Without a quota, or for bytes that count already, none.

    sha256   of the bytes, when it was announced; the caller refuses other bytes
    made_of  xorbs that are here and will be part of the bytes: what counts of them already need not fit again
    """

    def __init__(
        self, namespace: Namespace, size: int = 0, *, sha256: str = "", made_of: QuerySet[Xorb] | None = None
    ) -> None:
        self._namespace = namespace
        self._row: Reservation | None = None
        self._limited = quota_of(namespace) is not None
        self._size = _counted_already(namespace, sha256) if self._limited else 0
        self._made_of = made_of
        self._here = 0  # bytes that count as xorbs until `settle`
        self.grow(size)

    def grow(self, size: int) -> None:
        """Takes room for `size` bytes in all. Raises OverQuota, naming how much is left."""
        if not self._limited or size <= self._size:
            return
        with transaction.atomic():
            locked = Namespace.objects.select_for_update().get(pk=self._namespace.pk)  # one who counts at a time
            use = use_of(locked)
            if self._made_of is not None and self._row is None:
                waiting = _waiting_xorbs(locked).filter(pk__in=self._made_of.values("pk"))
                self._here = min(size, waiting.aggregate(sum=Sum("size"))["sum"] or 0)
            wanted = size - self._size - (self._here if self._row is None else 0)
            if use.quota is not None and use.used + wanted > use.quota:
                raise over_quota(locked, wanted if wanted > 0 else size, use)
            until = timezone.now() + timedelta(seconds=_OPEN_S)
            if self._row is None:
                self._row = Reservation.objects.create(namespace=locked, size=size - self._here, expires_at=until)
            else:
                Reservation.objects.filter(pk=self._row.pk).update(size=size - self._here, expires_at=until)
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
def reserved(
    namespace: Namespace, size: int = 0, *, sha256: str = "", made_of: QuerySet[Xorb] | None = None
) -> Iterator[Room]:
    """Room for an upload; the block calls `settle` or `give_back`, and an exception gives the room back."""
    room = Room(namespace, size, sha256=sha256, made_of=made_of)
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


def charge_xorbs(xorbs: QuerySet[Xorb], payer: Namespace) -> None:
    """Lets those that nobody pays for and no blob needs count for `payer`, until one does or `sweep` takes them.

    Belongs into a transaction.
    """
    free = Xorb.objects.filter(_UNNEEDED, pk__in=xorbs.values("pk"), payer=None)
    Xorb.objects.filter(pk__in=locked(free)).update(payer=payer)


def take_over(repository: Repository, blobs: Iterable[str]) -> bool:
    """The repository's namespace pays from now on for what others proposed of these: a branch or tag has it.

    Whether there was any. Belongs into the transaction of that, before `require_within`.
    """
    proposed = RepositoryBlob.objects.filter(repository=repository, payer__isnull=False)
    taken = sorted(set(proposed.values_list("blob", flat=True)).intersection(blobs))
    for start in range(0, len(taken), _ROWS):
        proposed.filter(blob__in=taken[start : start + _ROWS]).update(payer=None)
    return bool(taken)


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
    mine = Q(repository__namespace=namespace, payer=None) | Q(payer=namespace)
    had = RepositoryBlob.objects.filter(mine, blob=sha256)
    if (size := had.values_list("blob__size", flat=True).first()) is not None:
        return size
    open_now = Reservation.objects.filter(namespace=namespace, sha256=sha256, expires_at__gt=timezone.now())
    return open_now.aggregate(most=Max("size"))["most"] or 0


def _waiting_xorbs(namespace: Namespace) -> QuerySet[Xorb]:
    return Xorb.objects.filter(_UNNEEDED, payer=namespace)


def clean() -> int:
    """Removes reservations that are over. How many."""
    return Reservation.objects.filter(expires_at__lt=timezone.now()).delete()[0]
