"""Directions in space: waves on the sphere, with which a linear head fits any smooth function of where to."""

from math import factorial, pi, sqrt
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from priors.functions._config import FunctionConfig
from priors.functions._tensor import TensorFunction
from priors.registry import function
from priors.types import PortType


class SphericalHarmonicsConfig(FunctionConfig):
    """Degrees 0 to `degree`."""

    degree: Annotated[int, Field(ge=0, le=16)] = 4


@function("spherical_harmonics")
class SphericalHarmonics(TensorFunction[SphericalHarmonicsConfig]):
    """Real spherical harmonics Y_l,m of the direction of (x, y, z), l = 0..degree, m = -l..l; only 3 columns fit.

    (B, 3) -> (B, (degree + 1)^2), orthonormal on the unit sphere, without the Condon-Shortley phase: Y_1 is
    sqrt(3 / 4 pi) (y, z, x). By polynomials in x, y and z, so that no pole and no angle gets in the way (Sloan 2013,
    "Efficient spherical harmonic evaluation"); the length of the vector does not matter, and (0, 0, 0) gives Y of no
    direction: only the constant. O(degree^2) a row.
    """

    id, schema = "spherical_harmonics", SphericalHarmonicsConfig

    def module(self, in_type: PortType | str) -> nn.Module:
        """forward(x (B, 3)) -> (B, (degree + 1)^2)."""
        self.gives(in_type)
        return _Harmonics(self.config.degree)


class _Harmonics(nn.Module):
    def __init__(self, degree: int) -> None:
        super().__init__()
        self._degree = degree

    def forward(self, x: Tensor) -> Tensor:
        x = x if x.dtype == torch.float64 else x.to(torch.float32)
        length = x.square().sum(1, keepdim=True)
        there = length > 0
        x, y, z = (x * torch.where(there, length, 1.0).rsqrt()).unbind(1)
        rings = [(torch.ones_like(x), torch.zeros_like(x))]  # (x + iy)^m, real and imaginary
        for _ in range(self._degree):
            a, b = rings[-1]
            rings.append((x * a - y * b, x * b + y * a))
        found: dict[tuple[int, int], Tensor] = {}
        for m, (a, b) in enumerate(rings):
            polar = _polar(z, m, self._degree)
            for degree in range(m, self._degree + 1):
                size = sqrt((2 * degree + 1) / (4 * pi) * factorial(degree - m) / factorial(degree + m))
                part = polar[degree - m] * (size * (sqrt(2) if m else 1))
                found[degree, m] = part * a
                if m:
                    found[degree, -m] = part * b
        ordered = [found[degree, m] for degree in range(self._degree + 1) for m in range(-degree, degree + 1)]
        made = torch.stack(ordered, 1)
        return torch.cat([made[:, :1], torch.where(there, made[:, 1:], 0.0)], 1)


def _polar(z: Tensor, m: int, top: int) -> list[Tensor]:
    """Legendre's functions P_l^m(z) / (1 - z^2)^(m/2), l = m..top, without the phase: polynomials in z."""
    first = 1.0
    for odd in range(1, 2 * m, 2):
        first *= odd
    found = [torch.full_like(z, first)]
    if top > m:
        found.append(z * (2 * m + 1) * first)
    for degree in range(m + 2, top + 1):
        found.append(((2 * degree - 1) * z * found[-1] - (degree + m - 1) * found[-2]) / (degree - m))
    return found
