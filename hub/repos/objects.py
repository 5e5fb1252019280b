"""Where bytes lie, by name. One local implementation; a bucket is another behind the same Protocol.

Objects are written once and never changed, and a name is never used for other bytes. So a writer needs no lock, a
reader sees all of an object or none of it, and the rows in the database alone say which objects count.
"""

from __future__ import annotations

import errno
import os
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import BinaryIO, Protocol
from urllib.parse import unquote, urlsplit

from django.conf import settings

from hub.errors import BlobLost
from hub.repos.s3 import S3Objects
from priors.errors import StorageFull

_SYNCS = 16


class ObjectStore(Protocol):
    """Named bytes."""

    @property
    def drafts(self) -> Path:
        """A folder of this machine for files on their way into the store, on the store's disk where it has one."""

    def put(self, key: str, file: Path) -> None:
        """Makes a finished draft the object `key`, atomically; the draft is gone then. Raises StorageFull."""

    def put_all(self, files: Mapping[str, Path]) -> None:
        """The same for many, each for itself, which waits for the disk or the network once and not for each."""

    def open(self, key: str) -> BinaryIO:
        """The object as a file at position 0. Raises BlobLost."""

    def read(self, key: str, start: int, stop: int) -> bytes:
        """Some of its bytes. Raises BlobLost, also when it is shorter than `stop`."""

    def path(self, key: str) -> Path | None:
        """Where the object lies on this machine; None when it lies elsewhere or nowhere."""

    def delete(self, key: str) -> None:
        """Removes the object; what is not there is no error."""

    def url(self, key: str, *, name: str) -> str | None:
        """Where whoever holds it gets the object without this hub, as an attachment called `name`; None: nowhere."""

    def range_url(self, key: str, start: int, stop: int) -> str | None:
        """The same for some of its bytes, with exactly this range in the request."""

    def listing(self, prefix: str) -> Iterator[tuple[str, float]]:
        """Every name that begins with `prefix`, which ends in `/`, with the time it arrived (seconds since 1970)."""


class LocalObjects:
    """Files below a folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @property
    def drafts(self) -> Path:
        return self.root / "tmp"

    def put(self, key: str, file: Path) -> None:
        self.put_all({key: file})

    def put_all(self, files: Mapping[str, Path]) -> None:
        targets = {self.root / key: file for key, file in files.items()}
        folders = {target.parent for target in targets}
        with storage_full():
            sync(files.values())
            for folder in folders:
                folder.mkdir(parents=True, exist_ok=True)
            for target, file in targets.items():
                file.chmod(0o444)  # jobs hard-link files into their folders: nobody may write through a link
                file.replace(target)
            sync(folders)

    def open(self, key: str) -> BinaryIO:
        try:
            return (self.root / key).open("rb")
        except FileNotFoundError as err:
            raise self._lost(key) from err

    def read(self, key: str, start: int, stop: int) -> bytes:
        with self.open(key) as file:
            data = os.pread(file.fileno(), stop - start, start)
        if len(data) < stop - start:
            raise self._lost(key)
        return data

    def path(self, key: str) -> Path | None:
        path = self.root / key
        return path if path.is_file() else None

    def delete(self, key: str) -> None:
        (self.root / key).unlink(missing_ok=True)

    def url(self, key: str, *, name: str) -> str | None:
        return None

    def range_url(self, key: str, start: int, stop: int) -> str | None:
        return None

    def listing(self, prefix: str) -> Iterator[tuple[str, float]]:
        for folder, _, names in os.walk(self.root / prefix):
            for name in names:
                path = Path(folder, name)
                try:
                    yield path.relative_to(self.root).as_posix(), path.stat().st_mtime
                except FileNotFoundError:
                    continue  # deleted while we looked

    def _lost(self, key: str) -> BlobLost:
        return BlobLost(f"{key} is gone from {self.root}, or cut short. Restore it from a backup.")


def objects() -> ObjectStore:
    """The store that STORAGE_URL names."""
    return bucket() or _local(Path(unquote(urlsplit(settings.STORAGE_URL).path)))


def bucket() -> S3Objects | None:
    """The same when it is a bucket, which clients send to and get from by themselves."""
    return _bucket(settings.STORAGE_URL) if settings.STORAGE_URL.startswith("s3:") else None


def draft(store: ObjectStore) -> Path:
    """A name for a new file that `put` may take."""
    store.drafts.mkdir(parents=True, exist_ok=True)
    return store.drafts / uuid.uuid4().hex


def sweep_drafts(store: ObjectStore, *, older_than_s: float) -> int:
    """Removes drafts of writers that died; how many."""
    removed = 0
    for path in store.drafts.glob("*"):
        try:
            if path.stat().st_mtime < time.time() - older_than_s:
                path.unlink()
                removed += 1
        except FileNotFoundError:
            continue  # its writer finished
    return removed


@contextmanager
def storage_full() -> Iterator[None]:
    """Says in words that the disk is full."""
    try:
        yield
    except OSError as err:
        if err.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
            raise StorageFull(
                "The hub's disk is full; nothing was stored. Free some space, then send it again."
            ) from err
        raise


@cache
def _local(root: Path) -> LocalObjects:
    return LocalObjects(root)


@cache
def _bucket(url: str) -> S3Objects:
    return S3Objects(url)


def sync(paths: Iterable[Path]) -> None:
    """Waits until files and folders are on the disk. Many at once: their waits become one write of its journal."""
    paths = list(paths)
    if len(paths) == 1:
        _sync(paths[0])
    elif paths:
        with ThreadPoolExecutor(_SYNCS) as pool:
            list(pool.map(_sync, paths))


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
