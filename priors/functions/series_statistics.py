"""Series in plain numbers: level, spread, shape, trend, memory and rhythm of each channel."""

import numpy as np
import torch
from torch import Tensor, nn

from priors.functions._config import FunctionConfig
from priors.functions._grids import shape
from priors.functions._tensor import TensorFunction, computed, constant
from priors.functions.dct import cosines
from priors.registry import function
from priors.types import PortType, parse

LAGS = (1, 2, 4, 8)
BANDS = 6
_TINY = 1e-6

NAMES = (
    *("mean", "deviation", "least", "largest", "first", "last", "skewness", "kurtosis"),
    *("trend", "bend", "step", "turn", "energy_first_half", "place_of_energy"),
    *(f"memory_{lag}" for lag in LAGS),
    *(f"band_{band}" for band in range(BANDS)),
)
"""What each of the numbers of a channel is, in order."""


class SeriesStatisticsConfig(FunctionConfig):
    """Nothing to choose."""


@function("series_statistics")
class SeriesStatistics(TensorFunction[SeriesStatisticsConfig]):
    """24 numbers a channel, named in `NAMES`: (B, T, C) -> (B, 24 C), channel by channel.

    Mean, deviation, extremes and ends; standardized third and fourth moments (arcsinh, log(1 + k)); correlation with a
    straight line and a parabola over time; mean absolute first and second difference over the deviation; where the
    variation lies; autocorrelation at lags 1, 2, 4, 8; shares of variance in six octaves of the cosine spectrum, the
    highest last (square roots). The plain members of catch22 (Lubba et al. 2019, "catch22: canonical time-series
    characteristics", arXiv:1901.10200) and tsfresh that have gradients. O(T C) and two matrix products.
    """

    id, schema, input_type = "series_statistics", SeriesStatisticsConfig, "series.num[B,T,C]:f32"

    def module(self, in_type: PortType | str) -> nn.Module:
        """forward(x (B, T, C)) -> (B, 24 C)."""
        self.gives(in_type)
        return _Statistics(shape(parse(in_type))[0])


class _Statistics(nn.Module):
    waves: Tensor
    bands: Tensor
    curves: Tensor
    places: Tensor

    def __init__(self, length: int) -> None:
        super().__init__()
        constant(self, "waves", cosines(length, length)[:, 1:])  # without the constant one
        constant(self, "bands", _octaves(length - 1))
        time = np.linspace(-1, 1, length)
        line = time / np.sqrt(np.square(time).sum())
        bend = time**2 - np.square(time).mean()
        constant(self, "curves", np.stack([line, bend / max(np.sqrt(np.square(bend).sum()), 1e-12)], 1))
        constant(self, "places", np.linspace(0, 1, length))

    def forward(self, x: Tensor) -> Tensor:
        x = computed(x, self.waves).transpose(1, 2)  # (B, C, T)
        mean = x.mean(2)
        away = x - mean[..., None]
        variance = away.square().mean(2)
        deviation = variance.clamp(min=_TINY**2).sqrt()  # added, so small a number is taken for 0 by ONNX exporters
        z = away / deviation[..., None]
        step, size = z.diff(dim=2), x.shape[2]
        turn = step.diff(dim=2) if size > 2 else torch.zeros_like(step)
        energy = z.square() / size
        curves = z @ self.curves / size**0.5
        bands = ((z @ self.waves).square() @ self.bands / size + _TINY).sqrt()
        memory = [
            (z[..., lag:] * z[..., :-lag]).sum(2) / size if lag < size else torch.zeros_like(mean) for lag in LAGS
        ]
        found = [
            *(mean, deviation, x.amin(2), x.amax(2), x[..., 0], x[..., -1]),
            *(z.pow(3).mean(2).arcsinh(), z.pow(4).mean(2).log1p(), curves[..., 0], curves[..., 1]),
            *(step.abs().mean(2), turn.abs().mean(2)),
            *(energy[..., : (size + 1) // 2].sum(2), energy @ self.places),
            *memory,
            *bands.unbind(-1),
        ]
        return torch.stack(found, 2).flatten(1)


def _octaves(count: int) -> np.ndarray:
    """(count, BANDS): which band a wave belongs to; the highest half of them to the last, the next quarter before."""
    bands = np.zeros((count, BANDS))
    for k in range(count):
        from_top = np.log2((count + 0.5) / (k + 1))
        bands[k, BANDS - 1 - min(int(from_top), BANDS - 1)] = 1
    return bands
