"""What one request sends, on its way into the store: small files wait for each other and are stored together.

A file that is stored for itself costs two waits for the disk and five queries; of a commit of a thousand small ones
that was nearly all the time. Nothing of it is visible before the commit that names it.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

from hub.accounts.models import User
from hub.repos.blobs import put_file, put_small, put_staged
from hub.repos.models import Namespace
from hub.repos.quotas import Room, counted, reserved
from hub.repos.storage import Staged, chunks_of, store
from hub.xet.chunkstore import WHOLE_MAX_BYTES

_MOST_WAITING = 256
"""Small files that wait at most: 32 MiB of drafts."""


class Incoming:
    """Takes files one by one; all are stored when the block ends well, and when it does not, those that wait are gone.

    by     who sends them
    place  the namespace in which room is taken before bytes arrive; without one they count when a commit has them
    """

    def __init__(self, *, by: User | None, place: Namespace | None = None) -> None:
        self._by, self._place = by, place
        self._waiting: dict[str, tuple[Staged, Room | None]] = {}

    def keep(self, chunks: Iterable[bytes], *, size: int = 0) -> Staged:
        """Takes one file of `size` bytes as announced, 0: nobody said. Raises OverQuota, TooLarge, StorageFull."""
        if self._place is None:
            return self._take(store().stage(chunks), None)
        with reserved(self._place, size) as room:
            return self._take(store().stage(counted(chunks, room)), room)

    def keep_file(self, path: Path) -> str:
        """Takes a file of this machine; its sha256. One that is large and here already is only read."""
        if path.stat().st_size > WHOLE_MAX_BYTES:
            return put_file(path, by=self._by).sha256
        with path.open("rb") as file:
            return self.keep(chunks_of(file)).sha256

    def _take(self, staged: Staged, room: Room | None) -> Staged:
        if staged.size > WHOLE_MAX_BYTES:
            try:
                put_staged(staged, by=self._by)
            finally:
                store().discard(staged)
            if room is not None:
                room.settle(staged.sha256, staged.size)
        elif staged.sha256 in self._waiting:
            _forget(staged, room)
        else:
            self._waiting[staged.sha256] = (staged, room)
            if len(self._waiting) >= _MOST_WAITING:
                self._store()
        return staged

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            if kind is None:
                self._store()
        finally:
            for staged, room in self._waiting.values():
                _forget(staged, room)

    def _store(self) -> None:
        if not self._waiting:
            return  # a commit of large files, or of none: no transaction for nothing
        put_small([staged for staged, _ in self._waiting.values()], by=self._by)
        for staged, room in self._waiting.values():
            store().discard(staged)
            if room is not None:
                room.settle(staged.sha256, staged.size)
        self._waiting.clear()


def _forget(staged: Staged, room: Room | None) -> None:
    store().discard(staged)
    if room is not None:
        room.give_back()
