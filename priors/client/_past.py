"""What a hub measured, kept on this machine with its mark: asked again only for changes, and there without the hub.

A hub may be anybody's: numbers that no score can be, and names that are none, are refused and not kept.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any

from priors.client._transport import Transport
from priors.client.cache import Cache
from priors.client.records import Past
from priors.errors import HubError, HubUnreachable

_PAGE = 5_000
_MOST_PAGES = 200
_LARGEST = 1e6
"""Of a score, on the side where R² has no end; the cube of it is more than a card says of anything."""
_TRIES = 3


def fetch(transport: Transport, cache: Cache) -> Past:
    """The history of the hub; of the cache where it did not change, and where the hub is away."""
    key = hashlib.sha256(transport.address.url.encode()).hexdigest()
    kept = _kept(cache, key)
    try:
        found = _ask(transport, kept["etag"] if kept else "")
    except HubUnreachable:
        if kept is None:
            raise
        return _read(kept["content"])
    if found is None and kept is not None:
        return _read(kept["content"])
    if found is None:
        raise HubError("the hub says that nothing changed since what this machine does not have. Ask again.")
    past = _read(found["content"])  # before it is kept
    cache.keep_history(key, json.dumps(found).encode())
    return past


def _ask(transport: Transport, etag: str) -> dict[str, Any] | None:
    """Everything, or None when it is what `etag` marks."""
    for _ in range(_TRIES):
        content: dict[str, Any] = {"outcomes": [], "tasks": [], "priors": []}
        mark, cursor = "", ""
        for number in range(_MOST_PAGES):
            headers = {"If-None-Match": etag} if etag and not number else {}
            query = {"limit": float(_PAGE), "cursor": cursor or None}
            with transport.stream("GET", "/history", query=query, headers=headers) as answer:
                if answer.status_code == 304:
                    return None
                here = answer.headers.get("etag", "")
                page = transport.read_json(answer)
            if not isinstance(page, dict) or not all(isinstance(page.get(name), list) for name in content):
                raise HubError("the hub's history is not what this client knows. Is its version the client's?")
            if number and here != mark:
                break  # it changed between two pages: begin again
            mark = here
            for name, items in content.items():
                items += page[name]
            cursor = str(page.get("next") or "")
            if not cursor:
                return {"etag": mark, "content": content}
    raise HubError("the hub's history changes faster than it can be read. Try again later.")


def _kept(cache: Cache, key: str) -> dict[str, Any] | None:
    content = cache.history(key)
    try:
        kept = json.loads(content) if content else None
    except ValueError:
        return None
    return kept if isinstance(kept, dict) and "etag" in kept and "content" in kept else None


def _read(content: Mapping[str, Any]) -> Past:
    """Raises HubError for what no hub measured."""
    outcomes = tuple(content["outcomes"])
    for one in outcomes:
        score = _number(one, "score")
        bounds = [_number(one, name) for name in ("low", "high")]
        if score > 1 or abs(score) > _LARGEST or any(abs(bound) > _LARGEST for bound in bounds):
            raise HubError(f"the hub's history says a score of {score:g}, which none can be. Nothing was kept.")
        if not isinstance(one.get("members"), list) or not all(isinstance(name, str) for name in one["members"]):
            raise HubError("the hub's history has an outcome without members. Nothing was kept.")
    for card in content["priors"]:
        numbers = card.get("numbers") if isinstance(card, Mapping) else None
        if not isinstance(numbers, Mapping):
            raise HubError("the hub's history has a prior without numbers. Nothing was kept.")
        for name in numbers:
            if not 0 <= _number(numbers, name) < _LARGEST**3:
                raise HubError(f"the hub's history says {name} = {numbers[name]:g} of a prior. Nothing was kept.")
    return Past(outcomes, tuple(content["tasks"]), tuple(content["priors"]))


def _number(found: Any, name: str) -> float:
    value = found.get(name) if isinstance(found, Mapping) else None
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        raise HubError(f"the hub's history has {name} = {str(value)[:40]}, which is no number. Nothing was kept.")
    return float(value)
