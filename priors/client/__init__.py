"""The light client of a hub: httpx and the standard library, no torch, no Django.

    hub = Hub("http://127.0.0.1:8000")      # or PRIORHUB_URL, or the hub `priorhub login` remembered
    folder = hub.pull("demo/topics")        # every byte checked against its sha256, cached

Modules
    hub.py         Hub: what a person or a program asks of a hub
    library.py     HubLibrary: the hub's catalogue and the local cache as a priors.library.Library
    records.py     what a hub answers, as frozen dataclasses
    config.py      which hub and which token; the login file
    cache.py       blobs by content and snapshots by commit; safe for many processes and for kill -9
    paths.py       names a server sends that become names on this disk
    _transport.py  HTTP and what each failure means
    _download.py   bytes down: files and ranges at once, taken up where a killed process stopped
    _upload.py     bytes up
    _draft.py      a blob on its way
    _transfer.py   what both share
    _past.py       what a hub measured, kept with its ETag
    _events.py     a job's server-sent events, with reconnecting
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from priors.client.cache import Cache as Cache
    from priors.client.hub import Hub as Hub
    from priors.client.library import HubLibrary as HubLibrary

_HOME = {"Cache": "cache", "Hub": "hub", "HubLibrary": "library"}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
