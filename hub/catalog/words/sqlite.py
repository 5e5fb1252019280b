"""Words in FTS5: one table for the texts, and one of all words cut into trigrams for mistyped ones."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from django.db import connection
from numpy.typing import NDArray

from hub.catalog.words import Matches

_NEAR = 60


class Fts5:
    """See `Index`. The tables are made by migration 0002."""

    def put(self, item_id: int, name: str, text: str) -> None:
        self.drop(item_id)
        with connection.cursor() as cursor:
            cursor.execute("INSERT INTO catalog_text (rowid, name, text) VALUES (%s, %s, %s)", [item_id, name, text])

    def drop(self, item_id: int) -> None:
        with connection.cursor() as cursor:
            cursor.execute("DELETE FROM catalog_text WHERE rowid = %s", [item_id])

    def matching(self, word: str) -> Matches:
        # Quoted: FTS5's own operators are ordinary words here. `words` leaves letters and digits only.
        return Matches(*self._all_of("catalog_text", [f'"{word}"*', f'"{word}"', f'name : "{word}"*']))

    def near(self, word: str, edits: int) -> list[str]:
        padded = f"  {word} "
        trigrams = sorted({padded[at : at + 3] for at in range(len(padded) - 2)})
        # The words of each trigram, counted here: FTS5's own rank of all that match any of them takes 15 times as long.
        held = self._all_of("catalog_trigram", [f'"{trigram}"' for trigram in trigrams])
        # A trigram says the more the fewer words have it; longer words than this one are worth no more.
        weights = np.concatenate([np.full(len(ids), 1 / np.sqrt(len(ids) + 1)) for ids in held])
        ids, at = np.unique(np.concatenate(held), return_inverse=True)
        best = ids[np.argsort(-np.bincount(at, weights), kind="stable")[:_NEAR]].tolist()
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT text FROM catalog_word WHERE id IN ({', '.join(['%s'] * len(best))})", best)  # noqa: S608 placeholders only
            return [row[0] for row in cursor.fetchall()]

    def lacks(self) -> str:
        return ""

    def _all_of(self, table: str, queries: Sequence[str]) -> list[NDArray[np.int64]]:
        """The rows of each query. As one text: a Python object for each of 50,000 would cost more than finding them."""
        one = f"SELECT group_concat(rowid) FROM {table} WHERE {table} MATCH %s"  # noqa: S608 tables of this module
        with connection.cursor() as cursor:
            cursor.execute(" UNION ALL ".join([one] * len(queries)), list(queries))
            return [np.fromstring(row[0] or "", dtype=np.int64, sep=",") for row in cursor.fetchall()]
