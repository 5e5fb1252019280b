"""How long something computes, whatever else the machine does."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Fails when the block takes more processor time.

    Garbage is not collected meanwhile: in a process that has run thousands of tests that alone takes a second.
    """
    collects = gc.isenabled()
    gc.disable()
    start = time.process_time()
    try:
        yield
        taken = time.process_time() - start
    finally:
        if collects:
            gc.enable()
    assert taken < seconds, f"took {taken:.2f} s of processor time, and may take {seconds:g}"
