"""Compositions of priors: rank what to combine, wire it, check it, fit it, run it.

    from composer import recommend, fit, Composition

Names are imported on first use: graphs and locks are light, fitting needs torch.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from composer.composition import Composition as Composition
    from composer.fit import fit as fit
    from composer.graph import Graph as Graph
    from composer.lock import Lock as Lock
    from composer.recommend import recommend as recommend

_HOMES = {
    "Composition": "composer.composition",
    "Graph": "composer.graph",
    "Lock": "composer.lock",
    "fit": "composer.fit",
    "recommend": "composer.recommend",
}

__all__ = ["Composition", "Graph", "Lock", "fit", "recommend"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'composer' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])


class _Package(ModuleType):
    """`fit` and `recommend` name functions and the modules they live in; the attribute is always the function."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _HOMES and isinstance(value, ModuleType)):  # what importing `composer.fit` would put there
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
