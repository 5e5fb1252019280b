"""What downloads and uploads share: counting bytes, trying again, and a bounded number of threads."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import TypeVar

from priors.errors import HubUnreachable

T = TypeVar("T")
Report = Callable[[int, int, str], None]
"""Progress in bytes: done, of how many, what. Called from one thread at a time."""

CONNECTIONS = 8  # at once, whatever number of files and ranges there are; the transport keeps 16 open at most
TRIES = 4
PIECE_BYTES = 1 << 20


class Meter:
    """Adds up bytes from several threads and passes the sum on."""

    def __init__(self, of: int, report: Report | None, what: str) -> None:
        self._done, self._of, self._report, self._what = 0, of, report, what
        self._lock, self._stopped = threading.Lock(), threading.Event()

    def add(self, size: int) -> None:
        with self._lock:
            self._done += size
            if self._report:
                self._report(self._done, self._of, self._what)

    def stop(self) -> None:
        """Makes every thread end at its next `check`: one of them failed, or somebody pressed Ctrl-C."""
        self._stopped.set()

    def check(self) -> None:
        """Raises Stopped once `stop` was called."""
        if self._stopped.is_set():
            raise Stopped


class Stopped(Exception):
    """This thread ends because of another's failure, which is what gets reported."""


def persistently(work: Callable[[], T]) -> T:
    """What `work` gives, asked again after 0.5, 1, 2 s when the hub could not be reached."""
    for attempt in range(TRIES - 1):
        try:
            return work()
        except HubUnreachable:
            time.sleep(0.5 * 2**attempt)
    return work()


def in_parallel(
    pool: ThreadPoolExecutor, work: Callable[[T], None], items: Sequence[T], *, meter: Meter | None = None
) -> None:
    """Runs `work` on every item; the first error stops what has not begun, and is raised once nothing runs any more.

    meter  is told to stop the others too, wherever they are
    """
    begun = [pool.submit(work, item) for item in items]
    try:
        done, _ = wait(begun, return_when=FIRST_EXCEPTION)
        failed = [error for each in done if (error := each.exception()) and not isinstance(error, Stopped)]
        if failed:
            raise failed[0]
    except BaseException:
        if meter is not None:
            meter.stop()
        raise
    finally:
        for each in begun:
            each.cancel()
        wait(begun)
    for each in begun:
        each.result()  # raises Stopped where another call's failure ended these
