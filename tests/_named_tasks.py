"""A history that the cold tier cannot read and the learned tier can: who does well stands in the tasks' names, which
long texts beside them drown for whoever compares all letters."""

from __future__ import annotations

import numpy as np

from composer.rank.history import Outcome, TaskCard
from composer.rank.learned import Config

QUICK = Config(width=16, layers=1, heads=2, members=1, steps=250, lr=1e-2)


def outcomes(highest: str, deepest: str, tasks: int = 24, others: int = 4) -> tuple[list[Outcome], list[TaskCard]]:
    """Runs of two sorts of candidates, `highest` and `deepest` with `others` beside each: the first do well on tasks
    named alpine, the second on those named marine."""
    rng = np.random.default_rng(0)
    names = [highest, *(f"lab/high-{i}#out" for i in range(others))]
    names += [deepest, *(f"lab/deep-{i}#out" for i in range(others))]
    side = np.repeat([1, -1], others + 1)
    cards, runs = [], []
    for i in range(tasks):
        text = "".join(rng.choice(list("abcdefghijklmnopqrstuvwxyz"), 3_000))
        cards.append(TaskCard(f"{('alpine', 'marine')[i % 2]} {i}", "text", "binary", text=text))
        scores = 0.7 + 0.1 * (-1) ** i * side + 0.02 * rng.standard_normal(len(names))
        runs += [
            Outcome(cards[-1].name, (name,), "single", 16, 0, float(score), 0.0, 1.0, 1.0)
            for name, score in zip(names, scores, strict=True)
        ]
    return runs, cards
