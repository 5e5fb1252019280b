"""Wavelet scattering: how much of each wavelength and direction there is and how it varies, stable to small shifts."""

from typing import Annotated, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import conv1d, conv2d

from priors.functions._config import FunctionConfig
from priors.functions._grids import IMAGE
from priors.functions._tensor import TensorFunction, computed, constant
from priors.registry import function
from priors.types import PortType, parse

_FLAT = 1e-6
"""Under the root of the modulus, so that its gradient at 0 is 0."""

_PEAK = 3 * np.pi / 4
"""Radians a sample of the finest wavelet: Bruna and Mallat 2013, section 2."""


class WaveletScatteringConfig(FunctionConfig):
    """`scales` wavelengths, each twice the one before, averaged over 2^scales samples; `angles` directions (images);
    `order` 1 stops after one wavelet, 2 looks with coarser ones at what the finer found."""

    scales: Annotated[int, Field(ge=1, le=10)] = 3
    angles: Annotated[int, Field(ge=1, le=16)] = 6
    order: Literal[1, 2] = 2


@function("wavelet_scattering")
class WaveletScattering(TensorFunction[WaveletScatteringConfig]):
    """S x = (x * phi, |x * psi_a| * phi, ||x * psi_a| * psi_b| * phi), psi Morlet wavelets, phi a Gaussian.

    Mallat 2012, "Group invariant scattering", arXiv:1101.2286; Bruna and Mallat 2013, "Invariant scattering convolution
    networks", arXiv:1203.1513; series: Anden and Mallat 2014, "Deep scattering spectrum", arXiv:1304.6763, with one
    wavelet an octave. b is coarser than a, whatever the angles. No weights.

    image (B, C, H, W) -> C * (1 + J L + L^2 J (J - 1) / 2) * ceil(H / 2^J) * ceil(W / 2^J) features for J scales and L
    angles; series (B, T, C) likewise with L = 1. By convolution with filters cut at three deviations and mirrored
    edges. O(J L) convolutions for order 1, O(J^2 L^2) for order 2.
    """

    id, schema = "wavelet_scattering", WaveletScatteringConfig
    input_type = "image.pixels[B,C,H,W]:f32"

    def module(self, in_type: PortType | str) -> nn.Module:
        """forward(x) -> (B, features): channel by channel, path by path, then places."""
        self.gives(in_type)
        return _Scattering(self.config, image=parse(in_type).kind == IMAGE)


class _Scattering(nn.Module):
    low: Tensor

    def __init__(self, config: WaveletScatteringConfig, *, image: bool) -> None:
        super().__init__()
        self._scales, self._image, self._second = config.scales, image, config.order == 2
        for scale in range(config.scales):
            waves = [morlet(scale, k * np.pi / config.angles) for k in range(config.angles)] if image else [line(scale)]
            # real parts, then imaginary parts: (2 L, 1, size[, size])
            constant(self, f"waves_{scale}", np.stack([w.real for w in waves] + [w.imag for w in waves])[:, None])
        constant(self, "low", gaussian(config.scales, image=image)[None, None])

    def forward(self, x: Tensor) -> Tensor:
        x = computed(x, self.low)
        x = x if self._image else x.transpose(1, 2)  # (B, C, places…)
        batch, channels, sides = x.shape[0], x.shape[1], x.shape[2:]
        planes = x.reshape(batch * channels, 1, *sides)
        found = [self._averaged(planes)]
        for scale in range(self._scales):
            first = self._modulus(planes, scale)  # (BC, L, places…)
            found.append(self._averaged(first))
            if self._second:
                for coarser in range(scale + 1, self._scales):
                    inner = first.reshape(-1, 1, *sides)
                    second = self._modulus(inner, coarser)  # (BC L, L, places…)
                    found.append(self._averaged(second.reshape(batch * channels, -1, *sides)))
        return torch.cat(found, 1).reshape(batch, -1)

    def _modulus(self, x: Tensor, scale: int) -> Tensor:
        both = self._convolved(x, getattr(self, f"waves_{scale}"), 1)
        half = both.shape[1] // 2
        return (both[:, :half].square() + both[:, half:].square() + _FLAT**2).sqrt() - _FLAT

    def _averaged(self, x: Tensor) -> Tensor:
        """(n, paths, places…) -> (n, paths, fewer places…)."""
        flat = x.reshape(-1, 1, *x.shape[2:])
        made = self._convolved(flat, self.low, 2**self._scales)
        return made.reshape(x.shape[0], x.shape[1], *made.shape[2:])

    def _convolved(self, x: Tensor, filters: Tensor, stride: int) -> Tensor:
        reach = filters.shape[-1] // 2
        for axis in range(2, x.dim()):
            x = _mirrored(x, axis, reach)
        return (conv2d if self._image else conv1d)(x, filters, stride=stride)


def _mirrored(x: Tensor, axis: int, reach: int) -> Tensor:
    """`x` with `reach` more places at both ends of an axis, mirrored at its ends, as often as it takes."""
    length = x.shape[axis]
    places = np.abs((np.arange(-reach, length + reach) + length - 1) % max(2 * length - 2, 1) - (length - 1))
    return x.index_select(axis, torch.from_numpy(places).to(x.device))


def _places(deviation: float) -> NDArray[np.float64]:
    reach = int(np.ceil(3 * deviation))
    return np.arange(-reach, reach + 1, dtype=np.float64)


def gaussian(scales: int, *, image: bool) -> NDArray[np.float64]:
    """phi: a Gaussian of deviation 0.8 * 2^(scales - 1), of sum one."""
    places = _places(0.8 * 2 ** (scales - 1))
    bump = np.exp(-0.5 * (places / (0.8 * 2 ** (scales - 1))) ** 2)
    bump /= bump.sum()
    return np.outer(bump, bump) if image else bump


def line(scale: int) -> NDArray[np.complex128]:
    """psi for series: a Morlet wavelet of mean 0 whose envelope sums to one."""
    deviation = 0.8 * 2**scale
    places = _places(deviation)
    bump = np.exp(-0.5 * (places / deviation) ** 2)
    wave = np.exp(1j * _PEAK / 2**scale * places)
    made: NDArray[np.complex128] = bump * (wave - (bump * wave).sum() / bump.sum()) / bump.sum()
    return made


def morlet(scale: int, angle: float) -> NDArray[np.complex128]:
    """psi for images at an angle; the envelope is longer along the edge (slant 1/2)."""
    deviation = 0.8 * 2**scale
    places = _places(2 * deviation)
    y, x = np.meshgrid(places, places, indexing="ij")
    along, across = x * np.cos(angle) + y * np.sin(angle), -x * np.sin(angle) + y * np.cos(angle)
    bump = np.exp(-0.5 * (along**2 + (across / 2) ** 2) / deviation**2)
    wave = np.exp(1j * _PEAK / 2**scale * along)
    made: NDArray[np.complex128] = bump * (wave - (bump * wave).sum() / bump.sum()) / bump.sum()
    return made
