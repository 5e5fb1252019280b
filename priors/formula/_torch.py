"""Formulas as torch modules: whole columns at once, differentiable, traced like any other module."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from priors.formula._dimensions import Formula, Learned
from priors.formula._parse import CONSTANTS, Call, Expression, Name, Number

Value = Tensor | float

_OF_ONE: Mapping[str, Callable[[Tensor], Tensor]] = {
    "neg": torch.neg, "sin": torch.sin, "cos": torch.cos, "tan": torch.tan, "asin": torch.asin, "acos": torch.acos,
    "atan": torch.atan, "sinh": torch.sinh, "cosh": torch.cosh, "tanh": torch.tanh, "exp": torch.exp,
    "expm1": torch.expm1, "log": torch.log, "log1p": torch.log1p, "log10": torch.log10, "sqrt": torch.sqrt,
    "cbrt": lambda x: x.sign() * x.abs().pow(1 / 3), "abs": torch.abs, "sign": torch.sign, "sigmoid": torch.sigmoid,
    "softplus": nn.functional.softplus, "erf": torch.erf,
}  # fmt: skip
_OF_TWO: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "+": torch.add, "-": torch.sub, "*": torch.mul, "/": torch.div, "^": torch.pow, "min": torch.minimum,
    "max": torch.maximum, "atan2": torch.atan2, "hypot": torch.hypot, "<": torch.lt, "<=": torch.le, ">": torch.gt,
    ">=": torch.ge,
}  # fmt: skip


class Constants(nn.Module):
    """Learned constants: one number each, kept inside its interval by the sigmoid of what is trained.

    With an interval on one side only, the distance from that end is the exponential of what is trained.
    """

    def __init__(self, learn: Mapping[str, Learned], used: Sequence[str]) -> None:
        super().__init__()
        self._ends = {name: (learn[name].low, learn[name].high) for name in used}
        self.raw = nn.ParameterDict({name: nn.Parameter(torch.tensor(_inverse(learn[name]))) for name in used})

    def values(self) -> dict[str, Tensor]:
        """Name -> its value now, in its own unit."""
        return {name: self._value(name, cast(Tensor, self.raw[name])) for name in self._ends}

    def _value(self, name: str, raw: Tensor) -> Tensor:
        low, high = self._ends[name]
        if low is not None and high is not None:
            return low + (high - low) * raw.sigmoid()
        if low is not None:
            return low + raw.exp()
        if high is not None:
            return high - raw.exp()
        return raw


def _inverse(one: Learned) -> float:
    if one.low is not None and one.high is not None:
        share = (one.start - one.low) / (one.high - one.low)
        return math.log(share / (1 - share))
    if one.low is not None:
        return math.log(one.start - one.low)
    return one.start if one.high is None else math.log(one.high - one.start)


class FormulaModule(nn.Module):
    """forward(x (B, C)) -> (B, number of formulas), one a column, each in the unit it is wanted in."""

    def __init__(self, formulas: Sequence[Formula], columns: Sequence[str], learn: Mapping[str, Learned]) -> None:
        super().__init__()
        self._formulas, self._columns = tuple(formulas), tuple(columns)
        self._trees = tuple(folded(one.tree, columns) for one in formulas)
        self.learned = Constants(learn, used_constants(formulas))

    def forward(self, x: Tensor) -> Tensor:
        x = x if x.dtype == torch.float64 else x.to(torch.float32)
        like, constants, found = x[:, 0], self.learned.values(), []
        for formula, tree in zip(self._formulas, self._trees, strict=True):
            known = {name: x[:, self._columns.index(name)] for name in formula.columns}
            value = evaluate(tree, in_si(formula, known, constants), like)
            found.append(as_tensor(value, like) / formula.over)
        return torch.stack(found, 1)


def used_constants(formulas: Sequence[Formula]) -> list[str]:
    """The learned constants that any of the formulas reads, in order of first use."""
    return list(dict.fromkeys(name for one in formulas for name in one.learned))


def in_si(formula: Formula, columns: Mapping[str, Tensor], constants: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Every value the formula reads, by the name in the tree, times its factor; ?name for learned ones."""
    given = {**columns, **{f"?{name}": constants[name] for name in formula.learned}}
    return {name: value * formula.factors.get(name, 1.0) for name, value in given.items()}


def evaluate(tree: Expression, known: Mapping[str, Tensor], like: Tensor) -> Value:
    """The value of a folded tree: (B,) like `like`, or a number where nothing varies."""
    match tree:
        case Number(value=value):
            return value
        case Name(name=name, learned=learned):
            return known[f"?{name}" if learned else name]
        case Call(name=name, arguments=arguments):
            given = [as_tensor(evaluate(one, known, like), like) for one in arguments]
            return _apply(name, given)


def _apply(name: str, given: Sequence[Tensor]) -> Tensor:
    if name in _OF_ONE:
        return _OF_ONE[name](given[0])
    if name in _OF_TWO:
        return _OF_TWO[name](given[0], given[1])
    if name == "where":
        return torch.where(given[0], given[1], given[2])
    return torch.minimum(torch.maximum(given[0], given[1]), given[2])  # clip


def as_tensor(value: Value, like: Tensor) -> Tensor:
    """A number as a column of it."""
    return value if isinstance(value, Tensor) else torch.full_like(like, value)


def folded(tree: Expression, columns: Sequence[str]) -> Expression:
    """The tree with everything that does not vary computed, in float64; powers keep their whole exponents."""
    match tree:
        case Name(name=name, learned=False) if name not in columns:
            return Number(CONSTANTS[name], tree.at)
        case Call(name=name, arguments=arguments):
            parts = tuple(folded(one, columns) for one in arguments)
            numbers = [one.value for one in parts if isinstance(one, Number)]
            if len(numbers) < len(parts) or any(isinstance(one, Call) for one in parts):
                return Call(name, parts, tree.at)
            made = _apply(name, [torch.tensor(value, dtype=torch.float64) for value in numbers])
            return Number(float(made), tree.at) if made.dtype == torch.float64 else Call(name, parts, tree.at)
        case _:
            return tree
