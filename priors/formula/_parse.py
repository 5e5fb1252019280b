"""Text to tree: the grammar of formulas. Everything outside it is refused at its place."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches

from priors.errors import BadManifest

MAX_CHARS = 4_096
MAX_NODES = 1_000
MAX_DEPTH = 64
MAX_HEIGHT = 200
MAX_EXPONENT = 64
MAX_NUMBER = 1e300

FUNCTIONS: Mapping[str, int] = {
    "sin": 1, "cos": 1, "tan": 1, "asin": 1, "acos": 1, "atan": 1, "atan2": 2, "sinh": 1, "cosh": 1, "tanh": 1,
    "exp": 1, "expm1": 1, "log": 1, "log1p": 1, "log10": 1, "sqrt": 1, "cbrt": 1, "abs": 1, "sign": 1, "min": 2,
    "max": 2, "clip": 3, "hypot": 2, "sigmoid": 1, "softplus": 1, "erf": 1, "where": 3,
}  # fmt: skip
"""Name -> how many arguments."""

CONSTANTS: Mapping[str, float] = {"pi": 3.141592653589793, "e": 2.718281828459045}
COMPARISONS = ("<=", ">=", "<", ">")

_TOKEN = re.compile(
    r"\s*(?:(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)|(?P<learned>\?[A-Za-z_]\w*)|(?P<name>[A-Za-z_]\w*)"
    r"|`(?P<quoted>[^`]{1,200})`|\[(?P<unit>[^\[\]]{1,50})\]|(?P<op>\*\*|<=|>=|[-+*/^(),<>]))",
    re.ASCII,
)


class BadFormula(BadManifest):
    """A formula that is not in the language, or whose units do not fit. `pointed` shows the place with a caret."""

    code = "bad-formula"
    text: str = ""
    at: int = 0

    @classmethod
    def pointing(cls, text: str, at: int, cause: str, fix: str) -> BadFormula:
        """The error at character `at` of `text`; its line quotes what stands on both sides of the place."""
        before, after = text[max(0, at - 24) : at], text[at : at + 24]
        made = cls(f"formula: {cause} at character {at + 1}, {before!r} ^ {after!r}. {fix}")
        made.text, made.at = text, at
        return made

    @property
    def pointed(self) -> str:
        """Two lines: the text around the place, and a caret under it."""
        start = max(0, self.at - 60)
        shown = self.text[start : self.at + 40].replace("\n", " ").replace("\t", " ")
        return f"{shown}\n{' ' * (self.at - start)}^"


@dataclass(frozen=True)
class Number:
    value: float
    at: int
    unit: str | None = None


@dataclass(frozen=True)
class Name:
    """A column, or a learned constant."""

    name: str
    at: int
    learned: bool = False


@dataclass(frozen=True)
class Call:
    """An operator (+ - * / ^ neg < <= > >=) or a function, with its arguments."""

    name: str
    arguments: tuple[Expression, ...]
    at: int


Expression = Number | Name | Call


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    at: int


def parse_expression(text: str) -> Expression:
    """The tree of one formula. Raises BadFormula with the place of the first thing that is not in the language."""
    if len(text) > MAX_CHARS:
        raise BadFormula.pointing(
            text, MAX_CHARS, f"more than {MAX_CHARS:,} characters", "Split it, or name parts in columns."
        )
    return _Parser(text).whole()


def nodes(tree: Expression) -> Iterator[Expression]:
    """Every value and operation of a tree."""
    yield tree
    if isinstance(tree, Call):
        for argument in tree.arguments:
            yield from nodes(argument)


class _Parser:
    """A recursive-descent parser; `depth` bounds the recursion and `made` the size."""

    def __init__(self, text: str) -> None:
        self.text, self.depth, self.made, self.next = text, 0, 0, 0
        self.tokens = list(self._tokens())

    def fail(self, at: int, cause: str, fix: str) -> BadFormula:
        return BadFormula.pointing(self.text, at, cause, fix)

    def _tokens(self) -> Iterator[_Token]:
        at, end = 0, len(self.text.rstrip())
        while at < end:
            match = _TOKEN.match(self.text, at)
            if match is None or match.lastgroup is None:
                at += len(self.text[at:]) - len(self.text[at:].lstrip())
                raise self.fail(
                    at,
                    f"{self.text[at]!r} is not part of the language",
                    "Use numbers, columns, + - * / ^ and functions.",
                )
            opens = match.lastgroup in ("unit", "quoted")  # the bracket or the quote stands before
            yield _Token(match.lastgroup, match[match.lastgroup], match.start(match.lastgroup) - opens)
            at = match.end()
        yield _Token("end", "", end)

    @property
    def token(self) -> _Token:
        return self.tokens[self.next]

    def take(self, *texts: str) -> _Token | None:
        """The next token if it is one of these operators."""
        token = self.token
        if token.kind == "op" and token.text in texts:
            self.next += 1
            return token
        return None

    def need(self, text: str, why: str) -> None:
        if self.take(text) is None:
            found = repr(self.token.text) if self.token.kind != "end" else "the end"
            raise self.fail(self.token.at, f"{found} where {text!r} is needed", why)

    def make(self, node: Expression) -> Expression:
        self.made += 1
        if self.made > MAX_NODES:
            raise self.fail(node.at, f"more than {MAX_NODES:,} values and operations", "Simplify it.")
        return node

    def whole(self) -> Expression:
        if self.token.kind == "end":
            raise self.fail(0, "nothing is written", "Write a formula, such as 2 * x.")
        tree = self.comparison()
        if self.token.kind != "end":
            raise self.fail(self.token.at, f"{self.token.text!r} after a whole formula", "Put an operator between.")
        if isinstance(tree, Call) and tree.name in COMPARISONS:
            raise self.fail(tree.at, "a comparison is no number", "Write where(a < b, x, y).")
        self.bounded(tree)
        return tree

    def bounded(self, tree: Expression) -> None:
        """a - b - c - … nests as deep as it is long without a parenthesis, and what reads a tree recurses."""
        level = [tree]
        for _ in range(MAX_HEIGHT):
            level = [argument for node in level if isinstance(node, Call) for argument in node.arguments]
            if not level:
                return
        raise self.fail(level[0].at, f"more than {MAX_HEIGHT} operations in a row", "Put parts in parentheses.")

    def comparison(self) -> Expression:
        left = self.left_to_right(("+", "-"), lambda: self.left_to_right(("*", "/"), self.signed))
        if found := self.take(*COMPARISONS):
            right = self.left_to_right(("+", "-"), lambda: self.left_to_right(("*", "/"), self.signed))
            return self.make(Call(found.text, (left, right), found.at))
        return left

    def left_to_right(self, operators: tuple[str, ...], part: Callable[[], Expression]) -> Expression:
        left = part()
        while found := self.take(*operators):
            left = self.make(Call(found.text, (left, part()), found.at))
        return left

    def signed(self) -> Expression:
        found = self.take("-", "+")
        if found is None:
            return self.power()
        self.enter(found.at)
        value = self.signed()
        self.depth -= 1
        return value if found.text == "+" else self.make(Call("neg", (value,), found.at))

    def power(self) -> Expression:
        base = self.atom()
        found = self.take("^", "**")
        if found is None:
            return base
        self.enter(found.at)
        exponent = self.signed()
        self.depth -= 1
        return self.make(Call("^", (base, exponent), found.at))

    def enter(self, at: int) -> None:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise self.fail(at, f"nested more than {MAX_DEPTH} deep", "Flatten it.")

    def atom(self) -> Expression:
        token = self.token
        if self.take("("):
            self.enter(token.at)
            inner = self.comparison()
            self.depth -= 1
            self.need(")", "Close the parenthesis.")
            return inner
        self.next += 1
        match token.kind:
            case "number":
                return self.make(self.number(token))
            case "learned":
                return self.make(Name(token.text[1:], token.at, learned=True))
            case "quoted":
                return self.make(Name(token.text, token.at))
            case "name" if self.take("("):
                return self.call(token)
            case "name":
                return self.make(Name(token.text, token.at))
        self.next -= 1
        found = "the end" if token.kind == "end" else repr(f"[{token.text}]" if token.kind == "unit" else token.text)
        raise self.fail(token.at, f"{found} where a value is needed", "Write a number, a column or a function.")

    def number(self, token: _Token) -> Number:
        value = float(token.text) if len(token.text) <= 40 else float("inf")
        if not abs(value) <= MAX_NUMBER:
            raise self.fail(token.at, "a number that is too large or too long", "Write at most 40 characters.")
        if self.token.kind == "unit":
            self.next += 1
            return Number(value, token.at, self.tokens[self.next - 1].text)
        return Number(value, token.at)

    def call(self, token: _Token) -> Expression:
        if token.text not in FUNCTIONS:
            near = get_close_matches(token.text, FUNCTIONS, n=3, cutoff=0.4) or FUNCTIONS
            raise self.fail(token.at, f"no function {token.text[:40]!r}", f"There are: {', '.join(near)}.")
        self.enter(token.at)
        arguments = []
        if self.take(")") is None:
            arguments.append(self.comparison())
            while self.take(","):
                arguments.append(self.comparison())
            self.need(")", "Close the function's parenthesis.")
        self.depth -= 1
        wanted = FUNCTIONS[token.text]
        if len(arguments) != wanted:
            raise self.fail(token.at, f"{token.text} takes {wanted} values, not {len(arguments)}", "Correct them.")
        for place, argument in enumerate(arguments):
            asks = isinstance(argument, Call) and argument.name in COMPARISONS
            if asks != (token.text == "where" and place == 0):
                cause = "a comparison is no number" if asks else "where needs a comparison first"
                raise self.fail(argument.at, cause, "Write where(a < b, x, y).")
        return self.make(Call(token.text, tuple(arguments), token.at))
