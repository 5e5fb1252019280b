"""What `manage.py check --database default`, `migrate` and `up` say about the database's search."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.core.checks import CheckMessage, Tags, Warning, register
from django.db import DatabaseError

from hub.catalog.words import index


@register(Tags.database)
def search_is_whole(databases: Sequence[str] | None = None, **_: Any) -> list[CheckMessage]:
    """A warning where mistyped words are corrected with less than they could be."""
    if "default" not in (databases or ()):
        return []
    try:
        lacks = index().lacks()
    except DatabaseError:
        return []  # not migrated yet
    return [Warning(lacks, id="catalog.W001")] if lacks else []
