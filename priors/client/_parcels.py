"""Bytes with a name, on their way to the hub or into its bucket.

A hub that keeps its files in a bucket is asked where each goes, gets them told when they are there, and says when a
worker has found them to be what their name says. Asked again after a kill it names what it has already.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from priors.client._transfer import Meter, persistently
from priors.client._transport import Transport
from priors.client.paths import address_of
from priors.errors import HubError, HubUnreachable

_SLOWEST = 10_000_000  # bytes a second at which a hub reads and puts files together, at least
_PATIENCE_S = 600.0  # for a queue before it
_LONGEST_PAUSE_S = 2.0


@dataclass(frozen=True)
class Parcel:
    """What is sent in one request. `content` gives the bytes anew each time; `counts` is what the meter adds for it."""

    kind: Literal["blob", "xorb"]
    name: str
    size: int
    address: str
    content: Callable[[], Iterator[bytes]]
    counts: int


class Courier:
    """Brings parcels for one repository. `direct`: the hub says where in its bucket they go. Threads may share it."""

    def __init__(self, transport: Transport, repo: str, meter: Meter, *, direct: bool) -> None:
        self._transport, self._repo, self._meter, self._direct = transport, repo, meter, direct

    def deliver(self, parcels: Sequence[Parcel]) -> None:
        """Sends each, until the hub has found all of them right. Raises HubError."""
        begun, counts = [], 0
        for parcel, place in zip(parcels, self._places(parcels), strict=True):
            match place.get("to"):
                case "hub":
                    persistently(partial(self._put, parcel.address, parcel.content, parcel.size))
                case "bucket":
                    persistently(partial(self._put_away, str(place.get("url")), parcel))
                case "nowhere":
                    pass
                case other:
                    raise HubError(f"the hub wants bytes sent to {str(other)[:40]!r}. Is its version the client's?")
            if (upload := place.get("upload")) is None:
                self._meter.add(parcel.counts)
            else:
                begun.append(str(upload))
                counts += parcel.counts
        if begun:
            self._wait(begun, sum(parcel.size for parcel in parcels))
            self._meter.add(counts)

    def assemble(self, sha256: str, size: int, chunks: bytes) -> None:
        """Has a file made of chunks, whose hashes are given one after another. Raises Conflict when some are gone."""
        address = address_of(self._repo, f"/chunks/files/{sha256}")
        seconds = 60 + size / _SLOWEST
        made = persistently(partial(self._put, address, lambda: iter([chunks]), len(chunks), seconds=seconds))
        self._wait([str(upload) for upload in made.get("waiting") or []], size)

    def _places(self, parcels: Sequence[Parcel]) -> list[dict[str, Any]]:
        """Where each goes."""
        if not self._direct:
            return [{"to": "hub"}] * len(parcels)
        asked = [{"kind": parcel.kind, "name": parcel.name, "size": parcel.size} for parcel in parcels]
        where = address_of(self._repo, "/uploads")
        answer = persistently(partial(self._transport.json, "POST", where, body={"items": asked}))
        places = answer.get("items") if isinstance(answer, dict) else None
        if not isinstance(places, list) or len(places) != len(parcels):
            raise HubError("the hub does not say where bytes go. Is its version the client's?")
        return places

    def _put(
        self, address: str, content: Callable[[], Iterator[bytes]], length: int, *, seconds: float | None = None
    ) -> dict[str, Any]:
        headers = {"Content-Length": str(length), "Content-Type": "application/octet-stream"}
        with self._transport.stream("PUT", address, content=content(), headers=headers, seconds=seconds) as answer:
            said = self._transport.read_json(answer)
        return said if isinstance(said, dict) else {}

    def _put_away(self, url: str, parcel: Parcel) -> None:
        self._transport.put_away(url, parcel.content(), parcel.size)

    def _wait(self, uploads: Sequence[str], size: int) -> None:
        """Until a worker has checked them. Raises what it refused them for, HubUnreachable when none does."""
        where, left = address_of(self._repo, "/uploads/arrived"), list(uploads)
        until, pause_s = time.monotonic() + _PATIENCE_S + size / _SLOWEST, 0.1
        while left:
            self._meter.check()
            answer = persistently(partial(self._transport.json, "POST", where, body={"uploads": left}))
            left = list(answer.get("waiting") or []) if isinstance(answer, dict) else []
            if left and time.monotonic() > until:
                raise HubUnreachable(
                    "the hub has the bytes and does not come to check them. Are its workers running? Push again later: "
                    "they need not be sent again."
                )
            if left:
                time.sleep(pause_s)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
