"""Random features: as many random questions about a row as one likes, whose answers approach a kernel's."""

from typing import Annotated, Literal

import numpy as np
from pydantic import Field
from torch import Tensor, nn

from priors.functions._config import FunctionConfig
from priors.functions._random import F64, normal, uniform
from priors.functions._tensor import TensorFunction, computed, constant
from priors.registry import function
from priors.types import PortType


class RandomFeaturesConfig(FunctionConfig):
    """`m` features drawn from `seed`, of a kernel on rows x, y of C columns; `scale` is how fast it falls.

    gaussian  exp(-scale^2 |x - y|^2 / (2 C)), with directions that are orthogonal in groups of C
    laplace   exp(-scale |x - y|_1 / C)
    relu      |x| |y| (sin t + (pi - t) cos t) / (pi C) for the angle t between (x, 1) and (y, 1): a wide random layer
    """

    kind: Literal["gaussian", "laplace", "relu"] = "gaussian"
    m: Annotated[int, Field(ge=1, le=32_768)] = 256
    scale: Annotated[float, Field(gt=0, le=1e6)] = 1.0
    seed: Annotated[int, Field(ge=0, le=2**63 - 1)] = 0


@function("random_features")
class RandomFeatures(TensorFunction[RandomFeaturesConfig]):
    """sqrt(2 / m) cos(x w + b), or sqrt(2 / m) max(0, x w + b) for `relu`, with random w and b.

    (B, C) -> (B, m); the inner product of two rows approaches the kernel as 1/sqrt(m). Rahimi and Recht 2007, "Random
    features for large-scale kernel machines"; orthogonal directions, which need fewer of them: Yu, Suresh,
    Choromanski, Holtmann-Rice and Kumar 2016, "Orthogonal random features", arXiv:1610.09072; relu: Cho and Saul 2009,
    "Kernel methods for deep learning", n = 1. Nothing is stored: the numbers follow from the seed, on every machine up
    to the last digit of float32 (orthogonal directions come from its LAPACK). O(m C) a row.
    """

    id, schema = "random_features", RandomFeaturesConfig

    def module(self, in_type: PortType | str) -> nn.Module:
        """forward(x (B, C)) -> (B, m)."""
        return _Features(self.config, self.width(in_type))


class _Features(nn.Module):
    weight: Tensor
    bias: Tensor

    def __init__(self, config: RandomFeaturesConfig, columns: int) -> None:
        super().__init__()
        self._relu = config.kind == "relu"
        self._size: float = (2.0 / config.m) ** 0.5
        match config.kind:
            case "gaussian":
                weight = _orthogonal(config.seed, columns, config.m) * (config.scale / columns**0.5)
            case "laplace":  # the Fourier transform of exp(-|t|) is Cauchy's density, column by column
                weight = np.tan(np.pi * (uniform(config.seed, columns, config.m) - 0.5)) * (config.scale / columns)
            case "relu":
                weight = normal(config.seed, columns, config.m) * (config.scale / columns**0.5)
        constant(self, "weight", weight)
        if self._relu:
            constant(self, "bias", normal(config.seed + 1, config.m) / columns**0.5)
        else:
            constant(self, "bias", 2 * np.pi * uniform(config.seed + 1, config.m))

    def forward(self, x: Tensor) -> Tensor:
        asked = computed(x, self.weight) @ self.weight + self.bias
        answered: Tensor = asked.relu() if self._relu else asked.cos()
        return answered * self._size


def _orthogonal(seed: int, columns: int, m: int) -> F64:
    """(columns, m) normal directions: orthogonal within each group of `columns`, as long as independent ones are."""
    groups = -(-m // columns)
    drawn = normal(seed, 2, groups, columns, columns)
    found = []
    for directions, sizes in zip(drawn[0], drawn[1], strict=True):
        q, r = np.linalg.qr(directions)
        # The signs of q are the library's choice; with those of r positive there is one answer.
        found.append(q * np.where(np.diag(r) < 0, -1.0, 1.0) * np.linalg.norm(sizes, axis=0))
    return np.concatenate(found, axis=1)[:, :m]
