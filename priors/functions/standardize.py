"""Scale: columns of mean zero and a common size, as measured on the training rows."""

from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from priors.functions._config import FunctionConfig, read_config
from priors.functions._tensor import training_rows, width
from priors.functions.signatures import function_signature
from priors.registry import function
from priors.types import PortType, parse

_CONSTANT = 1e-6
"""A column (or block) that spreads less than this share of its largest value is constant: float32 has seven digits."""


class StandardizeConfig(FunctionConfig):
    """What is of size one afterwards.

    mode    `column`: each column has variance 1, constant ones are 0. `block`: the rows, taken whole, have mean
            squared norm 1, so that blocks of features of any width and unit weigh the same in a sum of their Gram
            matrices
    weight  multiplies that size: values by its square root, variances and inner products by itself
    clip    values further from the mean than so many of their size are held to it, so that a row far from all others
            does not lead; None lets them be
    """

    mode: Literal["column", "block"] = "column"
    weight: Annotated[float, Field(ge=0, le=1e6)] = 1.0
    clip: Annotated[float, Field(gt=0, le=1e6)] | None = None


@function("standardize")
class Standardize:
    """y = (x - mean) * scale; both are learned from the training rows, with population variance."""

    host: ClassVar[bool] = False
    fitted: ClassVar[bool] = True
    input_type: ClassVar[str] = "vec.feat[B,D]:f32"

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = read_config(StandardizeConfig, config, "standardize")

    def output_type_for(self, in_type: PortType | str) -> str:
        return str(function_signature("standardize", self.config.model_dump(), parse(in_type)))

    def module(self, in_type: PortType | str) -> nn.Module:
        """forward(x (B, C)) -> (B, C) float32; the identity until `fit`'s buffers are loaded."""
        columns = width(in_type, "standardize")
        clip = None if self.config.clip is None else self.config.clip * self.config.weight**0.5
        return _Affine(columns, columns if self.config.mode == "column" else 1, clip)

    def fit(self, x: Tensor) -> dict[str, Tensor]:
        """Training rows (n, C) -> {mean (C,), scale (C,) or (1,)} float32. Raises BadTable if not finite."""
        rows = training_rows(x, "standardize")
        mean = rows.mean(0)
        spread = ((rows - mean) ** 2).mean(0)  # (C,)
        largest = rows.abs().amax(0)
        if self.config.mode == "block":
            spread, largest = spread.sum(0, keepdim=True), largest.amax(0, keepdim=True)
        size = spread.sqrt()
        varies = size > _CONSTANT * largest
        scale = torch.where(varies, self.config.weight**0.5 / size.where(varies, 1), 0)
        return {"mean": mean.float(), "scale": scale.float()}


class _Affine(nn.Module):
    mean: Tensor
    scale: Tensor

    def __init__(self, columns: int, scales: int, clip: float | None = None) -> None:
        super().__init__()
        self._clip = clip
        self.register_buffer("mean", torch.zeros(columns))
        self.register_buffer("scale", torch.ones(scales))

    def forward(self, x: Tensor) -> Tensor:
        y = (x.to(torch.float32) - self.mean) * self.scale
        return y if self._clip is None else y.clamp(-self._clip, self._clip)
