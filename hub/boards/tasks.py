"""Periodic work of the boards."""

from __future__ import annotations

from celery import shared_task

from hub.boards import claims


@shared_task(name="boards.read_cards")  # type: ignore[untyped-decorator]
def read_cards() -> None:
    """Brings claimed scores in line with the cards that claim them."""
    claims.read_cards()
