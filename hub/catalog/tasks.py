"""The Celery tasks of the catalogue."""

from __future__ import annotations

import logging
from datetime import timedelta

from celery import shared_task
from django.db.models import Q
from django.utils import timezone

from hub.announce import announce
from hub.catalog import derive, downloads
from hub.catalog.models import Item

logger = logging.getLogger(__name__)

_WAKE_AFTER = timedelta(seconds=60)
_BATCH = 200


@shared_task(name="catalog.derive")  # type: ignore[untyped-decorator]
def derive_item(item_id: int) -> None:
    """Reads an item's slow facts; a message that came twice or late does nothing."""
    try:
        derive.derive(item_id)
    except Item.DoesNotExist:
        return  # its repository was deleted meanwhile
    except Exception as err:  # the item keeps the cause, and the worker goes on
        logger.exception("item not read: item=%s", item_id)
        Item.objects.filter(pk=item_id).update(problem=f"{type(err).__name__}: {err}"[:500])


@shared_task(name="catalog.sweep")  # type: ignore[untyped-decorator]
def sweep() -> None:
    """Tells of items again whose message was lost, whose worker died, or which older rules derived."""
    before = timezone.now() - _WAKE_AFTER
    waiting = Item.objects.filter(derivation__lt=Item.DERIVATION, attempts__lt=derive.MAX_ATTEMPTS)
    waiting = waiting.filter(Q(woken_at=None, updated_at__lt=before) | Q(woken_at__lt=before), commit__isnull=False)
    for item in waiting.only("pk").order_by("pk")[:_BATCH]:
        Item.objects.filter(pk=item.pk).update(woken_at=timezone.now())
        announce("catalog.derive", item.pk)


@shared_task(name="catalog.fold")  # type: ignore[untyped-decorator]
def fold() -> None:
    """Brings the counts of downloads up to date."""
    downloads.fold()
