"""A parsed formula against its columns: every name known, every dimension right, numbers converted to SI."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from fractions import Fraction

from priors.errors import BadManifest
from priors.formula._parse import (
    COMPARISONS,
    CONSTANTS,
    MAX_EXPONENT,
    BadFormula,
    Call,
    Expression,
    Name,
    Number,
    nodes,
    parse_expression,
)
from priors.formula._units import NONE, BadUnit, Dimension, Unit, parse_unit, show

_PLAIN = frozenset(
    (
        *("sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "tanh"),
        *("exp", "expm1", "log", "log1p", "log10", "sigmoid", "softplus", "erf"),
    )
)
"""Functions of plain numbers; an angle in degrees is one, once converted."""

_ONE = Unit(1.0, NONE, "1")


@dataclass(frozen=True)
class Learned:
    """A constant that is fitted: where it starts, the open interval it stays in, its unit."""

    start: float
    low: float | None = None
    high: float | None = None
    unit: str | None = None


@dataclass(frozen=True)
class Formula:
    """A formula that is right. Computed in SI where units are checked: values times `factors`, the result over `over`.

    tree     numbers already converted
    columns  the columns it reads, in order of first use
    factors  column or ?constant -> what its value is multiplied by
    learned  the learned constants it reads, in order of first use
    over     what the result is divided by to be in the wanted unit
    checked  whether units were checked and values are converted
    """

    text: str
    tree: Expression
    columns: tuple[str, ...]
    learned: tuple[str, ...]
    factors: Mapping[str, float]
    over: float = 1.0
    checked: bool = False


def read_formula(
    text: str,
    *,
    columns: Sequence[str],
    units: Mapping[str, str],
    learn: Mapping[str, Learned] | None = None,
    out: str | None = None,
    checked: bool | None = None,
) -> Formula:
    """The formula `text` over `columns`, giving values of unit `out`.

    checked  whether units are checked; when any is named, unless said

    Raises BadFormula with the place of the first unknown name or dimension that does not fit, naming both units.
    """
    tree = parse_expression(text)
    reader = _Reader(text, columns, units, learn or {})
    reader.know_names(tree)
    if checked is None:
        checked = names_units(tree, units, learn or {})
    if not checked:
        return Formula(text, tree, tuple(reader.read), tuple(reader.learned), {})
    found = reader.dimension(tree)
    wanted = reader.unit(out or "1", 0)
    if found is not None and found != wanted.dimension:
        raise BadFormula.pointing(
            text, tree.at, f"the result is in {show(found)}, and {wanted.text} is wanted", "Correct one of the two."
        )
    factors = {name: reader.column_unit(name).factor for name in reader.read}
    factors |= {f"?{name}": reader.learned_unit(name).factor for name in reader.learned}
    return Formula(
        text, reader.converted(tree), tuple(reader.read), tuple(reader.learned), factors, wanted.factor, checked=True
    )


def names_units(tree: Expression, units: Mapping[str, str], learn: Mapping[str, Learned]) -> bool:
    """Whether any unit is named: of a column, a learned constant, or a number."""
    if units or any(one.unit for one in learn.values()):
        return True
    return any(isinstance(node, Number) and node.unit is not None for node in nodes(tree))


@dataclass
class _Reader:
    text: str
    columns: Sequence[str]
    units: Mapping[str, str]
    learn: Mapping[str, Learned]
    read: dict[str, None] = field(default_factory=dict)
    learned: dict[str, None] = field(default_factory=dict)

    def fail(self, at: int, cause: str, fix: str) -> BadFormula:
        return BadFormula.pointing(self.text, at, cause, fix)

    def know_names(self, tree: Expression) -> None:
        for node in nodes(tree):
            if isinstance(node, Name) and node.learned:
                if node.name not in self.learn:
                    listed = ", ".join(self.learn) or "none"
                    fix = f"Name it under 'learn' with its start; there are: {listed}."
                    raise self.fail(node.at, f"no learned constant {node.name[:40]!r}", fix)
                self.learned[node.name] = None
            elif isinstance(node, Name) and node.name in self.columns:
                self.read[node.name] = None
            elif isinstance(node, Name) and node.name not in CONSTANTS:
                near = get_close_matches(node.name, self.columns, n=3, cutoff=0.4) or list(self.columns)[:8]
                listed = ", ".join(near) or "none; give their names under 'cols'"
                raise self.fail(node.at, f"no column {node.name[:40]!r}", f"Columns are: {listed}.")
            elif isinstance(node, Call) and node.name == "^":
                power = constant_of(node.arguments[1])
                if power is not None and abs(power) > MAX_EXPONENT:
                    raise self.fail(node.arguments[1].at, f"a power beyond {MAX_EXPONENT}", "Use exp and log.")

    def unit(self, text: str, at: int) -> Unit:
        try:
            return parse_unit(text)
        except BadUnit as error:
            cause, _, fix = str(error).partition(". ")
            raise self.fail(at, cause, fix) from error

    def column_unit(self, name: str) -> Unit:
        return self._declared(self.units.get(name), f"column {name!r}")

    def learned_unit(self, name: str) -> Unit:
        return self._declared(self.learn[name].unit, f"?{name}")

    @staticmethod
    def _declared(text: str | None, what: str) -> Unit:
        try:
            return _ONE if text is None else parse_unit(text)
        except BadUnit as error:
            raise BadManifest(f"formula: the unit of {what}: {error}") from error

    def dimension(self, tree: Expression) -> Dimension | None:
        """The dimension of a value; None for a literal 0, which fits everywhere. Raises BadFormula."""
        match tree:
            case Number(value=value, unit=unit):
                if unit is not None:
                    return self.unit(unit, tree.at).dimension
                return NONE if value else None
            case Name(name=name, learned=True):
                return self.learned_unit(name).dimension
            case Name(name=name):
                return self.column_unit(name).dimension if name in self.columns else NONE
            case Call(name=name, arguments=arguments):
                return self._call(tree, name, [self.dimension(one) for one in arguments])

    def _call(self, tree: Call, name: str, given: list[Dimension | None]) -> Dimension | None:
        if name in ("+", "-", "min", "max", "hypot", *COMPARISONS):
            return self._same(tree, given)
        if name == "clip":
            return self._same(tree, given)
        if name == "where":
            return self._same(tree, given[1:])
        if name == "atan2":
            self._same(tree, given)
            return NONE
        if name in ("neg", "abs"):
            return given[0]
        if name == "sign":
            return NONE
        if name in _PLAIN:
            if given[0] not in (None, NONE):
                cause = f"{name} of a value in {show(given[0] or NONE)}, not of a plain number (1)"
                raise self.fail(tree.arguments[0].at, cause, "Divide it by something of the same unit.")
            return NONE
        first = given[0] or NONE
        if name == "*":
            return self._bounded(tree, [a + b for a, b in zip(first, given[1] or NONE, strict=True)])
        if name == "/":
            return self._bounded(tree, [a - b for a, b in zip(first, given[1] or NONE, strict=True)])
        if name in ("sqrt", "cbrt"):
            return tuple(a / (2 if name == "sqrt" else 3) for a in first)
        return self._power(tree, first, given[1])

    def _power(self, tree: Call, base: Dimension, exponent: Dimension | None) -> Dimension:
        if exponent not in (None, NONE):
            raise self.fail(tree.arguments[1].at, f"an exponent in {show(exponent or NONE)}", "Make it a plain number.")
        if base == NONE:
            return NONE
        power = constant_of(tree.arguments[1])
        if power is None:
            cause = f"a value in {show(base)} to a power that varies"
            raise self.fail(tree.at, cause, "Divide the value by a constant of its unit first.")
        exact = Fraction(power).limit_denominator(12)
        if abs(float(exact) - power) > 1e-9:
            raise self.fail(tree.at, f"a value in {show(base)} to the power {power:g}", "Use a simple fraction.")
        return self._bounded(tree, [a * exact for a in base])

    def _same(self, tree: Call, given: list[Dimension | None]) -> Dimension | None:
        known = [one for one in given if one is not None]
        for other in known[1:]:
            if other != known[0]:
                word = {"+": "adds", "-": "subtracts"}.get(tree.name, f"{tree.name!r} compares")
                cause = f"{word} values in {show(known[0])} and in {show(other)}"
                raise self.fail(tree.at, cause, "Bring both to one unit.")
        return known[0] if known else None

    def _bounded(self, tree: Call, powers: list[Fraction]) -> Dimension:
        if any(abs(power) > MAX_EXPONENT for power in powers):
            raise self.fail(tree.at, "units to a power beyond any quantity", "Correct the exponents.")
        return tuple(powers)

    def converted(self, tree: Expression) -> Expression:
        """The tree with every number in SI."""
        match tree:
            case Number(value=value, unit=str(unit)):
                return Number(value * self.unit(unit, tree.at).factor, tree.at)
            case Call(name=name, arguments=arguments):
                return Call(name, tuple(self.converted(one) for one in arguments), tree.at)
            case _:
                return tree


def constant_of(tree: Expression) -> float | None:
    """The value of an expression of plain numbers under + - * / and signs; None for anything else."""
    match tree:
        case Number(value=value, unit=None):
            return value
        case Call(name="neg", arguments=(one,)):
            inner = constant_of(one)
            return None if inner is None else -inner
        case Call(name=("+" | "-" | "*" | "/") as name, arguments=(left, right)):
            a, b = constant_of(left), constant_of(right)
            if a is None or b is None or (name == "/" and b == 0):
                return None
            return {"+": a + b, "-": a - b, "*": a * b, "/": a / b if b else 0.0}[name]
        case _:
            return None
