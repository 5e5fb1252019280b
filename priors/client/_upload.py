"""Bytes up: small files each as a stream, large ones in chunks of which only those travel that the hub lacks.

Both are parcels (_parcels.py), which go to the hub or into its bucket. Nothing is kept on this machine to go on after a
kill: the hub is asked what is missing, and what arrived is not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from priors.client import _transfer
from priors.client._parcels import Courier, Parcel
from priors.client._transfer import PIECE_BYTES, Meter, Report, in_parallel, persistently
from priors.client._transport import Transport
from priors.client.paths import address_of
from priors.errors import Conflict, HubError, NotFound

CHUNKED_BYTES = 1 << 20  # smaller files go whole: asking about their chunks costs as much
RUN_BYTES = 8 << 20  # of chunks in one request: what a killed process costs again, at most, for each connection
_FILES = 2  # read and cut at once
_ASKED = 10_000  # chunks in one question: 640 MB of file
_FRAME_HEADER = 8
_TOGETHER = 16  # small files in one question
_TRIES = 3


@dataclass(frozen=True)
class Outgoing:
    """A file to send, as it was hashed."""

    path: Path
    sha256: str
    size: int


@dataclass(frozen=True)
class _Chunk:
    hash: bytes
    offset: int
    size: int


def upload(
    transport: Transport,
    repo: str,
    files: Sequence[Outgoing],
    *,
    direct: bool,
    report: Report | None = None,
    what: str,
) -> None:
    """Sends each file, or those of its chunks that the hub lacks, and starts again where a connection was lost.

    direct  whether the hub keeps its files in a bucket, and says where in it they go
    """
    meter = Meter(sum(file.size for file in files), report, what)
    courier = Courier(transport, repo, meter, direct=direct)
    small = [file for file in files if file.size < CHUNKED_BYTES]
    large = sorted((file for file in files if file.size >= CHUNKED_BYTES), key=lambda file: -file.size)
    with ExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor(_FILES, "push-file"))
        runs = stack.enter_context(ThreadPoolExecutor(_transfer.CONNECTIONS, "push-run"))

        def send(file: Outgoing) -> None:
            if not _send_chunks(courier, transport, repo, file, runs, meter):
                courier.deliver([_whole(file, meter)])

        def send_whole(some: Sequence[Outgoing]) -> None:
            courier.deliver([_whole(file, meter) for file in some])

        in_parallel(pool, send, large, meter=meter)
        together = [small[at : at + _TOGETHER] for at in range(0, len(small), _TOGETHER)]
        in_parallel(runs, send_whole, together, meter=meter)


def _whole(file: Outgoing, meter: Meter) -> Parcel:
    return Parcel("blob", file.sha256, file.size, f"/blobs/{file.sha256}", partial(_pieces, file, meter), file.size)


def _send_chunks(
    courier: Courier, transport: Transport, repo: str, file: Outgoing, pool: ThreadPoolExecutor, meter: Meter
) -> bool:
    """Sends what is missing of the file and has it put together. False when the hub takes no chunks."""
    chunks = _cut(file, meter)
    for attempt in range(_TRIES):
        try:
            lacking = _lacking(transport, repo, chunks)
        except NotFound:
            if attempt:
                raise
            return False
        if attempt == 0:
            meter.add(file.size - sum(chunk.size for chunk in lacking))

        def send(run: list[_Chunk]) -> None:
            courier.deliver([_parcel(repo, file.path, run, meter)])

        in_parallel(pool, send, _runs(lacking))
        try:
            courier.assemble(file.sha256, file.size, b"".join(chunk.hash for chunk in chunks))
            return True
        except Conflict:  # the hub swept some meanwhile
            if attempt == _TRIES - 1:
                raise
    raise AssertionError("the last try returns or raises")


def _cut(file: Outgoing, meter: Meter) -> list[_Chunk]:
    from priors.chunks import cut  # numpy and blake3, which only pushing a large file needs

    chunks: list[_Chunk] = []
    offset = 0
    for chunk in cut(_pieces(file, meter)):
        chunks.append(_Chunk(chunk.hash, offset, len(chunk.data)))
        offset += len(chunk.data)
    return chunks


def _lacking(transport: Transport, repo: str, chunks: Sequence[_Chunk]) -> list[_Chunk]:
    """Those the hub wants, each once, in the order of the file."""
    from priors.chunks import from_hex, to_hex

    once = list({chunk.hash: chunk for chunk in chunks}.values())
    where = address_of(repo, "/chunks/missing")
    missing: set[bytes] = set()
    for at in range(0, len(once), _ASKED):
        asked = [to_hex(chunk.hash) for chunk in once[at : at + _ASKED]]
        answer = persistently(partial(transport.json, "POST", where, body={"chunks": asked}))
        try:
            missing |= {from_hex(text) for text in answer["missing"]}
        except (KeyError, TypeError, ValueError) as error:
            raise HubError("the hub does not say which chunks it lacks. Is its version the client's?") from error
    return [chunk for chunk in once if chunk.hash in missing]


def _runs(chunks: Sequence[_Chunk]) -> list[list[_Chunk]]:
    """Pieces of about RUN_BYTES. Where one ends does not depend on the next: in a later push it has the same name."""
    from priors.chunks import MAX_CHUNK

    runs: list[list[_Chunk]] = []
    size = 0
    for chunk in chunks:
        if not runs or size > RUN_BYTES - MAX_CHUNK:
            runs.append([])
            size = 0
        runs[-1].append(chunk)
        size += chunk.size
    return runs


def _parcel(repo: str, path: Path, run: Sequence[_Chunk], meter: Meter) -> Parcel:
    from priors.chunks import to_hex, xorb_hash

    name, raw = to_hex(xorb_hash([(chunk.hash, chunk.size) for chunk in run])), sum(chunk.size for chunk in run)
    length = raw + _FRAME_HEADER * len(run)
    return Parcel("xorb", name, length, address_of(repo, f"/chunks/{name}"), partial(_frames, path, run, meter), raw)


def _frames(path: Path, run: Sequence[_Chunk], meter: Meter) -> Iterator[bytes]:
    """Chunks as a xorb holds them: version 0, packed size, scheme 0 (plain), raw size, bytes."""
    from priors.chunks import chunk_hash

    with path.open("rb") as file:
        for chunk in run:
            meter.check()
            file.seek(chunk.offset)
            data = file.read(chunk.size)
            if chunk_hash(data) != chunk.hash:
                raise HubError(f"{path} changed while it was sent. Push again when nobody writes to it.")
            size = chunk.size.to_bytes(3, "little")
            yield b"\0" + size + b"\0" + size
            yield data


def _pieces(file: Outgoing, meter: Meter) -> Iterator[bytes]:
    """The file's first `size` bytes: what was hashed and announced, even if somebody appends meanwhile."""
    left = file.size
    with file.path.open("rb") as opened:
        while left and (piece := opened.read(min(PIECE_BYTES, left))):
            meter.check()
            left -= len(piece)
            yield piece
    if left:
        raise HubError(f"{file.path} became shorter while it was sent. Push again when nobody writes to it.")
