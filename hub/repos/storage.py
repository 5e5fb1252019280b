"""Where bytes live, by their SHA-256. One local implementation; a bucket is another behind the same Protocol.

A write is staged first (temporary file, hashed on the way, synced) and published later by a rename, which the caller
does inside the transaction that records the row: so a row never lacks its bytes, whatever dies when.
"""

from __future__ import annotations

import errno
import hashlib
import os
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import BinaryIO, Protocol
from urllib.parse import unquote, urlsplit

from django.conf import settings

from hub.errors import BlobLost, HashMismatch, TooLarge
from hub.repos.gitobjects import blob_header
from priors.errors import StorageFull

CHUNK = 1 << 20


@dataclass(frozen=True)
class Staged:
    """Bytes that are on disk under a temporary name."""

    sha256: str
    size: int
    git_oid: str
    temporary: Path


class BlobStore(Protocol):
    """Content-addressed bytes."""

    def stage(self, chunks: Iterable[bytes], *, expect: str | None = None) -> Staged:
        """Bytes written and synced, not yet visible. Raises HashMismatch, TooLarge, StorageFull; then nothing stays."""

    def publish(self, staged: Staged) -> None:
        """Makes staged bytes visible, atomically; over the same bytes without harm."""

    def discard(self, staged: Staged) -> None:
        """Forgets staged bytes; after `publish` it does nothing."""

    def open(self, sha256: str) -> BinaryIO:
        """The bytes as a file at position 0. Raises BlobLost."""

    def path(self, sha256: str) -> Path:
        """Where the bytes lie on this machine, for linking. Raises BlobLost when they do not."""

    def delete(self, sha256: str) -> None:
        """Removes the bytes; what is not there is no error."""

    def verify(self, sha256: str) -> bool:
        """Reads everything and tells whether it still has its hash."""

    def stored(self) -> Iterator[tuple[str, float]]:
        """Every hash with the time its bytes arrived (seconds since 1970)."""

    def sweep_temporary(self, *, older_than_s: float) -> int:
        """Removes temporary files of writers that died; how many."""


class LocalBlobStore:
    """Files under `root/sha256/ab/cd/<hash>`, two levels deep so that no folder grows beyond what file systems like."""

    def __init__(self, root: Path, *, max_bytes: int) -> None:
        self.root, self.max_bytes = root, max_bytes
        self._temporary = root / "tmp"

    def stage(self, chunks: Iterable[bytes], *, expect: str | None = None) -> Staged:
        self._temporary.mkdir(parents=True, exist_ok=True)
        temporary = self._temporary / uuid.uuid4().hex
        try:
            with _storage_full():
                sha256, size = self._write(temporary, chunks)
            if expect is not None and sha256 != expect:
                raise HashMismatch(
                    f"The bytes hash to {sha256}, not to {expect}. Send the file again; it may be truncated."
                )
            return Staged(sha256, size, _git_oid(temporary, size), temporary)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise

    def publish(self, staged: Staged) -> None:
        target = self._path(staged.sha256)
        with _storage_full():
            target.parent.mkdir(parents=True, exist_ok=True)
            staged.temporary.chmod(0o444)  # jobs hard-link blobs into their folders: nobody may write through a link
            staged.temporary.replace(target)
            _sync_folder(target.parent)

    def discard(self, staged: Staged) -> None:
        staged.temporary.unlink(missing_ok=True)

    def open(self, sha256: str) -> BinaryIO:
        return self.path(sha256).open("rb")

    def path(self, sha256: str) -> Path:
        path = self._path(sha256)
        if not path.is_file():
            raise BlobLost(f"The bytes of blob {sha256} are gone from {self.root}. Restore them from a backup.")
        return path

    def delete(self, sha256: str) -> None:
        self._path(sha256).unlink(missing_ok=True)

    def verify(self, sha256: str) -> bool:
        try:
            with self.open(sha256) as file:
                return sha256_of(file) == sha256
        except BlobLost:
            return False

    def stored(self) -> Iterator[tuple[str, float]]:
        for path in (self.root / "sha256").glob("??/??/*"):
            try:
                yield path.name, path.stat().st_mtime
            except FileNotFoundError:
                continue  # deleted while we looked

    def sweep_temporary(self, *, older_than_s: float) -> int:
        removed = 0
        for path in self._temporary.glob("*"):
            try:
                if path.stat().st_mtime < time.time() - older_than_s:
                    path.unlink()
                    removed += 1
            except FileNotFoundError:
                continue  # its writer finished
        return removed

    def _path(self, sha256: str) -> Path:
        return self.root / "sha256" / sha256[:2] / sha256[2:4] / sha256

    def _write(self, temporary: Path, chunks: Iterable[bytes]) -> tuple[str, int]:
        hasher, size = hashlib.sha256(), 0
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            for chunk in chunks:
                size += len(chunk)
                if size > self.max_bytes:
                    raise TooLarge(f"The file is larger than {self.max_bytes} bytes, the most this hub takes.")
                hasher.update(chunk)
                rest = memoryview(chunk)
                while rest:
                    rest = rest[os.write(descriptor, rest) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        return hasher.hexdigest(), size


@cache
def _local(root: Path, max_bytes: int) -> LocalBlobStore:
    return LocalBlobStore(root, max_bytes=max_bytes)


def store() -> BlobStore:
    """The store that STORAGE_URL names."""
    return _local(Path(unquote(urlsplit(settings.STORAGE_URL).path)), settings.BLOB_MAX_BYTES)


def chunks_of(file: BinaryIO) -> Iterator[bytes]:
    """A file's bytes in pieces of CHUNK."""
    while piece := file.read(CHUNK):
        yield piece


def sha256_of(file: BinaryIO) -> str:
    """The hash of everything from where `file` stands."""
    hasher = hashlib.sha256()
    for piece in chunks_of(file):
        hasher.update(piece)
    return hasher.hexdigest()


def _git_oid(path: Path, size: int) -> str:
    """A second pass over the file: git hashes the size first, and a stream does not tell it before its end."""
    hasher = hashlib.sha1(blob_header(size), usedforsecurity=False)
    with path.open("rb") as file:
        for piece in chunks_of(file):
            hasher.update(piece)
    return hasher.hexdigest()


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _storage_full() -> Iterator[None]:
    try:
        yield
    except OSError as err:
        if err.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
            raise StorageFull(
                "The hub's disk is full; nothing was stored. Free some space, then send it again."
            ) from err
        raise
