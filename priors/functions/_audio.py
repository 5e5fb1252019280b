"""What the audio functions share: log mel frames of a recording, and how frames become one row."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from priors.host.audio import read_audio
from priors.host.mel import log_mel, mel_spectrogram

F32 = NDArray[np.float32]

_WINDOW_S = 0.025
_HOP_S = 0.010
"""25 ms windows every 10 ms: Davis and Mermelstein 1980, "Comparison of parametric representations", and most since."""


def log_mel_frames(value: Any, *, rate: int, n_mels: int) -> F32:
    """A recording (see `read_audio`) as (T, n_mels) natural-log mel power, T = 1 + seconds / 0.01. Raises BadAudio.

    The shortest recording, one sample, is surrounded by silence and has one frame.
    """
    wave = read_audio(value, rate)
    n_fft, hop = max(round(_WINDOW_S * rate), 2), max(round(_HOP_S * rate), 1)
    return log_mel(mel_spectrogram(wave, rate=rate, n_fft=n_fft, hop=hop, n_mels=n_mels))


def over_time(frames: F32) -> F32:
    """(T, k) -> (3 * k,): mean, standard deviation, and mean absolute change from frame to frame (0 for one frame)."""
    exact = frames.astype(np.float64)
    change = np.abs(np.diff(exact, axis=0)).mean(axis=0) if len(exact) > 1 else np.zeros(exact.shape[1])
    return np.concatenate([exact.mean(axis=0), exact.std(axis=0), change]).astype(np.float32)
