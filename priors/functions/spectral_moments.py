"""Sound in a few plain numbers: how often it crosses zero, how loud, how bright, how noisy, how fast it changes."""

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from priors.functions._audio import over_time
from priors.functions._config import FunctionConfig, read_config
from priors.host.audio import read_audio
from priors.registry import function

F32 = NDArray[np.float32]

NAMES = ("crossings", "loudness", "centroid", "spread", "skewness", "kurtosis", "rolloff", "flatness", "flux")
"""What is measured in each window, in order."""

_WINDOW_S, _HOP_S = 0.032, 0.016
_QUIET = 1e-10
_ROLLOFF = 0.85
"""The share of the power below the roll-off frequency: Scheirer and Slaney 1997 take 0.95, Tzanetakis and Cook 0.85."""


class SpectralMomentsConfig(FunctionConfig):
    """`rate` the recording is converted to, in Hz."""

    rate: Annotated[int, Field(ge=2_000, le=192_000)] = 16_000


@function("spectral_moments")
class SpectralMoments:
    """Mean, standard deviation and mean absolute change of the numbers in `NAMES` over windows of 32 ms.

    recordings -> (n, 27). Share of neighboring samples of unlike sign; log of the mean square; mean, deviation,
    skewness and kurtosis of frequency under the power spectrum (in half rates; log(1 + k) for kurtosis k); frequency
    below which 85 % of the power lies; geometric over arithmetic mean of the power; distance of neighboring normalized
    spectra. Tzanetakis and Cook 2002, "Musical genre classification of audio signals"; Peeters 2004, "A large set of
    audio features". Hann windows; O(samples log window).
    """

    host: ClassVar[bool] = True
    fitted: ClassVar[bool] = False
    input_type: ClassVar[str] = "audio.raw[B]:f32"
    output_type: ClassVar[str] = f"vec.feat[B,D:{3 * len(NAMES)}]:f32"

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = read_config(SpectralMomentsConfig, config, "spectral_moments")

    def extract(self, values: Sequence[Any]) -> F32:
        """Recordings (see `read_audio`) -> (n, 27) float32. Raises BadAudio."""
        out = np.empty((len(values), 3 * len(NAMES)), np.float32)
        for row, value in enumerate(values):
            out[row] = over_time(_measured(read_audio(value, self.config.rate), self.config.rate))
        return out


def _measured(wave: F32, rate: int) -> F32:
    """(T, 9): the numbers of each window; the last one is filled up with silence."""
    size, hop = max(round(_WINDOW_S * rate), 8), max(round(_HOP_S * rate), 4)
    count = max(1, -(-(len(wave) - size) // hop) + 1)
    padded = np.zeros((count - 1) * hop + size)
    padded[: len(wave)] = wave
    frames = np.lib.stride_tricks.sliding_window_view(padded, size)[::hop]  # (T, size)
    power = np.abs(np.fft.rfft(frames * np.hanning(size + 2)[1:-1])) ** 2
    total = power.sum(1) + _QUIET
    share = power / total[:, None]
    frequency = np.linspace(0, 1, power.shape[1])
    centroid = share @ frequency
    away = frequency - centroid[:, None]
    spread = np.sqrt((share * away**2).sum(1))
    scaled = np.where(spread > 1e-6, spread, 1.0)
    skewness = (share * away**3).sum(1) / scaled**3
    kurtosis = (share * away**4).sum(1) / scaled**4
    signs = frames >= 0
    found = [
        (signs[:, 1:] != signs[:, :-1]).mean(1),
        np.log(np.square(frames).mean(1) + _QUIET) / 10,
        centroid,
        spread,
        np.arcsinh(skewness) / 2,
        np.log1p(kurtosis) / 3,
        frequency[(share.cumsum(1) >= _ROLLOFF * share.sum(1, keepdims=True)).argmax(1)],
        np.exp(np.log(power + _QUIET).mean(1)) / (power.mean(1) + _QUIET),
        np.concatenate([[0.0], np.sqrt(np.square(np.diff(share, axis=0)).sum(1))]),
    ]
    return np.stack(found, axis=1).astype(np.float32)
