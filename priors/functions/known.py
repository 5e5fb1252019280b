"""Whether a row of a table has any number at all."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from priors.functions._config import FunctionConfig
from priors.functions._tensor import TensorFunction
from priors.registry import function
from priors.types import PortType


@function("known")
class Known(TensorFunction[FunctionConfig]):
    """1 for a row with at least one number, 0 for one of nothing but gaps: `present` for columns of numbers."""

    id: ClassVar[str] = "known"
    schema: ClassVar[type[FunctionConfig]] = FunctionConfig

    def module(self, in_type: PortType | str) -> nn.Module:
        """forward(x (B, C), NaN for gaps) -> (B, 1) float32."""
        return _Known()


class _Known(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return (~torch.isnan(x)).any(-1, keepdim=True).to(torch.float32)
