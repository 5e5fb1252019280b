"""Following a job: its events as they come, as a stream of server-sent events (WHATWG HTML, section 9.2)."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Generator, Iterator
from typing import Any

from django.conf import settings
from django.db import connection
from django.http import StreamingHttpResponse

from hub.errors import TooManyWatchers
from hub.jobs.models import Job, JobEvent

_POLL_S = 0.5
_KEEP_ALIVE_S = 15.0
_seats = threading.BoundedSemaphore(settings.JOB_MAX_WATCHERS)

Render = Callable[[Job, JobEvent], str]
"""The data of one event; what it says may span lines."""


def event_data(event: JobEvent) -> dict[str, Any]:
    """An event as the API gives it."""
    return {"at": event.at.isoformat(), **event.data}


def render_json(job: Job, event: JobEvent) -> str:
    """The API's rendering."""
    return json.dumps(event_data(event))


class Watch:
    """A synchronous iterator of one job's events after `after`, which ends when the job has.

    Synchronous on purpose: under gunicorn's threads a generator's first piece leaves at once, an async one is collected
    to its end first. Each watcher holds a thread, so seats are limited: raises TooManyWatchers. A class and not a
    generator, because closing a generator that never ran would not give the seat back.
    """

    def __init__(self, job: Job, *, after: int = 0, render: Render = render_json, poll_s: float = _POLL_S) -> None:
        if not _seats.acquire(blocking=False):
            raise TooManyWatchers(
                "Too many people watch jobs at this moment. Ask for the job itself every few seconds."
            )
        self._open = True
        self._stream = _stream(job, after, render, poll_s)

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        return next(self._stream)

    def close(self) -> None:
        """Gives the seat back; the server calls it however the request ends."""
        self._stream.close()
        if self._open:
            self._open = False
            _seats.release()


def stream_response(job: Job, *, last_event_id: str | None, render: Render = render_json) -> StreamingHttpResponse:
    """The response that streams the job's events after `Last-Event-ID`."""
    after = int(last_event_id) if last_event_id and last_event_id.isdecimal() and len(last_event_id) < 19 else 0
    response = StreamingHttpResponse(Watch(job, after=after, render=render), content_type="text/event-stream")
    response["Cache-Control"] = "no-store"
    response["X-Accel-Buffering"] = "no"  # nginx would collect it
    return response


def _stream(job: Job, after: int, render: Render, poll_s: float) -> Generator[bytes, None, None]:
    spoke = time.monotonic()
    yield b": connected\n\n"
    while True:
        # The state before the events: an event written between the two reads is seen in the next round, not lost.
        now = Job.objects.filter(pk=job.pk).first()
        if now is None:
            return
        for event in JobEvent.objects.filter(job=now, id__gt=after).order_by("id"):
            after, spoke = event.pk, time.monotonic()
            yield _message(event.pk, event.kind, render(now, event))
        if not now.is_live:
            return
        if not connection.in_atomic_block:
            connection.close()  # half a second is long for a connection that others may need
        if time.monotonic() - spoke > _KEEP_ALIVE_S:
            spoke = time.monotonic()
            yield b": still here\n\n"  # writing is the only way to learn that the reader left
        time.sleep(poll_s)


def _message(number: int, kind: str, data: str) -> bytes:
    lines = "".join(f"data: {line}\n" for line in data.splitlines() or [""])
    return f"id: {number}\nevent: {kind}\n{lines}\n".encode()
