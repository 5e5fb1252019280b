"""Periodic housekeeping."""

from __future__ import annotations

import logging

from celery import shared_task

from hub.ops.housekeeping import clean_up

logger = logging.getLogger(__name__)


@shared_task(name="ops.sweep")  # type: ignore[untyped-decorator]
def sweep() -> None:
    """Removes what nothing refers to any more."""
    logger.info("swept: %s", clean_up())
