"""Formulas: known relations between columns, in a closed language that is parsed, checked and made into torch here.

    theta0_rad * cos(sqrt(9.81[m/s^2] / length_m) * t_s)

    expression := comparison of sums of products of powers: + - * / ^ (or **), unary -, parentheses
    values     := 2.5, 1e-3, 9.81[m/s^2] (a number with its unit), column, `any column name`, ?learned, pi, e
    functions  := FUNCTIONS; where(a < b, x, y) chooses; nothing else is callable, nothing is looked up, nothing is run

Nothing here uses eval. A text has at most MAX_CHARS characters, MAX_NODES values and operations, nested MAX_DEPTH deep,
and constant exponents are at most MAX_EXPONENT; what goes beyond, and anything else, is refused with its place.

Units: once a unit is named anywhere (of a column, a number, a learned constant), all are checked by dimension and
values are converted to SI and back; columns without a unit then count as plain numbers. Without any unit nothing is
checked: the author vouches for the unit of the result. Angles are plain numbers, as in SI: 180 deg is pi.

`_units`, `_parse` and `_dimensions` are pure Python; `_torch` imports torch and nothing else does.
"""

from priors.formula._dimensions import Formula as Formula
from priors.formula._dimensions import Learned as Learned
from priors.formula._dimensions import read_formula as read_formula
from priors.formula._parse import FUNCTIONS as FUNCTIONS
from priors.formula._parse import MAX_CHARS as MAX_CHARS
from priors.formula._parse import MAX_DEPTH as MAX_DEPTH
from priors.formula._parse import MAX_EXPONENT as MAX_EXPONENT
from priors.formula._parse import MAX_NODES as MAX_NODES
from priors.formula._parse import BadFormula as BadFormula
from priors.formula._parse import parse_expression as parse_expression
from priors.formula._units import Unit as Unit
from priors.formula._units import parse_unit as parse_unit
