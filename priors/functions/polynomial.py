"""Polynomials: products of columns, which a linear head turns into curves and interactions."""

from itertools import combinations, combinations_with_replacement
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from priors.functions._config import FunctionConfig
from priors.functions._tensor import TensorFunction
from priors.registry import function
from priors.types import PortType


class PolynomialConfig(FunctionConfig):
    """All products of at most `degree` columns; with `interactions` only, of different ones."""

    degree: Annotated[int, Field(ge=1, le=8)] = 2
    interactions: bool = False


@function("polynomial")
class Polynomial(TensorFunction[PolynomialConfig]):
    """(x_1, ..., x_C, x_1^2, x_1 x_2, ..., x_C^degree): every monomial of degree 1 to `degree`, in graded order.

    (B, C) -> (B, binomial(C + degree, degree) - 1), or sum over d of binomial(C, d) for interactions; no constant, as
    heads have one. Gergonne 1815 and any course since; the order is scikit-learn's. Needs columns near one: powers
    of large numbers are larger. One product a feature.
    """

    id, schema = "polynomial", PolynomialConfig

    def module(self, in_type: PortType | str) -> nn.Module:
        """forward(x (B, C)) -> (B, monomials)."""
        self.gives(in_type)  # refuses what is too many before they are listed
        return _Monomials(self.width(in_type), self.config)


class _Monomials(nn.Module):
    """Each degree's monomials are those of the degree before, times one column: two lookups and a product."""

    def __init__(self, columns: int, config: PolynomialConfig) -> None:
        super().__init__()
        choose = combinations if config.interactions else combinations_with_replacement
        self._degrees = 1
        before: dict[tuple[int, ...], int] = {(c,): c for c in range(columns)}
        for degree in range(2, config.degree + 1):
            made = list(choose(range(columns), degree))
            if not made:
                break
            self._degrees = degree
            self.register_buffer(f"lower_{degree}", torch.tensor([before[one[:-1]] for one in made]), persistent=False)
            self.register_buffer(f"last_{degree}", torch.tensor([one[-1] for one in made]), persistent=False)
            before = {one: at for at, one in enumerate(made)}

    def forward(self, x: Tensor) -> Tensor:
        x = x if x.dtype == torch.float64 else x.to(torch.float32)
        parts = [x]
        for degree in range(2, self._degrees + 1):
            lower, last = getattr(self, f"lower_{degree}"), getattr(self, f"last_{degree}")
            parts.append(parts[-1][:, lower] * x[:, last])
        return torch.cat(parts, 1)
