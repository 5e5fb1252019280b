"""What a runner reports, written by a thread of its own: one event a second at most, and a heartbeat in silence.

The runner never waits for the database, and a step of ten minutes does not look like a dead worker.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from django.conf import settings
from django.db import OperationalError, connection

from hub.jobs import services
from hub.jobs.services import Claim, Superseded

logger = logging.getLogger(__name__)

_TICK_S = 1.0
_stopping = threading.Event()


class Interrupted(Exception):
    """This worker is stopping; the job goes back to its queue."""


def interrupt() -> None:
    """Makes every job of this process stop at its next report. Called when the worker is told to shut down."""
    _stopping.set()


def is_stopping() -> bool:
    """Whether `interrupt` was called in this process."""
    return _stopping.is_set()


class Reporter:
    """The two callbacks of a runner, `report` and `cancelled`, for as long as the `with` block lasts."""

    def __init__(self, held: Claim, *, tick_s: float = _TICK_S) -> None:
        self._held, self._tick_s = held, tick_s
        self._pending: dict[str, Any] | None = None
        self._lock = threading.Lock()
        self._cancel, self._lost, self._done = threading.Event(), threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"heartbeat-{held.job_id}", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._done.set()
        self._thread.join()

    def report(self, step: int, of: int, message: str = "", **metrics: Any) -> None:
        """Says how far the job is. Raises Superseded or Interrupted when it is to stop without a result."""
        self._check()
        with self._lock:
            self._pending = {"step": int(step), "of": int(of), "message": message, "metrics": plain(metrics)}

    def cancelled(self) -> bool:
        """Whether the job was asked to stop. Raises as `report` does."""
        self._check()
        return self._cancel.is_set()

    def _check(self) -> None:
        if self._lost.is_set():
            raise Superseded
        if _stopping.is_set():
            raise Interrupted

    def _run(self) -> None:
        try:
            last = time.monotonic()
            while not self._done.wait(self._tick_s):
                last = self._write(last)
            self._write(last)
        except Superseded:
            self._lost.set()
        finally:
            connection.close()  # this thread's own

    def _write(self, last: float) -> float:
        with self._lock:
            pending, self._pending = self._pending, None
        try:
            if pending is not None:
                services.record_progress(self._held, **pending)
            elif time.monotonic() - last < settings.JOB_HEARTBEAT_SECONDS:
                self._see_cancel()
                return last
            else:
                services.beat(self._held)
            self._see_cancel()
            return time.monotonic()
        except OperationalError as err:  # a database that is away for a moment must not end an hour's work
            logger.warning("job not reported: job=%s cause=%s", self._held.job_id, err)
            with self._lock:
                self._pending = self._pending or pending
            return last

    def _see_cancel(self) -> None:
        if services.cancel_requested(self._held):
            self._cancel.set()


def plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Metrics as JSON has them: numpy scalars become Python's, NaN and infinities null."""
    return {name: _plain(value) for name, value in values.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if not isinstance(value, str | int | float | bool | None) and hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
