"""Whitening: columns that are uncorrelated and of variance one, so that none says twice what another says."""

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from priors.functions._config import FunctionConfig
from priors.functions._tensor import TensorFunction, same_signs, training_rows
from priors.functions.pca import Directions, rank_of
from priors.registry import function
from priors.types import PortType


class WhitenConfig(FunctionConfig):
    """What the columns are afterwards.

    kind    `zca`: as near as possible to the columns they were; `pca`: principal components
    shrink  how far the covariance is drawn to a multiple of the identity before it is inverted: 0 whitens exactly,
            more keeps directions of little variance, which few rows say little about, from being blown up
    """

    kind: Literal["zca", "pca"] = "zca"
    shrink: Annotated[float, Field(ge=0, le=1)] = 0.01


@function("whiten")
class Whiten(TensorFunction[WhitenConfig]):
    """y = (x - mean) @ W with W' S W = I for the covariance S = (1 - s) cov + s tr(cov) / C I of the training rows.

    (B, C) -> (B, C). zca: W = S^(-1/2), symmetric (Bell and Sejnowski 1997, "The independent components of natural
    scenes are edge filters"; Kessy, Lewin and Strimmer 2018, "Optimal whitening and decorrelation"). Without shrinkage
    directions in which the rows do not spread are left out. Fitting takes O(n C^2 + C^3), a row O(C^2).
    """

    id, schema, fitted = "whiten", WhitenConfig, True

    def module(self, in_type: PortType | str) -> nn.Module:
        """forward(x (B, C)) -> (B, C); zero until `fit`'s buffers are loaded."""
        columns = self.width(in_type)
        return Directions(columns, columns)

    def fit(self, x: Tensor) -> dict[str, Tensor]:
        """Training rows (n, C) -> {mean (C,), directions (C, C)} float32. Raises BadTable if not finite."""
        rows = training_rows(x, self.id)
        mean = rows.mean(0)
        columns, shrink = rows.shape[1], self.config.shrink
        _, sizes, axes = torch.linalg.svd(rows - mean, full_matrices=True)
        sizes = sizes[: rank_of(sizes, rows)]
        variances = torch.zeros(columns, dtype=rows.dtype)
        variances[: len(sizes)] = sizes.square() / len(rows)
        held = (1 - shrink) * variances + shrink * variances.mean()
        scale = torch.where(held > 0, held.where(held > 0, 1.0).rsqrt(), 0.0)
        if self.config.kind == "pca":
            # Directions without variance of their own span what is left in no particular way: they are left out.
            scale = torch.where(variances > 0, scale, 0.0)
            directions = same_signs(axes) * scale[:, None]
        else:
            directions = axes.T @ (axes * scale[:, None])
        return {"mean": mean.float(), "directions": directions.float()}
