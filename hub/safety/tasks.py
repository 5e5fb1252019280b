"""The Celery tasks of scans."""

from __future__ import annotations

import logging

from celery import shared_task

from hub.errors import BlobLost
from hub.repos.models import Commit
from hub.safety import scans

logger = logging.getLogger(__name__)


@shared_task(name="safety.scan")  # type: ignore[untyped-decorator]
def scan(commit_id: int) -> None:
    """The slow scans of one commit; a message that came twice does nothing."""
    try:
        scans.scan(commit_id)
    except BlobLost:
        if Commit.objects.filter(pk=commit_id).exists():
            raise
        # The repository was deleted while it was read, and its bytes with it.


@shared_task(name="safety.catch_up")  # type: ignore[untyped-decorator]
def catch_up() -> None:
    """Scans that were missed."""
    if missed := scans.catch_up():
        logger.warning("scans caught up: commits=%d", missed)
