"""Lists in pages: a cursor the caller hands back, and a cap on everything."""

from __future__ import annotations

from typing import TypeVar

from django.db.models import Model, QuerySet

from hub.errors import BadRequest

MAX_LIMIT = 200
MAX_OFFSET = 10_000
_M = TypeVar("_M", bound=Model)


def page(rows: QuerySet[_M], *, limit: int, cursor: str) -> tuple[list[_M], str | None]:
    """At most `limit` rows from the cursor on, and the cursor of the next page. Raises BadRequest."""
    if not 1 <= limit <= MAX_LIMIT:
        raise BadRequest(f"limit={limit} is not between 1 and {MAX_LIMIT}. Ask for fewer, and follow `next`.")
    if cursor and not (cursor.isascii() and cursor.isdecimal() and len(cursor) < 9):
        raise BadRequest("The cursor is not one of this hub. Hand back `next` as it came.")
    start = int(cursor or 0)
    if start > MAX_OFFSET:
        raise BadRequest(f"Only the first {MAX_OFFSET} are listed. Narrow the search.")
    found = list(rows[start : start + limit + 1])
    return found[:limit], str(start + limit) if len(found) > limit else None
