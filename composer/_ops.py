"""The closed set of operations: for each its inputs, its attributes and their defaults. composition-ir opset core 1.

Adding an op adds a row and its typing rule (`_typing.py`); changing a meaning takes a new opset number.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, ValidationError, model_validator

from composer.errors import BadGraph
from priors.errors import BadManifest, BadType
from priors.manifest import PriorRef
from priors.types import MAX_DIM, parse

MAX_INPUTS = 64


def _type(text: str) -> str:
    try:
        return str(parse(text))
    except BadType as err:
        raise ValueError(str(err)) from err


def _ref(text: str) -> str:
    try:
        return str(PriorRef.parse(text))
    except BadManifest as err:
        raise ValueError(str(err)) from err


Type = Annotated[str, AfterValidator(_type)]
Ref = Annotated[str, AfterValidator(_ref)]
AxisName = Literal["B", "T", "S", "H", "W", "C", "D", "K", "E", "F"]
Length = Annotated[int, Field(ge=1, le=MAX_DIM)]
Word = Annotated[str, Field(min_length=1, max_length=200)]
Label = Annotated[str, Field(max_length=1_000)]
License = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[A-Za-z0-9.+() -]+$")]
BasisPoints = Annotated[int, Field(ge=0, le=10_000)]


class Attributes(BaseModel):
    """Base of the attribute schemas: closed, frozen, strictly typed."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Last(Attributes):
    """Train the last so many layers only."""

    last: Annotated[int, Field(ge=1, le=1_000)]


class OutOfFold(Attributes):
    """Fit on predictions made out of so many folds, for stacking."""

    oof: Annotated[int, Field(ge=2, le=100)]


Train = Literal["frozen", "full", "delta"] | Last
Own = Literal["frozen", "full"]
"""What is trained: `train` of ops that have parameters of their own."""


class Input(Attributes):
    type: Type
    column: Word | Annotated[list[Word], Field(min_length=1, max_length=10_000)] | None = None


class Const(Attributes):
    type: Type
    value: JsonValue | None = None
    file: Word | None = None
    tensor: Word | None = None

    @model_validator(mode="after")
    def _one_source(self) -> Const:
        if (self.value is None) == (self.file is None) or (self.file is None) != (self.tensor is None):
            raise ValueError("give 'value', or 'file' with 'tensor'")
        return self


class Load(Attributes):
    prior: Ref
    arch: Word | None = None
    license: License | None = None
    fee_bp: BasisPoints | None = None


class Net(Attributes):
    tap: Word | None = None
    train: Train = "frozen"


class Fn(Attributes):
    fn: Word
    config: dict[str, JsonValue] = Field(default_factory=dict)
    prior: Ref | None = None
    fit: Literal["train"] | None = None
    train: Own | None = None
    license: License | None = None
    fee_bp: BasisPoints | None = None


class Encode(Attributes):
    to: Type
    prior: Ref | None = None
    spec: Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")] | None = None


class Decode(Attributes):
    labels: Annotated[list[Label], Field(min_length=2, max_length=10_000)] | None = None
    prior: Ref | None = None


class Proj(Attributes):
    d_out: Length
    d_in: Length | None = None
    kind: Literal["linear", "mlp", "lowrank", "orthogonal", "relative"] = "linear"
    init: Literal["random", "procrustes", "pca", "zero"] = "procrustes"
    rank: Length | None = None
    train: Own = "full"


class Resample(Attributes):
    axis: Literal["T", "S", "H", "W"]
    n: Length
    mode: Literal["interpolate", "stride", "perceiver", "pad-crop"] = "pad-crop"
    train: Own = "full"


class Pool(Attributes):
    axis: AxisName
    kind: Literal["mean", "max", "first", "last", "attn"] = "mean"
    mask: Literal["auto", "none"] = "auto"
    train: Own = "full"


class Expand(Attributes):
    axis: AxisName
    n: Length = 1
    kind: Literal["broadcast", "prefix"] = "broadcast"
    train: Own = "full"


class Layout(Attributes):
    order: Annotated[list[AxisName], Field(min_length=1, max_length=10)]
    rename: dict[AxisName, AxisName] = Field(default_factory=dict)


class Cast(Attributes):
    dtype: Literal["bool", "u8", "i8", "i16", "i32", "i64", "f16", "bf16", "f32", "f64"] | None = None
    domain: Literal["probs", "logits", "l2"] | None = None
    clip: Annotated[list[float], Field(min_length=2, max_length=2)] | None = None
    unit: Annotated[str, Field(pattern=r"^[^\s,{}=]{1,50}$")] | None = None
    scale: float | None = None

    @model_validator(mode="after")
    def _does_something(self) -> Cast:
        if not self.model_fields_set:
            raise ValueError("give one of dtype, domain, clip, unit")
        if (self.unit is None) != (self.scale is None):
            raise ValueError("'unit' and 'scale' go together: what it becomes, and the factor to it")
        return self


class Bridge(Attributes):
    vocab: Word
    train: Own = "full"


class Sum(Attributes):
    weights: Annotated[list[float], Field(max_length=MAX_INPUTS)] | Literal["learned", "search"] | None = None


class Concat(Attributes):
    axis: AxisName = "D"


class Gate(Attributes):
    type: Type | None = None
    kind: Literal["softmax", "sigmoid"] = "softmax"
    init: Literal["first", "uniform"] = "first"
    train: Own = "full"


class Attend(Attributes):
    heads: Annotated[int, Field(ge=1, le=256)] = 1
    layers: Annotated[int, Field(ge=1, le=64)] = 1
    init: Literal["zero", "random"] = "zero"
    train: Own = "full"


class Route(Attributes):
    top_k: Annotated[int, Field(ge=1, le=MAX_INPUTS)] = 1
    by: Literal["gate", "tag"] = "gate"
    train: Own = "full"


class Head(Attributes):
    labels: Annotated[list[Label], Field(min_length=2, max_length=10_000)] | None = None
    target: Word | None = None
    unit: Annotated[str, Field(pattern=r"^[^\s,{}=]{1,50}$")] | None = None
    loss: Literal["cross_entropy", "binary_cross_entropy", "mse", "mae"] | None = None
    init: Literal["zero", "random"] = "zero"
    fit: OutOfFold | None = None
    train: Own = "full"

    @model_validator(mode="after")
    def _one_purpose(self) -> Head:
        if (self.labels is None) == (self.target is None):
            raise ValueError("give 'labels' for classes, or 'target' for a number")
        if self.labels is not None and (self.unit is not None or self.loss in ("mse", "mae")):
            raise ValueError("labels go with loss: cross_entropy or binary_cross_entropy, and without a unit")
        if self.target is not None and self.loss in ("cross_entropy", "binary_cross_entropy"):
            raise ValueError("a target goes with loss: mse or mae")
        if self.labels is not None and len(set(self.labels)) != len(self.labels):
            raise ValueError("a label appears twice")
        return self


class Merge(Attributes):
    method: Literal[
        "linear", "slerp", "multislerp", "karcher", "task_arithmetic", "ties", "dare", "della", "breadcrumbs", "sce",
        "model_stock", "nearswap", "ram", "greedy_soup",
    ]  # fmt: skip
    t: float | None = None
    weights: Annotated[list[float], Field(max_length=MAX_INPUTS)] | None = None
    parameters: dict[str, JsonValue] = Field(default_factory=dict)


class Delta(Attributes):
    kind: Literal["lora", "dora", "ia3", "bias", "full"]
    r: Annotated[int, Field(ge=1, le=4_096)] | None = None
    alpha: float | None = None
    targets: Annotated[list[Word], Field(min_length=1, max_length=1_000)] | None = None
    train: Own = "full"


class Splice(Attributes):
    layers: Annotated[
        list[Annotated[list[int], Field(min_length=3, max_length=3)]], Field(min_length=1, max_length=1_000)
    ]
    rename: dict[str, str] = Field(default_factory=dict)


class Retok(Attributes):
    vocab: Word
    fallback: Literal["mean", "subtokens", "zero"] = "subtokens"
    train: Own = "full"


@dataclass(frozen=True)
class Op:
    """One operation: what it is told, and how many inputs it takes, by name (`named`) or as a list."""

    attributes: type[Attributes]
    least: int = 0
    most: int = 0
    named: bool = False
    weights: bool = False
    """Whether it gives parameters (Wt) rather than a value."""


def _list(attributes: type[Attributes], least: int = 1, most: int = 1, *, weights: bool = False) -> Op:
    return Op(attributes, least, most, weights=weights)


OPS: Mapping[str, Op] = {
    "input": _list(Input, 0, 0),
    "const": _list(Const, 0, 0),
    "load": _list(Load, 0, 0, weights=True),
    "net": Op(Net, 1, MAX_INPUTS, named=True),
    "fn": _list(Fn, 1, 2),
    "encode": _list(Encode),
    "decode": _list(Decode),
    "proj": _list(Proj),
    "resample": _list(Resample),
    "pool": _list(Pool),
    "expand": _list(Expand),
    "layout": _list(Layout),
    "cast": _list(Cast),
    "bridge": _list(Bridge),
    "sum": _list(Sum, 1, MAX_INPUTS),
    "concat": _list(Concat, 1, MAX_INPUTS),
    "gate": _list(Gate, 1, MAX_INPUTS),
    "attend": Op(Attend, 2, 2, named=True),
    "route": _list(Route, 1, MAX_INPUTS),
    "head": _list(Head),
    "merge": _list(Merge, 1, MAX_INPUTS, weights=True),
    "delta": _list(Delta, 1, 2, weights=True),
    "splice": _list(Splice, 1, MAX_INPUTS, weights=True),
    "retok": _list(Retok, weights=True),
}


def find_op(name: object, node: str) -> Op:
    """The op called `name`. Raises BadGraph naming the node and near ops."""
    if not isinstance(name, str) or name not in OPS:
        near = get_close_matches(str(name)[:60], OPS, n=3, cutoff=0.5) or OPS
        raise BadGraph(
            f"node {node!r}: unknown op {str(name)[:60]!r}, the set is closed. Use one of {', '.join(near)}."
        )
    return OPS[name]


def read_attributes(op: str, given: Mapping[str, Any], node: str) -> dict[str, Any]:
    """The attributes of a node with defaults filled in, absent ones left out. Raises BadGraph naming both.

    A function's configuration may be written beside its attributes; it is gathered under `config`.
    """
    schema = OPS[op].attributes
    if op == "fn":
        given = _gather_config(given, node)
    try:
        return schema.model_validate(dict(given)).model_dump(exclude_none=True)
    except ValidationError as err:
        first = err.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        known = ", ".join(schema.model_fields) or "none"
        message = first["msg"].removeprefix("Value error, ").rstrip(".")
        raise BadGraph(
            f"node {node!r} ({op}): {where + ': ' if where else ''}{message}. Its attributes: {known}."
        ) from err


def _gather_config(given: Mapping[str, Any], node: str) -> dict[str, Any]:
    beside = {key: value for key, value in given.items() if key not in Fn.model_fields}
    config = given.get("config", {})
    if beside and config:
        raise BadGraph(f"node {node!r} (fn): {next(iter(beside))!r} stands beside 'config'. Put it into config.")
    return {key: value for key, value in given.items() if key not in beside} | ({"config": beside} if beside else {})
