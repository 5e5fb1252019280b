"""Pixels: the image itself, small."""

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from priors.functions._config import FunctionConfig, read_config
from priors.functions._image import read_square
from priors.registry import function


class PixelsConfig(FunctionConfig):
    """`size` pixels a side; gray, or red, green, blue."""

    size: Annotated[int, Field(ge=1, le=128)] = 16
    gray: bool = True


@function("pixels")
class Pixels:
    """The image scaled to a small square, row by row: enough where things always stand in the same place."""

    host: ClassVar[bool] = True
    fitted: ClassVar[bool] = False
    input_type: ClassVar[str] = "image.raw[B]:u8"

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = read_config(PixelsConfig, config, "pixels")

    @property
    def output_type(self) -> str:
        return f"vec.feat[B,D:{self._dim}]:f32"

    def extract(self, values: Sequence[Any]) -> NDArray[np.float32]:
        """Images (see `read_image`) -> (n, size * size * channels) float32 in [0, 1]. Raises BadImage."""
        out = np.empty((len(values), self._dim), np.float32)
        for row, value in enumerate(values):
            out[row] = read_square(value, self.config.size, gray=self.config.gray).ravel()
        return out

    @property
    def _dim(self) -> int:
        return self.config.size**2 * (1 if self.config.gray else 3)
