"""Commit bodies: content of any size goes piece by piece, and everything that is no such body is refused."""

from __future__ import annotations

import base64
import json
import random
import tracemalloc
from collections.abc import Iterator

import pytest

from hub.errors import BadRequest
from hub.repos.models import Blob
from hub.wire.ndjson import Line, read_lines


class Kept:
    """A store that remembers what it was given."""

    def __init__(self) -> None:
        self.contents: list[bytes] = []

    def __call__(self, pieces: Iterator[bytes]) -> Blob:
        self.contents.append(b"".join(pieces))
        return Blob(sha256="0" * 64, size=len(self.contents[-1]))


def line(key: str, **value: object) -> bytes:
    return json.dumps({"key": key, "value": value}).encode()


def cut(body: bytes, size: int) -> list[bytes]:
    return [body[start : start + size] for start in range(0, len(body), size)]


def read(body: bytes, *, size: int = 1 << 20) -> tuple[list[Line], list[bytes]]:
    kept = Kept()
    return list(read_lines(cut(body, size), keep=kept)), kept.contents


HEADER = line("header", summary='a "quoted" \\ title', description='"content": "no"')


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 10_000])
def test_lines_are_read_alike_however_the_body_is_cut(size: int) -> None:
    contents = [b"", b"a", b"ab", b"abc", random.Random(1).randbytes(999)]
    lines = [HEADER] + [
        line("file", content=base64.b64encode(data).decode(), path=f"é {number}.txt", encoding="base64")
        for number, data in enumerate(contents)
    ]

    found, kept = read(b"\n".join(lines) + b"\n", size=size)

    assert kept == contents
    assert [each.value.get("path") for each in found] == [None, *(f"é {number}.txt" for number in range(5))]
    assert found[0].value == {"summary": 'a "quoted" \\ title', "description": '"content": "no"'}
    assert found[0].content is None


def test_a_large_file_is_never_held() -> None:
    piece = base64.b64encode(bytes(3 << 18))

    def body() -> Iterator[bytes]:
        yield HEADER + b'\n{"key": "file", "value": {"content": "'
        for _ in range(64):
            yield piece
        yield b'", "path": "big.bin", "encoding": "base64"}}'

    def keep(pieces: Iterator[bytes]) -> Blob:
        return Blob(sha256="0" * 64, size=sum(len(each) for each in pieces))

    tracemalloc.start()
    found = list(read_lines(body(), keep=keep))
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert found[1].content is not None and found[1].content.size == 64 * (3 << 18)
    assert most < 8 << 20


def test_slashes_that_are_escaped_are_slashes() -> None:
    data = b"\xff\xff\xfe\xff"
    text = base64.b64encode(data).decode().replace("/", "\\/")
    body = b'{"key": "file", "value": {"path": "a", "content": "' + text.encode() + b'"}}'

    for size in (1, 2, 3, 100):
        assert read(body, size=size)[1] == [data]


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[]",
        b'{"key": "file"}',
        b'{"key": 1, "value": {}}',
        b'{"key": "file", "value": {"content": "YQ',
        b'{"key": "file", "value": {"content": "Y*=="}}',
        b'{"key": "file", "value": {"content": "YQ==YQ=="}}',
        b'{"key": "file", "value": {"content": "YQ==", "more": {"content": "YQ=="}}}',
        b'{"key": "header", "value": {"summary": "a\n"}}',
        b'{"key": "header", "value": {"summary": "' + b"a" * (2 << 20) + b'"}}',
    ],
)
def test_what_is_no_commit_is_refused(body: bytes) -> None:
    with pytest.raises(BadRequest):
        read(body, size=1000)
