"""Whole files made from chunks, for sendfile and for jobs: a cache on this machine that may be emptied at any time."""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import threading
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from django.conf import settings
from django.db import connection

from hub.errors import BlobLost
from hub.home import assembled_folder
from hub.repos.objects import storage_full, sync
from hub.xet.reader import read_blob

logger = logging.getLogger(__name__)

_FRESH_S = 60.0
"""A file used so lately is not evicted: whoever asked for its path is about to open it."""


def cached(sha256: str) -> Path | None:
    """Where the whole file lies, if it does; it then counts as used now."""
    path = _path(sha256)
    try:
        if path.stat().st_mtime < time.time() - _FRESH_S / 2:
            os.utime(path)
    except FileNotFoundError:
        return None
    return path


def assemble(sha256: str) -> Path:
    """The whole file; made when it is not there, and then checked against its hash. Raises BlobLost, StorageFull."""
    if (path := cached(sha256)) is not None:
        return path
    with one_at_a_time(sha256):
        if (path := cached(sha256)) is not None:
            return path
        return write(sha256, read_blob(sha256))


def assemble_soon(sha256: str) -> None:
    """Begins to make the whole file, for whoever asks next."""

    def work() -> None:
        try:
            assemble(sha256)
        except Exception:
            logger.exception("could not assemble", extra={"blob": sha256})
        finally:
            connection.close()

    threading.Thread(target=work, name=f"assemble-{sha256[:8]}", daemon=True).start()


def write(sha256: str, pieces: Iterable[bytes]) -> Path:
    """Puts a file together from its pieces. Raises BlobLost when they are not the blob; then nothing stays."""
    draft = assembled_folder() / f".{uuid.uuid4().hex}"
    hasher = hashlib.sha256()
    try:
        with storage_full(), draft.open("xb") as file:
            for piece in pieces:
                hasher.update(piece)
                file.write(piece)
        if hasher.hexdigest() != sha256:
            raise BlobLost(f"The chunks of blob {sha256} are those of {hasher.hexdigest()}. Restore a backup.")
        return adopt(sha256, draft)
    finally:
        draft.unlink(missing_ok=True)


def adopt(sha256: str, file: Path) -> Path:
    """Takes over a file that was checked already. Raises OSError when it lies on another disk."""
    path = _path(sha256)
    path.parent.mkdir(parents=True, exist_ok=True)
    file.chmod(0o444)  # jobs hard-link it: nobody may write through a link
    sync([file])  # its name promises its bytes, also when the machine stops
    os.utime(file)
    file.replace(path)
    evict(keep=path)
    return path


def drop(sha256: str) -> None:
    """Removes the whole file, if there is one."""
    _path(sha256).unlink(missing_ok=True)


def evict(*, keep: Path | None = None) -> int:
    """Removes files that were not used for longest until ASSEMBLED_MAX_BYTES are left; how many."""
    found = []
    for path in _files():
        try:
            status = path.stat()
        except FileNotFoundError:
            continue  # somebody else evicts too
        found.append((status.st_mtime, status.st_size, path))
    total, removed = sum(size for _, size, _ in found), 0
    for used, size, path in sorted(found):
        if total <= settings.ASSEMBLED_MAX_BYTES or used > time.time() - _FRESH_S:
            break
        if path != keep:
            path.unlink(missing_ok=True)
            total -= size
            removed += 1
    return removed


def hashes() -> Iterator[str]:
    """Of all files that are there."""
    return (path.name for path in _files())


def _files() -> Iterator[Path]:
    return assembled_folder().glob("??/*")


def _path(sha256: str) -> Path:
    return assembled_folder() / sha256[:2] / sha256


@contextmanager
def one_at_a_time(sha256: str) -> Iterator[None]:
    """Two who want the same file do not both make it."""
    with (assembled_folder() / f".lock-{sha256[:2]}").open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
