"""A series as a tensor of a fixed length: where functions of series begin."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from priors.errors import BadTable
from priors.functions._config import FunctionConfig, read_config
from priors.functions._series import read_series
from priors.registry import function


class SeriesGridConfig(FunctionConfig):
    """`length` steps of `channels` channels; `scale` makes each channel of each series have mean 0 and spread 1."""

    length: Annotated[int, Field(ge=1, le=65_536)] = 128
    channels: Annotated[int, Field(ge=1, le=1_024)] = 1
    scale: bool = False


@function("series_grid")
class SeriesGrid:
    """Every series stretched to one length by straight lines between its steps; of that length, it stays as it is.

    series of any lengths -> (n, length, channels). The first step stays first and the last stays last, so series that
    show the same at different speeds look alike. What follows is part of the model: differentiable and exported.
    """

    host: ClassVar[bool] = True
    fitted: ClassVar[bool] = False
    input_type: ClassVar[str] = "series.raw[B]:f32"

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.config = read_config(SeriesGridConfig, config, "series_grid")

    @property
    def output_type(self) -> str:
        return f"series.num[B,T:{self.config.length},C:{self.config.channels}]:f32"

    def extract(self, values: Sequence[Any]) -> NDArray[np.float32]:
        """Series (see `read_series`) -> (n, length, channels) float32. Raises BadTable."""
        length, channels = self.config.length, self.config.channels
        out = np.empty((len(values), length, channels), np.float32)
        for row, value in enumerate(values):
            found = read_series(value, row)
            if found.shape[1] != channels:
                raise BadTable(
                    f"series {row} has {found.shape[1]} channels, {channels} are wanted. Set 'channels' to that."
                )
            if len(found) != length:
                places = np.linspace(0, len(found) - 1, length)
                steps = np.arange(len(found))
                found = np.stack([np.interp(places, steps, found[:, c]) for c in range(channels)], axis=1)
            if self.config.scale:
                spread = found.std(0)
                found = (found - found.mean(0)) / np.where(spread > 1e-8, spread, 1.0)
            out[row] = np.clip(found, np.finfo(np.float32).min, np.finfo(np.float32).max)
        return out
