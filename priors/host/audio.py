"""Recordings to arrays: reading with limits, one channel, one rate; mel frames or waves for networks."""

from __future__ import annotations

import io
from collections.abc import Sequence
from math import gcd
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import soundfile
from numpy.typing import NDArray
from pydantic import Field
from scipy.signal import resample_poly

from priors.errors import BadAudio
from priors.host._config import Configured, HostConfig
from priors.host.mel import LOG_FLOOR, log_mel, mel_spectrogram

F32 = NDArray[np.float32]

MAX_SECONDS = 3_600
MAX_CHANNELS = 32
MIN_RATE, MAX_RATE = 1_000, 768_000


def read_audio(value: Any, rate: int) -> F32:
    """A recording as (n,) float32 in [-1, 1] at `rate` samples a second, n >= 1.

    value   a path, the bytes of a file (WAV, FLAC, OGG, MP3: what libsndfile reads), or samples (n,) or (n, channels)
            that have the rate already: float in [-1, 1] or int16
    Channels are averaged. Other rates are converted by a polyphase filter (`scipy.signal.resample_poly`, Kaiser 5.0).
    Raises BadAudio naming the file when it is unreadable, has no samples, samples that are no numbers, or lasts over
    an hour.
    """
    if isinstance(value, np.ndarray):
        return _checked(_mono(_as_float(value)), "recording")
    name, source = _source(value)
    try:
        with soundfile.SoundFile(source) as file:
            found = file.samplerate
            if not MIN_RATE <= found <= MAX_RATE or file.channels > MAX_CHANNELS:
                raise BadAudio(
                    f"{name} has {file.channels} channels at {found:,} Hz. "
                    f"Save it with at most {MAX_CHANNELS} channels at {MIN_RATE:,} to {MAX_RATE:,} Hz."
                )
            # The header's length is a claim: read no more than the limit, whatever it says.
            samples = file.read(MAX_SECONDS * found + 1, dtype="float32", always_2d=True)
    except soundfile.SoundFileError as err:
        raise BadAudio(f"{name} cannot be read as a recording ({_reason(err)}). Save it as WAV or FLAC.") from err
    except OSError as err:
        raise BadAudio(f"{name} cannot be opened ({err.strerror}). Correct the path in the table.") from err
    if len(samples) > MAX_SECONDS * found:
        raise BadAudio(f"{name} lasts over {MAX_SECONDS:,} seconds. Cut it into shorter ones.")
    wave = _checked(_mono(samples), name)
    if found == rate:
        return wave
    common = gcd(found, rate)
    return np.ascontiguousarray(resample_poly(wave, rate // common, found // common), np.float32)


def _source(value: Any) -> tuple[str, str | io.BytesIO]:
    if isinstance(value, str | Path):
        if not Path(value).is_file():
            raise BadAudio(f"{Path(value).name or value} does not exist. Correct the path in the table.")
        return Path(value).name, str(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return "recording", io.BytesIO(value)
    raise BadAudio(
        f"{type(value).__name__} is not a recording. Give a path, the bytes of a file, or an array of samples."
    )


def _reason(err: soundfile.SoundFileError) -> str:
    """libsndfile's own words, without the path and the sentence around them."""
    return getattr(err, "error_string", str(err)).strip().rstrip(".")


def _as_float(samples: NDArray[Any]) -> F32:
    if samples.dtype == np.int16:
        return (samples / np.float32(32_768)).astype(np.float32)
    if samples.dtype.kind != "f" or samples.ndim not in (1, 2):
        raise BadAudio(
            f"an array of {samples.dtype} {samples.shape} is not a recording. Give float or int16 samples (n,)."
        )
    return samples.astype(np.float32)


def _mono(samples: F32) -> F32:
    return samples if samples.ndim == 1 else np.ascontiguousarray(samples.mean(axis=1, dtype=np.float32))


def _checked(wave: F32, name: str) -> F32:
    if len(wave) == 0:
        raise BadAudio(f"{name} has no samples. Record it again, or drop its row.")
    if not np.isfinite(wave).all():
        raise BadAudio(f"{name} has samples that are not finite numbers. Save it again, or drop its row.")
    return wave


def amplified(wave: F32, dbfs: float) -> F32:
    """`wave` made as loud as `dbfs` (root mean square, against full scale) if it is quieter; never made quieter."""
    power = float(np.mean(np.square(wave, dtype=np.float64)))
    if power == 0:
        return wave
    gain = dbfs - 10 * np.log10(power)
    return wave if gain <= 0 else (wave * 10 ** (gain / 20)).astype(np.float32)


def normalized(wave: F32) -> F32:
    """`wave` with mean 0 and variance 1; a constant one stays near 0 (1e-7 under the root, as wav2vec 2.0 has it)."""
    wide = wave.astype(np.float64)
    found: F32 = ((wide - wide.mean()) / np.sqrt(wide.var() + 1e-7)).astype(np.float32)
    return found


class MelConfig(HostConfig):
    """A mel spectrogram (`priors.host.mel`): `rate` in Hz, window `n_fft` and `hop` in samples.

    log            natural logarithm of the power, not under 1e-10
    loudness_dbfs  quieter recordings are amplified to this root mean square first; null leaves them
    """

    encoder: Literal["mel"]
    rate: Annotated[int, Field(ge=MIN_RATE, le=MAX_RATE)]
    n_fft: Annotated[int, Field(ge=16, le=16_384)]
    hop: Annotated[int, Field(ge=1, le=16_384)]
    n_mels: Annotated[int, Field(ge=1, le=512)]
    log: bool = False
    loudness_dbfs: Annotated[float, Field(ge=-120, le=0)] | None = None


class MelEncoder(Configured[MelConfig]):
    """Mel frames (n, T, n_mels) float32 and their mask (n, T) bool; s samples have 1 + s // hop frames."""

    schema = MelConfig

    @property
    def spec(self) -> dict[str, Any]:
        return {
            **self.config.model_dump(),
            **READING,
            "power": 2.0,
            "window": "hann",
            "center": True,
            "pad": "zero",
            "scale": "slaney",
            "norm": "slaney",
            "log_floor": LOG_FLOOR,
        }

    def arrays(self, values: Sequence[Any]) -> tuple[F32, NDArray[np.bool_]]:
        """(mel (n, T, n_mels) float32, mask (n, T) bool), padded with 0 at the end. Raises BadAudio naming the file."""
        return _padded([self._frames(value) for value in values], (self.config.n_mels,))

    def _frames(self, value: Any) -> F32:
        c = self.config
        wave = read_audio(value, c.rate)
        if c.loudness_dbfs is not None:
            wave = amplified(wave, c.loudness_dbfs)
        mel = mel_spectrogram(wave, rate=c.rate, n_fft=c.n_fft, hop=c.hop, n_mels=c.n_mels)
        return log_mel(mel) if c.log else mel


class WaveConfig(HostConfig):
    """One channel at `rate` samples a second; `normalize` gives each recording mean 0 and variance 1."""

    encoder: Literal["wave"]
    rate: Annotated[int, Field(ge=MIN_RATE, le=MAX_RATE)]
    normalize: bool = False


class WaveEncoder(Configured[WaveConfig]):
    """Waves (n, T) float32 and their mask (n, T) bool."""

    schema = WaveConfig

    @property
    def spec(self) -> dict[str, Any]:
        return {**self.config.model_dump(), **READING}

    def arrays(self, values: Sequence[Any]) -> tuple[F32, NDArray[np.bool_]]:
        """(wave (n, T) float32, mask (n, T) bool), padded with 0 at the end. Raises BadAudio naming the file."""
        return _padded([self._wave(value) for value in values], ())

    def _wave(self, value: Any) -> F32:
        wave = read_audio(value, self.config.rate)
        return normalized(wave) if self.config.normalize else wave


READING = {"channels": "mean", "resample": "polyphase, Kaiser 5.0, 10 zero crossings"}


def _padded(rows: list[F32], rest: tuple[int, ...]) -> tuple[F32, NDArray[np.bool_]]:
    longest = max(map(len, rows), default=1)
    values = np.zeros((len(rows), longest, *rest), np.float32)
    mask = np.zeros((len(rows), longest), bool)
    for at, row in enumerate(rows):
        values[at, : len(row)] = row
        mask[at, : len(row)] = True
    return values, mask
