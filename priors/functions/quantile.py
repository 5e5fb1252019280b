"""Rank: where a value stands among the training rows, whatever the unit and however long the tail."""

from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from priors.functions._config import FunctionConfig, read_config
from priors.functions._tensor import training_rows, width
from priors.functions.signatures import function_signature
from priors.registry import function
from priors.types import PortType, parse


class QuantileConfig(FunctionConfig):
    """`output`: ranks on the scale of a standard `normal`, or `uniform` in (0, 1); at most `knots` points a column."""

    knots: Annotated[int, Field(ge=2, le=4_096)] = 64
    output: Literal["normal", "uniform"] = "normal"


@function("quantile")
class Quantile:
    """Each column through its own rising broken line from values to ranks; flat beyond the smallest and the largest.

    The rank of a value that occurs often is the middle of its places, (i + 1/2) / n for place i = 0, 1, … of n rows
    (Hazen's plotting position, 1914). A column of no more different values than knots is exact; of others, the knots
    are values evenly spaced in rank.
    """

    host: ClassVar[bool] = False
    fitted: ClassVar[bool] = True
    input_type: ClassVar[str] = "vec.feat[B,D]:f32"

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = read_config(QuantileConfig, config, "quantile")

    def output_type_for(self, in_type: PortType | str) -> str:
        return str(function_signature("quantile", self.config.model_dump(), parse(in_type)))

    def module(self, in_type: PortType | str) -> nn.Module:
        """forward(x (B, C)) -> (B, C) float32; constant until `fit`'s buffers are loaded."""
        return _BrokenLines(width(in_type, "quantile"), self.config.knots)

    def fit(self, x: Tensor) -> dict[str, Tensor]:
        """Training rows (n, C) -> {values, levels}, each (C, knots) float32 and ascending along the knots.

        Raises BadTable for values that are not finite.
        """
        # Knots are compared with float32 values later: equal means equal in float32.
        columns = training_rows(x, "quantile").float().T.contiguous()
        lines = [self._line(column) for column in columns]
        values, levels = (torch.stack(part) for part in zip(*lines, strict=True))
        return {"values": values, "levels": levels}

    def _line(self, column: Tensor) -> tuple[Tensor, Tensor]:
        values, counts = torch.unique_consecutive(column.sort().values, return_counts=True)
        last = counts.cumsum(0)
        ranks = (last - counts / 2).double() / len(column)  # the middle of the value's places
        if len(values) > self.config.knots:
            even = torch.linspace(float(ranks[0]), float(ranks[-1]), self.config.knots, dtype=torch.float64)
            kept = torch.unique_consecutive(torch.searchsorted(ranks, even).clamp(max=len(ranks) - 1))
            values, ranks = values[kept], ranks[kept]
        levels = torch.special.ndtri(ranks) if self.config.output == "normal" else ranks
        # Fewer knots than there is room for: the last is repeated, which adds lines of length zero.
        places = torch.arange(self.config.knots).clamp(max=len(values) - 1)
        return values[places], levels.float()[places]


class _BrokenLines(nn.Module):
    values: Tensor
    levels: Tensor

    def __init__(self, columns: int, knots: int) -> None:
        super().__init__()
        self.register_buffer("values", torch.zeros(columns, knots))
        self.register_buffer("levels", torch.zeros(columns, knots))

    def forward(self, x: Tensor) -> Tensor:
        x = x.to(torch.float32).T.contiguous()  # (C, B)
        if torch.compiler.is_exporting():  # ONNX has no binary search; the count of what is not larger is the same
            right = (self.values[:, None, :] <= x[:, :, None]).sum(2)
        else:
            right = torch.searchsorted(self.values, x, right=True)
        right = right.clamp(1, self.values.shape[1] - 1)
        left = right - 1
        start, end = self.values.gather(1, left), self.values.gather(1, right)
        low, high = self.levels.gather(1, left), self.levels.gather(1, right)
        length = end - start
        share = ((x - start) / torch.where(length > 0, length, 1.0)).clamp(0, 1)
        return (low + share * (high - low)).T.contiguous()  # (B, C)
