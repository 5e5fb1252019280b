"""Bytes down and bytes up: files in parallel, large ones in ranges, every hash checked by the cache that keeps them."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

from priors.client._transport import Transport
from priors.client.cache import Cache
from priors.client.paths import safe_commit, safe_paths, safe_sha256, split_repo
from priors.client.records import RepoFile, Tree
from priors.errors import HubError, HubUnreachable

T = TypeVar("T")
Report = Callable[[int, int, str], None]
"""Progress in bytes: done, of how many, what. Called from one thread at a time."""

RANGE_BYTES = 32 << 20  # a lost connection costs at most this much again
WORKERS = 4
TRIES = 4
CHUNK_BYTES = 1 << 20


class Meter:
    """Adds up bytes from several threads and passes the sum on."""

    def __init__(self, of: int, report: Report | None, what: str) -> None:
        self._done, self._of, self._report, self._what = 0, of, report, what
        self._lock = threading.Lock()

    def add(self, size: int) -> None:
        with self._lock:
            self._done += size
            if self._report:
                self._report(self._done, self._of, self._what)


def download(transport: Transport, cache: Cache, repo: str, tree: Tree, *, report: Report | None = None) -> None:
    """Brings every blob of the tree into the cache. Refuses unsafe names before the first byte is asked for."""
    safe_commit(tree.commit)
    safe_paths(file.path for file in tree.files)
    wanted = {safe_sha256(file.sha256): file for file in tree.files}
    meter = Meter(sum(file.size for file in wanted.values()), report, f"pulling {repo}")

    def bring(file: RepoFile) -> None:
        fetched = 0

        def fill(path: Path) -> None:
            nonlocal fetched
            fetched = file.size
            _fill(transport, repo, tree.commit, file, path, meter)

        cache.add(file.sha256, file.size, fill)
        meter.add(file.size - fetched)

    _in_parallel(bring, sorted(wanted.values(), key=lambda file: -file.size))


def upload(
    transport: Transport, files: Sequence[tuple[Path, str, int]], *, report: Report | None = None, what: str
) -> None:
    """PUTs (path, sha256, size) each as a stream, starting again where a connection was lost."""
    meter = Meter(sum(size for _, _, size in files), report, what)

    def send(file: tuple[Path, str, int]) -> None:
        path, sha256, size = file

        def put() -> None:
            with transport.stream(
                "PUT",
                f"/blobs/{sha256}",
                content=_chunks(path, size),
                headers={"Content-Length": str(size), "Content-Type": "application/octet-stream"},
            ):
                pass

        _persistently(put)
        meter.add(size)

    _in_parallel(send, files)


def _fill(transport: Transport, repo: str, commit: str, file: RepoFile, path: Path, meter: Meter) -> None:
    namespace, name = split_repo(repo)
    url = f"/repos/{namespace}/{name}/files/{commit}/{quote(file.path)}"
    ranges = [(at, min(at + RANGE_BYTES, file.size)) for at in range(0, file.size, RANGE_BYTES)] or [(0, 0)]
    handle = os.open(path, os.O_WRONLY)
    try:
        for begin, end in ranges:
            _persistently(partial(_range, transport, url, handle, begin, end, file))
            meter.add(end - begin)
    finally:
        os.close(handle)


def _range(transport: Transport, url: str, handle: int, begin: int, end: int, file: RepoFile) -> None:
    """Writes bytes begin..end of the file at their place. A hub that ignores the range is read from its start."""
    headers = {"Accept-Encoding": "identity"}
    if (begin, end) != (0, file.size):
        headers["Range"] = f"bytes={begin}-{end - 1}"
    with transport.stream("GET", url, headers=headers) as answer:
        at = begin if answer.status_code == 206 else 0
        if at and answer.headers.get("content-range", "").split("/")[0] != f"bytes {begin}-{end - 1}":
            raise HubError("the hub sends another range than it was asked for. Try again; a proxy may be in between.")
        for chunk in answer.iter_raw(CHUNK_BYTES):
            if at + len(chunk) > file.size:
                raise HubError(
                    f"the hub sends more than the {file.size:,} bytes it promised for {file.path!r}. Stopped."
                )
            if at + len(chunk) > end:  # the whole file came; the rest is asked for again in its own turn
                os.pwrite(handle, chunk[: max(0, end - at)], at)
                return
            os.pwrite(handle, chunk, at)
            at += len(chunk)
        if at != end:
            raise HubUnreachable(f"the connection ended {end - at:,} bytes early in {file.path!r}. Try again.")


def _persistently(work: Callable[[], None]) -> None:
    """Runs `work`, again after 0.5, 1, 2 s when the hub could not be reached."""
    for attempt in range(TRIES):
        try:
            return work()
        except HubUnreachable:
            if attempt == TRIES - 1:
                raise
            time.sleep(0.5 * 2**attempt)


def _chunks(path: Path, size: int) -> Iterator[bytes]:
    """The file's first `size` bytes: what was hashed and announced, even if somebody appends meanwhile."""
    left = size
    with path.open("rb") as file:
        while left and (chunk := file.read(min(CHUNK_BYTES, left))):
            left -= len(chunk)
            yield chunk
    if left:
        raise HubError(f"{path} became shorter while it was sent. Push again when nobody writes to it.")


def _in_parallel(work: Callable[[T], None], items: Sequence[T]) -> None:
    """Runs `work` on every item in a few threads; the first error stops what has not begun, and is raised."""
    if len(items) == 1:
        return work(items[0])
    pool = ThreadPoolExecutor(WORKERS)
    try:
        for done in [pool.submit(work, item) for item in items]:
            done.result()
    finally:
        pool.shutdown(cancel_futures=True)
