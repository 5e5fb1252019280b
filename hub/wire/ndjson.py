"""The body of a commit: a JSON object a line, in which a file's content is base64 that may be larger than memory.

A line is read as it arrives. Content is decoded piece by piece into the store and never held; everything else of a line
is short, and a line whose rest is not is refused.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from hub.errors import BadRequest
from hub.repos.storage import Staged
from hub.texts import is_storable

Keep = Callable[[Iterator[bytes]], Staged]
"""Puts bytes into the store."""

_MAX_LINE = 1 << 20
_CONTENT = re.compile(rb'(?<!\\)"content"\s*:\s*\Z')
_BREAK = re.compile(rb'["\n]')
_STRING_END = re.compile(rb'["\\\n]')


@dataclass(frozen=True)
class Line:
    """One line: its key, its value, and the content that stood in it, which is on its way into the store."""

    key: str
    value: dict[str, Any]
    content: Staged | None


def read_lines(pieces: Iterable[bytes], *, keep: Keep) -> Iterator[Line]:
    """The lines of a body. Raises BadRequest for what is no such body, and what `keep` raises."""
    return _Reader(pieces, keep).lines()


class _Reader:
    def __init__(self, pieces: Iterable[bytes], keep: Keep) -> None:
        self._pieces, self._keep = iter(pieces), keep
        self._buffer, self._at = b"", 0

    def lines(self) -> Iterator[Line]:
        while (read := self._line()) is not None:
            text, content = read
            if text.strip():
                yield _parsed(text, content)

    def _line(self) -> tuple[bytes, Staged | None] | None:
        """A line without its content, up to the line break or the end; None when nothing follows."""
        kept, content, empty = bytearray(), None, True
        while True:
            if self._at >= len(self._buffer) and not self._fill():
                return None if empty else (bytes(kept), content)
            empty = False
            found = _BREAK.search(self._buffer, self._at)
            end = found.start() if found else len(self._buffer)
            self._take(kept, end)
            if found is None:
                continue
            self._at += 1
            if found[0] == b"\n":
                return bytes(kept), content
            if _CONTENT.search(kept, max(0, len(kept) - 64)):
                if content is not None:
                    raise BadRequest("A line of the commit has two contents. Send a line for each file.")
                content = self._keep(_decoded(self._until_quote()))
                kept += b'""'
            else:
                kept += b'"'
                self._string(kept)

    def _string(self, kept: bytearray) -> None:
        """The rest of a string, its closing quote included."""
        while True:
            if self._at >= len(self._buffer) and not self._fill():
                raise _cut_short()
            found = _STRING_END.search(self._buffer, self._at)
            self._take(kept, found.start() if found else len(self._buffer))
            if found is None:
                continue
            if found[0] == b"\n":
                raise _cut_short()
            kept += found[0]
            self._at += 1
            if found[0] == b'"':
                return
            if self._at >= len(self._buffer) and not self._fill():  # what is escaped stands in the next piece
                raise _cut_short()
            kept += self._buffer[self._at : self._at + 1]
            self._at += 1

    def _until_quote(self) -> Iterator[bytes]:
        """The base64 text up to its closing quote, which is consumed. It is read to there, or an error ends it all."""
        while True:
            if self._at >= len(self._buffer) and not self._fill():
                raise _cut_short()
            end = self._buffer.find(b'"', self._at)
            piece = self._buffer[self._at : end if end >= 0 else len(self._buffer)]
            self._at += len(piece) + (end >= 0)
            yield piece
            if end >= 0:
                return

    def _take(self, kept: bytearray, end: int) -> None:
        kept += self._buffer[self._at : end]
        self._at = end
        if len(kept) > _MAX_LINE:
            raise BadRequest(f"A line of the commit has more than {_MAX_LINE} bytes beside its content.")

    def _fill(self) -> bool:
        self._buffer, self._at = next(self._pieces, b""), 0
        return bool(self._buffer)


def _decoded(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The bytes of base64 text that comes in pieces of any length."""
    rest, padded = b"", False
    try:
        for piece in pieces:
            text = (rest + piece).replace(rb"\/", b"/")  # some writers escape a slash in JSON
            whole = (len(text) - text.endswith(b"\\")) // 4 * 4
            rest = text[whole:]
            if padded and text:
                raise binascii.Error
            padded = text[:whole].endswith(b"=")
            yield base64.b64decode(text[:whole], validate=True)
        yield base64.b64decode(rest + b"=" * (-len(rest) % 4), validate=True)
    except binascii.Error as err:
        raise BadRequest('The content of a file is not base64. Encode it, and say so: "encoding": "base64".') from err


def _parsed(text: bytes, content: Staged | None) -> Line:
    try:
        said = json.loads(text)
        key, value = said["key"], said["value"]
    except (ValueError, KeyError, TypeError, RecursionError) as err:
        raise BadRequest('A line of the commit is not {"key": …, "value": {…}}. Send one such object a line.') from err
    if not isinstance(key, str) or not isinstance(value, dict):
        raise BadRequest('A line of the commit is not {"key": "…", "value": {…}}. Send one such object a line.')
    if not is_storable(value):
        raise BadRequest("A text of the commit holds a NUL character or half a surrogate pair. Leave it out.")
    return Line(key, value, content)


def _cut_short() -> BadRequest:
    return BadRequest("The body of the commit ends within a line. Nothing was committed; send it again.")
