"""What the tensor functions share: the width of their input, and rows one can learn from."""

import torch
from torch import Tensor

from priors.errors import BadTable, BadType
from priors.types import PortType, parse


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
