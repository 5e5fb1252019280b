"""Shapes in series, found by very many small kernels at many widths: how often each pattern occurs."""

from itertools import combinations
from typing import Annotated

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from priors.errors import BadTable
from priors.functions._config import FunctionConfig
from priors.functions._grids import KERNELS, shape
from priors.functions._random import uniform
from priors.functions._tensor import TensorFunction, computed, constant
from priors.registry import function
from priors.types import PortType, parse

_LENGTH = 9
_GOLDEN = (5**0.5 + 1) / 2
_ROWS = 64
"""Training rows whose responses set the thresholds: quantiles of more rows hardly differ."""


class RocketConfig(FunctionConfig):
    """About `features` of them (a multiple of 84), at no more than `dilations` widths; `seed` chooses the channels each
    kernel sees. `soft` above 0 counts a response near its threshold in part, over that share of its kernel's spread,
    which has gradients; 0 counts it or not, as published."""

    features: Annotated[int, Field(ge=84, le=65_536)] = 2_520
    dilations: Annotated[int, Field(ge=1, le=64)] = 16
    seed: Annotated[int, Field(ge=0, le=2**63 - 1)] = 0
    soft: Annotated[float, Field(ge=0, le=10)] = 0.0


@function("rocket")
class Rocket(TensorFunction[RocketConfig]):
    """MiniRocket: Dempster, Schmidt and Webb 2021, "MiniRocket: a very fast (almost) deterministic transform for time
    series classification", arXiv:2012.08791.

    (B, T, C) -> (B, features): the share of moments at which the response of a kernel exceeds a threshold. Kernels are
    the 84 of length 9 with weights -1, six times, and 2, three times; widths (dilations) grow by equal factors up to
    the series' length; thresholds are quantiles of the training rows' responses, at the places of the golden ratio.
    Every second combination sees only moments at which the whole kernel lies inside. With several channels each kernel
    and width sums a random few (2^u of them). Differs from the authors' program in that quantiles are over up to 64
    rows evenly spaced in order of their values, not over one drawn row, so that fitting has no chance in it.
    O(84 T C) a width and row, features / 84 comparisons.
    """

    id, schema, fitted = "rocket", RocketConfig, True
    input_type = "series.num[B,T,C]:f32"

    def module(self, in_type: PortType | str) -> nn.Module:
        """forward(x (B, T, C)) -> (B, features); thresholds of 0 until `fit`'s are loaded."""
        length, channels = shape(parse(in_type))
        return _Kernels(self.config, length, channels, self.gives(in_type))

    def fit(self, x: Tensor) -> dict[str, Tensor]:
        """Training rows (n, T, C) -> {thresholds (features,), spreads (features,)}. Raises BadTable if not finite."""
        if x.ndim != 3 or len(x) == 0:
            raise BadTable(f"function 'rocket' learns from series (n, T, C), not from shape {tuple(x.shape)}.")
        bad = (~torch.isfinite(x)).nonzero()
        if len(bad):
            row, step, channel = bad[0].tolist()
            raise BadTable(f"function 'rocket': row {row}, step {step}, channel {channel} is not finite. Fill it in.")
        port = f"series.num[B,T:{x.shape[1]},C:{x.shape[2]}]:f32"
        module = _Kernels(self.config, x.shape[1], x.shape[2], self.gives(port))
        rows = torch.unique(x.detach().to("cpu", torch.float32).flatten(1), dim=0).reshape(-1, *x.shape[1:])
        places = np.unique(np.linspace(0, len(rows) - 1, min(len(rows), _ROWS)).round().astype(np.int64))
        return module.thresholds_of(rows[torch.from_numpy(places)])


class _Kernels(nn.Module):
    thresholds: Tensor
    spreads: Tensor
    weight: Tensor

    def __init__(self, config: RocketConfig, length: int, channels: int, features: int) -> None:
        super().__init__()
        self._soft, self._channels = config.soft, channels
        self._dilations, self._counts = _widths(length, features // KERNELS, config.dilations)
        constant(self, "weight", kernels())
        if channels > 1:
            for at in range(len(self._dilations)):
                constant(self, f"seen_{at}", _seen(config.seed + at, channels))
        self.register_buffer("thresholds", torch.zeros(features))
        self.register_buffer("spreads", torch.ones(features))

    def forward(self, x: Tensor) -> Tensor:
        x = computed(x, self.thresholds).transpose(1, 2)  # (B, C, T)
        found, start = [], 0
        for at, count in enumerate(self._counts):
            stop = start + KERNELS * count
            limits, spread = (part[start:stop].view(count, KERNELS, 1) for part in (self.thresholds, self.spreads))
            response = self._response(x, at)  # (B, 84, T)
            inside = self._inside(response, at)
            for k in range(count):
                if self._soft:
                    seen = ((response - limits[k]) / (spread[k] * self._soft)).sigmoid()
                else:
                    seen = (response > limits[k]).to(response.dtype)
                found.append(self._mean(seen, inside, at, k))
            start = stop
        return torch.cat(found, 1)

    def _response(self, x: Tensor, at: int) -> Tensor:
        dilation = self._dilations[at]
        reach = dilation * (_LENGTH // 2)
        padded = nn.functional.pad(x, (reach, reach))
        length = x.shape[2]
        shifted = torch.stack([padded[..., k * dilation : k * dilation + length] for k in range(_LENGTH)], 2)
        if self._channels == 1:
            return self.weight @ shifted[:, 0]  # (84, 9) @ (B, 9, T)
        weight: Tensor = getattr(self, f"seen_{at}")[:, :, None] * self.weight[:, None]  # (84, C, 9)
        return weight.flatten(1) @ shifted.flatten(1, 2)

    def _inside(self, response: Tensor, at: int) -> tuple[int, int]:
        reach, length = self._dilations[at] * (_LENGTH // 2), response.shape[2]
        return (reach, length - reach) if length > 2 * reach else (0, length)

    def _mean(self, seen: Tensor, inside: tuple[int, int], at: int, k: int) -> Tensor:
        """Over all moments, or over those inside: in turn by kernel, width and threshold."""
        whole, within = seen.mean(2), seen[..., inside[0] : inside[1]].mean(2)
        turn = (torch.arange(KERNELS, device=seen.device) + at + k) % 2 == 0
        return torch.where(turn, whole, within)

    @torch.no_grad()
    def thresholds_of(self, rows: Tensor) -> dict[str, Tensor]:
        """Quantiles of the responses of rows (m, T, C), and how much the responses spread."""
        x, limits, spreads, start = rows.transpose(1, 2), [], [], 0
        for at, count in enumerate(self._counts):
            response = self._response(x, at).transpose(0, 1).flatten(1).double().numpy()  # (84, m T)
            number = np.arange(start, start + KERNELS * count).reshape(count, KERNELS)
            level = ((number + 1) * _GOLDEN) % 1.0
            ordered = np.sort(response, axis=1)
            place = level * (ordered.shape[1] - 1)
            low = np.floor(place).astype(np.int64)
            high = np.minimum(low + 1, ordered.shape[1] - 1)
            kernel = np.arange(KERNELS)
            limits.append(ordered[kernel, low] * (1 - (place - low)) + ordered[kernel, high] * (place - low))
            spreads.append(np.broadcast_to(np.maximum(response.std(1), 1e-6), (count, KERNELS)))
            start += KERNELS * count
        made = {"thresholds": limits, "spreads": spreads}
        return {name: torch.from_numpy(np.concatenate(part).ravel().astype(np.float32)) for name, part in made.items()}


def kernels() -> NDArray[np.float64]:
    """(84, 9): every way to place three weights of 2 among six of -1; each sums to 0."""
    found = np.full((KERNELS, _LENGTH), -1.0)
    for row, places in zip(found, combinations(range(_LENGTH), 3), strict=True):
        row[list(places)] = 2.0
    return found


def _widths(length: int, each: int, most: int) -> tuple[list[int], list[int]]:
    """Dilations and how many thresholds a kernel has at each: `each` in all, more at the widths that come twice."""
    widest = np.log2(max((length - 1) / (_LENGTH - 1), 1))
    spaced = np.floor(2 ** np.linspace(0, widest, min(each, most))).astype(np.int64)
    dilations, times = np.unique(spaced, return_counts=True)
    counts = np.maximum(times * each // times.sum(), 1)
    for at in range(each - int(counts.sum())):
        counts[at % len(counts)] += 1
    while counts.sum() > each:
        counts[int(counts.argmax())] -= 1
    return dilations.tolist(), counts.tolist()


def _seen(seed: int, channels: int) -> NDArray[np.float64]:
    """(84, C) of 0 and 1: the channels each kernel sums, 2^u of them with u even over [0, log2(min(C, 9) + 1))."""
    drawn = uniform(seed, KERNELS, channels + 1)
    sizes = np.floor(2 ** (drawn[:, -1] * np.log2(min(channels, _LENGTH) + 1))).astype(np.int64)
    ranks = drawn[:, :-1].argsort(1, kind="stable").argsort(1, kind="stable")
    return np.asarray(ranks < sizes[:, None], np.float64)
