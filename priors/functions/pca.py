"""Principal components: the few directions along which the training rows spread most."""

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from priors.functions._config import FunctionConfig
from priors.functions._tensor import TensorFunction, computed, same_signs, training_rows
from priors.registry import function
from priors.types import PortType

RANK = 1e-6
"""Directions of less than this share of the largest singular value are noise of float32 inputs."""


class PcaConfig(FunctionConfig):
    """`k` components, or as many as there are columns; `whiten` divides each by its standard deviation."""

    k: Annotated[int, Field(ge=1, le=4_096)] = 16
    whiten: bool = False


@function("pca")
class Pca(TensorFunction[PcaConfig]):
    """y = (x - mean) @ components.T: Pearson 1901; Hotelling 1933, "Analysis of a complex of statistical variables".

    (B, C) -> (B, min(k, C)). Components are right singular vectors of the centered rows, the largest entry of each
    positive; those beyond the rank of the rows (fewer rows than columns, equal columns) are 0. Fitting takes
    O(n C min(n, C)), a row O(k C).
    """

    id, schema, fitted = "pca", PcaConfig, True

    def module(self, in_type: PortType | str) -> nn.Module:
        """forward(x (B, C)) -> (B, k); zero until `fit`'s buffers are loaded."""
        return Directions(self.width(in_type), self.gives(in_type))

    def fit(self, x: Tensor) -> dict[str, Tensor]:
        """Training rows (n, C) -> {mean (C,), directions (k, C)} float32. Raises BadTable if not finite."""
        rows = training_rows(x, self.id)
        mean = rows.mean(0)
        _, sizes, directions = torch.linalg.svd(rows - mean, full_matrices=False)
        kept = rank_of(sizes, rows)
        directions = same_signs(directions[:kept])
        if self.config.whiten:
            directions = directions * (len(rows) ** 0.5 / sizes[:kept])[:, None]
        k = min(self.config.k, rows.shape[1])
        padded = torch.zeros(k, rows.shape[1], dtype=rows.dtype)
        padded[: min(k, kept)] = directions[:k]
        return {"mean": mean.float(), "directions": padded.float()}


def rank_of(sizes: Tensor, rows: Tensor) -> int:
    """How many of the descending singular values of centered `rows` are more than rounding."""
    if len(sizes) == 0:
        return 0
    floor = max(float(sizes[0]) * RANK, float(rows.abs().amax()) * RANK * len(rows) ** 0.5)
    return int((sizes > floor).sum())


class Directions(nn.Module):
    """forward(x (B, C)) -> (x - mean) @ directions.T, of shape (B, k)."""

    mean: Tensor
    directions: Tensor

    def __init__(self, columns: int, k: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(columns))
        self.register_buffer("directions", torch.zeros(k, columns))

    def forward(self, x: Tensor) -> Tensor:
        return (computed(x, self.mean) - self.mean) @ self.directions.T
