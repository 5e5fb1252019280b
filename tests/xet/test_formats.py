"""Xorbs and shards: what is written reads back, and hostile bytes are refused before memory is spent on them."""

from __future__ import annotations

import contextlib
import hashlib
import io
import struct
import tracemalloc
from pathlib import Path

import lz4.frame
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hub.xet.errors import BadShard, BadXorb
from hub.xet.shards import Segment, Shard, ShardFile, ShardXorb, read_shard, write_shard
from hub.xet.xorbs import MAX_XORB_BYTES, MAX_XORB_CHUNKS, Frame, Scheme, pack, read_frames, unpack
from priors.chunks import MAX_CHUNK, chunk_hash, cut, file_hash, from_hex, range_hash, to_hex, xorb_hash
from tests.xet.recording import recording_server, upload


def frames(body: bytes) -> list[Frame]:
    return list(read_frames(io.BytesIO(body)))


def header(*, version: int = 0, packed: int, scheme: int, raw: int) -> bytes:
    return bytes([version]) + packed.to_bytes(3, "little") + bytes([scheme]) + raw.to_bytes(3, "little")


CHUNKS = st.one_of(
    st.binary(min_size=1, max_size=300),
    st.builds(lambda unit, times: unit * times, st.binary(min_size=1, max_size=9), st.integers(1, 9000)),
    st.builds(
        lambda seed, size: np.random.default_rng(seed).standard_normal(size).astype(np.float32).tobytes(),
        st.integers(0, 99), st.integers(1, 5000),
    ),
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(st.lists(CHUNKS, max_size=5))
def test_packed_chunks_unpack_to_what_they_were(chunks: list[bytes]) -> None:
    body = b"".join(pack(chunk).data for chunk in chunks)

    assert [unpack(frame) for frame in frames(body)] == chunks


def test_each_kind_of_content_is_packed_as_it_shrinks_most() -> None:
    draw = np.random.default_rng(0)

    assert pack(draw.bytes(10_000)).scheme is Scheme.PLAIN
    assert pack(b"the same words again " * 500).scheme is Scheme.LZ4
    assert pack(draw.standard_normal(2500).astype(np.float32).tobytes()).scheme is Scheme.PLANES_LZ4


def test_a_footer_ends_the_chunks() -> None:
    frame = pack(b"chunk")

    assert frames(frame.data + b"XETBLOB" + bytes(500)) == [frame]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"\x00\x01", "ends within the header"),
        (header(packed=5, scheme=0, raw=5) + b"four", "ends within chunk 0"),
        (header(version=1, packed=1, scheme=0, raw=1) + b"x", "version 1"),
        (header(packed=1, scheme=3, raw=1) + b"x", "scheme 3"),
        (header(packed=1, scheme=99, raw=1) + b"x", "scheme 99"),
        (header(packed=0, scheme=0, raw=0), "has 0 bytes"),
        (header(packed=4, scheme=0, raw=5) + b"four", "two sizes differ"),
        (header(packed=9, scheme=1, raw=MAX_CHUNK + 1) + bytes(9), "chunks have 1 to"),
        (header(packed=0xFFFFFF, scheme=1, raw=10), "chunks have 1 to"),
        ((header(packed=1, scheme=0, raw=1) + b"x") * (MAX_XORB_CHUNKS + 1), "more than 8192 chunks"),
        (
            (header(packed=MAX_CHUNK, scheme=0, raw=MAX_CHUNK) + bytes(MAX_CHUNK)) * (MAX_XORB_BYTES // MAX_CHUNK + 1),
            "more than 67108864 bytes",
        ),
    ],
)
def test_a_broken_xorb_is_refused_by_name(body: bytes, message: str) -> None:
    with pytest.raises(BadXorb, match=message):
        frames(body)


@pytest.mark.parametrize("scheme", [1, 2])
@pytest.mark.parametrize("told", [1, 99, 101, 5000])
def test_a_chunk_of_another_length_than_told_is_refused(scheme: int, told: int) -> None:
    packed = lz4.frame.compress(bytes(100), store_size=False)
    [frame] = frames(header(packed=len(packed), scheme=scheme, raw=told) + packed)

    with pytest.raises(BadXorb, match="another number"):
        unpack(frame)


@pytest.mark.parametrize("stored_size", [True, False])
def test_a_bomb_takes_no_more_memory_than_a_chunk(stored_size: bool) -> None:
    bomb = lz4.frame.compress(bytes(32 << 20), store_size=stored_size)[: 2 * MAX_CHUNK]
    [frame] = frames(header(packed=len(bomb), scheme=1, raw=MAX_CHUNK) + bomb)

    tracemalloc.start()
    with pytest.raises(BadXorb, match="another number"):
        unpack(frame)
    assert tracemalloc.get_traced_memory()[1] < 4 * MAX_CHUNK
    tracemalloc.stop()


@pytest.mark.parametrize("junk", [b"not lz4 at all", b"\x04\x22\x4d\x18" + bytes(20)])
def test_bytes_that_are_not_lz4_are_refused(junk: bytes) -> None:
    [frame] = frames(header(packed=len(junk), scheme=1, raw=100) + junk)

    with pytest.raises(BadXorb, match=r"does not unpack|another number"):
        unpack(frame)


def test_bytes_after_the_end_of_the_lz4_frame_are_refused() -> None:
    packed = lz4.frame.compress(bytes(100), store_size=False) + b"more"
    [frame] = frames(header(packed=len(packed), scheme=1, raw=100) + packed)

    with pytest.raises(BadXorb, match="another number"):
        unpack(frame)


HASHES = st.binary(min_size=32, max_size=32).filter(lambda raw: raw != b"\xff" * 32)
SEGMENTS = st.builds(
    lambda xorb, start, count, size, proof: Segment(xorb, start, start + count, size, proof),
    HASHES, st.integers(0, 8000), st.integers(1, 192), st.integers(0, 2**32 - 1), HASHES,
)  # fmt: skip
FILES = st.builds(
    ShardFile,
    HASHES,
    st.lists(SEGMENTS, max_size=4).map(tuple),
    st.none() | st.binary(min_size=32, max_size=32).map(bytes.hex),
)
XORBS = st.builds(
    ShardXorb,
    HASHES,
    st.lists(st.tuples(HASHES, st.integers(1, MAX_CHUNK)), max_size=5).map(tuple),
    st.integers(0, 2**32 - 1),
)


@settings(deadline=None)
@given(st.lists(FILES, max_size=3), st.lists(XORBS, max_size=3))
def test_a_shard_reads_back_as_it_was_written(files: list[ShardFile], xorbs: list[ShardXorb]) -> None:
    shard = read_shard(write_shard(Shard(tuple(files), tuple(xorbs))))

    assert sorted(shard.files, key=repr) == sorted(files, key=repr)
    assert sorted(shard.xorbs, key=repr) == sorted(xorbs, key=repr)


@given(st.binary(max_size=400))
def test_bytes_that_are_no_shard_are_refused(data: bytes) -> None:
    with pytest.raises(BadShard):
        read_shard(data)


GOOD = write_shard(Shard((ShardFile(bytes(32), (Segment(bytes(32), 0, 1, 5, bytes(32)),), "0" * 64),), ()))


@pytest.mark.parametrize(
    ("at", "value", "message"),
    [
        (0, b"X", "begin otherwise"),
        (32, struct.pack("<Q", 3), "version 3"),
        (48 + 36, struct.pack("<I", 2**32 - 1), "ends before"),  # four thousand million segments
        (96 + 40, struct.pack("<I", 1), "goes from chunk 1 to 1"),
        (96 + 44, struct.pack("<I", 8193), "goes from chunk 0 to 8193"),
    ],
)
def test_a_broken_shard_is_refused_by_name(at: int, value: bytes, message: str) -> None:
    data = bytearray(GOOD)
    data[at : at + len(value)] = value

    with pytest.raises(BadShard, match=message):
        read_shard(bytes(data))


@settings(deadline=None)
@given(st.integers(0, len(GOOD) - 1), st.integers(0, 255))
def test_a_shard_with_any_byte_changed_reads_or_is_refused(at: int, value: int) -> None:
    data = bytearray(GOOD)
    data[at] = value
    with contextlib.suppress(BadShard):
        read_shard(bytes(data))


def test_hf_xet_sends_nothing_again_that_our_shard_tells_it_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = np.random.default_rng(5).bytes(2_000_000)
    chunks = tuple((chunk.hash, len(chunk.data)) for chunk in cut([content]))
    xorb = ShardXorb(xorb_hash(chunks), chunks)

    with recording_server() as recorded:
        recorded.known_chunks[to_hex(chunks[0][0])] = write_shard(Shard((), (xorb,)))
        upload(recorded.url, [content], cache=tmp_path, monkeypatch=monkeypatch)

    assert recorded.asked == [to_hex(chunk_hash(next(cut([content])).data))]
    assert recorded.xorbs == {}
    [file] = read_shard(recorded.shards[0]).files
    assert [(part.xorb, part.start, part.stop) for part in file.segments] == [(xorb.hash, 0, len(chunks))]


def test_hf_xet_writes_its_hashes_as_we_read_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = np.random.default_rng(6).bytes(500_000)
    with recording_server() as recorded:
        [name] = upload(recorded.url, [content], cache=tmp_path, monkeypatch=monkeypatch)

    shard = read_shard(recorded.shards[0])
    chunks = [(chunk.hash, len(chunk.data)) for chunk in cut([content])]
    [file], [xorb] = shard.files, shard.xorbs
    assert file.hash == file_hash(chunks) == from_hex(name)
    assert file.sha256 == hashlib.sha256(content).hexdigest()
    assert (xorb.hash, xorb.chunks) == (xorb_hash(chunks), tuple(chunks))
    assert [part.range_hash for part in file.segments] == [range_hash(hash_ for hash_, _ in chunks)]
