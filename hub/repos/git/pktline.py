"""The lines git speaks in: four hex digits of length, then bytes (git, Documentation/gitprotocol-common). Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import Enum

from hub.errors import BadRequest

MAX_LINE = 65520
_BAND_DATA = MAX_LINE - 5


class Special(Enum):
    """Lines without bytes."""

    FLUSH = b"0000"
    DELIMITER = b"0001"
    END = b"0002"


FLUSH, DELIMITER = Special.FLUSH.value, Special.DELIMITER.value


def line(data: bytes | str) -> bytes:
    """One line."""
    data = data.encode() if isinstance(data, str) else data
    return b"%04x%b" % (len(data) + 4, data)


def read(body: bytes) -> Iterator[bytes | Special]:
    """The lines of a request, without the newline at their end. Raises BadRequest for what is none."""
    at = 0
    while at < len(body):
        head = body[at : at + 4]
        try:
            length = int(head, 16)
        except ValueError as err:
            raise BadRequest("The request is not made of git's packet lines.") from err
        if length < 4:
            try:
                yield Special(head)
            except ValueError as err:
                raise BadRequest(f"The request has a line of length {length}.") from err
            at += 4
            continue
        if at + length > len(body):
            raise BadRequest("The request ends inside a line. Send it again.")
        yield body[at + 4 : at + length].removesuffix(b"\n")
        at += length


def band(number: int, chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Bytes on one of the bands that share a connection: 1 the pack, 2 what people read, 3 why it ends here."""
    held = bytearray()
    for chunk in chunks:
        held += chunk
        while len(held) >= _BAND_DATA:
            yield line(bytes([number]) + held[:_BAND_DATA])
            del held[:_BAND_DATA]
    if held:
        yield line(bytes([number]) + held)
