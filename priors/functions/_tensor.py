"""What the tensor functions share: their base class, the width of their input, rows one can learn from."""

from collections.abc import Mapping
from typing import Any, ClassVar, Generic, cast

import numpy as np
import torch
from torch import Tensor, nn

from priors.errors import BadTable, BadType
from priors.functions._config import C, FunctionConfig, read_config
from priors.functions.signatures import function_signature
from priors.types import PortType, parse

CONSTANT = 1e-6
"""A column that spreads less than this share of its largest value is constant: float32 has seven digits."""


def width(in_type: PortType | str, function: str) -> int:
    """The length of the last axis. Raises BadType when it is not fixed: buffers need a shape."""
    port = parse(in_type)
    length = port.axes[-1].dim
    if not isinstance(length, int):
        raise BadType(
            f"function {function!r} needs a fixed number of columns, its input is {port}. Give the axis a length."
        )
    return length


def training_rows(x: Tensor, function: str) -> Tensor:
    """`x` (n, C) as float64. Raises BadTable for no rows, another shape, or values that are not finite numbers."""
    if x.ndim != 2 or len(x) == 0:
        raise BadTable(
            f"function {function!r} learns from rows of numbers, not from shape {tuple(x.shape)}. Give (n, C)."
        )
    x = x.detach().to("cpu", torch.float64)
    bad = (~torch.isfinite(x)).nonzero()
    if len(bad):
        row, column = bad[0].tolist()
        raise BadTable(
            f"function {function!r}: row {row}, column {column} is {x[row, column].item()}. "
            "Fill in what is missing before it."
        )
    return x


class TensorFunction(Generic[C]):
    """Base of the tensor functions: reads the config and asks the signature for the type.

    A subclass names its `id`, its `schema` and, where it learns from rows, sets `fitted`.
    """

    id: ClassVar[str]
    schema: ClassVar[type[FunctionConfig]]
    host: ClassVar[bool] = False
    fitted: ClassVar[bool] = False
    input_type: ClassVar[str] = "vec.feat[B,D]:f32"
    config: C

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.config = cast(C, read_config(self.schema, config, self.id))

    def output_type_for(self, in_type: PortType | str) -> str:
        return str(function_signature(self.id, self.config.model_dump(mode="json"), parse(in_type)))

    def width(self, in_type: PortType | str) -> int:
        """How many columns arrive. Raises BadType when that is not fixed."""
        return width(in_type, self.id)

    def gives(self, in_type: PortType | str) -> int:
        """How many features go out."""
        return width(self.output_type_for(in_type), self.id)


def computed(x: Tensor, buffer: Tensor) -> Tensor:
    """`x` in the dtype of the module's buffers: float32, or float64 after `module.double()`."""
    return x.to(buffer.dtype)


def constant(module: nn.Module, name: str, value: Any) -> None:
    """A float32 buffer that follows from the config and is therefore not saved."""
    module.register_buffer(name, torch.as_tensor(np.asarray(value), dtype=torch.float32), persistent=False)


def spread_and_scale(rows: Tensor) -> tuple[Tensor, Tensor]:
    """(mean (C,), 1 / standard deviation (C,)) of training rows; 0 instead for a column that is constant."""
    mean = rows.mean(0)
    size = (rows - mean).square().mean(0).sqrt()
    varies = size > CONSTANT * rows.abs().amax(0)
    return mean, torch.where(varies, 1 / size.where(varies, 1.0), 0.0)


def same_signs(directions: Tensor) -> Tensor:
    """Rows (k, C) with the sign that makes the largest entry of each positive: libraries differ in the one they give.

    Entries within a millionth of the largest count as equally large, and the first of them decides: which one is
    largest by rounding may not turn a direction round.
    """
    size = directions.abs()
    near = size >= size.amax(1, keepdim=True) * (1 - 1e-6)
    first = near.to(torch.int8).argmax(1, keepdim=True)
    signs = directions.gather(1, first).sign()
    return directions * torch.where(signs == 0, 1.0, signs)
