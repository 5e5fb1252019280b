"""Formulas: what is known about the columns, written down."""

from torch import nn

from priors.formula._torch import FormulaModule
from priors.functions._formulas import FormulaConfig, column_names, formulas_of
from priors.functions._tensor import TensorFunction
from priors.registry import function
from priors.types import PortType, parse


@function("formula")
class FormulaFunction(TensorFunction[FormulaConfig]):
    """Each formula of `expr` (language: `priors.formula`), row by row, in the unit that `out` says.

    (B, C) -> (B, number of formulas); one operation a node of the formula, differentiable wherever the mathematics is.
    Constants written ?name are parameters, trained with what comes after; they start at `start` and stay in their
    interval. Outside a formula's domain (log of a negative number) the value is NaN, as torch's.
    """

    id, schema = "formula", FormulaConfig

    def module(self, in_type: PortType | str) -> nn.Module:
        """forward(x (B, C)) -> (B, formulas). Raises BadFormula for a name or unit that does not fit."""
        port = parse(in_type)
        return FormulaModule(
            formulas_of(self.config, port), column_names(self.config, port, self.id), self.config.learned
        )
