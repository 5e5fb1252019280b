"""Weights from weights: merge, splice, fold, extract, transplant; a block of a tensor at a time, without torch.

    from composer.merge import MergeSpec, merge

    merge(MergeSpec.of("ties", ["a", "b"], base="c", weights=[0.5, 0.5], parameters={"density": 0.3}), "merged")

What is computed is mergekit's, recipe for recipe (`read_recipe`); NaN and infinity in an input are refused. Names are
imported on first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from composer.merge.engine import Merged as Merged
    from composer.merge.engine import merge as merge
    from composer.merge.recipe import load_recipe as load_recipe
    from composer.merge.recipe import read_recipe as read_recipe
    from composer.merge.spec import MergeSpec as MergeSpec

_HOMES = {
    "MergeSpec": "composer.merge.spec",
    "Merged": "composer.merge.engine",
    "load_recipe": "composer.merge.recipe",
    "merge": "composer.merge.engine",
    "read_recipe": "composer.merge.recipe",
}

__all__ = ["MergeSpec", "Merged", "load_recipe", "merge", "read_recipe"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'composer.merge' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
