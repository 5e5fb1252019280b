"""Reads the text of a port type; the grammar stands in `priors.types`."""

from __future__ import annotations

import re
from functools import lru_cache

from priors._port_type import ATTRIBUTES, AXES, DTYPES, LEVELS, MAX_DIM, Axis, Dim, PortType, Sym
from priors.errors import BadType

MAX_TEXT = 4_096


def parse(text: str | PortType) -> PortType:
    """The type that `text` writes; `parse(str(t)) == t`. A PortType is returned as it is.

    Raises BadType naming the position of the first thing that is wrong.
    """
    if isinstance(text, PortType):
        return text
    if not isinstance(text, str):
        raise BadType(
            f"a port type is a text such as 'vec.feat[B,D:64]:f32', not {type(text).__name__}. Write it in quotes."
        )
    if len(text) > MAX_TEXT:
        raise BadType(f"a port type has {len(text):,} characters, the limit is {MAX_TEXT:,}. Shorten its attributes.")
    return _parse(text)


@lru_cache(maxsize=2_048)
def _parse(text: str) -> PortType:
    return _Reader(text).type()


_SPACES = re.compile(r"\s*")
_WORD = re.compile(r"[a-z][a-z0-9]*")
_NAME = re.compile(r"[A-Z]\w*", re.ASCII)
_SYMBOL = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*", re.ASCII)
_INT = re.compile(r"[0-9]+")
_SPACE = re.compile(r"[A-Za-z0-9._/~:+-]{1,300}")
_KEY = re.compile(r"[a-z][a-z0-9_]*")
_VALUE = re.compile(r"[^\s,{}=]+")
_OPERATOR = re.compile(r"[*/+-]")


class _Reader:
    """A recursive-descent reader over one text; `at` is where it stands."""

    def __init__(self, text: str) -> None:
        self.text, self.at = text, 0

    def fail(self, cause: str, fix: str, at: int | None = None) -> BadType:
        where = self.at if at is None else at
        shown = self.text if len(self.text) <= 300 else f"{self.text[:300]}…"
        return BadType(f"port type {shown!r}: {cause} at character {where + 1}. {fix}")

    def skip(self) -> None:
        match = _SPACES.match(self.text, self.at)
        self.at = match.end() if match else self.at

    def take(self, pattern: re.Pattern[str]) -> str | None:
        self.skip()
        match = pattern.match(self.text, self.at)
        if match is None:
            return None
        self.at = match.end()
        return match.group()

    def accept(self, mark: str) -> bool:
        self.skip()
        if not self.text.startswith(mark, self.at):
            return False
        self.at += len(mark)
        return True

    def expect(self, mark: str) -> None:
        if not self.accept(mark):
            found = repr(self.text[self.at]) if self.at < len(self.text) else "the end"
            raise self.fail(f"expected {mark!r}, found {found}", "The form is 'modality.level[axes]:dtype'.")

    def one_of(self, known: tuple[str, ...], what: str) -> str:
        self.skip()
        start = self.at
        word = self.take(_WORD) or ""
        if word not in known:
            raise self.fail(f"unknown {what} {word!r}", f"Use one of {', '.join(known)}.", start)
        return word

    def type(self) -> PortType:
        modality = self.one_of(tuple(LEVELS), "modality")
        self.expect(".")
        level = self.one_of(LEVELS[modality], f"level of {modality}")
        self.expect("[")
        axes = [self.axis()]
        while self.accept(","):
            axes.append(self.axis())
        self.expect("]")
        repeated = {axis.name for axis in axes if [a.name for a in axes].count(axis.name) > 1}
        if repeated:
            raise self.fail(f"axis {min(repeated)} appears twice", "Name each axis once.")
        self.expect(":")
        dtype = self.one_of(DTYPES, "dtype")
        space = None
        if self.accept("@"):
            space = self.take(_SPACE)
            if space is None:
                raise self.fail("expected the name of a space after '@'", "Write '@family/tap/hash', or leave '@' out.")
        attrs = self.attrs() if self.accept("{") else ()
        self.skip()
        if self.at != len(self.text):
            raise self.fail(f"unexpected {self.text[self.at]!r}", "Nothing may follow the type.")
        return PortType(modality, level, tuple(axes), dtype, space, attrs)

    def axis(self) -> Axis:
        self.skip()
        start = self.at
        name = self.take(_NAME) or ""
        if name not in AXES:
            raise self.fail(f"unknown axis {name!r}", f"Axes are {', '.join(AXES)}.", start)
        return Axis(name, self.dim() if self.accept(":") else None)

    def dim(self) -> Dim:
        self.skip()
        start = self.at
        number = self.take(_INT)
        if number is not None:
            length = self.length(number, start)
            if not self.accept("*"):
                return length
            symbol = self.take(_SYMBOL)
            if symbol is None:
                raise self.fail("expected a symbol after '*'", "Write a length as 64, n, n*2 or 2*n.")
            return Sym(symbol, "*", length)
        symbol = self.take(_SYMBOL)
        if symbol is None:
            raise self.fail("expected a length", "Write a length as 64, n, n*2 or n+1.")
        op = self.take(_OPERATOR)
        if op is None:
            return symbol
        start = self.at
        number = self.take(_INT)
        if number is None:
            raise self.fail(f"expected a number after {op!r}", "Write a length as 64, n, n*2 or n+1.")
        return Sym(symbol, op, self.length(number, start))

    def length(self, number: str, start: int) -> int:
        if len(number) > 12 or not 1 <= int(number) <= MAX_DIM:
            raise self.fail(f"length {number[:20]} is out of range", f"Lengths go from 1 to {MAX_DIM:,}.", start)
        return int(number)

    def attrs(self) -> tuple[tuple[str, str], ...]:
        found: dict[str, str] = {}
        while True:
            self.skip()
            start = self.at
            key = self.take(_KEY) or ""
            if key not in ATTRIBUTES:
                raise self.fail(f"unknown attribute {key!r}", f"Attributes are {', '.join(ATTRIBUTES)}.", start)
            if key in found:
                raise self.fail(f"attribute {key} appears twice", "Write a list as a|b|c.", start)
            self.expect("=")
            value = self.take(_VALUE)
            if value is None:
                raise self.fail(f"attribute {key} has no value", f"Write '{key}=something'.")
            found[key] = value
            if not self.accept(","):
                break
        self.expect("}")
        return tuple(sorted(found.items()))
