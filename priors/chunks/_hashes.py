"""The hashes of Xet: of a chunk, of a sequence of chunks as a tree, and how a hash is written."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from blake3 import blake3

# The keys are in xet-core's merklehash/data_hash.rs and metadata_shard/chunk_verification.rs.
_CHUNK_KEY = bytes.fromhex("6697f5775b9550de3135cbaca597181c9de421109beb2b58b4d0b04b93adf229")
_NODE_KEY = bytes.fromhex("017ec5c7a5472996fd946666b48a02e65ddd536f37c76dd2f86352e64a53713f")
_RANGE_KEY = bytes.fromhex("7f1857d6ce56ed66127ff913e7a5c3f3a4cd26d5b5db49e64124987f28fb94c3")
_FILE_KEY = bytes(32)

_FANOUT = 4
_MAX_CHILDREN = 2 * _FANOUT + 1


def chunk_hash(data: bytes) -> bytes:
    """32 bytes that name a chunk."""
    return blake3(data, key=_CHUNK_KEY).digest()


def xorb_hash(chunks: Sequence[tuple[bytes, int]]) -> bytes:
    """The hash of a sequence of chunks, given as (hash, length): the root of their tree; zeros when there are none."""
    if not chunks:
        return bytes(32)
    level = list(chunks)
    while len(level) > 1:
        level = _parents(level)
    return level[0][0]


def file_hash(chunks: Sequence[tuple[bytes, int]]) -> bytes:
    """The hash of a file with these chunks; zeros for the empty file."""
    return blake3(xorb_hash(chunks), key=_FILE_KEY).digest() if chunks else bytes(32)


def range_hash(hashes: Iterable[bytes]) -> bytes:
    """What a sender shows in a shard to prove that it knows the chunks of a segment, not only the segment's name."""
    return blake3(b"".join(hashes), key=_RANGE_KEY).digest()


def to_hex(raw: bytes) -> str:
    """How Xet writes 32 bytes: as four little-endian numbers, so that each group of eight bytes is reversed."""
    return b"".join(raw[at : at + 8][::-1] for at in range(0, 32, 8)).hex()


def from_hex(text: str) -> bytes:
    """The inverse of `to_hex`. Raises ValueError."""
    raw = bytes.fromhex(text)
    if len(text) != 64 or len(raw) != 32:
        raise ValueError(f"{text[:80]!r} is not a hash of 64 hexadecimal digits.")
    return b"".join(raw[at : at + 8][::-1] for at in range(0, 32, 8))


def _parents(level: list[tuple[bytes, int]]) -> list[tuple[bytes, int]]:
    """The next level up: a node ends at the first child from the third on whose hash divides by four, or at nine."""
    nodes, at = [], 0
    while at < len(level):
        stop = min(at + _MAX_CHILDREN, len(level))
        for index in range(at + 2, stop):
            if level[index][0][24] % _FANOUT == 0:  # the lowest byte of the hash's last number
                stop = index + 1
                break
        children = level[at:stop]
        lines = "".join(f"{to_hex(name)} : {size}\n" for name, size in children)
        nodes.append((blake3(lines.encode(), key=_NODE_KEY).digest(), sum(size for _, size in children)))
        at = stop
    return nodes
