"""Smoothness: random waves over the columns, with which a linear model fits any smooth function."""

from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from pydantic import Field
from scipy.special import ndtri
from torch import Tensor, nn

from priors.functions._config import FunctionConfig, read_config
from priors.functions._tensor import width
from priors.functions.signatures import function_signature
from priors.registry import function
from priors.types import PortType, parse


class FourierFeaturesConfig(FunctionConfig):
    """`m` frequencies (2 * m features) of standard deviation `scale` / sqrt(columns), drawn from `seed`."""

    m: Annotated[int, Field(ge=1, le=32_768)] = 64
    scale: Annotated[float, Field(gt=0, le=1e6)] = 1.0
    seed: Annotated[int, Field(ge=0, le=2**63 - 1)] = 0


@function("fourier_features")
class FourierFeatures:
    """cos and sin of m random projections, over sqrt(m): Rahimi and Recht 2007, "Random features for large-scale kernel
    machines", algorithm 1.

    Rows have norm 1 and inner products near exp(-scale^2 |x - y|^2 / (2 * columns)): one `scale` suits standardized
    columns however many there are. The frequencies are the normal quantiles of PCG64's bits (its definition, not a
    library's choice of method, fixes them), so they are generated anew instead of stored.
    """

    host: ClassVar[bool] = False
    fitted: ClassVar[bool] = False
    input_type: ClassVar[str] = "vec.feat[B,D]:f32"

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = read_config(FourierFeaturesConfig, config, "fourier_features")

    def output_type_for(self, in_type: PortType | str) -> str:
        return str(function_signature("fourier_features", self.config.model_dump(), parse(in_type)))

    def module(self, in_type: PortType | str) -> nn.Module:
        """forward(x (B, C)) -> (B, 2 * m) float32: m cosines, then m sines."""
        columns = width(in_type, "fourier_features")
        bits = np.random.PCG64(self.config.seed).random_raw(columns * self.config.m)
        normal = ndtri(((bits >> np.uint64(11)) + 0.5) / 2**53)  # the top 53 bits, as the middle of their interval
        frequencies = normal.reshape(columns, self.config.m) * (self.config.scale / columns**0.5)
        return _Waves(torch.from_numpy(frequencies.astype(np.float32)))


class _Waves(nn.Module):
    frequencies: Tensor

    def __init__(self, frequencies: Tensor) -> None:
        super().__init__()
        self.register_buffer("frequencies", frequencies, persistent=False)
        self._size = float(frequencies.shape[1] ** -0.5)

    def forward(self, x: Tensor) -> Tensor:
        angles = x.to(torch.float32) @ self.frequencies  # (B, m)
        waves = torch.cat([angles.cos(), angles.sin()], dim=-1)
        return waves * self._size
