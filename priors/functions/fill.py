"""Gaps in columns of numbers, filled by what is usual."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from priors.errors import BadTable
from priors.functions._config import FunctionConfig
from priors.functions._tensor import TensorFunction, width
from priors.registry import function
from priors.types import PortType


@function("fill")
class Fill(TensorFunction[FunctionConfig]):
    """A gap (NaN) becomes the mean of its column over the training rows, which a linear model takes for nothing known.

    A column of which no training row has a number becomes 0 everywhere.
    """

    id: ClassVar[str] = "fill"
    schema: ClassVar[type[FunctionConfig]] = FunctionConfig
    fitted: ClassVar[bool] = True

    def module(self, in_type: PortType | str) -> nn.Module:
        """forward(x (B, C)) -> (B, C) float32 without NaN; fills with 0 until `fit`'s buffers are loaded."""
        return _Fill(width(in_type, "fill"))

    def fit(self, x: Tensor) -> dict[str, Tensor]:
        """Training rows (n, C) -> {value (C,)} float32. Raises BadTable for numbers that are infinite."""
        if x.ndim != 2 or len(x) == 0 or torch.isinf(x).any():
            raise BadTable(f"function 'fill' learns from rows (n, C) of finite numbers and gaps, not {tuple(x.shape)}.")
        rows = x.detach().to("cpu", torch.float64)
        return {"value": torch.nan_to_num(rows.nanmean(0)).float()}


class _Fill(nn.Module):
    value: Tensor

    def __init__(self, columns: int) -> None:
        super().__init__()
        self.register_buffer("value", torch.zeros(columns))

    def forward(self, x: Tensor) -> Tensor:
        x = x.to(torch.float32)
        return torch.where(torch.isnan(x), self.value, x)
