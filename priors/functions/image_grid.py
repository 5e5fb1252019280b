"""The image itself, small and square, as a tensor: where functions of images begin."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from priors.functions._config import FunctionConfig, read_config
from priors.functions._image import read_square
from priors.registry import function


class ImageGridConfig(FunctionConfig):
    """`size` pixels a side; gray, or red, green, blue."""

    size: Annotated[int, Field(ge=1, le=256)] = 32
    gray: bool = True


@function("image_grid")
class ImageGrid:
    """The whole image stretched to a small square, one plane a color, in [0, 1]; `pixels` gives the same as a row.

    image files -> (n, 1 or 3, size, size). What follows (`dct`, `wavelet_scattering`, `group_average`) is part of the
    model: differentiable and exported with it. Pillow's bicubic filter with antialiasing.
    """

    host: ClassVar[bool] = True
    fitted: ClassVar[bool] = False
    input_type: ClassVar[str] = "image.raw[B]:u8"

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.config = read_config(ImageGridConfig, config, "image_grid")

    @property
    def output_type(self) -> str:
        size = self.config.size
        return f"image.pixels[B,C:{self._channels},H:{size},W:{size}]:f32"

    def extract(self, values: Sequence[Any]) -> NDArray[np.float32]:
        """Images (see `read_image`) -> (n, channels, size, size) float32 in [0, 1]. Raises BadImage."""
        out = np.empty((len(values), self._channels, self.config.size, self.config.size), np.float32)
        for at, value in enumerate(values):
            out[at] = read_square(value, self.config.size, gray=self.config.gray).transpose(2, 0, 1)
        return out

    @property
    def _channels(self) -> int:
        return 1 if self.config.gray else 3
