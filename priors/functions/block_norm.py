"""Puts a block of features on the footing it needs beside others: centered, of one size, no column too loud."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from priors.functions._config import FunctionConfig, read_config
from priors.functions._tensor import training_rows
from priors.registry import function, function_signature
from priors.types import parse

TINY = 1e-3
"""Columns that vary less than this part of the block's typical spread are held to it, or noise would be blown up."""


CONSTANT = 1e-6
"""A column that spreads less than this share of its largest value is constant, as float32 has seven digits. It is left
out: it taught nothing, and the first row where it differs would be nothing but that difference."""


INDICATOR = 0.1
"""How much the column that says which rows are there weighs, in parts of its block."""


class _Config(FunctionConfig):
    mode: Literal["rows", "counts", "columns", "whole"] = "rows"
    weight: Annotated[float, Field(ge=0, le=1e6)] = 1.0
    gaps: bool = False


@dataclass(frozen=True)
class _Scales:
    shift: Tensor
    scale: Tensor


class BlockNormModule(nn.Module):
    """y = gain * (r(scale * (x - shift)) - center), r dividing rows by their length in the modes "rows" and "counts".

    forward(x (B, D)) -> (B, D) float32; shift, scale, center (D,) and gain () are buffers from `BlockNorm.fit`.

    With `gaps` the first column says whether the row is there (1) or missing (0): a missing row is 0, which is the mean
    of those that are there, and the first column stays, about its mean, so that a head can learn what a gap says.
    """

    shift: Tensor
    scale: Tensor
    center: Tensor
    gain: Tensor

    def __init__(self, width: int, unit_rows: bool, gaps: bool = False) -> None:
        super().__init__()
        self.unit_rows = unit_rows
        self.gaps = gaps
        for name, value in (("shift", 0.0), ("scale", 1.0), ("center", 0.0)):
            self.register_buffer(name, torch.full((width,), value))
        self.register_buffer("gain", torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        z = (x.to(torch.float32) - self.shift) * self.scale
        if not self.gaps:
            return (self._unit(z) - self.center) * self.gain
        there, z = z[..., :1], (self._unit(z[..., 1:]) - self.center[1:]) * self.gain
        # chosen, not multiplied: what stands in for a missing value may give NaN
        return torch.cat([there, torch.where(x[..., :1] > 0, z, 0.0)], -1)

    def _unit(self, z: Tensor) -> Tensor:
        return z / z.norm(dim=-1, keepdim=True).clamp(min=1e-12) if self.unit_rows else z


@function("block_norm")
class BlockNorm:
    """Fitted normalization of one block of features before blocks are put side by side.

    mode    "rows"     columns standardised, rows to length 1: dense features of networks and statistics
            "counts"   columns times their inverse document frequency, rows to length 1: hashed counts
            "columns"  columns standardised, rows as they are: table columns, whose size means something
            "whole"    columns and rows as they are: features whose sizes against each other mean something, as those
                       of a kernel do
    gaps    the first column says which rows are there: the others teach nothing and are 0 (`BlockNormModule`)
    weight  the block's part: the training rows get mean squared length `weight`, so that the Gram matrix of several
            blocks side by side is the weighted sum of theirs

    Inverse document frequency ln((1 + n) / (1 + df)) + 1: Salton & Buckley 1988 with add-one smoothing.
    """

    host: ClassVar[bool] = False
    fitted: ClassVar[bool] = True
    input_type: ClassVar[str] = "vec.feat[B,D]:f32"

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.config = read_config(_Config, config, "block_norm")

    def output_type_for(self, in_type: str) -> str:
        """The output's type for an input's."""
        return str(function_signature("block_norm", self.config.model_dump(), parse(in_type)))

    def module(self, in_type: str) -> nn.Module:
        """The unfitted module: the identity, but for rows brought to length 1."""
        width = parse(self.output_type_for(in_type)).dim("D")
        return BlockNormModule(int(str(width)), self._unit_rows, self.config.gaps)

    @property
    def _unit_rows(self) -> bool:
        return self.config.mode in ("rows", "counts")

    def fit(self, x: Tensor) -> dict[str, Tensor]:
        """Buffers from the training rows x (n, D), computed in float64. Raises BadTable if not finite."""
        rows = training_rows(x, "block_norm")
        if self.config.gaps:
            return self._beside_gaps(rows)
        found = self._of(rows)
        return {name: value.to(torch.float32) for name, value in found.items()}

    def _beside_gaps(self, rows: Tensor) -> dict[str, Tensor]:
        """What the rows that are there say of the block, and how often one is."""
        there = rows[:, 0]
        found = self._of(rows[there > 0, 1:]) if there.any() else self._of(torch.zeros_like(rows[:1, 1:]))
        mean, spread = there.mean(), there.std(correction=0)
        size = (INDICATOR * self.config.weight) ** 0.5 / spread if spread > 0 else torch.zeros(())
        first = {"shift": mean, "scale": size, "center": torch.zeros(())}
        found |= {name: torch.cat([value.to(torch.float64).reshape(1), found[name]]) for name, value in first.items()}
        return {name: value.to(torch.float32) for name, value in found.items()}

    def _of(self, rows: Tensor) -> dict[str, Tensor]:
        scales = _SCALES[self.config.mode](rows)
        z = (rows - scales.shift) * scales.scale
        if self._unit_rows:
            z = z / z.norm(dim=-1, keepdim=True).clamp(min=1e-12)
        center = z.mean(0)
        size = (z - center).square().sum(1).mean().sqrt()
        gain = (self.config.weight**0.5 / size) if size > 0 else torch.zeros(())
        return {"shift": scales.shift, "scale": scales.scale, "center": center, "gain": gain}


def _columns(rows: Tensor) -> _Scales:
    spread = rows.std(0, correction=0)
    spread = torch.where(spread > CONSTANT * rows.abs().amax(0), spread, 0.0)
    least = TINY * float(spread.square().mean().sqrt())
    return _Scales(rows.mean(0), torch.where(spread > 0, 1.0 / spread.clamp(min=least), 0.0))


def _counts(rows: Tensor) -> _Scales:
    seen = (rows != 0).sum(0)
    return _Scales(torch.zeros(rows.shape[1], dtype=rows.dtype), torch.log((1.0 + len(rows)) / (1.0 + seen)) + 1.0)


def _whole(rows: Tensor) -> _Scales:
    spread = rows.std(0, correction=0)
    varies = spread > CONSTANT * rows.abs().amax(0)
    return _Scales(rows.mean(0), varies.to(rows.dtype))


_SCALES: Mapping[str, Callable[[Tensor], _Scales]] = {
    "rows": _columns,
    "columns": _columns,
    "counts": _counts,
    "whole": _whole,
}
