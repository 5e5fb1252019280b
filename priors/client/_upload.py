"""Bytes up: small files each as a stream, large ones in chunks of which only those travel that the hub lacks.

Nothing is kept on this machine to go on after a kill: the hub is asked what is missing, and what arrived is not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from priors.client import _transfer
from priors.client._transfer import PIECE_BYTES, Meter, Report, in_parallel, persistently
from priors.client._transport import Transport
from priors.client.paths import address_of
from priors.errors import Conflict, HubError, NotFound

CHUNKED_BYTES = 1 << 20  # smaller files go whole: asking about their chunks costs as much
RUN_BYTES = 8 << 20  # of chunks in one request: what a killed process costs again, at most, for each connection
_FILES = 2  # read and cut at once
_ASKED = 10_000  # chunks in one question: 640 MB of file
_FRAME_HEADER = 8
_SLOWEST = 10_000_000  # bytes a second at which a hub puts a file together, at least
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
    transport: Transport, repo: str, files: Sequence[Outgoing], *, report: Report | None = None, what: str
) -> None:
    """Sends each file, or those of its chunks that the hub lacks, and starts again where a connection was lost."""
    meter = Meter(sum(file.size for file in files), report, what)
    with ExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor(_FILES, "push-file"))
        runs = stack.enter_context(ThreadPoolExecutor(_transfer.CONNECTIONS, "push-run"))

        def send(file: Outgoing) -> None:
            if file.size < CHUNKED_BYTES or not _send_chunks(transport, repo, file, runs, meter):
                persistently(partial(_put, transport, file, meter))
                meter.add(file.size)

        in_parallel(pool, send, sorted(files, key=lambda file: -file.size), meter=meter)


def _put(transport: Transport, file: Outgoing, meter: Meter) -> None:
    _stream(transport, f"/blobs/{file.sha256}", _pieces(file, meter), file.size)


def _send_chunks(transport: Transport, repo: str, file: Outgoing, pool: ThreadPoolExecutor, meter: Meter) -> bool:
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
            persistently(partial(_send_run, transport, repo, file.path, run, meter))
            meter.add(sum(chunk.size for chunk in run))

        in_parallel(pool, send, _runs(lacking))
        try:
            persistently(partial(_assemble, transport, repo, file, chunks))
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
    runs: list[list[_Chunk]] = []
    size = 0
    for chunk in chunks:
        if not runs or size + chunk.size > RUN_BYTES:
            runs.append([])
            size = 0
        runs[-1].append(chunk)
        size += chunk.size
    return runs


def _send_run(transport: Transport, repo: str, path: Path, run: Sequence[_Chunk], meter: Meter) -> None:
    from priors.chunks import to_hex, xorb_hash

    name = to_hex(xorb_hash([(chunk.hash, chunk.size) for chunk in run]))
    length = sum(_FRAME_HEADER + chunk.size for chunk in run)
    _stream(transport, address_of(repo, f"/chunks/{name}"), _frames(path, run, meter), length)


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


def _assemble(transport: Transport, repo: str, file: Outgoing, chunks: Sequence[_Chunk]) -> None:
    body = b"".join(chunk.hash for chunk in chunks)
    seconds = 60 + file.size / _SLOWEST
    _stream(transport, address_of(repo, f"/chunks/files/{file.sha256}"), iter([body]), len(body), seconds=seconds)


def _stream(
    transport: Transport, address: str, content: Iterator[bytes], length: int, *, seconds: float | None = None
) -> None:
    headers = {"Content-Length": str(length), "Content-Type": "application/octet-stream"}
    with transport.stream("PUT", address, content=content, headers=headers, seconds=seconds):
        pass


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
