"""Mel spectrograms from their definition, in numpy.

The mel scale is that of Slaney's Auditory Toolbox (1998, technical report 1998-010): linear below 1 kHz (200/3 Hz a
mel), logarithmic above (27 mels for a factor 6.4); triangles of equal area. With `n_fft` = window length, periodic
Hann window, frames centered on multiples of `hop`, silence beyond both ends and power 2, this is librosa's
`feature.melspectrogram`.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]

_LINEAR_HZ = 200 / 3
_BREAK_HZ = 1_000.0
_BREAK_MEL = _BREAK_HZ / _LINEAR_HZ
_LOG_STEP = np.log(6.4) / 27

LOG_FLOOR = 1e-10
_FRAMES_AT_ONCE = 4_096
"""Bounds the spectrum of an hour of sound to some tens of MiB at a time."""


def hz_to_mel(hz: NDArray[np.float64]) -> NDArray[np.float64]:
    """Frequency in Hz -> mels."""
    return np.where(hz < _BREAK_HZ, hz / _LINEAR_HZ, _BREAK_MEL + np.log(np.maximum(hz, 1.0) / _BREAK_HZ) / _LOG_STEP)


def mel_to_hz(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mels -> frequency in Hz."""
    return np.where(mel < _BREAK_MEL, mel * _LINEAR_HZ, _BREAK_HZ * np.exp(_LOG_STEP * (mel - _BREAK_MEL)))


@lru_cache(maxsize=16)
def mel_filters(*, rate: int, n_fft: int, n_mels: int) -> F32:
    """(n_mels, 1 + n_fft // 2) weights of each spectral bin in each mel band, from 0 Hz to half of `rate`."""
    bins = np.linspace(0, rate / 2, 1 + n_fft // 2)
    top = hz_to_mel(np.array(rate / 2))
    edges = mel_to_hz(np.linspace(0, float(top), n_mels + 2))
    rise = (bins - edges[:-2, None]) / np.diff(edges)[:-1, None]
    fall = (edges[2:, None] - bins) / np.diff(edges)[1:, None]
    triangles = np.maximum(0, np.minimum(rise, fall))
    area = 2 / (edges[2:] - edges[:-2])
    filters = (triangles * area[:, None]).astype(np.float32)
    filters.setflags(write=False)  # it is cached and shared
    return filters


def mel_spectrogram(wave: F32, *, rate: int, n_fft: int, hop: int, n_mels: int) -> F32:
    """Power in each mel band and frame of a wave of n samples: (1 + n // hop, n_mels) float32, at least 0."""
    half = n_fft // 2
    padded = np.pad(wave.astype(np.float32, copy=False), (half, n_fft - half))
    frames = np.lib.stride_tricks.sliding_window_view(padded, n_fft)[::hop]  # frame i is centered on sample i * hop
    window = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n_fft) / n_fft)).astype(np.float32)
    filters = mel_filters(rate=rate, n_fft=n_fft, n_mels=n_mels).T
    mel = np.empty((len(frames), n_mels), np.float32)
    for start in range(0, len(frames), _FRAMES_AT_ONCE):
        spectrum = np.fft.rfft(frames[start : start + _FRAMES_AT_ONCE] * window, axis=1)
        mel[start : start + _FRAMES_AT_ONCE] = (spectrum.real**2 + spectrum.imag**2).astype(np.float32) @ filters
    return mel


def log_mel(mel: F32) -> F32:
    """Natural logarithm of mel power, not under 1e-10 (-100 dB: below it a power is noise of the arithmetic)."""
    return np.log(np.maximum(mel, np.float32(LOG_FLOOR)))
