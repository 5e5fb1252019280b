"""Periodic work of the boards."""

from __future__ import annotations

from celery import shared_task

from hub.boards import claims, ranker


@shared_task(name="boards.read_cards")  # type: ignore[untyped-decorator]
def read_cards() -> None:
    """Brings claimed scores in line with the cards that claim them."""
    claims.read_cards()


@shared_task(name="boards.retrain")  # type: ignore[untyped-decorator]
def retrain() -> None:
    """Has the learned tier judged and trained anew, when there is something new to learn from."""
    ranker.ask()
