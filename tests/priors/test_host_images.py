"""Images to pixels: formats, modes, orientation, and what is refused on the way."""

import io
import struct
import time
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from priors.errors import BadAudio, BadImage
from priors.host import (
    ImageEncoder,
    read_audio,
    read_image,
)


def png(array: np.ndarray, **options: Any) -> bytes:
    out = io.BytesIO()
    Image.fromarray(array).save(out, "PNG", **options)
    return out.getvalue()


def noise_image(height: int = 30, width: int = 40) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


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
