"""Telling a worker that an item's files are to be read. The item is the truth: a message may be lost or come twice."""

from __future__ import annotations

import logging
from functools import partial

from django.db import transaction
from kombu.exceptions import OperationalError

from hub.catalog.models import Item

logger = logging.getLogger(__name__)

QUEUE = "quick"


def later(item: Item) -> None:
    """Tells the queue once the current transaction has committed."""
    transaction.on_commit(partial(_send, item.pk))


def _send(item_id: int) -> None:
    from hub.celery import app  # the web process needs Celery only from its first commit on

    try:
        app.send_task("catalog.derive", args=[item_id], queue=QUEUE)
    except (OperationalError, OSError) as err:
        # The row is committed and `catalog.sweep` tells of it again.
        logger.warning("item not announced: item=%s cause=%s", item_id, err)
