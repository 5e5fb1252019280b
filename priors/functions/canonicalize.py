"""Symmetry by choice: of all the ways a value can be mirrored, turned or ordered, always the same one."""

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from priors.functions._config import FunctionConfig
from priors.functions._groups import moves
from priors.functions._random import uniform
from priors.functions._tensor import TensorFunction, constant
from priors.functions.group_average import Group
from priors.registry import function
from priors.types import PortType, parse


class CanonicalizeConfig(FunctionConfig):
    """`group` that acts on the values, and how many `parts` of equal width may change places (group parts)."""

    group: Group = "parts"
    parts: Annotated[int, Field(ge=2, le=65_536)] = 2


@function("canonicalize")
class Canonicalize(TensorFunction[CanonicalizeConfig]):
    """C(x) = g x for the g in G that makes <w, g x> largest, w a fixed pattern; then C(h x) = C(x) for every h in G.

    Kaba, Mondal, Zhang, Bengio and Ravanbakhsh 2023, "Equivariance with learned canonicalization functions",
    arXiv:2211.06489, with a fixed choice. Keeps all that is known of x but its pose, where `group_average` keeps less
    and is smooth: gradients here are those of the chosen g, and jump where two are equally good. Parts are sorted by
    their first column, then by the next. The same shape; |G| products, or a sort.
    """

    id, schema, input_type = "canonicalize", CanonicalizeConfig, "vec.feat[B,D]:f32"

    def module(self, in_type: PortType | str) -> nn.Module:
        """forward(x) -> x moved, of the same shape."""
        port = parse(in_type)
        self.output_type_for(port)
        if self.config.group == "parts":
            return _Sorted(self.config.parts)
        return _Largest(self.config.group, tuple(int(str(axis.dim)) for axis in port.axes[1:]))


class _Largest(nn.Module):
    pattern: Tensor

    def __init__(self, group: str, shape: tuple[int, ...]) -> None:
        super().__init__()
        self._moves = moves(group)
        # One pattern for all channels, which turn together.
        constant(self, "pattern", uniform(0, *shape))

    def forward(self, x: Tensor) -> Tensor:
        x = x if x.dtype == torch.float64 else x.to(torch.float32)
        moved = torch.stack([move(x) for move in self._moves], 1)  # (B, |G|, …)
        scores = (moved.double() * self.pattern.double()).flatten(2).sum(2)
        best = scores.argmax(1).reshape(-1, 1, *[1] * (x.dim() - 1)).expand(-1, 1, *x.shape[1:])
        return moved.gather(1, best).squeeze(1)


class _Sorted(nn.Module):
    def __init__(self, parts: int) -> None:
        super().__init__()
        self._parts = parts

    def forward(self, x: Tensor) -> Tensor:
        x = x if x.dtype == torch.float64 else x.to(torch.float32)
        rows = x.reshape(x.shape[0], self._parts, -1)  # (B, parts, width)
        for column in range(rows.shape[2] - 1, -1, -1):  # stable sorts from the last key to the first
            if torch.compiler.is_exporting():  # ONNX has no word for it, and keeps the order of equal values anyway
                order = rows[:, :, column].sort(dim=1).indices
            else:
                order = rows[:, :, column].argsort(dim=1, stable=True)
            rows = rows.gather(1, order[:, :, None].expand_as(rows))
        return rows.reshape(x.shape)
