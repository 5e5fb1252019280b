"""Finding priors by words. SQLite ranks with FTS5 (bm25), PostgreSQL filters the rows' text; one function for both."""

from __future__ import annotations

import re

from django.db import connection
from django.db.models import Case, IntegerField, QuerySet, Value, When

from hub.accounts.access import Actor
from hub.catalog.models import Prior

_WORD = re.compile(r"\w+")
_MAX_WORDS = 16
_MAX_HITS = 1000


def search(*, visible_to: Actor, q: str = "", modality: str = "", kind: str = "") -> QuerySet[Prior]:
    """Priors whose text has every word of `q` (or words that begin so), best first; the newest first without words."""
    found = Prior.objects.visible_to(visible_to).for_cards()
    if modality:
        found = found.filter(modality=modality)
    if kind:
        found = found.filter(kind=kind)
    words = _WORD.findall(q.casefold())[:_MAX_WORDS]
    if not words:
        return found.order_by("-updated_at", "-pk")
    if connection.vendor == "sqlite":
        hits = _match(words)
        order = Case(*(When(pk=pk, then=Value(n)) for n, pk in enumerate(hits)), output_field=IntegerField())
        return found.filter(pk__in=hits).order_by(order) if hits else found.none()
    for word in words:
        found = found.filter(search_text__icontains=word)
    return found.order_by("-updated_at", "-pk")


def index(prior: Prior) -> None:
    """Puts the prior's text into the index, in place of what stood there."""
    if connection.vendor == "sqlite":
        forget(prior)
        with connection.cursor() as cursor:
            cursor.execute("INSERT INTO catalog_search (rowid, text) VALUES (%s, %s)", [prior.pk, prior.search_text])


def forget(prior: Prior) -> None:
    """Takes the prior out of the index."""
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            cursor.execute("DELETE FROM catalog_search WHERE rowid = %s", [prior.pk])


def _match(words: list[str]) -> list[int]:
    query = " ".join(f'"{word}"*' for word in words)  # quoted: FTS5's own operators are ordinary words here
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT rowid FROM catalog_search WHERE catalog_search MATCH %s ORDER BY rank LIMIT %s", [query, _MAX_HITS]
        )
        return [row[0] for row in cursor.fetchall()]
