"""Recordings to Whisper's log-mel frames: always the same length, silence after the end.

Radford et al. 2022, arXiv:2212.04356, section 2.2; the numbers are those of the reference code: base-10 logarithm, not
more than 8 under the loudest, plus 4, divided by 4.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from priors.host._config import Configured, HostConfig
from priors.host.audio import MAX_RATE, MIN_RATE, READING, read_audio
from priors.host.mel import LOG_FLOOR, mel_filters


class WhisperConfig(HostConfig):
    """`frames` mel frames of a recording, one each `hop` samples; what is longer is cut off."""

    encoder: Literal["whisper"]
    rate: Annotated[int, Field(ge=MIN_RATE, le=MAX_RATE)] = 16_000
    n_fft: Annotated[int, Field(ge=16, le=16_384)] = 400
    hop: Annotated[int, Field(ge=1, le=16_384)] = 160
    n_mels: Annotated[int, Field(ge=1, le=512)] = 80
    frames: Annotated[int, Field(ge=2, le=65_536)] = 3_000


class WhisperEncoder(Configured[WhisperConfig]):
    """Mel frames (n, frames, n_mels) float32."""

    schema = WhisperConfig

    @property
    def spec(self) -> dict[str, Any]:
        return {
            **self.config.model_dump(),
            **READING,
            "power": 2.0,
            "window": "hann",
            "center": True,
            "pad": "silence to the whole length, then reflected",
            "scale": "slaney",
            "norm": "slaney",
            "log": "base 10, at least 8 under the largest, plus 4, divided by 4",
            "log_floor": LOG_FLOOR,
        }

    def arrays(self, values: Sequence[Any]) -> tuple[NDArray[np.float32]]:
        """(mel (n, frames, n_mels) float32,). Raises BadAudio naming the file."""
        c = self.config
        found = np.empty((len(values), c.frames, c.n_mels), np.float32)
        for row, value in enumerate(values):
            found[row] = self._frames(read_audio(value, c.rate))
        return (found,)

    def _frames(self, wave: NDArray[np.float32]) -> NDArray[np.float32]:
        c = self.config
        whole = np.zeros(c.frames * c.hop, np.float32)
        whole[: len(wave)] = wave[: len(whole)]
        padded = np.pad(whole, c.n_fft // 2, mode="reflect")
        window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(c.n_fft) / c.n_fft)
        cut = np.lib.stride_tricks.sliding_window_view(padded, c.n_fft)[:: c.hop][: c.frames]
        power = np.abs(np.fft.rfft(cut * window, axis=1)) ** 2
        mel = power @ mel_filters(rate=c.rate, n_fft=c.n_fft, n_mels=c.n_mels).T
        log = np.log10(np.maximum(mel, LOG_FLOOR))
        found: NDArray[np.float32] = ((np.maximum(log, log.max() - 8) + 4) / 4).astype(np.float32)
        return found
