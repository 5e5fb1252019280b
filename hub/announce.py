"""Telling a worker that a row has something for it to do. The row is the truth: a message may be lost or come twice."""

from __future__ import annotations

import logging
from functools import partial

from django.db import transaction

logger = logging.getLogger(__name__)


def announce(task: str, argument: str | int, *, queue: str = "quick") -> None:
    """Sends a Celery task's name and the id of its row, once the current transaction has committed."""
    transaction.on_commit(partial(_send, task, argument, queue))


def _send(task: str, argument: str | int, queue: str) -> None:
    from kombu.exceptions import OperationalError  # the web process needs Celery only from its first message on

    from hub.celery import app

    try:
        app.send_task(task, args=[argument], queue=queue)
    except (OperationalError, OSError) as err:
        # A sweep finds the row and announces it again: a broker that is down delays work and loses none.
        logger.warning("not announced: task=%s of=%s queue=%s cause=%s", task, argument, queue, err)
