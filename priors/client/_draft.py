"""A blob on its way: its bytes in a file, and a note of each range that arrived whole.

The note is one line a range, appended after the range's bytes were written; a line that a dying process or a full disk
cut short names no range and counts for nothing. The note is never the last word: the whole file is hashed before it is
placed.
"""

from __future__ import annotations

import os
import re
import threading
from pathlib import Path

_LINE = re.compile(rb"^(\d{1,19}) (\d{1,19})\n", re.MULTILINE)


class Draft:
    """`size` bytes below `path`, written in any order by any number of threads. `kept`: a killed process's is taken up.

    Who keeps drafts holds the blob's lock: two writers of one file could each note what the other overwrote.
    """

    def __init__(self, path: Path, size: int, *, kept: bool = False) -> None:
        self.path, self.size = path, size
        self._note = path.with_suffix(".done") if kept else None
        self._lock = threading.Lock()
        self._arrived = self._taken_up()
        # O_NOFOLLOW: a link somebody put here must not make this process write through it
        self._handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        os.ftruncate(self._handle, size)
        os.utime(self._handle)  # so that nobody sweeps it away as a leftover while it grows
        self.resumed = bool(self._arrived)

    def has(self, begin: int, end: int) -> bool:
        """Whether this range was noted as arrived."""
        return (begin, end) in self._arrived

    def write(self, content: bytes, at: int) -> None:
        """Puts bytes in their place."""
        rest = memoryview(content)
        while rest:
            written = os.pwrite(self._handle, rest, at)
            rest, at = rest[written:], at + written

    def arrived(self, begin: int, end: int) -> None:
        """Notes that every byte of the range is written."""
        with self._lock:
            self._arrived.add((begin, end))
            if self._note is not None:
                with self._note.open("ab") as note:
                    # begins a line of its own: the one before may have been cut short, and would run into this one
                    note.write(b"\n%d %d\n" % (begin, end))

    def begin_again(self) -> None:
        """Forgets what arrived: some of it was wrong, and nobody can tell which."""
        with self._lock:
            self._arrived.clear()
            self.resumed = False
            if self._note is not None:
                self._note.unlink(missing_ok=True)

    def close(self) -> None:
        os.close(self._handle)

    def forget(self) -> None:
        """Removes the file and its note; after the file was placed only the note is left to remove."""
        self.path.unlink(missing_ok=True)
        if self._note is not None:
            self._note.unlink(missing_ok=True)

    def _taken_up(self) -> set[tuple[int, int]]:
        if self._note is None:
            return set()
        usable = self.path.is_file() and not self.path.is_symlink() and self.path.stat().st_size == self.size
        if not usable or self._note.is_symlink() or not self._note.is_file():
            self.forget()
            return set()
        noted = self._note.read_bytes()
        return {(int(begin), int(end)) for begin, end in _LINE.findall(noted)}
