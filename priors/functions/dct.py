"""The discrete cosine transform: the coarse shape of an image, a series or a row, in few numbers."""

from typing import Annotated

import numpy as np
from pydantic import Field
from torch import Tensor, nn

from priors.functions._config import FunctionConfig
from priors.functions._grids import IMAGE, SERIES, shape
from priors.functions._tensor import TensorFunction, computed, constant
from priors.registry import function
from priors.types import PortType, parse


class DctConfig(FunctionConfig):
    """The first `keep` coefficients along each axis that is transformed."""

    keep: Annotated[int, Field(ge=1, le=65_536)] = 8


@function("dct")
class Dct(TensorFunction[DctConfig]):
    """X_k = c_k sum_n x_n cos(pi (n + 1/2) k / N), c_0 = sqrt(1/N), else sqrt(2/N): the orthonormal DCT-II.

    Ahmed, Natarajan and Rao 1974, "Discrete cosine transform". A row (B, C) -> its first `keep`; a series (B, T, C) ->
    `keep` of each channel; an image (B, C, H, W) -> the `keep` x `keep` lowest of each channel, as JPEG keeps them.
    Lengths are kept: coefficients of everything have the norm of the values. A matrix product an axis.
    """

    id, schema, input_type = "dct", DctConfig, "vec.feat[B,D]:f32"

    def module(self, in_type: PortType | str) -> nn.Module:
        """forward(x) -> (B, coefficients): channel by channel, along H before W."""
        port = parse(in_type)
        self.gives(port)
        lengths = shape(port)
        sides = lengths[1:] if port.kind == IMAGE else lengths[:1]
        return _Cosines(sides, self.config.keep, port.kind)


class _Cosines(nn.Module):
    first: Tensor
    second: Tensor

    def __init__(self, sides: tuple[int, ...], keep: int, kind: str) -> None:
        super().__init__()
        self._kind = kind
        constant(self, "first", cosines(sides[0], keep))
        constant(self, "second", cosines(sides[-1], keep))

    def forward(self, x: Tensor) -> Tensor:
        x = computed(x, self.first)
        if self._kind == IMAGE:
            return (self.first.T @ x @ self.second).flatten(1)  # (B, C, keep, keep)
        if self._kind == SERIES:
            return (x.transpose(1, 2) @ self.first).flatten(1)  # (B, C, keep)
        return x @ self.first


def cosines(length: int, keep: int) -> np.ndarray:
    """(length, min(keep, length)): the orthonormal cosines, the constant first."""
    n, k = np.arange(length)[:, None] + 0.5, np.arange(min(keep, length))
    waves = np.cos(np.pi * n * k / length) * np.sqrt(2 / length)
    waves[:, 0] = np.sqrt(1 / length)
    return np.asarray(waves, np.float64)
