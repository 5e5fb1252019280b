"""Bytes down: several files and several ranges of one file at once, every hash checked by the cache that keeps them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from urllib.parse import quote

from priors.client import _transfer
from priors.client._draft import Draft
from priors.client._transfer import Meter, Report, in_parallel, persistently
from priors.client._transport import Transport
from priors.client.cache import Cache
from priors.client.paths import address_of, safe_commit, safe_paths, safe_sha256
from priors.client.records import RepoFile, Tree
from priors.errors import HubError, HubUnreachable

RANGE_BYTES = 8 << 20  # what a killed process or a lost connection costs again, at most, for each connection
_FILES = 4  # being written at once: hashing one overlaps with fetching the next
_Range = tuple[int, int]


def download(transport: Transport, cache: Cache, repo: str, tree: Tree, *, report: Report | None = None) -> None:
    """Brings every blob of the tree into the cache. Refuses unsafe names before the first byte is asked for.

    Ranges that a process which was killed had finished are not asked for again.
    """
    safe_commit(tree.commit)
    safe_paths(file.path for file in tree.files)
    wanted = {safe_sha256(file.sha256): file for file in tree.files}
    meter = Meter(sum(file.size for file in wanted.values()), report, f"pulling {repo}")
    with ExitStack() as stack:
        files = stack.enter_context(ThreadPoolExecutor(_FILES, "pull-file"))
        ranges = stack.enter_context(ThreadPoolExecutor(_transfer.CONNECTIONS, "pull-range"))
        bring = partial(_bring, transport, cache, repo, tree.commit, ranges, meter)
        in_parallel(files, bring, sorted(wanted.values(), key=lambda file: -file.size), meter=meter)


def _bring(
    transport: Transport, cache: Cache, repo: str, commit: str, pool: ThreadPoolExecutor, meter: Meter, file: RepoFile
) -> None:
    fetched = False

    def fill(draft: Draft) -> None:
        nonlocal fetched
        if fetched:
            meter.add(-file.size)  # what had been noted as arrived was wrong: all of it comes again
        fetched = True
        meter.check()
        _fill(transport, address_of(repo, f"/files/{commit}/{quote(file.path)}"), pool, meter, file, draft)

    cache.add(file.sha256, file.size, fill, keep=file.size > RANGE_BYTES)
    if not fetched:
        meter.add(file.size)


def _fill(
    transport: Transport, address: str, pool: ThreadPoolExecutor, meter: Meter, file: RepoFile, draft: Draft
) -> None:
    """Fetches what the draft lacks. The first range alone tells whether the hub gives ranges at all."""
    lacking: list[_Range] = []
    for begin in range(0, file.size, RANGE_BYTES) or [0]:
        each = (begin, min(begin + RANGE_BYTES, file.size))
        if draft.has(*each):
            meter.add(each[1] - each[0])
        else:
            lacking.append(each)
    if not lacking:
        return
    alone = len(lacking) == 1 and lacking[0] == (0, file.size)

    def bring(wanted: _Range) -> None:
        persistently(partial(_range, transport, address, file, draft, wanted, meter, whole=alone))
        draft.arrived(*wanted)
        meter.add(wanted[1] - wanted[0])

    first, *rest = lacking
    try:
        in_parallel(pool, bring, [first])
    except _NoRanges:
        persistently(partial(_range, transport, address, file, draft, (0, file.size), meter, whole=True))
        meter.add(sum(end - begin for begin, end in lacking))
        return
    in_parallel(pool, bring, rest)


class _NoRanges(Exception):
    """The hub, or what stands before it, sends the whole file whatever is asked for."""


def _range(
    transport: Transport, address: str, file: RepoFile, draft: Draft, wanted: _Range, meter: Meter, *, whole: bool
) -> None:
    """Writes these bytes of the file at their place. Raises _NoRanges where the whole file comes instead."""
    meter.check()
    begin, end = wanted
    headers = {"Accept-Encoding": "identity"} | ({} if whole else {"Range": f"bytes={begin}-{end - 1}"})
    with transport.stream("GET", address, headers=headers) as answer:
        if not whole:
            if answer.status_code != 206:
                raise _NoRanges
            if answer.headers.get("content-range", "").split("/")[0] != f"bytes {begin}-{end - 1}":
                raise HubError(
                    "the hub sends another range than it was asked for. Try again; a proxy may be in between."
                )
        at = begin
        for piece in answer.iter_raw(_transfer.PIECE_BYTES):
            if at + len(piece) > end:
                raise HubError(
                    f"the hub sends more than the {end - begin:,} bytes it promised of {file.path!r}. Stopped."
                )
            meter.check()
            draft.write(piece, at)
            at += len(piece)
        if at != end:
            raise HubUnreachable(f"the connection ended {end - at:,} bytes early in {file.path!r}. Try again.")
