"""A job's server-sent events: parsed as they come, and taken up again after the last one when the line breaks.

WHATWG HTML, "Server-sent events": fields id, event, data and retry; a blank line ends an event; a line that begins with
a colon is a comment and only keeps the line open.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress

from priors.client._transport import Transport
from priors.client.records import Job, JobEvent
from priors.errors import HubUnreachable

TRIES = 5  # how often a hub is asked that does not answer: over 0.5 + 1 + 2 + 4 + 8 s, a restart takes less


def follow(transport: Transport, job_id: str, after: int, *, job: Callable[[], Job]) -> Iterator[JobEvent]:
    """Every event of the job after number `after`, until it has finished. HubUnreachable when the hub stays away."""
    failed = 0
    while True:
        heard, broken = False, True
        with suppress(HubUnreachable):  # a broken line, or no seat left to watch from: the job itself is asked below
            for event in _connected(transport, job_id, after):
                if event.id <= after:
                    continue  # a hub that resends what was seen
                heard, failed, after = True, 0, event.id
                yield event
            broken = False
        if heard:
            continue
        failed += broken
        try:
            finished = job().finished
        except HubUnreachable:
            if failed >= TRIES:
                raise
        else:
            if finished and (not broken or failed >= TRIES):
                return
        time.sleep(0.5 * 2 ** min(failed, 4))


def _connected(transport: Transport, job_id: str, after: int) -> Iterator[JobEvent]:
    headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": str(after)} if after else {})
    with transport.stream("GET", f"/jobs/{job_id}/events", headers=headers, events=True) as answer:
        yield from parse(answer.iter_lines())


def parse(lines: Iterable[str]) -> Iterator[JobEvent]:
    """Events out of lines. One without a number or with data that is no JSON object is passed over."""
    number, kind, data = "", "message", []
    for line in lines:
        if line:
            field, _, value = line.partition(":")
            value = value.removeprefix(" ")
            match field:
                case "id":
                    number = value
                case "event":
                    kind = value
                case "data":
                    data.append(value)
            continue
        if data and number.isdecimal():
            try:
                content = json.loads("\n".join(data))
            except ValueError:
                content = None
            if isinstance(content, dict):
                yield JobEvent(int(number), kind, content)
        number, kind, data = "", "message", []
