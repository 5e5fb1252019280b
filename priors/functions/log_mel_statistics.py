"""Spectrum: how much power each mel band of a recording has, and how it varies."""

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from priors.functions._audio import log_mel_frames, over_time
from priors.functions._config import FunctionConfig, read_config
from priors.registry import function

_SCALE = np.float32(1 / 4)
"""Log powers of recordings spread by a few nepers; a quarter makes columns of order one."""


class LogMelStatisticsConfig(FunctionConfig):
    """`rate` the recording is converted to, in Hz, and how many mel bands."""

    rate: Annotated[int, Field(ge=2_000, le=192_000)] = 16_000
    n_mels: Annotated[int, Field(ge=4, le=256)] = 40


@function("log_mel_statistics")
class LogMelStatistics:
    """Mean, standard deviation and mean absolute change of the log power in each mel band."""

    host: ClassVar[bool] = True
    fitted: ClassVar[bool] = False
    input_type: ClassVar[str] = "audio.raw[B]:f32"

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = read_config(LogMelStatisticsConfig, config, "log_mel_statistics")

    @property
    def output_type(self) -> str:
        return f"vec.feat[B,D:{self._dim}]:f32"

    def extract(self, values: Sequence[Any]) -> NDArray[np.float32]:
        """Recordings (see `read_audio`) -> (n, 3 * n_mels) float32. Raises BadAudio."""
        out = np.empty((len(values), self._dim), np.float32)
        for row, value in enumerate(values):
            out[row] = _SCALE * over_time(log_mel_frames(value, rate=self.config.rate, n_mels=self.config.n_mels))
        return out

    @property
    def _dim(self) -> int:
        return 3 * self.config.n_mels
