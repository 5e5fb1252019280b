"""Radial basis functions: how near a row is to each of some typical rows."""

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from priors.functions._centers import spread_out, squared_distances
from priors.functions._config import FunctionConfig
from priors.functions._tensor import TensorFunction, computed, training_rows
from priors.registry import function
from priors.types import PortType


class RbfConfig(FunctionConfig):
    """`k` centers among the training rows; bumps as wide as `width` times the distance between neighboring centers;
    `normalized` makes the bumps of a row sum to one, so that far from all centers the nearest still counts."""

    k: Annotated[int, Field(ge=1, le=1_024)] = 32
    width: Annotated[float, Field(gt=0, le=1e3)] = 1.0
    normalized: bool = False


@function("rbf")
class Rbf(TensorFunction[RbfConfig]):
    """y_j = exp(-|x - c_j|^2 / (2 s^2)): Broomhead and Lowe 1988; Moody and Darken 1989, "Fast learning in networks of
    locally-tuned processing units".

    (B, C) -> (B, k). Centers are training rows far from each other (farthest-point traversal), s is the median
    distance of a center to its nearest other one. With fewer different rows than k the rest is 0. Needs columns of
    comparable scale. O(k C) a row.
    """

    id, schema, fitted = "rbf", RbfConfig, True

    def module(self, in_type: PortType | str) -> nn.Module:
        """forward(x (B, C)) -> (B, k); zero until `fit`'s buffers are loaded."""
        return _Bumps(self.width(in_type), self.config)

    def fit(self, x: Tensor) -> dict[str, Tensor]:
        """Training rows (n, C) -> {centers (k, C), used (k,), scale ()} float32. Raises BadTable if not finite."""
        centers = spread_out(training_rows(x, self.id), self.config.k)
        apart = squared_distances(centers, centers).fill_diagonal_(torch.inf).amin(1).sqrt()
        size = float(apart.median()) if len(centers) > 1 else 1.0
        padded = torch.zeros(self.config.k, centers.shape[1])
        padded[: len(centers)] = centers.float()
        used = (torch.arange(self.config.k) < len(centers)).float()
        return {"centers": padded, "used": used, "scale": torch.tensor(0.5 / (self.config.width * size) ** 2).float()}


class _Bumps(nn.Module):
    centers: Tensor
    used: Tensor
    scale: Tensor

    def __init__(self, columns: int, config: RbfConfig) -> None:
        super().__init__()
        self._normalized = config.normalized
        self.register_buffer("centers", torch.zeros(config.k, columns))
        self.register_buffer("used", torch.zeros(config.k))
        self.register_buffer("scale", torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        falls = -squared_distances(computed(x, self.centers), self.centers) * self.scale
        if self._normalized:  # a softmax over the centers that there are; far away it does not become 0 / 0
            masked = falls + (self.used - 1) * 1e30
            return masked.softmax(1) * self.used
        return falls.exp() * self.used
