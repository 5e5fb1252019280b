"""What the image functions share: whole images at one small size."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from priors.host.image import read_image


def read_square(value: Any, size: int, *, gray: bool) -> NDArray[np.float32]:
    """The whole image, stretched to `size` x `size`: (size, size, 1 or 3) float32 in [0, 1].

    Resized by Pillow's bicubic filter with antialiasing; gray is 0.299 R + 0.587 G + 0.114 B (BT.601). Raises BadImage.
    """
    image = Image.fromarray(read_image(value))
    if gray:
        image = image.convert("L")
    resized = np.asarray(image.resize((size, size), Image.Resampling.BICUBIC), np.float32)
    return resized.reshape(size, size, -1) / np.float32(255)
