"""Chunks must be exactly those of hf-xet, or nothing that its clients send would ever be found again."""

from __future__ import annotations

import io
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from priors.chunks import (
    MAX_CHUNK,
    MIN_CHUNK,
    Chunk,
    chunk_hash,
    cut,
    file_hash,
    from_hex,
    to_hex,
    xorb_hash,
)
from priors.chunks._gear import TABLE
from tests.xet.recording import Recorded, recording_server, upload


def random_bytes(size: int, seed: int = 0) -> bytes:
    return np.random.default_rng(seed).bytes(size)


def floats(count: int) -> bytes:
    return np.random.default_rng(1).standard_normal(count).astype(np.float32).tobytes()


def words(size: int) -> bytes:
    draw = np.random.default_rng(2)
    vocabulary = [draw.bytes(int(length)).hex().encode() for length in draw.integers(1, 6, size=500)]
    return b" ".join(vocabulary[number] for number in draw.integers(0, 500, size=size // 8))


CONTENTS = {
    "random": random_bytes(3_000_000),
    "float32": floats(500_000),
    "text": words(2_000_000),
    "a repeated line": b"hello world, " * 200_000,
    "zeros": bytes(1_000_000),
    "empty": b"",
    "one byte": b"x",
    "just under the least": random_bytes(MIN_CHUNK - 1),
    "the least": random_bytes(MIN_CHUNK),
    "as far as a hash reaches more": random_bytes(MIN_CHUNK + 64),
    "the most": random_bytes(MAX_CHUNK, 3),
    "one more than the most": bytes(MAX_CHUNK + 1),
}


def sizes(chunks: list[Chunk]) -> list[tuple[bytes, int]]:
    return [(chunk.hash, len(chunk.data)) for chunk in chunks]


@pytest.fixture(scope="module")
def sent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Recorded, dict[str, str]]]:
    """What hf_xet made of CONTENTS: the recording, and its hash of each of them."""
    with recording_server() as recorded, pytest.MonkeyPatch.context() as patch:
        hashes = upload(recorded.url, list(CONTENTS.values()), cache=tmp_path_factory.mktemp("xet"), monkeypatch=patch)
        yield recorded, dict(zip(CONTENTS, hashes, strict=True))


@pytest.mark.parametrize("name", CONTENTS)
def test_a_file_has_the_hash_that_hf_xet_gives_it(sent: tuple[Recorded, dict[str, str]], name: str) -> None:
    chunks = list(cut([CONTENTS[name]]))

    assert b"".join(chunk.data for chunk in chunks) == CONTENTS[name]
    assert to_hex(file_hash(sizes(chunks))) == sent[1][name]


def test_what_hf_xet_uploads_are_our_chunks_and_nothing_else(sent: tuple[Recorded, dict[str, str]]) -> None:
    from hub.xet.xorbs import read_frames, unpack

    ours = {chunk.hash: chunk.data for content in CONTENTS.values() for chunk in cut([content])}
    theirs = {}
    for name, body in sent[0].xorbs.items():
        chunks = [unpack(frame) for frame in read_frames(io.BytesIO(body))]
        assert to_hex(xorb_hash([(chunk_hash(chunk), len(chunk)) for chunk in chunks])) == name
        theirs |= {chunk_hash(chunk): chunk for chunk in chunks}

    assert theirs == ours


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(100, 70_000), min_size=1, max_size=20), st.integers(0, 3))
def test_chunks_do_not_depend_on_how_the_stream_arrives(lengths: list[int], kind: int) -> None:
    content = [CONTENTS["random"], CONTENTS["text"], CONTENTS["zeros"], CONTENTS["float32"]][kind][:400_000]

    def pieces() -> Iterator[bytes]:
        at, turn = 0, 0
        while at < len(content):
            yield content[at : at + lengths[turn % len(lengths)]]
            at, turn = at + lengths[turn % len(lengths)], turn + 1

    assert list(cut(pieces())) == list(cut([content]))


def test_a_stream_may_arrive_byte_by_byte() -> None:
    content = CONTENTS["text"][:30_000]

    assert list(cut(content[at : at + 1] for at in range(len(content)))) == list(cut([content]))


def test_cuts_are_where_the_hash_rolled_byte_by_byte_says() -> None:
    content, expected, start, rolled = CONTENTS["text"][:600_000], [], 0, 0
    table = [int(number) for number in TABLE]
    for at, byte in enumerate(content, 1):
        rolled = ((rolled << 1) + table[byte]) & 0xFFFFFFFFFFFFFFFF
        if at - start == MAX_CHUNK or (at - start >= MIN_CHUNK and rolled >> 48 == 0):
            expected.append(at - start)
            start = at
    expected.append(len(content) - start)

    assert [len(chunk.data) for chunk in cut([content])] == expected


def test_an_insertion_changes_only_the_chunks_it_touches() -> None:
    before = {chunk.hash for chunk in cut([CONTENTS["random"]])}
    changed = CONTENTS["random"][:1_000_000] + b"inserted" + CONTENTS["random"][1_000_000:]

    assert len({chunk.hash for chunk in cut([changed])} - before) <= 3


@given(st.binary(min_size=32, max_size=32))
def test_a_hash_reads_back_as_it_was_written(raw: bytes) -> None:
    assert from_hex(to_hex(raw)) == raw


@pytest.mark.parametrize("text", ["", "0" * 63, "0" * 65, "g" * 64, "é" * 64, " " + "0" * 63])
def test_what_is_no_hash_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"hash|hexadecimal"):
        from_hex(text)
