"""Recordings to waves and mel frames: rates, channels, loudness, and what is refused on the way."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from priors.errors import BadAudio
from priors.host import (
    MelEncoder,
    WaveEncoder,
    read_audio,
)
from priors.host.audio import amplified
from priors.host.mel import hz_to_mel, mel_filters, mel_spectrogram, mel_to_hz
from priors.host.whisper import WhisperEncoder

MEL = {"encoder": "mel", "rate": 16_000, "n_fft": 400, "hop": 160, "n_mels": 40, "log": False}


def tone(rate: int, hz: float = 440, seconds: float = 1.0) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hz * np.arange(int(seconds * rate)) / rate)).astype(np.float32)


def wav(samples: np.ndarray, rate: int, **options: Any) -> bytes:
    out = io.BytesIO()
    soundfile.write(out, samples, rate, **({"format": "WAV"} | options))
    return out.getvalue()


def test_a_recording_reads_the_same_from_path_bytes_and_array(tmp_path: Path) -> None:
    samples = tone(16_000)
    (tmp_path / "a.flac").write_bytes(wav(samples, 16_000, format="FLAC", subtype="PCM_24"))

    for value in (tmp_path / "a.flac", wav(samples, 16_000, subtype="FLOAT"), samples):
        assert np.allclose(read_audio(value, 16_000), samples, atol=1e-6)
    assert np.allclose(read_audio((samples * 32_768).astype(np.int16), 16_000), samples, atol=1e-4)


def test_channels_are_averaged() -> None:
    left, right = tone(16_000), tone(16_000, 880)

    found = read_audio(wav(np.stack([left, right], 1), 16_000, subtype="FLOAT"), 16_000)

    assert np.allclose(found, (left + right) / 2, atol=1e-6)


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 44_100, 48_000])
def test_a_tone_keeps_its_pitch_and_size_at_another_rate(rate: int) -> None:
    found = read_audio(wav(tone(rate), rate, subtype="FLOAT"), 16_000)

    assert len(found) == 16_000
    spectrum = np.abs(np.fft.rfft(found))
    assert spectrum.argmax() == 440
    assert np.allclose(found[2_000:-2_000], tone(16_000)[2_000:-2_000], atol=0.01)


def test_sound_above_half_the_new_rate_is_filtered_out() -> None:
    found = read_audio(wav(tone(48_000, 12_000), 48_000, subtype="FLOAT"), 16_000)

    assert float(np.abs(found[1_000:-1_000]).max()) < 0.005


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (wav(np.zeros(0, np.float32), 16_000), "no samples"),
        (np.zeros((0, 2), np.float32), "no samples"),
        (wav(np.array([0.1, np.nan], np.float32), 16_000, subtype="FLOAT"), "not finite"),
        (np.array([np.inf], np.float32), "not finite"),
        (b"", "cannot be read"),
        (b"RIFF....WAVE not really", "cannot be read"),
        (np.zeros((2, 2, 2), np.float32), "not a recording"),
        (np.zeros(3, "U1"), "not a recording"),
        (None, "not a recording"),
        (wav(np.zeros(10, np.float32), 100), "100 Hz"),
    ],
    # Not the bytes: libsndfile writes the time of day into a FLOAT file, so two workers would name it differently.
    ids=["empty-wav", "empty-array", "nan-wav", "inf", "no-bytes", "cut-header", "3d", "text", "none", "100-hz"],
)
def test_what_is_no_recording_is_refused(value: Any, said: str) -> None:
    with pytest.raises(BadAudio, match=said):
        read_audio(value, 16_000)


def test_a_recording_of_more_than_an_hour_is_refused_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "day.wav").write_bytes(wav(np.zeros(3_601 * 1_000, np.int16), 1_000))

    with pytest.raises(BadAudio, match=r"day\.wav lasts over"):
        read_audio(tmp_path / "day.wav", 16_000)


def test_amplification_only_raises_and_reaches_the_level() -> None:
    quiet, loud = tone(16_000) / 1_000, tone(16_000)

    raised = amplified(quiet, -30)

    assert 10 * np.log10(np.mean(raised.astype(np.float64) ** 2)) == pytest.approx(-30, abs=1e-3)
    assert np.array_equal(amplified(loud, -30), loud)
    assert not amplified(np.zeros(5, np.float32), -30).any()


def test_the_mel_scale_is_slaneys() -> None:
    """Values of Slaney's Auditory Toolbox scale: 40 frequencies from 0 to 11,025 Hz evenly spaced in mels."""
    found = mel_to_hz(np.linspace(0, float(hz_to_mel(np.array(11_025.0))), 40))

    known = {1: 85.317, 11: 938.49, 12: 1_024.856, 13: 1_119.114, 20: 2_071.84, 30: 4_994.285, 39: 11_025.0}
    assert [found[at] for at in known] == pytest.approx(list(known.values()), abs=2e-3)
    assert hz_to_mel(np.array([60.0, 110.0, 220.0, 440.0])) == pytest.approx([0.9, 1.65, 3.3, 6.6])


def test_mel_bands_have_equal_area_and_cover_the_spectrum() -> None:
    filters = mel_filters(rate=16_000, n_fft=4_096, n_mels=40)

    assert np.allclose(filters.sum(1) * 16_000 / 4_096, 1, atol=0.02)
    assert (filters[:, 1:-1].sum(0) > 0).all()


@pytest.mark.parametrize("samples", [1, 159, 160, 400, 16_001])
@pytest.mark.parametrize(("n_fft", "hop"), [(400, 160), (512, 128), (25, 10)])
def test_the_spectrogram_is_the_short_time_fourier_transform(samples: int, n_fft: int, hop: int) -> None:
    wave = np.random.default_rng(samples).normal(0, 0.1, samples).astype(np.float32)

    found = mel_spectrogram(wave, rate=16_000, n_fft=n_fft, hop=hop, n_mels=10)

    padded = np.pad(wave, (n_fft // 2, n_fft - n_fft // 2))
    stft = torch.stft(
        torch.from_numpy(padded), n_fft, hop, window=torch.hann_window(n_fft), center=False, return_complex=True
    )
    power = (stft.abs() ** 2).T.numpy()
    assert found.shape == (1 + samples // hop, 10)
    expected = power @ mel_filters(rate=16_000, n_fft=n_fft, n_mels=10).T
    assert np.allclose(found, expected, rtol=1e-3, atol=1e-7)


def test_mel_frames_come_with_the_mask_of_what_is_sound() -> None:
    mel, mask = MelEncoder.from_host(MEL | {"loudness_dbfs": -30.0}).encode([tone(16_000), tone(16_000)[:1]])

    assert mel.shape == (2, 101, 40) and mel.dtype == torch.float32
    assert mask.sum(1).tolist() == [101, 1] and not mel[1, 1:].any()
    assert bool((mel >= 0).all())


def test_log_mel_is_the_logarithm_with_a_floor() -> None:
    plain = MelEncoder.from_host(MEL).encode([tone(16_000)])[0]
    logged = MelEncoder.from_host(MEL | {"log": True}).encode([tone(16_000), np.zeros(10, np.float32)])[0]

    assert torch.allclose(logged[0], plain[0].clamp(min=1e-10).log(), atol=1e-5)
    assert torch.allclose(logged[1, 0], torch.full((40,), float(np.log(1e-10))))


def test_waves_are_padded_with_their_mask() -> None:
    wave, mask = WaveEncoder.from_host({"encoder": "wave", "rate": 16_000}).encode([tone(16_000)[:5], tone(16_000)[:3]])

    assert wave.shape == (2, 5) and mask.tolist() == [[True] * 5, [True] * 3 + [False] * 2]


@pytest.mark.parametrize("seconds", [0.3, 31.0])
def test_whisper_frames_are_those_of_the_library(seconds: float) -> None:
    from transformers import WhisperFeatureExtractor

    wave = np.random.default_rng(0).normal(0, 0.1, int(seconds * 16_000)).astype(np.float32)
    host = {"encoder": "whisper", "frames": 3_000}
    [found] = WhisperEncoder.from_host(host).encode([wave])
    theirs = WhisperFeatureExtractor()(wave, sampling_rate=16_000, return_tensors="np")["input_features"]
    np.testing.assert_allclose(found.numpy(), theirs.transpose(0, 2, 1), atol=2e-5)


def test_a_normalized_wave_has_mean_0_and_variance_1() -> None:
    wave = np.random.default_rng(0).normal(0.2, 0.1, 5_000).astype(np.float32)
    found, mask = WaveEncoder.from_host({"encoder": "wave", "rate": 16_000, "normalize": True}).encode([wave, wave[:9]])
    for row, seen in zip(found.numpy(), mask.numpy(), strict=True):
        assert abs(row[seen].mean()) < 1e-5 and abs(row[seen].var() - 1) < 1e-3
        assert not row[~seen].any()
