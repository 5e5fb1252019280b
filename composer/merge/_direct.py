"""A file written from its beginning to its end, past the page cache where the file system can.

Copying gigabytes into the cache, and the cache's bookkeeping of them, takes as long as merging them does; and it throws
out what others read.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
from pathlib import Path
from types import TracebackType

CHUNK = 1 << 20
"""Bytes written at once: a multiple of every sector and page size."""

_DIRECT = getattr(os, "O_DIRECT", 0)


class Sequential:
    """`write(block)` in order; everything is on disk when the `with` block ends without an error."""

    def __init__(self, path: Path) -> None:
        self._chunk = mmap.mmap(-1, CHUNK)  # begins with a page, as direct writes want
        self._held = 0
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        try:
            self._file = os.open(path, flags | _DIRECT, 0o666)
            self._direct = bool(_DIRECT)
        except OSError as error:
            if error.errno != errno.EINVAL:  # what a file system without direct writes says
                raise
            self._file, self._direct = os.open(path, flags, 0o666), False

    def write(self, block: memoryview) -> None:
        done = 0
        while done < len(block):
            count = min(CHUNK - self._held, len(block) - done)
            self._chunk[self._held : self._held + count] = block[done : done + count]
            self._held += count
            done += count
            if self._held == CHUNK:
                self._send()

    def __enter__(self) -> Sequential:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._through_cache()  # the end is no whole number of sectors
                self._send()
                os.fsync(self._file)
        finally:
            os.close(self._file)

    def _send(self) -> None:
        with memoryview(self._chunk) as chunk:
            done = 0
            while done < self._held:
                try:
                    done += os.write(self._file, chunk[done : self._held])
                except OSError as error:
                    if error.errno != errno.EINVAL or not self._direct:
                        raise
                    self._through_cache()
                if done % mmap.PAGESIZE:
                    self._through_cache()  # a write that was cut short leaves no whole page
        self._held = 0

    def _through_cache(self) -> None:
        if self._direct:
            fcntl.fcntl(self._file, fcntl.F_SETFL, fcntl.fcntl(self._file, fcntl.F_GETFL) & ~_DIRECT)
            self._direct = False
