"""Symmetry by averaging: what does not change when the image is mirrored or turned, or parts change places."""

from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from priors.functions._config import FunctionConfig
from priors.functions._grids import check_group, inner_of
from priors.functions._groups import moves
from priors.functions._tensor import TensorFunction
from priors.registry import find_function, function
from priors.types import PortType, parse

Group = Literal["flip_h", "flip_v", "turn_180", "turn_90", "dihedral", "parts", "reverse"]


class GroupAverageConfig(FunctionConfig):
    """`group` that acts on the values, `parts` of equal width that may change places (group parts), and the function
    `inner` = {fn, config} whose answers are averaged; without it the values themselves are."""

    group: Group = "parts"
    parts: Annotated[int, Field(ge=2, le=6)] = 2
    inner: dict[str, Any] | None = None


@function("group_average")
class GroupAverage(TensorFunction[GroupAverageConfig]):
    """F(x) = 1/|G| sum over g of f(g x), so that F(h x) = F(x) for every h in G: the Reynolds operator (Reynolds 1895;
    Noether 1915), for learning Yarotsky 2018, "Universal approximations of invariant maps", arXiv:1804.10306.

    image, series or row -> what the inner function f gives, or the value's own shape. |G| times the work of f: 2 for
    mirrors, half turns and reversal, 4 for quarter turns, 8 with mirrors, parts! for parts. Invariance holds up to the
    rounding of a sum in another order.
    """

    id, schema, input_type = "group_average", GroupAverageConfig, "vec.feat[B,D]:f32"

    def module(self, in_type: PortType | str) -> nn.Module:
        """forward(x) -> as the inner function gives it."""
        port = parse(in_type)
        check_group(self.config.model_dump(), port)
        self.output_type_for(port)
        inner = None
        if self.config.inner is not None:
            name, config = inner_of(self.config.model_dump())
            made: Any = find_function(name)(config)
            inner = made.module(port)
        return _Mean(self.config.group, self.config.parts, inner)


class _Mean(nn.Module):
    def __init__(self, group: str, parts: int, inner: nn.Module | None) -> None:
        super().__init__()
        self._moves = moves(group, parts)
        self.inner = nn.Identity() if inner is None else inner

    def forward(self, x: Tensor) -> Tensor:
        x = x if x.dtype == torch.float64 else x.to(torch.float32)
        total: Tensor = self.inner(self._moves[0](x))
        for move in self._moves[1:]:
            total = total + self.inner(move(x))
        return total / len(self._moves)
