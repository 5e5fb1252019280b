"""Nystroem's method: features whose inner products are a kernel, exact on some training rows and near it elsewhere."""

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from priors.functions._centers import spread_out, squared_distances
from priors.functions._config import FunctionConfig
from priors.functions._tensor import TensorFunction, computed, training_rows
from priors.registry import function
from priors.types import PortType

RANK = 1e-7
"""Eigenvalues of the landmarks' kernel below this share of the largest are rounding, as the kernel is float32 later."""


class NystromConfig(FunctionConfig):
    """`k` landmarks among the training rows; the kernel exp(-scale^2 |x - y|^2 / (2 C)) of `fourier_features`."""

    k: Annotated[int, Field(ge=1, le=1_024)] = 64
    scale: Annotated[float, Field(gt=0, le=1e6)] = 1.0


@function("nystrom")
class Nystrom(TensorFunction[NystromConfig]):
    """y = k(x, L) K_LL^(-1/2): Williams and Seeger 2001, "Using the Nystroem method to speed up kernel machines".

    (B, C) -> (B, k). Landmarks L are training rows far from each other, the root is the symmetric one without the
    directions that are rounding. For as many landmarks as different rows it is the kernel itself. Fitting takes
    O(k n C + k^3), a row O(k C + k^2). Needs columns of comparable scale.
    """

    id, schema, fitted = "nystrom", NystromConfig, True

    def module(self, in_type: PortType | str) -> nn.Module:
        """forward(x (B, C)) -> (B, k); zero until `fit`'s buffers are loaded."""
        columns = self.width(in_type)
        return _Kernel(columns, self.config.k, self.config.scale**2 / (2 * columns))

    def fit(self, x: Tensor) -> dict[str, Tensor]:
        """Training rows (n, C) -> {landmarks (k, C), root (k, k)} float32. Raises BadTable if not finite."""
        landmarks = spread_out(training_rows(x, self.id), self.config.k)
        used, columns = landmarks.shape
        kernel = torch.exp(-squared_distances(landmarks, landmarks) * (self.config.scale**2 / (2 * columns)))
        values, vectors = torch.linalg.eigh(kernel)
        floor = RANK * values[-1]
        inverse = torch.where(values > floor, values.clamp(min=floor).rsqrt(), 0.0)
        padded, root = torch.zeros(self.config.k, columns), torch.zeros(self.config.k, self.config.k)
        padded[:used] = landmarks.float()
        root[:used, :used] = ((vectors * inverse) @ vectors.T).float()
        return {"landmarks": padded, "root": root}


class _Kernel(nn.Module):
    landmarks: Tensor
    root: Tensor

    def __init__(self, columns: int, k: int, gamma: float) -> None:
        super().__init__()
        self._gamma = gamma
        self.register_buffer("landmarks", torch.zeros(k, columns))
        self.register_buffer("root", torch.zeros(k, k))

    def forward(self, x: Tensor) -> Tensor:
        near = torch.exp(-squared_distances(computed(x, self.landmarks), self.landmarks) * self._gamma)
        return near @ self.root
