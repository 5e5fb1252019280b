"""What the functions made of formulas share, without torch: their config, and the formulas it means. Pure Python."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from priors.errors import BadManifest, BadType
from priors.formula import Formula, Learned, parse_unit, read_formula
from priors.formula._dimensions import names_units
from priors.formula._parse import nodes, parse_expression
from priors.functions._config import FunctionConfig, read_config
from priors.functions._ports import feature_axis
from priors.types import Axis, PortType, parse

Text = Annotated[str, Field(max_length=4_096)]
Column = Annotated[str, Field(min_length=1, max_length=200)]
UnitText = Annotated[str, Field(min_length=1, max_length=50)]


class LearnConfig(FunctionConfig):
    """A learned constant: it starts at `start` and stays between `low` and `high`, in `unit`."""

    start: float
    low: float | None = None
    high: float | None = None
    unit: UnitText | None = None

    @model_validator(mode="after")
    def _inside(self) -> Self:
        if (self.low is not None and self.start <= self.low) or (self.high is not None and self.start >= self.high):
            raise ValueError("start must lie between low and high, not on them")
        return self


class _Shared(FunctionConfig):
    """What formulas are about.

    cols   the columns' names, where the input's type does not say them
    units  column -> unit; naming any turns the check of units on
    learn  constants written ?name that are trained: name -> start, low, high, unit
    """

    cols: list[Column] | None = Field(default=None, min_length=1, max_length=10_000)
    units: dict[str, UnitText] = Field(default_factory=dict, max_length=10_000)
    learn: dict[str, LearnConfig] = Field(default_factory=dict, max_length=100)

    @property
    def learned(self) -> dict[str, Learned]:
        return {name: Learned(**one.model_dump()) for name, one in self.learn.items()}


class FormulaConfig(_Shared):
    """`expr`, one formula or several; `out`, the type of what they give, a number each, with its unit."""

    expr: Text | Annotated[list[Text], Field(min_length=1, max_length=64)] = "x"
    out: Annotated[str, Field(max_length=1_000)] = "vec.feat[B,D:1]:f32"

    @property
    def formulas(self) -> list[str]:
        return [self.expr] if isinstance(self.expr, str) else list(self.expr)


class OdeStepConfig(_Shared):
    """A system of ordinary differential equations.

    rhs     state column -> formula of its rate of change; other columns are constants of the row, t is the time
    dt      the length of a step, a number in `time_unit` or a column
    steps   how many; method: euler (order 1), midpoint (2), rk4 (4)
    path    give every state from the first to the last, not the last alone
    """

    rhs: dict[Column, Text] = Field(default_factory=lambda: {"x": "-x"}, min_length=1, max_length=64)
    dt: Annotated[float, Field(gt=0, le=1e12)] | Column = 0.1
    steps: Annotated[int, Field(ge=1, le=1_000)] = 10
    method: Literal["euler", "midpoint", "rk4"] = "rk4"
    time_unit: UnitText = "s"
    path: bool = False


MAX_WORK = 100_000
"""Operations of all stages and steps together: each is traced and exported."""

STAGES = {"euler": 1, "midpoint": 2, "rk4": 4}


def column_names(config: _Shared, in_type: PortType, function: str) -> tuple[str, ...]:
    """The names of the columns: the config's, or the type's `cols`. Raises BadManifest if they do not fit."""
    axis = feature_axis(in_type)
    said = in_type.attr("cols")
    names = tuple(config.cols) if config.cols is not None else tuple(said.split("|")) if said else ()
    if not names and axis.dim == 1:
        names = ("x",)
    if len(names) != axis.dim or len(set(names)) != len(names):
        shown = ", ".join(names[:8]) or "none"
        raise BadManifest(
            f"function {function!r} needs one name a column, there are {axis.dim or 'some'} columns and the names "
            f"{shown}. List them under 'cols', or in the input's type as cols=a|b."
        )
    unknown = next((name for name in config.units if name not in names), None)
    if unknown is not None:
        raise BadManifest(
            f"function {function!r}: units names {unknown!r}, no column. Columns: {', '.join(names[:8])}."
        )
    return names


def formulas_of(config: FormulaConfig, in_type: PortType) -> tuple[Formula, ...]:
    """The formulas, checked against the columns. Raises BadFormula or BadManifest."""
    names = column_names(config, in_type, "formula")
    unit = out_type(config).attr("unit")
    trees = [parse_expression(text) for text in config.formulas]
    checked = any(names_units(tree, config.units, config.learned) for tree in trees)
    return tuple(
        read_formula(text, columns=names, units=config.units, learn=config.learned, out=unit, checked=checked)
        for text in config.formulas
    )


def out_type(config: FormulaConfig) -> PortType:
    """What `out` says. Raises BadManifest unless it is a float32 row of as many numbers as there are formulas."""
    try:
        found = parse(config.out)
    except BadType as error:
        raise BadManifest(f"function 'formula': config 'out': {error}") from error
    count = len(config.formulas)
    if found.dtype != "f32" or found.is_raw or found.axes != (Axis("B"), Axis(found.axes[-1].name, count)):
        raise BadManifest(f"function 'formula': out is {found}, of {count} formulas. Write vec.feat[B,D:{count}]:f32.")
    return found


def equations_of(config: OdeStepConfig, in_type: PortType) -> tuple[Formula, ...]:
    """The right-hand sides, checked: each in the unit of its state over that of time."""
    names = column_names(config, in_type, "ode_step")
    missing = next((name for name in config.rhs if name not in names), None)
    if missing is not None:
        raise BadManifest(f"function 'ode_step': rhs names {missing!r}, no column. Columns: {', '.join(names[:8])}.")
    if isinstance(config.dt, str) and config.dt not in names:
        raise BadManifest(f"function 'ode_step': dt is {config.dt!r}, no column. Columns: {', '.join(names[:8])}.")
    known, units = names, dict(config.units)
    trees = [parse_expression(text) for text in config.rhs.values()]
    checked = any(names_units(tree, units, config.learned) for tree in trees)
    if "t" not in names:
        known, units = (*names, "t"), {**units, "t": config.time_unit}
    if checked and isinstance(config.dt, str):
        step = parse_unit(units.get(config.dt, "1"))
        if step.dimension != parse_unit(config.time_unit).dimension:
            raise BadManifest(
                f"function 'ode_step': dt {config.dt!r} is in {step.text}, time in {config.time_unit}. Correct one."
            )
    found = tuple(
        read_formula(
            text,
            columns=known,
            units=units,
            learn=config.learned,
            out=f"{units.get(state, '1')}/{config.time_unit}",
            checked=checked,
        )
        for state, text in config.rhs.items()
    )
    work = sum(1 for tree in trees for _ in nodes(tree)) * STAGES[config.method] * config.steps
    if work > MAX_WORK:
        raise BadManifest(
            f"function 'ode_step': {work:,} operations in all, the limit is {MAX_WORK:,}. Take fewer steps."
        )
    return found


def formula_gives(config: Mapping[str, Any], in_type: PortType) -> PortType:
    read = read_config(FormulaConfig, config, "formula")
    formulas_of(read, in_type)
    return out_type(read)


def ode_gives(config: Mapping[str, Any], in_type: PortType) -> PortType:
    read = read_config(OdeStepConfig, config, "ode_step")
    equations_of(read, in_type)
    count = len(read.rhs)
    if read.path:
        return PortType("series", "num", (Axis("B"), Axis("T", read.steps + 1), Axis("C", count)), "f32")
    return PortType("vec", "feat", (Axis("B"), Axis("D", count)), "f32")


def learns_constants(config: Mapping[str, Any]) -> bool:
    """Whether it names constants that are trained."""
    return bool(config.get("learn"))
