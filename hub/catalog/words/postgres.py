"""Words in tsvectors under a GIN index; pg_trgm finds words that look like a mistyped one, where it can be had."""

from __future__ import annotations

import numpy as np
from django.db import connection

from hub.catalog.words import Matches

_NEAR = 100
# All ids in one value of 8 bytes each: as rows, 50,000 of them would cost more than finding them.
_FIND = (
    "SELECT string_agg(int8send(item_id), ''::bytea), "
    "string_agg(int8send(item_id), ''::bytea) FILTER (WHERE vector @@ to_tsquery('english', %s)), "
    "string_agg(int8send(item_id), ''::bytea) FILTER (WHERE vector @@ to_tsquery('english', %s)) "
    "FROM catalog_text WHERE vector @@ to_tsquery('english', %s)"
)


class TextSearch:
    """See `Index`. The table and its indexes are made by migration 0002."""

    def put(self, item_id: int, name: str, text: str) -> None:
        with connection.cursor() as cursor:
            cursor.execute(
                "INSERT INTO catalog_text (item_id, vector) VALUES "
                "(%s, setweight(to_tsvector('english', %s), 'A') || setweight(to_tsvector('english', %s), 'D')) "
                "ON CONFLICT (item_id) DO UPDATE SET vector = EXCLUDED.vector",
                [item_id, name, text],
            )

    def drop(self, item_id: int) -> None:
        with connection.cursor() as cursor:
            cursor.execute("DELETE FROM catalog_text WHERE item_id = %s", [item_id])

    def matching(self, word: str) -> Matches:
        # `words` leaves letters, digits and _ only, so nothing here is an operator of tsquery.
        with connection.cursor() as cursor:
            cursor.execute(_FIND, [f"'{word}'", f"'{word}':*A", f"'{word}':*"])
            return Matches(*(np.frombuffer(one or b"", dtype=">i8").astype(np.int64) for one in cursor.fetchone()))

    def near(self, word: str, edits: int) -> list[str]:
        low, high = len(word) - edits, len(word) + edits
        with connection.cursor() as cursor:
            if has_trigrams():
                cursor.execute("SELECT set_config('pg_trgm.similarity_threshold', %s, false)", [_alike(word, edits)])
                # The length first: it costs less than what it spares, should the planner read all words.
                cursor.execute(
                    "SELECT text FROM catalog_word WHERE length(text) BETWEEN %s AND %s AND text %% %s "
                    "ORDER BY similarity(text, %s) DESC LIMIT %s",
                    [low, high, word, word, _NEAR],
                )
            else:
                cursor.execute(
                    "SELECT text FROM catalog_word WHERE text LIKE %s AND length(text) BETWEEN %s AND %s LIMIT 400",
                    [f"{word[:2]}%", low, high],
                )
            return [row[0] for row in cursor.fetchall()]

    def lacks(self) -> str:
        if has_trigrams():
            return ""
        return (
            "PostgreSQL lacks the extension pg_trgm: a mistyped word is only compared with words of the same two first "
            "letters. As a superuser of the database run CREATE EXTENSION pg_trgm; CREATE INDEX catalog_word_trigram "
            "ON catalog_word USING gin (text gin_trgm_ops);"
        )


def _alike(word: str, edits: int) -> str:
    """The least similarity worth a look. A word of n letters has n + 1 trigrams; two letters swapped change 4 of them.

    Lower thresholds cost more than anything else in a search, and two edits of a short word leave nothing to go by.
    """
    changed = 4 * edits
    return f"{max(0.2 if edits > 1 else 0.15, (len(word) + 1 - changed) / (len(word) + 1 + changed)):.3f}"


def has_trigrams() -> bool:
    """Whether pg_trgm is installed in this database."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM pg_extension WHERE extname = 'pg_trgm'")
        return cursor.fetchone() is not None
