"""Words in FTS5: one table for the texts, and one of all words cut into trigrams for mistyped ones."""

from __future__ import annotations

import numpy as np
from django.db import connection
from numpy.typing import NDArray

from hub.catalog.words import Wanted

NAME_WEIGHT, TEXT_WEIGHT = 4.0, 1.0
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

    def matching(self, wanted: Wanted) -> NDArray[np.int64]:
        with connection.cursor() as cursor:
            # One text of all ids: a Python object for each of 50,000 rows would cost more than finding them.
            cursor.execute("SELECT group_concat(rowid) FROM catalog_text WHERE catalog_text MATCH %s", [_query(wanted)])
            return _ids(cursor.fetchone()[0])

    def ranked(self, wanted: Wanted, limit: int) -> dict[int, float]:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT rowid, -bm25(catalog_text, %s, %s) AS worth FROM catalog_text WHERE catalog_text MATCH %s "
                "ORDER BY worth DESC LIMIT %s",
                [NAME_WEIGHT, TEXT_WEIGHT, _query(wanted), limit],
            )
            return dict(cursor.fetchall())

    def near(self, word: str, edits: int) -> list[str]:
        padded = f"  {word} "
        trigrams = sorted({padded[at : at + 3] for at in range(len(padded) - 2)})
        # The words of each trigram, counted here: FTS5's own rank of all that match any of them takes 15 times as long.
        one = "SELECT group_concat(rowid) FROM catalog_trigram WHERE catalog_trigram MATCH %s"
        with connection.cursor() as cursor:
            cursor.execute(" UNION ALL ".join([one] * len(trigrams)), [f'"{trigram}"' for trigram in trigrams])
            held = [_ids(row[0]) for row in cursor.fetchall()]
            # A trigram says the more the fewer words have it; longer words than this one are worth no more.
            weights = np.concatenate([np.full(len(ids), 1 / np.sqrt(len(ids) + 1)) for ids in held])
            ids, at = np.unique(np.concatenate(held), return_inverse=True)
            best = ids[np.argsort(-np.bincount(at, weights), kind="stable")[:_NEAR]].tolist()
            cursor.execute(f"SELECT text FROM catalog_word WHERE id IN ({', '.join(['%s'] * len(best))})", best)  # noqa: S608 placeholders only
            return [row[0] for row in cursor.fetchall()]

    def lacks(self) -> str:
        return ""


def _ids(joined: str | None) -> NDArray[np.int64]:
    return np.fromstring(joined or "", dtype=np.int64, sep=",")


def _query(wanted: Wanted) -> str:
    # Quoted: FTS5's own operators are ordinary words here. `words` leaves letters and digits only.
    return " AND ".join("(" + " OR ".join(f'"{word}"*' for word in spellings) + ")" for spellings in wanted)
