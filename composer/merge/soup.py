"""Greedy soup: a model joins the average only where a held-out score does not fall. Wortsman et al. 2022, recipe 1."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from composer.errors import BadGraph
from composer.merge.engine import Locate, Merged, merge
from composer.merge.spec import MergeSpec
from composer.merge.writer import Report

Score = Callable[[Path], float]
"""How good a checkpoint is on rows that nothing was fitted on; more is better."""


@dataclass(frozen=True)
class Soup:
    """What was written, the models in it in the order they joined, its score, and that of every model alone."""

    merged: Merged
    chosen: tuple[str, ...]
    score: float
    alone: dict[str, float]


def greedy_soup(
    models: Sequence[str],
    out: Path | str,
    score: Score,
    *,
    locate: Locate = Path,
    report: Report | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Soup:
    """Average models of one architecture from the best on, each kept only if `score` does not fall.

    So the result is never under the best single model on the rows that `score` looks at. Every try is written beside
    `out` and removed. Raises BadGraph for a score that is no number, BadWeights where models do not fit.
    """
    if len(set(models)) != len(models) or not models:
        raise BadGraph("a soup is made of one or more different models. Name each once.")
    out = Path(out)
    alone = {model: _number(score(locate(model)), model) for model in models}
    ranked = sorted(models, key=lambda model: -alone[model])
    chosen, best = [ranked[0]], alone[ranked[0]]
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}-soup-", dir=out.parent) as scratch:
        for number, model in enumerate(ranked[1:], start=1):
            tried = Path(scratch) / str(number)
            merge(_average([*chosen, model]), tried, locate=locate, report=report, cancelled=cancelled)
            found = _number(score(tried), f"the soup with {model}")
            if found >= best:
                chosen, best = [*chosen, model], found
    made = merge(_average(chosen), out, locate=locate, report=report, cancelled=cancelled)
    return Soup(made, tuple(chosen), best, alone)


def _average(models: Sequence[str]) -> MergeSpec:
    return MergeSpec.of("linear", models, weights=[1.0] * len(models))


def _number(score: float, what: str) -> float:
    if score != score:
        raise BadGraph(f"the score of {what} is NaN. Give a number, more for better.")
    return float(score)
