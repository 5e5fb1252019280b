"""Shards: tables of 48-byte records that say which chunks of which xorbs make a file, and which chunks a xorb has.

    header   tag 32, version u64 = 2, footer size u64
    files    header: hash 32, flags u32, count u32, unused u64
             `count` segments: xorb hash 32, flags u32, raw bytes u32, first chunk u32, stop chunk u32
             `count` range hashes when flags has bit 31; one record with the SHA-256 when it has bit 30
             ...until a header whose hash is all ones
    xorbs    header: hash 32, flags u32, count u32, raw bytes u32, packed bytes u32
             `count` chunks: hash 32, raw offset u32, raw bytes u32, flags u32, unused u32
             ...until a header whose hash is all ones
    lookups  by the first 8 bytes of a hash: files, xorbs, chunks
    footer   200 bytes; xet-core's metadata_shard/shard_format.rs

Clients send shards without what follows the xorbs and want it in those they get.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from hub.xet.errors import BadShard
from hub.xet.xorbs import MAX_XORB_CHUNKS
from priors.chunks import from_hex, to_hex

MAX_SHARD_BYTES = 64 * 1024 * 1024

_TAG = b"HFRepoMetaData\x00" + bytes.fromhex("5569 6745 6a7b 8157 83a5 bdd9 5ccd d14a a9")
_VERSION = 2
_FOOTER_VERSION = 1
_FOOTER_BYTES = 200
_RECORD = 48
_END = b"\xff" * 32
_HAS_RANGES, _HAS_SHA256 = 1 << 31, 1 << 30

_HEADER = struct.Struct("<32sQQ")
_FILE = struct.Struct("<32sIIQ")
_SEGMENT = struct.Struct("<32sIIII")
_HASH = struct.Struct("<32s16x")
_XORB = struct.Struct("<32sIIII")
_CHUNK = struct.Struct("<32sIIII")


@dataclass(frozen=True)
class Segment:
    """Chunks `start` to `stop` of a xorb, `size` raw bytes. `range_hash` proves that the sender knows their hashes."""

    xorb: bytes
    start: int
    stop: int
    size: int
    range_hash: bytes | None = None


@dataclass(frozen=True)
class ShardFile:
    """How a file is put together. `sha256` is as hashlib gives it; a shard holds it in the byte order of its hashes."""

    hash: bytes
    segments: tuple[Segment, ...]
    sha256: str | None = None

    @property
    def size(self) -> int:
        """Its length in bytes."""
        return sum(segment.size for segment in self.segments)


@dataclass(frozen=True)
class ShardXorb:
    """The chunks of a xorb, as (hash, raw size)."""

    hash: bytes
    chunks: tuple[tuple[bytes, int], ...]
    packed_size: int = 0


@dataclass(frozen=True)
class Shard:
    """What a shard tells."""

    files: tuple[ShardFile, ...]
    xorbs: tuple[ShardXorb, ...]


def read_shard(data: bytes) -> Shard:
    """The files and xorbs of a shard. Raises BadShard."""
    records = _Records(data)
    tag, version, _ = records.take(_HEADER)
    if tag != _TAG:
        raise BadShard("The bytes are not a shard: they begin otherwise.")
    if version != _VERSION:
        raise BadShard(f"The shard has version {version}; this hub reads version {_VERSION}.")
    return Shard(tuple(_read_files(records)), tuple(_read_xorbs(records)))


def _read_files(records: _Records) -> Iterator[ShardFile]:
    while True:
        name, flags, count, _ = records.take(_FILE)
        if name == _END:
            return
        records.expect(count * (2 if flags & _HAS_RANGES else 1))
        rows = [records.take(_SEGMENT) for _ in range(count)]
        ranges = [records.take(_HASH)[0] if flags & _HAS_RANGES else None for _ in range(count)]
        sha256 = to_hex(records.take(_HASH)[0]) if flags & _HAS_SHA256 else None
        segments = []
        for (xorb, _, size, start, stop), range_hash in zip(rows, ranges, strict=True):
            if not start < stop <= MAX_XORB_CHUNKS:
                raise BadShard(f"A segment goes from chunk {start} to {stop}; a xorb has 1 to {MAX_XORB_CHUNKS}.")
            segments.append(Segment(xorb, start, stop, size, range_hash))
        yield ShardFile(name, tuple(segments), sha256)


def _read_xorbs(records: _Records) -> Iterator[ShardXorb]:
    while True:
        name, _, count, _, packed_size = records.take(_XORB)
        if name == _END:
            return
        if count > MAX_XORB_CHUNKS:
            raise BadShard(f"The shard names a xorb of {count} chunks; a xorb has at most {MAX_XORB_CHUNKS}.")
        records.expect(count)
        rows = [records.take(_CHUNK) for _ in range(count)]
        yield ShardXorb(name, tuple((hash_, size) for hash_, _, size, _, _ in rows), packed_size)


class _Records:
    """A cursor over the records of a shard."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def take(self, record: struct.Struct) -> tuple[Any, ...]:
        self.expect(1)
        values = record.unpack_from(self._data, self._at)
        self._at += _RECORD
        return values

    def expect(self, count: int) -> None:
        """Raises BadShard when fewer records are left: before anything is made for them."""
        if self._at + count * _RECORD > len(self._data):
            raise BadShard("The shard ends before its last record. Send it whole.")


def write_shard(shard: Shard, *, valid_s: float = 3 * 7 * 24 * 3600) -> bytes:
    """A whole shard, with what clients look chunks up by. Clients forget it after `valid_s`."""
    files = sorted(shard.files, key=lambda file: _number(file.hash))
    xorbs = sorted(shard.xorbs, key=lambda xorb: _number(xorb.hash))
    out = bytearray(_HEADER.pack(_TAG, _VERSION, _FOOTER_BYTES))
    files_at = len(out)
    file_lookup = []
    for file in files:
        file_lookup.append((_first8(file.hash), (len(out) - files_at) // _RECORD))
        out += _file_records(file)
    out += _FILE.pack(_END, 0, 0, 0)
    xorbs_at = len(out)
    xorb_lookup, chunk_lookup = [], []
    for xorb in xorbs:
        index = (len(out) - xorbs_at) // _RECORD
        xorb_lookup.append((_first8(xorb.hash), index))
        chunk_lookup += [(_first8(name), index, place) for place, (name, _) in enumerate(xorb.chunks)]
        out += _xorb_records(xorb)
    out += _XORB.pack(_END, 0, 0, 0, 0)
    file_lookup_at = len(out)
    out += b"".join(struct.pack("<QI", *row) for row in file_lookup)
    xorb_lookup_at = len(out)
    out += b"".join(struct.pack("<QI", *row) for row in xorb_lookup)
    chunk_lookup_at = len(out)
    out += b"".join(struct.pack("<QII", *row) for row in sorted(chunk_lookup))
    now = int(time.time())
    raw = sum(size for xorb in xorbs for _, size in xorb.chunks)
    out += struct.pack(
        "<9Q32sQQ48xQQQQ",
        _FOOTER_VERSION, files_at, xorbs_at,
        file_lookup_at, len(file_lookup), xorb_lookup_at, len(xorb_lookup), chunk_lookup_at, len(chunk_lookup),
        bytes(32), now, now + int(valid_s),
        sum(xorb.packed_size for xorb in xorbs), sum(file.size for file in files), raw, len(out),
    )  # fmt: skip
    return bytes(out)


def _file_records(file: ShardFile) -> bytes:
    proven = bool(file.segments) and all(segment.range_hash is not None for segment in file.segments)
    flags = (_HAS_RANGES if proven else 0) | (_HAS_SHA256 if file.sha256 is not None else 0)
    records = [_FILE.pack(file.hash, flags, len(file.segments), 0)]
    records += [_SEGMENT.pack(part.xorb, 0, part.size, part.start, part.stop) for part in file.segments]
    if proven:
        records += [_HASH.pack(part.range_hash) for part in file.segments]
    if file.sha256 is not None:
        records.append(_HASH.pack(from_hex(file.sha256)))
    return b"".join(records)


def _xorb_records(xorb: ShardXorb) -> bytes:
    raw = sum(size for _, size in xorb.chunks)
    records, at = [_XORB.pack(xorb.hash, 0, len(xorb.chunks), raw, xorb.packed_size)], 0
    for name, size in xorb.chunks:
        records.append(_CHUNK.pack(name, at, size, 0, 0))
        at += size
    return b"".join(records)


def _first8(name: bytes) -> int:
    return int.from_bytes(name[:8], "little")


def _number(name: bytes) -> tuple[int, ...]:
    """The order of hashes as four little-endian numbers, which the lookups are sorted by."""
    return struct.unpack("<4Q", name)
