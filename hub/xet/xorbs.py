"""Xorbs: chunks one after another, each a frame of its own that says how it is packed and how long it is.

A frame is `version=0 (1 byte), packed size (3, little-endian), scheme (1), raw size (3)` and the packed bytes. Frames
know nothing of each other, so any run of them is a xorb again: that is how ranges are served and how the store leaves
out chunks that it has.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import BinaryIO

import lz4.frame

from hub.xet.errors import BadXorb
from priors.chunks import MAX_CHUNK

MAX_XORB_BYTES = 64 * 1024 * 1024
"""Of raw bytes; xet-core's xorb_object/constants.rs, as is the next."""
MAX_XORB_CHUNKS = 8 * 1024
HEADER = 8
MAX_BODY_BYTES = MAX_XORB_BYTES + MAX_XORB_CHUNKS * (HEADER + 64) + 4096
"""The longest upload: every chunk stored plainly, and a footer of 64 bytes a chunk that nobody needs."""

_FOOTER = b"XETBLOB"
_SCHEMES = {0, 1, 2}
_WORTH_PACKING = 0.97  # below that share of the raw size; else unpacking costs more than the disk saves


class Scheme(IntEnum):
    """How a frame's bytes are packed."""

    PLAIN = 0
    LZ4 = 1
    PLANES_LZ4 = 2
    """The first bytes of all 32-bit words, then the second ones and so on, then LZ4: exponents of floats repeat."""


@dataclass(frozen=True)
class Frame:
    """A packed chunk. `data` has the header in front."""

    data: bytes
    scheme: Scheme
    raw_size: int


def pack(chunk: bytes) -> Frame:
    """The smallest frame of a chunk that is worth unpacking."""
    scheme, packed = Scheme.PLAIN, chunk
    for candidate, data in ((Scheme.LZ4, chunk), (Scheme.PLANES_LZ4, _planes(chunk))):
        attempt = lz4.frame.compress(data, store_size=False)
        if len(attempt) < min(len(packed), len(chunk) * _WORTH_PACKING):
            scheme, packed = candidate, attempt
    header = bytes([0, *len(packed).to_bytes(3, "little"), scheme, *len(chunk).to_bytes(3, "little")])
    return Frame(header + packed, scheme, len(chunk))


def unpack(frame: Frame) -> bytes:
    """The chunk of a frame. Raises BadXorb when it is not exactly as long as the frame says; never holds more."""
    packed = frame.data[HEADER:]
    if frame.scheme is Scheme.PLAIN:
        return packed
    unpacker = lz4.frame.LZ4FrameDecompressor()
    try:
        data = unpacker.decompress(packed, max_length=frame.raw_size + 1)  # one more, or the end mark is not read
    except RuntimeError as err:
        raise BadXorb(f"A chunk does not unpack: {err}") from err
    if len(data) != frame.raw_size or not unpacker.eof or unpacker.unused_data:
        raise BadXorb(f"A chunk said to have {frame.raw_size} bytes unpacks to another number of them.")
    return data if frame.scheme is Scheme.LZ4 else _words(data)


def read_frames(stream: BinaryIO) -> Iterator[Frame]:
    """The frames of a xorb up to its end or footer, one in memory at a time. Raises BadXorb, naming the frame."""
    raw_total = 0
    for number in range(MAX_XORB_CHUNKS + 1):
        header = stream.read(HEADER)
        if not header or header.startswith(_FOOTER):
            return
        if number == MAX_XORB_CHUNKS:
            raise BadXorb(f"The xorb has more than {MAX_XORB_CHUNKS} chunks. Cut it into several.")
        frame = _read_frame(header, stream, number)
        raw_total += frame.raw_size
        if raw_total > MAX_XORB_BYTES:
            raise BadXorb(f"The xorb has more than {MAX_XORB_BYTES} bytes. Cut it into several.")
        yield frame


def _read_frame(header: bytes, stream: BinaryIO, number: int) -> Frame:
    if len(header) < HEADER:
        raise BadXorb(f"The xorb ends within the header of chunk {number}. Send it whole.")
    version, packed_size = header[0], int.from_bytes(header[1:4], "little")
    scheme, raw_size = header[4], int.from_bytes(header[5:8], "little")
    if version != 0:
        raise BadXorb(f"Chunk {number} has format version {version}; this hub reads version 0.")
    if scheme not in _SCHEMES:
        raise BadXorb(f"Chunk {number} is packed by scheme {scheme}; this hub reads 0, 1 and 2.")
    if not 0 < raw_size <= MAX_CHUNK or not 0 < packed_size <= 2 * MAX_CHUNK:
        raise BadXorb(f"Chunk {number} has {raw_size} bytes, {packed_size} packed; chunks have 1 to {MAX_CHUNK}.")
    if scheme == Scheme.PLAIN and packed_size != raw_size:
        raise BadXorb(f"Chunk {number} is not packed, yet its two sizes differ: {packed_size} and {raw_size}.")
    packed = stream.read(packed_size)
    if len(packed) < packed_size:
        raise BadXorb(f"The xorb ends within chunk {number}. Send it whole.")
    return Frame(header + packed, Scheme(scheme), raw_size)


def _planes(chunk: bytes) -> bytes:
    return b"".join(chunk[place::4] for place in range(4))


def _words(planes: bytes) -> bytes:
    size, at = len(planes), 0
    chunk = bytearray(size)
    for place in range(4):
        length = (size - place + 3) // 4
        chunk[place::4] = planes[at : at + length]
        at += length
    return bytes(chunk)
