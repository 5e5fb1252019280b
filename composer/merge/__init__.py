"""Weights from weights: merge, splice, fold, extract, transplant; a block of a tensor at a time, without torch.

    from composer.merge import MergeSpec, merge

    merge(MergeSpec.of("ties", ["a", "b"], base="c", weights=[0.5, 0.5], parameters={"density": 0.3}), "merged")

What is computed is mergekit's, recipe for recipe (`read_recipe`); NaN and infinity in an input are refused. Names are
imported on first use.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from composer.merge.engine import Merged as Merged
    from composer.merge.engine import merge as merge
    from composer.merge.lora import extract as extract
    from composer.merge.lora import fold as fold
    from composer.merge.nodes import evaluate as evaluate
    from composer.merge.nodes import node_outputs as node_outputs
    from composer.merge.recipe import load_recipe as load_recipe
    from composer.merge.recipe import read_recipe as read_recipe
    from composer.merge.retok import retok as retok
    from composer.merge.soup import greedy_soup as greedy_soup
    from composer.merge.spec import MergeSpec as MergeSpec

_HOMES = {
    "MergeSpec": "composer.merge.spec",
    "Merged": "composer.merge.engine",
    "evaluate": "composer.merge.nodes",
    "extract": "composer.merge.lora",
    "fold": "composer.merge.lora",
    "greedy_soup": "composer.merge.soup",
    "load_recipe": "composer.merge.recipe",
    "merge": "composer.merge.engine",
    "node_outputs": "composer.merge.nodes",
    "read_recipe": "composer.merge.recipe",
    "retok": "composer.merge.retok",
}

__all__ = [
    *("MergeSpec", "Merged", "evaluate", "extract", "fold", "greedy_soup", "load_recipe", "merge", "node_outputs"),
    *("read_recipe", "retok"),
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'composer.merge' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


class _Package(ModuleType):
    """`retok` names a function and the module it lives in; the attribute is always the function."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _HOMES and isinstance(value, ModuleType)):  # what importing `composer.merge.retok` puts there
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
