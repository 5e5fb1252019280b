"""The Celery tasks of the bucket: fetch the row, call the service."""

from __future__ import annotations

from celery import shared_task

from hub.xet import bucketed, direct


@shared_task(name="xet.settle")  # type: ignore[untyped-decorator]
def settle(upload_id: str) -> None:
    """Makes a blob of what a client put into the bucket."""
    direct.settle(upload_id)


@shared_task(name="xet.assemble")  # type: ignore[untyped-decorator]
def assemble(sha256: str) -> None:
    """Makes the whole file of a blob that lies in chunks."""
    bucketed.assemble(sha256)


@shared_task(name="xet.wake")  # type: ignore[untyped-decorator]
def wake() -> None:
    """Looks after uploads whose worker died."""
    direct.wake()
