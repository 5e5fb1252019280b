"""What each operation may be told: attributes with defaults and limits. `composer._ops` is the table of the ops."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, model_validator

from composer._layout import read_layout
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
Part = Annotated[str, Field(min_length=1, max_length=400)]


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
    """What every row has: `type` has the batch, the value has not."""

    type: Type
    value: JsonValue | None = None
    file: Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}\.safetensors$")] | None = None
    tensor: Word | None = None
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None

    @model_validator(mode="after")
    def _one_source(self) -> Const:
        parts = [part is None for part in (self.file, self.tensor, self.sha256)]
        if (self.value is None) == (self.file is None) or any(parts) != all(parts):
            raise ValueError("give 'value', or 'file' with 'tensor' and the file's 'sha256'")
        if self.file == "model.safetensors":
            raise ValueError("'model.safetensors' is where learned parameters are kept; give the file another name")
        return self


class Load(Attributes):
    """`fees`: what each prior inside a composition asks for, by its reference; written by `check`."""

    prior: Ref
    arch: Word | None = None
    license: License | None = None
    fee_bp: BasisPoints | None = None
    fees: Annotated[dict[Part, BasisPoints], Field(max_length=10_000)] | None = None


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
    """`label`: the most probable class in words, or the text of ids. `score`: the probability of that class."""

    labels: Annotated[list[Label], Field(min_length=2, max_length=10_000)] | None = None
    prior: Ref | None = None
    gives: Literal["label", "score"] = "label"


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
    """Axes in another order and under other names, or an expression that also flattens and splits them:

    "B,D,H,W -> B,S=H*W,D" makes one axis of two, "B,D=E:4*C -> B,E,C" makes two of one, 4 of the first kind.
    """

    order: Annotated[list[AxisName], Field(min_length=1, max_length=10)] | None = None
    rename: dict[AxisName, AxisName] = Field(default_factory=dict)
    expr: Annotated[str, Field(max_length=200)] | None = None

    @model_validator(mode="after")
    def _one_form(self) -> Layout:
        if (self.order is None) == (self.expr is None) or (self.expr is not None and self.rename):
            raise ValueError("give 'order' (with 'rename'), or 'expr'")
        if self.expr is not None:
            read_layout(self.expr)
        return self


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
    """Ids of one vocabulary as those of another, through the text they stand for.

    prior   whose tokenizer makes the new ids;  reads  whose tokenizer made the old ones
    """

    vocab: Word
    prior: Ref | None = None
    reads: Ref | None = None
    spec: Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")] | None = None


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
    """Rows go through the `top_k` operands of the largest gates, or by `tag`: the last input says which, from 0."""

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


MergeMethod = Literal[
    "linear", "slerp", "nuslerp", "multislerp", "karcher", "model_stock", "passthrough", "task_arithmetic", "ties",
    "dare", "dare_linear", "dare_ties", "della", "della_linear", "breadcrumbs", "breadcrumbs_ties", "sce", "ram",
    "nearswap", "greedy_soup",
]  # fmt: skip
"""Those of the engine (`composer.merge.plan.METHODS`), which `check` need not load, and the greedy soup."""


class Merge(Attributes):
    method: MergeMethod
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
    """Weights for another vocabulary; `prior` is whose tokenizer it is, without which nothing can be computed."""

    vocab: Word
    prior: Ref | None = None
    license: License | None = None
    fee_bp: BasisPoints | None = None
    fallback: Literal["mean", "subtokens", "zero"] = "subtokens"
    train: Own = "full"
