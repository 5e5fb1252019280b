"""Shape: which way the edges run in each part of an image."""

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from priors.functions._config import FunctionConfig, read_config
from priors.functions._image import read_square
from priors.registry import function

F32 = NDArray[np.float32]

_CLIP = 0.2
_EPSILON = 1e-2
"""In the block norm: flat blocks stay near 0 instead of amplifying noise; gradients are differences within [0, 1]."""


class OrientedGradientsConfig(FunctionConfig):
    """`size` pixels a side, in cells of `cell` pixels, with `orientations` bins each; blocks of 2 x 2 cells overlap
    by half.

    `signed` bins the full circle (dark-to-light differs from light-to-dark), else half of it.

    Measured on scikit-learn's digits as 8 x 8 PNG files, 16 labels a class, 10 draws, logistic regression: the
    default .968; size 32 .960, 16 orientations signed .967 with twice the numbers, cell 4 of size 32 .965.
    """

    size: Annotated[int, Field(ge=8, le=256)] = 48
    cell: Annotated[int, Field(ge=2, le=64)] = 8
    orientations: Annotated[int, Field(ge=2, le=36)] = 9
    signed: bool = False

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.size % self.cell or self.size // self.cell < 2:
            raise ValueError("size must be a multiple of cell, at least twice as large")
        return self


@function("oriented_gradients")
class OrientedGradients:
    """Histograms of oriented gradients: Dalal and Triggs 2005, "Histograms of oriented gradients for human detection".

    As there: square-root intensities, differences [-1, 0, 1], the color channel of the largest gradient, votes by
    magnitude interpolated between neighboring orientations and cells, 2 x 2 blocks, L2-Hys normalization (clipped at
    0.2). The image is stretched to a square; edges repeat the border.
    """

    host: ClassVar[bool] = True
    fitted: ClassVar[bool] = False
    input_type: ClassVar[str] = "image.raw[B]:u8"

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = read_config(OrientedGradientsConfig, config, "oriented_gradients")
        self._cells = self.config.size // self.config.cell
        self._spread = _cell_weights(self.config.size, self.config.cell)  # (size, cells)

    @property
    def output_type(self) -> str:
        return f"vec.feat[B,D:{self._dim}]:f32"

    def extract(self, values: Sequence[Any]) -> F32:
        """Images (see `read_image`) -> (n, (cells - 1)^2 * 4 * orientations) float32. Raises BadImage."""
        out = np.empty((len(values), self._dim), np.float32)
        for row, value in enumerate(values):
            votes = self._votes(read_square(value, self.config.size, gray=False))
            cells = np.einsum("yi,xj,yxo->ijo", self._spread, self._spread, votes, optimize=True)
            out[row] = _blocks(cells).ravel()
        return out

    @property
    def _dim(self) -> int:
        return (self._cells - 1) ** 2 * 4 * self.config.orientations

    def _votes(self, image: F32) -> F32:
        """(size, size, 3) in [0, 1] -> (size, size, orientations): each pixel's magnitude, split between two bins."""
        across, down = _gradients(image)
        bins = self.config.orientations
        turn = 2 * np.pi if self.config.signed else np.pi
        angle = np.mod(np.arctan2(down, across), turn) / turn * bins - 0.5  # in bins; bin k is centered on k
        below = np.floor(angle)
        share = angle - below
        magnitude = np.hypot(across, down)
        votes = np.zeros((*magnitude.shape, bins), np.float32)
        y, x = np.indices(magnitude.shape)
        first = below.astype(np.int64) % bins
        votes[y, x, first] = magnitude * (1 - share)
        votes[y, x, (first + 1) % bins] += magnitude * share
        return votes


def _gradients(image: F32) -> tuple[F32, F32]:
    """Differences across and down of the channel where they are largest, each (size, size)."""
    padded = np.pad(np.sqrt(image), ((1, 1), (1, 1), (0, 0)), mode="edge")
    across = padded[1:-1, 2:] - padded[1:-1, :-2]
    down = padded[2:, 1:-1] - padded[:-2, 1:-1]
    strongest = np.argmax(across**2 + down**2, axis=2)[:, :, None]
    return np.take_along_axis(across, strongest, 2)[:, :, 0], np.take_along_axis(down, strongest, 2)[:, :, 0]


def _cell_weights(size: int, cell: int) -> F32:
    """(size, cells): how much a pixel counts for each cell along one axis, falling linearly with distance."""
    centers = (np.arange(size // cell) + 0.5) * cell
    distance = np.abs(np.arange(size)[:, None] + 0.5 - centers) / cell
    return np.maximum(0, 1 - distance).astype(np.float32)


def _blocks(cells: F32) -> F32:
    """(cells, cells, o) -> (cells - 1, cells - 1, 4 * o), each block of 2 x 2 cells normalized, clipped, normalized."""
    blocks = np.concatenate([cells[:-1, :-1], cells[:-1, 1:], cells[1:, :-1], cells[1:, 1:]], axis=2)
    blocks = blocks / np.sqrt(np.square(blocks).sum(2, keepdims=True) + _EPSILON**2)
    blocks = np.minimum(blocks, np.float32(_CLIP))
    return np.asarray(blocks / np.sqrt(np.square(blocks).sum(2, keepdims=True) + _EPSILON**2), np.float32)
