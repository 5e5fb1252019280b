"""Bytes up: each file a stream that begins again where a connection was lost."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from priors.client._transfer import PIECE_BYTES, Meter, Report, in_parallel, persistently
from priors.client._transport import Transport
from priors.errors import HubError

_FILES = 4


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
                content=_pieces(path, size, meter),
                headers={"Content-Length": str(size), "Content-Type": "application/octet-stream"},
            ):
                pass

        persistently(put)
        meter.add(size)

    with ThreadPoolExecutor(_FILES, "push-file") as pool:
        in_parallel(pool, send, files, meter=meter)


def _pieces(path: Path, size: int, meter: Meter) -> Iterator[bytes]:
    """The file's first `size` bytes: what was hashed and announced, even if somebody appends meanwhile."""
    left = size
    with path.open("rb") as file:
        while left and (piece := file.read(min(PIECE_BYTES, left))):
            meter.check()
            left -= len(piece)
            yield piece
    if left:
        raise HubError(f"{path} became shorter while it was sent. Push again when nobody writes to it.")
