"""Lists for the Hugging Face protocol: `GET /api/models`, `/api/datasets`, `/api/spaces`."""

from __future__ import annotations

import re
from collections.abc import Sequence

from hub.accounts.access import Actor
from hub.catalog.models import Item
from hub.catalog.query import Page, Query
from hub.errors import BadRequest

SORTS = {
    "createdAt": "created", "created_at": "created", "lastModified": "updated", "last_modified": "updated",
    "downloads": "downloads", "likes": "likes", "trendingScore": "trending", "trending_score": "trending",
}  # fmt: skip
"""Their names for ours; largest or newest first."""
MAX_LIMIT = 1000
_SIZE = re.compile(r"(min|max):(\d+(?:\.\d+)?)([KMBT]?)", re.IGNORECASE)
_UNITS = {"": 1.0, "K": 1e3, "M": 1e6, "B": 1e9, "T": 1e12}


def repositories(
    actor: Actor,
    *,
    type: str = "",
    search_text: str = "",
    author: str = "",
    filters: Sequence[str] = (),
    pipeline_tag: str = "",
    library: str = "",
    language: str = "",
    gated: bool | None = None,
    num_parameters: str = "",
    sort: str = "trendingScore",
    after: str = "",
    limit: int = 50,
) -> Page[Item]:
    """Items in order, with the cursor of the next page; each has its repository and namespace selected.

    type            model | dataset | space; "" is every type
    search_text     a part of `namespace/name`, in any case
    filters         tags of which an item must have all: `license:mit`, `dataset:squad`, `bert`, `en`, …
    gated           True: only gated repositories; False: only those that are not
    num_parameters  `min:1M,max:7B`; items whose number is unknown are left out
    sort            a key of SORTS
    after           `Page.next` of the page before

    Four queries at most, whatever is asked for and however many there are. Raises BadRequest.
    """
    from hub.catalog.search import search

    if sort not in SORTS:
        raise BadRequest(f"sort={sort[:40]!r} is not a way to sort. Use one of {', '.join(SORTS)}.")
    if not 1 <= limit <= MAX_LIMIT:
        raise BadRequest(f"limit={limit} is not between 1 and {MAX_LIMIT}. Follow the Link header for more.")
    facets = {"type": type, "author": author.lower(), "task": pipeline_tag, "library": library, "language": language}
    low, high = _sizes(num_parameters)
    query = Query(
        facets={key: (value,) for key, value in facets.items() if value}
        | ({"gated": ("auto", "manual")} if gated else {}),
        ranges={"parameters": (low, high)} if num_parameters else {},
        name_part=search_text,
        required=tuple(f"hf:{tag.casefold()}" for tag in filters if tag),
        excluded=("gated:auto", "gated:manual") if gated is False else (),
    )
    return search(query, visible_to=actor).item_page(sort=SORTS[sort], after=after, limit=limit)


def _sizes(text: str) -> tuple[float | None, float | None]:
    if not text:
        return None, None
    found: dict[str, float] = {}
    for part in text.split(","):
        match = _SIZE.fullmatch(part.strip())
        if match is None:
            raise BadRequest(f"num_parameters={text[:60]!r} is not a range. Write min:1M,max:7B, or one of the two.")
        found[match[1].lower()] = float(match[2]) * _UNITS[match[3].upper()]
    return found.get("min"), found.get("max")
