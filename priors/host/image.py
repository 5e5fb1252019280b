"""Images to arrays: reading with limits, and the resize, crop and scaling a network was trained with."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps
from pydantic import Field

from priors.errors import BadImage
from priors.host._config import Configured, HostConfig

MAX_PIXELS = 50_000_000
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "PPM")
RESIZE: Mapping[str, Image.Resampling] = {
    "bicubic": Image.Resampling.BICUBIC,
    "bilinear": Image.Resampling.BILINEAR,
    "box": Image.Resampling.BOX,
}

# What Pillow's decoders raise for files that are cut off or were never what they say.
_DECODE_ERRORS = (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error, zlib.error, OverflowError)


def read_image(value: Any) -> NDArray[np.uint8]:
    """An image as (H, W, 3) uint8 RGB, upright (EXIF orientation applied), transparent parts on white.

    value   a path, the bytes of a file, a PIL image, or a uint8 array (H, W) or (H, W, 3)
    Of an animation the first frame counts; 16 bits a channel become 8. Formats: PNG, JPEG, WebP, GIF, BMP, PPM.
    Raises BadImage naming the file when it cannot be decoded, has more than 50 million pixels, or is none of these.
    """
    if isinstance(value, np.ndarray):
        return _from_array(value)
    if isinstance(value, Image.Image):
        return _upright(value, "image")
    name, source = _source(value)
    try:
        with warnings.catch_warnings():
            # Pillow warns at its own limit; ours is lower, is checked before a pixel is decoded, and refuses.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(source, formats=FORMATS)
    except FileNotFoundError as err:
        raise BadImage(f"{name} does not exist. Correct the path in the table.") from err
    except Image.DecompressionBombError as err:
        raise BadImage(f"{name} has more than {MAX_PIXELS:,} pixels. Scale it down.") from err
    except _DECODE_ERRORS as err:
        raise BadImage(f"{name} is not an image in one of the formats {', '.join(FORMATS)}. Convert it.") from err
    with image:
        return _upright(image, name)


def _source(value: Any) -> tuple[str, Path | io.BytesIO]:
    if isinstance(value, str | Path):
        return Path(value).name or str(value), Path(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return "image", io.BytesIO(value)
    raise BadImage(f"{type(value).__name__} is not an image. Give a path, the bytes of a file, or an image.")


def _upright(image: Image.Image, name: str) -> NDArray[np.uint8]:
    if image.width * image.height > MAX_PIXELS:
        raise BadImage(f"{name} has {image.width:,} x {image.height:,} pixels, limit {MAX_PIXELS:,}. Scale it down.")
    try:
        image.load()
        image = ImageOps.exif_transpose(image)
        if image.mode.startswith("I"):  # 16 bits a pixel; Pillow's own conversion would clip instead of scaling
            wide = np.clip(np.asarray(image, np.int64), 0, 65_535)
            image = Image.fromarray((wide >> 8).astype(np.uint8))
        if image.has_transparency_data:
            layer = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
        return np.array(image.convert("RGB"))
    except _DECODE_ERRORS as err:
        raise BadImage(f"{name} is broken ({err}). Save it again, or drop its row.") from err


def _from_array(array: NDArray[Any]) -> NDArray[np.uint8]:
    shape = array.shape
    if array.dtype != np.uint8 or not (array.ndim == 2 or (array.ndim == 3 and shape[2] == 3)) or 0 in shape:
        raise BadImage(f"an array of {array.dtype} {shape} is not an image. Give uint8 (H, W) or (H, W, 3).")
    return np.ascontiguousarray(array if array.ndim == 3 else np.repeat(array[:, :, None], 3, axis=2))


class ImageConfig(HostConfig):
    """`size` pixels a side; `mean` and `std` on the scale of 0 to 255.

    fit   `crop` keeps the middle square, of `crop` times the shorter side; `stretch` squeezes all of it into one
    """

    encoder: Literal["image"]
    size: Annotated[int, Field(ge=8, le=1_024)]
    resize: Literal["bicubic", "bilinear", "box"] = "bicubic"
    crop: Annotated[float, Field(gt=0, le=1)] = 1.0
    fit: Literal["crop", "stretch"] = "crop"
    mean: list[float] = Field(default=[0.0, 0.0, 0.0], min_length=3, max_length=3)
    std: list[Annotated[float, Field(gt=0)]] = Field(default=[255.0, 255.0, 255.0], min_length=3, max_length=3)


class ImageEncoder(Configured[ImageConfig]):
    """Pixels (n, 3, size, size) float32: the middle square of `crop` times the shorter side, resized and scaled.

    A value v in 0 to 255 becomes (v - mean) / std. The square is cut first and resized once with Pillow's
    antialiasing filter, so that a very long image costs no more than a square one.
    """

    schema = ImageConfig

    @property
    def spec(self) -> dict[str, Any]:
        return {
            **self.config.model_dump(),
            "color": "RGB",
            "transparent": "white",
            "crop_at": f"center, of {'the shorter' if self.config.fit == 'crop' else 'each'} side, before the resize",
            "antialias": True,
        }

    def arrays(self, values: Sequence[Any]) -> tuple[NDArray[np.float32]]:
        """(pixels (n, 3, size, size) float32,). Raises BadImage naming the file."""
        size = self.config.size
        pixels = np.empty((len(values), 3, size, size), np.float32)
        for row, value in enumerate(values):
            pixels[row] = self._square(read_image(value)).transpose(2, 0, 1)
        mean, std = (np.array(three, np.float32)[:, None, None] for three in (self.config.mean, self.config.std))
        pixels -= mean
        pixels /= std
        return (pixels,)

    def _square(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        height, width = image.shape[:2]
        across = down = self.config.crop * min(height, width)
        if self.config.fit == "stretch":
            across, down = self.config.crop * width, self.config.crop * height
        left, top = (width - across) / 2, (height - down) / 2
        resized = Image.fromarray(image).resize(
            (self.config.size, self.config.size),
            RESIZE[self.config.resize],
            box=(left, top, left + across, top + down),
        )
        return np.asarray(resized)
