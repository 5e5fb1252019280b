"""Networks that are a graph of torch's own operators, without torch: what such a graph may say. A closed list of them.

A graph is data. Values are named; each node calls one operator on values, numbers and lists, and names what comes out:

    {"op": "linear.default", "args": ["%x", "%w", "%b"], "out": ["y"]}

In arguments `%y` is the value y, `'tanh` the text tanh, `#f32` a dtype, and `@` the device that the inputs are on.
`scan.step` repeats a small graph of its own along the first axis of sequences, as a recurrent layer does (`Step`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import Field, JsonValue, model_validator

from priors.errors import BadType
from priors.families._config import ArchitectureConfig
from priors.types import PortType, parse

MAX_NODES = 20_000
MAX_WEIGHTS = 10_000
SCAN = "scan.step"

_POINTWISE = """
abs acos add addcdiv addcmul asin atan atan2 bitwise_and bitwise_not bitwise_or bitwise_xor ceil celu clamp
clamp_max clamp_min cos cosh div elu eq erf erfc exp exp2 expm1 floor floor_divide fmod ge gelu glu gt hardsigmoid
hardswish hardtanh isfinite isinf isnan le leaky_relu lerp log log10 log1p log2 log_sigmoid logical_and logical_not
logical_or logical_xor logit lt masked_fill maximum minimum mish mul nan_to_num ne neg pow prelu reciprocal relu
relu6 remainder round rsqrt rsub selu sgn sigmoid sign silu sin sinh softplus softsign sqrt square sub tan tanh
trunc where threshold true_divide xlogy
"""
_REDUCE = """
all amax amin any argmax argmin cumprod cumsum linalg_vector_norm log_softmax logsumexp max mean min norm prod
softmax std sum topk var _softmax _log_softmax
"""
_SHAPE = """
alias broadcast_to cat chunk clone concat constant_pad_nd contiguous detach diagonal dropout embedding expand
expand_as flatten flip gather im2col index index_select lift_fresh_copy movedim narrow numpy_T pad pixel_shuffle
pixel_unshuffle permute reflection_pad1d reflection_pad2d repeat replication_pad1d replication_pad2d reshape roll
scatter select slice split split_with_sizes squeeze stack swapaxes t take_along_dim to transpose tril triu type_as
unbind unflatten unfold unsqueeze view view_as _to_copy _unsafe_view
"""
_LAYERS = """
adaptive_avg_pool1d adaptive_avg_pool2d addmm avg_pool1d avg_pool2d baddbmm batch_norm bmm conv1d conv2d conv3d
conv_transpose1d conv_transpose2d convolution dot einsum group_norm gru instance_norm layer_norm linear lstm matmul
max_pool1d max_pool2d mm mv native_group_norm native_layer_norm rms_norm scaled_dot_product_attention
upsample_bicubic2d upsample_bilinear2d upsample_nearest2d _adaptive_avg_pool2d _native_batch_norm_legit_no_training
"""
_LIKE = "full_like new_full new_ones new_zeros ones_like zeros_like"

MAKERS = frozenset(("arange", "eye", "full", "linspace", "ones", "scalar_tensor", "zeros"))
"""They make a value of nothing, on whatever device they are told."""

OPERATORS = frozenset(" ".join((_POINTWISE, _REDUCE, _SHAPE, _LAYERS, _LIKE, *MAKERS, "sym_size")).split())
"""Of torch.ops.aten: pure functions that read no file, no memory that was never written, and draw nothing."""
LENGTHS = ("add", "sub", "mul", "floordiv", "mod", "neg", "max", "min")
"""What is done with lengths: `length.add` and so on."""

DTYPES = ("bool", "u8", "i8", "i16", "i32", "i64", "f16", "bf16", "f32", "f64")

Value = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,199}$")]
_Port = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
_Tensor = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,200}$")]
_Type = Annotated[str, Field(max_length=500)]


class Weight(ArchitectureConfig):
    """A tensor of the prior's files by its name there; `fixed` where training leaves it as it is."""

    tensor: _Tensor
    shape: list[Annotated[int, Field(ge=1, le=1 << 40)]] = Field(max_length=8)
    dtype: Literal["bool", "u8", "i8", "i16", "i32", "i64", "f16", "bf16", "f32", "f64"]
    fixed: bool = False


class Call(ArchitectureConfig):
    """A call of an operator. `many` where the operator gives a sequence, of which `out` names the entries in order."""

    op: Annotated[str, Field(pattern=r"^[a-z_][A-Za-z0-9_]{0,99}\.[A-Za-z0-9_]{1,60}$")]
    args: list[JsonValue] = Field(default_factory=list, max_length=32)
    kwargs: dict[Annotated[str, Field(pattern=r"^[a-z_]{1,40}$")], JsonValue] = Field(default_factory=dict)
    out: list[Value] = Field(min_length=1, max_length=1_000)
    many: bool = False

    @property
    def reads(self) -> set[str]:
        """The values it is given."""
        return set(_values([*self.args, *self.kwargs.values()]))

    @model_validator(mode="after")
    def _is_known(self) -> Self:
        if not self._takes(self.op):
            raise ValueError(f"{self.op} is not among the operators of a graph")
        for one in _leaves([*self.args, *self.kwargs.values()]):
            if isinstance(one, str) and not (one == "@" or one[:1] in "%'" or one.removeprefix("#") in DTYPES):
                raise ValueError(f"{one[:40]!r} is no argument of {self.op}")
        if not self.many and len(self.out) != 1:
            raise ValueError(f"{self.op} gives one value and {len(self.out)} are named")
        return self

    @staticmethod
    def _takes(op: str) -> bool:
        name, _, overload = op.partition(".")
        return name in OPERATORS or (name == "length" and overload in LENGTHS)


class Step(ArchitectureConfig):
    """What is done at every place of sequences. It reads nothing but what it takes: the values that are carried on, a
    slice of each sequence, values that stay; it gives what is carried on, then what is kept of this place."""

    takes: list[Value] = Field(min_length=2, max_length=1_000)
    nodes: list[Call] = Field(max_length=1_000)
    gives: list[Value] = Field(min_length=1, max_length=1_000)

    @model_validator(mode="after")
    def _follows(self) -> Step:
        if len(set(self.takes)) != len(self.takes):
            raise ValueError("a step takes a value twice")
        known = _followed(self.nodes, set(self.takes))
        if missing := [value for value in self.gives if value not in known]:
            raise ValueError(f"a step gives {missing[0]!r}, which nothing in it gives")
        return self


class Node(Call):
    """A call in a graph: of an operator, or `scan.step` of a `step`, with three lists of values as arguments, those
    carried first, the sequences, those that stay; it gives what is carried in the end, then what was kept, stacked."""

    step: Step | None = None

    @staticmethod
    def _takes(op: str) -> bool:
        return op == SCAN or Call._takes(op)

    @model_validator(mode="after")
    def _repeats(self) -> Node:
        if (self.op == SCAN) != (self.step is not None):
            raise ValueError(f"{SCAN} has a step, and nothing else has one")
        if self.step is None:
            return self
        lists = [one for one in self.args if isinstance(one, list)]
        if len(lists) != 3 or len(self.args) != 3 or self.kwargs or len(_values(lists)) != len(_leaves(lists)):
            raise ValueError(f"{SCAN} is given three lists of values")
        carried, sequences, _ = (len(one) for one in lists)
        if not carried or not sequences or sum(len(one) for one in lists) != len(self.step.takes):
            raise ValueError(f"{SCAN} is given other values than its step takes")
        if not self.many or len(self.out) != len(self.step.gives) or carried > len(self.out):
            raise ValueError(f"{SCAN} gives other values than its step")
        return self


class Tap(ArchitectureConfig):
    """The value that is given out, and its type."""

    value: Value
    type: _Type


class ExportedConfig(ArchitectureConfig):
    """`ports` by name, in order; `takes` their values, a mask right after its port; `outputs` are the taps."""

    ports: Annotated[dict[_Port, _Type], Field(min_length=1, max_length=8)]
    takes: Annotated[list[Value], Field(min_length=1, max_length=16)]
    outputs: Annotated[dict[_Port, Tap], Field(min_length=1, max_length=100)]
    weights: Annotated[dict[Value, Weight], Field(max_length=MAX_WEIGHTS)]
    nodes: Annotated[list[Node], Field(max_length=MAX_NODES)]

    def inputs(self) -> dict[str, str]:
        return {name: str(parse(text)) for name, text in self.ports.items()}

    def taps(self) -> dict[str, str]:
        return {name: str(parse(tap.type)) for name, tap in self.outputs.items()}

    def needed(self, taps: tuple[str, ...]) -> list[Node]:
        """The nodes that these taps follow from, in order."""
        wanted, found = {self.outputs[tap].value for tap in taps}, []
        for node in reversed(self.nodes):
            if not wanted.isdisjoint(node.out):
                wanted |= node.reads
                found.append(node)
        return found[::-1]

    @model_validator(mode="after")
    def _follows(self) -> ExportedConfig:
        types = [_parsed(name, text) for name, text in self.ports.items()]
        for name, tap in self.outputs.items():
            _parsed(name, tap.type)
        if len(self.takes) != sum(2 if t.attr("mask") else 1 for t in types):
            raise ValueError(f"takes names {len(self.takes)} values for these ports, one each and one for each mask")
        known = {*self.takes, *self.weights}
        if len(known) != len(self.takes) + len(self.weights):
            raise ValueError("a value is taken twice")
        if sum(len(node.step.nodes) if node.step else 1 for node in self.nodes) > MAX_NODES:
            raise ValueError(f"with its steps the graph has more than {MAX_NODES:,} nodes")
        known = _followed(self.nodes, known)
        for name, tap in self.outputs.items():
            if tap.value not in known:
                raise ValueError(f"tap {name} is {tap.value!r}, which nothing gives")
        return self


def _followed(nodes: Sequence[Call], known: set[str]) -> set[str]:
    """`known` and what these nodes give, each of which reads what was given before it."""
    for node in nodes:
        if unknown := node.reads - known:
            raise ValueError(f"{node.op} reads {min(unknown)!r} before anything gives it")
        if twice := known & set(node.out):
            raise ValueError(f"{node.op} gives {min(twice)!r} a second time")
        known = known | set(node.out)
    return known


def _parsed(name: str, text: str) -> PortType:
    try:
        return parse(text)
    except BadType as err:
        raise ValueError(f"{name}: {err}") from err


def _leaves(arguments: list[Any]) -> list[Any]:
    """Numbers and texts, lists walked through; a table is none."""
    found: list[Any] = []
    for one in arguments:
        if isinstance(one, dict):
            raise ValueError("an argument is a table")
        found += _leaves(one) if isinstance(one, list) else [one]
    return found


def _values(arguments: list[Any]) -> list[str]:
    return [one[1:] for one in _leaves(arguments) if isinstance(one, str) and one.startswith("%")]
