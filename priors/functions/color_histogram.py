"""Colors: how much of each an image has, wherever it is."""

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field

from priors.functions._config import FunctionConfig, read_config
from priors.host.image import read_image
from priors.registry import function

Bins = Annotated[int, Field(ge=1, le=32)]


class ColorHistogramConfig(FunctionConfig):
    """`bins` of hue, saturation and value; the image is first scaled down to at most `size` pixels a side."""

    bins: list[Bins] = Field(default=[8, 4, 4], min_length=3, max_length=3)
    size: Annotated[int, Field(ge=8, le=1_024)] = 128


@function("color_histogram")
class ColorHistogram:
    """The joint histogram of hue, saturation and value, each entry the square root of its share of the pixels.

    A row has Euclidean norm 1, so the inner product of two rows is the Bhattacharyya coefficient of their histograms
    (Arandjelović and Zisserman 2012, "Three things everyone should know to improve object retrieval":
    the Hellinger kernel). Histograms of color: Swain and Ballard 1991, "Color indexing".
    """

    host: ClassVar[bool] = True
    fitted: ClassVar[bool] = False
    input_type: ClassVar[str] = "image.raw[B]:u8"

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = read_config(ColorHistogramConfig, config, "color_histogram")

    @property
    def output_type(self) -> str:
        return f"vec.feat[B,D:{self._dim}]:f32"

    def extract(self, values: Sequence[Any]) -> NDArray[np.float32]:
        """Images (see `read_image`) -> (n, bins of hue * saturation * value) float32. Raises BadImage."""
        out = np.empty((len(values), self._dim), np.float32)
        for row, value in enumerate(values):
            image = Image.fromarray(read_image(value))
            image.thumbnail((self.config.size, self.config.size), Image.Resampling.BOX)
            channels = np.asarray(image.convert("HSV"), np.int64).reshape(-1, 3)
            hue, saturation, brightness = (channels * np.array(self.config.bins) // 256).T
            _, saturations, brightnesses = self.config.bins
            cell = (hue * saturations + saturation) * brightnesses + brightness
            out[row] = np.sqrt(np.bincount(cell, minlength=self._dim) / len(cell))
        return out

    @property
    def _dim(self) -> int:
        hues, saturations, brightnesses = self.config.bins
        return hues * saturations * brightnesses
