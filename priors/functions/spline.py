"""Splines: each column as a few smooth local bumps, which a linear head turns into any smooth curve."""

import itertools
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from priors.functions._config import FunctionConfig
from priors.functions._tensor import CONSTANT, TensorFunction, computed, training_rows
from priors.registry import function
from priors.types import PortType


class SplineConfig(FunctionConfig):
    """`knots` points a column, evenly spaced in `rank` (quantiles of the training rows) or in `value`; pieces of
    `degree`, 3 being cubic."""

    knots: Annotated[int, Field(ge=2, le=64)] = 5
    degree: Annotated[int, Field(ge=1, le=5)] = 3
    place: Literal["rank", "value"] = "rank"


@function("spline")
class Spline(TensorFunction[SplineConfig]):
    """B-splines of each column: de Boor 1972, "On calculating with B-splines"; Eilers and Marx 1996, "Flexible
    smoothing with B-splines and penalties".

    (B, C) -> (B, C * (knots + degree - 1)), bumps of one column side by side; they sum to one. Beyond the smallest and
    the largest training value they stay as they are there. Quantiles that coincide are put evenly between their
    neighbors; a constant column is 0. O(C knots degree) a row.
    """

    id, schema, fitted = "spline", SplineConfig, True

    def module(self, in_type: PortType | str) -> nn.Module:
        """forward(x (B, C)) -> (B, C * bumps); zero until `fit`'s buffers are loaded."""
        return _Bumps(self.width(in_type), self.config.knots, self.config.degree)

    def fit(self, x: Tensor) -> dict[str, Tensor]:
        """Training rows (n, C) -> {knots (C, knots + 2 degree), used (C,)} float32. Raises BadTable if not finite."""
        rows = training_rows(x, self.id)
        low, high = rows.amin(0), rows.amax(0)
        varies = high - low > CONSTANT * rows.abs().amax(0)
        count, degree = self.config.knots, self.config.degree
        even = torch.linspace(0, 1, count, dtype=rows.dtype)
        span = torch.where(varies, high - low, 1.0)
        inner = low[:, None] + even * span[:, None]  # (C, knots)
        if self.config.place == "rank":
            ranked = torch.quantile(rows, even, dim=0).T.contiguous()
            inner = torch.where(varies[:, None], torch.stack([_rising(one) for one in ranked]), inner)
        # Beyond the ends knots go on at the distance of the last two, as the bumps that reach in from there need them.
        steps = torch.arange(1, degree + 1, dtype=rows.dtype)
        before = inner[:, :1] - (inner[:, 1:2] - inner[:, :1]) * steps.flip(0)
        after = inner[:, -1:] + (inner[:, -1:] - inner[:, -2:-1]) * steps
        return {"knots": torch.cat([before, inner, after], 1).float(), "used": varies.float()}


def _rising(knots: Tensor) -> Tensor:
    """Knots (k,) that never fall, made to rise: runs of equal ones are spread towards the next different one."""
    least = (knots[-1] - knots[0]) * 1e-3
    kept = [0]
    for at in range(1, len(knots)):
        if knots[at] - knots[kept[-1]] > least:
            kept.append(at)
    if kept[-1] != len(knots) - 1:  # the last knot is the largest value, whatever runs before it
        kept[-1] = len(knots) - 1
        if kept[0] != 0:
            kept = [0, len(knots) - 1]
    risen = knots.clone()
    for left, right in itertools.pairwise(kept):
        share = torch.linspace(0, 1, right - left + 1, dtype=knots.dtype)
        risen[left : right + 1] = knots[left] + share * (knots[right] - knots[left])
    return risen


class _Bumps(nn.Module):
    knots: Tensor
    used: Tensor

    def __init__(self, columns: int, knots: int, degree: int) -> None:
        super().__init__()
        self._degree = degree
        every = torch.arange(knots + 2 * degree, dtype=torch.float32)
        self.register_buffer("knots", every.repeat(columns, 1))
        self.register_buffer("used", torch.zeros(columns))

    def forward(self, x: Tensor) -> Tensor:
        t, d = self.knots, self._degree
        low, high = t[:, d], t[:, -d - 1]
        x = torch.minimum(torch.maximum(computed(x, t), low), high)[:, :, None]  # (B, C, 1)
        # Degree 0: in which interval x lies; the largest value belongs to the last one.
        right = x < t[:, 1:]
        last = (t[:, 1:] == high[:, None]) & (t[:, :-1] < high[:, None])
        right = (last & (x <= t[:, 1:])) | (~last & right)  # no `where` of truth values: onnxruntime has none
        bumps = ((x >= t[:, :-1]) & right & (t[:, :-1] < high[:, None])).to(t.dtype)  # (B, C, knots + 2 d - 1)
        for k in range(1, d + 1):
            up = (x - t[:, : -k - 1]) / (t[:, k:-1] - t[:, : -k - 1])
            down = (t[:, k + 1 :] - x) / (t[:, k + 1 :] - t[:, 1:-k])
            bumps = up * bumps[..., :-1] + down * bumps[..., 1:]
        return (bumps * self.used[:, None]).flatten(1)
