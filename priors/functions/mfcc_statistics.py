"""Timbre: the coarse shape of a recording's spectrum, and how it varies."""

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator
from scipy.fft import dct

from priors.functions._audio import log_mel_frames, over_time
from priors.functions._config import FunctionConfig, read_config
from priors.registry import function

_LIFTER = 22


class MfccStatisticsConfig(FunctionConfig):
    """`rate` the recording is converted to, in Hz; mel bands; and how many coefficients of their cosine transform."""

    rate: Annotated[int, Field(ge=2_000, le=192_000)] = 16_000
    n_mels: Annotated[int, Field(ge=4, le=256)] = 40
    n_mfcc: Annotated[int, Field(ge=1, le=256)] = 20

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.n_mfcc > self.n_mels:
            raise ValueError("n_mfcc cannot exceed n_mels")
        return self


@function("mfcc_statistics")
class MfccStatistics:
    """Mean, standard deviation and mean absolute change of mel-frequency cepstral coefficients.

    Davis and Mermelstein 1980: the cosine transform (DCT-II, orthonormal, over the square root of n_mels) of log mel
    power. Coefficient k is lifted by 1 + 11 sin(pi k / 22), which evens out their spread (Juang, Rabiner, Wilpon
    1987, "On the use of bandpass liftering in speech recognition"); beyond k = 21 by 1.
    """

    host: ClassVar[bool] = True
    fitted: ClassVar[bool] = False
    input_type: ClassVar[str] = "audio.raw[B]:f32"

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = read_config(MfccStatisticsConfig, config, "mfcc_statistics")
        k = np.arange(self.config.n_mfcc)
        self._lift = np.where(k < _LIFTER, 1 + _LIFTER / 2 * np.sin(np.pi * k / _LIFTER), 1) / self.config.n_mels**0.5

    @property
    def output_type(self) -> str:
        return f"vec.feat[B,D:{self._dim}]:f32"

    def extract(self, values: Sequence[Any]) -> NDArray[np.float32]:
        """Recordings (see `read_audio`) -> (n, 3 * n_mfcc) float32. Raises BadAudio."""
        out = np.empty((len(values), self._dim), np.float32)
        for row, value in enumerate(values):
            frames = log_mel_frames(value, rate=self.config.rate, n_mels=self.config.n_mels)
            cepstra = dct(frames, type=2, norm="ortho", axis=1)[:, : self.config.n_mfcc] * self._lift
            out[row] = over_time(cepstra.astype(np.float32))
        return out

    @property
    def _dim(self) -> int:
        return 3 * self.config.n_mfcc
