"""Positions: each column as waves of many lengths, so that near and far both show."""

from typing import Annotated, Self

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from priors.functions._config import FunctionConfig
from priors.functions._tensor import TensorFunction, computed, constant
from priors.registry import function
from priors.types import PortType


class PositionalConfig(FunctionConfig):
    """`m` wavelengths a column from `shortest` to `longest`, each the same factor longer than the one before."""

    m: Annotated[int, Field(ge=1, le=256)] = 8
    shortest: Annotated[float, Field(gt=0, le=1e9)] = 0.5
    longest: Annotated[float, Field(gt=0, le=1e9)] = 64.0

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.longest < self.shortest:
            raise ValueError("longest cannot be less than shortest")
        return self


@function("positional")
class Positional(TensorFunction[PositionalConfig]):
    """sin(2 pi x / w) and cos(2 pi x / w) for each column x and wavelength w, over sqrt(m).

    (B, C) -> (B, 2 m C): the sines of the first column from short to long, its cosines, then the next column. Vaswani
    et al. 2017, "Attention is all you need", section 3.5; for coordinates Mildenhall et al. 2020, "NeRF", equation 4.
    A column's part of a row has norm 1. O(m C) a row.
    """

    id, schema = "positional", PositionalConfig

    def module(self, in_type: PortType | str) -> nn.Module:
        """forward(x (B, C)) -> (B, 2 * m * C)."""
        self.gives(in_type)
        return _Waves(self.config)


class _Waves(nn.Module):
    frequencies: Tensor

    def __init__(self, config: PositionalConfig) -> None:
        super().__init__()
        self._size: float = config.m**-0.5
        constant(self, "frequencies", 2 * np.pi / np.geomspace(config.shortest, config.longest, config.m))

    def forward(self, x: Tensor) -> Tensor:
        angles = computed(x, self.frequencies)[:, :, None] * self.frequencies  # (B, C, m)
        waves = torch.cat([angles.sin(), angles.cos()], 2)
        return waves.flatten(1) * self._size
