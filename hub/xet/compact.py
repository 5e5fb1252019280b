"""Xorbs of which little is needed: the chunks that blobs need move into new ones, and the rest leaves the store.

Nothing that holds a place for a while may be led astray by that:

- A writer that refers to chunks holds their xorbs locked (`chunkstore.hold`) and finds those retired that were emptied
  meanwhile; it then looks the places up again.
- A reader may have looked up where chunks lie. The old object stays for the grace of `sweep`, two
  hours at least: longer than any address or ticket for a range of it counts. Whoever finds no chunks at a place that a
  segment named looks the segment up again.
- A client that remembers a xorb with chunks that go is made to forget: the epoch of its scope rises, as when a whole
  xorb goes. Lists whose chunks all stay are only told where those lie.
- A xorb that was touched within the grace of `sweep` is left alone, so uploads under way find what they were promised.

All rows change in one transaction, after the new object is there and before the old one goes. Killed before it, a
process leaves a stray that no row names; killed after it, a retired xorb that a later `sweep` removes.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path

from django.db import transaction
from django.db.models import Count, Exists, F, OuterRef, QuerySet, Sum
from django.utils import timezone

from hub.errors import BlobLost
from hub.repos.objects import draft, objects, storage_full
from hub.xet.known import PIECE
from hub.xet.models import Chunk, KnownXorb, Scope, Segment, Xorb
from hub.xet.reader import ChunkAt, frames_at
from hub.xet.xorbs import MAX_XORB_BYTES, MAX_XORB_CHUNKS
from priors.chunks import to_hex, xorb_hash

logger = logging.getLogger(__name__)

THIN = 0.5
"""A xorb with less of its bytes in use is rewritten: then the copy is smaller than what it frees."""
RETIRED = timedelta(hours=2)
"""How long an emptied xorb stays at least: tickets and signed addresses for its bytes count for one."""
_ROWS = 500


def compact(*, before: datetime) -> int:
    """Rewrites thin xorbs that nobody touched since `before`; how many bytes of the store that frees."""
    freed = 0
    for group in _groups(_thin(before)):
        try:
            freed += _rewrite(group, before)
        except BlobLost:
            logger.exception("thin xorbs not rewritten, run fsck: xorbs=%s", group)
    return freed


def remove_retired(*, before: datetime) -> int:
    """Removes xorbs that were emptied before that time and that nobody can be reading any more; how many."""
    removed = 0
    for xorb in list(Xorb.objects.filter(retired_at__lt=min(before, timezone.now() - RETIRED))):
        xorb.delete()
        objects().delete(xorb.key)  # after the row, as always
        removed += 1
    return removed


def _used_chunks(xorbs: Sequence[int]) -> QuerySet[Chunk]:
    """Those that a blob needs."""
    needing = Segment.objects.filter(xorb=OuterRef("xorb"), start__lte=OuterRef("number"), stop__gt=OuterRef("number"))
    return Chunk.objects.filter(Exists(needing), xorb__in=xorbs).order_by("xorb", "number")


def _thin(before: datetime) -> Iterator[tuple[int, int, int]]:
    """The marked xorbs of which little is in use, with the raw bytes and number of chunks that are."""
    marked = Xorb.objects.filter(may_be_thin=True, retired_at=None, touched_at__lt=before).order_by("pk")
    for pk in list(marked.values_list("pk", flat=True)):
        with transaction.atomic():
            # Locked: a blob that goes after the count marks the xorb again after it.
            xorb = Xorb.objects.select_for_update().filter(pk=pk).first()
            used = _used_chunks([pk]).aggregate(packed=Sum("size"), raw=Sum("raw_size"), number=Count("pk"))
            if xorb is None or not used["number"]:
                continue  # `collect` takes it as a whole
            if not (thin := used["packed"] < THIN * xorb.size):
                Xorb.objects.filter(pk=pk).update(may_be_thin=False)
        if thin:
            yield pk, used["raw"], used["number"]


def _groups(thin: Iterable[tuple[int, int, int]]) -> Iterator[list[int]]:
    """As many xorbs together as what is used of them fills one."""
    group: list[int] = []
    raw = count = 0
    for pk, raw_size, chunks in thin:
        if group and (raw + raw_size > MAX_XORB_BYTES or count + chunks > MAX_XORB_CHUNKS):
            yield group
            group, raw, count = [], 0, 0
        group.append(pk)
        raw, count = raw + raw_size, count + chunks
    if group:
        yield group


def _rewrite(group: Sequence[int], before: datetime) -> int:
    """Copies what is used of some xorbs into a new one and moves the rows; how many bytes that frees."""
    used = list(_used_chunks(group).select_related("xorb"))
    name = to_hex(xorb_hash([(bytes(chunk.hash), chunk.raw_size) for chunk in used]))
    key = f"xorbs/{name[:2]}/{name}.{secrets.token_hex(8)}"
    new = Xorb(hash=name, key=key, size=sum(chunk.size for chunk in used), may_be_thin=False)
    new.raw_size = sum(chunk.raw_size for chunk in used)
    path = draft(objects())
    try:
        _copy(used, path)
        objects().put(key, path)
    finally:
        path.unlink(missing_ok=True)
    freed = None
    try:
        freed = _move(group, used, new, before)
    finally:
        if freed is None:
            objects().delete(key)
    return freed or 0


def _copy(used: Sequence[Chunk], path: Path) -> None:
    at = (ChunkAt(bytes(each.hash), each.xorb.key, each.offset, each.size, each.raw_size, 0) for each in used)
    with storage_full(), path.open("xb") as file:
        for packed in frames_at(at):
            file.write(packed)


@transaction.atomic
def _move(group: Sequence[int], used: Sequence[Chunk], new: Xorb, before: datetime) -> int | None:
    """The rows of all that; None, and nothing changes, when somebody came to use or need a xorb meanwhile."""
    rows = Xorb.objects.select_for_update().filter(pk__in=group, touched_at__lt=before, retired_at=None)
    old = list(rows.order_by("pk"))
    if len(old) < len(group) or list(_used_chunks(group).values_list("pk", flat=True)) != [each.pk for each in used]:
        return None
    kept = {bytes(each.hash) for each in used}
    gone = {bytes(name) for name in Chunk.objects.filter(xorb__in=group).values_list("hash", flat=True)} - kept
    new.save(force_insert=True)
    _forget(group, gone, new)
    number_of = {(each.xorb_id, each.number): number for number, each in enumerate(used)}
    segments = list(Segment.objects.filter(xorb__in=group))
    for segment in segments:  # what a segment names is in use as a whole, so it stays one run
        length = segment.stop - segment.start
        segment.start = number_of[segment.xorb_id, segment.start]
        segment.xorb, segment.stop = new, segment.start + length
    Segment.objects.bulk_update(segments, ["xorb", "start", "stop"], batch_size=100)
    Chunk.objects.filter(xorb__in=group).delete()
    moved, offset = [], 0
    for number, each in enumerate(used):
        moved.append(
            Chunk(hash=each.hash, xorb=new, number=number, offset=offset, size=each.size, raw_size=each.raw_size)
        )
        offset += each.size
    Chunk.objects.bulk_create(moved, batch_size=_ROWS)
    for xorb in old:  # the hash is free again: the same chunks may be sent again, and be a xorb again
        Xorb.objects.filter(pk=xorb.pk).update(retired_at=timezone.now(), hash=secrets.token_hex(32))
    return sum(xorb.size for xorb in old) - new.size


def _forget(group: Sequence[int], gone: set[bytes], new: Xorb) -> None:
    """Makes clients forget xorbs with a chunk that goes; the others lie in the new one."""
    doomed: list[KnownXorb] = []
    for known in KnownXorb.objects.filter(lie_in__in=group).distinct():
        if gone.isdisjoint(name for name, _ in PIECE.iter_unpack(known.chunks)):
            known.lie_in.remove(*group)
            known.lie_in.add(new)
        else:
            doomed.append(known)
    Scope.objects.filter(pk__in={known.scope_id for known in doomed}).update(epoch=F("epoch") + 1)
    KnownXorb.objects.filter(pk__in=[known.pk for known in doomed]).delete()
