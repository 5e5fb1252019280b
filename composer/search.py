"""Weights of `sum` nodes that are searched for, without gradients: `weights: search`, after LoraHub (Huang et al. 2023,
"LoraHub: efficient cross-task generalization via dynamic LoRA composition", arXiv:2307.13269).

What is minimised is the leave-one-out loss of the heads, fitted anew for every trial, plus a small price on the size of
the weights. It begins at the best of equal parts and each operand alone, so what is found is never behind these on the
rows, and goes on by pattern search (Hooke and Jeeves 1961, "Direct search solution of numerical and statistical
problems"): one weight a step up or down at a time, steps halved where none helps. LoraHub draws its trials; here
nothing is drawn, so the same rows give the same weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from composer._lower_ops import Sum
from composer.blocks import fit_functions
from composer.choices import Cancelled, Report, never, silent
from composer.errors import Cancelled as Stopped
from composer.heads import fit_heads
from composer.lower import Lowered
from composer.rank.probe import Array, Targets
from composer.rank.rows import sample

MAX_ROWS = 256
"""Rows that weights are searched on at most: every trial fits the heads, which takes the cube of them."""

LARGEST = 1.5
"""Weights lie within this of 0, as LoraHub's do."""

PRICE = 0.05
"""Of the mean size of the weights, in the units of the loss: of weights that say the same, the small ones."""

STEPS = (0.5, 0.25, 0.125, 0.0625)
TRIALS = 300
"""At most so many trials."""

LEAST = 1e-6
"""A smaller gain is none."""


def search_sums(
    lowered: Lowered,
    values: Mapping[str, Tensor],
    targets: Targets,
    *,
    report: Report = silent,
    cancelled: Cancelled = never,
) -> int:
    """Finds the weights of every sum that is searched, in place, with all else that learns as it is; how many sets of
    weights were tried, 0 where no sum is searched. Raises Cancelled."""
    sums = searched(lowered)
    if not sums:
        return 0
    rows = sample(targets, MAX_ROWS)
    some, wanted = {name: value[rows] for name, value in values.items()}, targets.take(rows)
    known: dict[tuple[float, ...], float] = {}

    def loss(weights: Array) -> float:
        key = tuple(weights.tolist())
        if key not in known:
            if cancelled():
                raise Stopped("stopped while searching for weights. Features are cached.")
            _put(sums, weights)
            fit_functions(lowered, some, np.arange(len(wanted)))
            known[key] = fit_heads(lowered, some, wanted).loss + PRICE * float(np.abs(weights).mean())
            report(len(known), TRIALS, "searching for weights", loss=round(known[key], 4))
        return known[key]

    best = min(_starts([len(one.weight) for one in sums]), key=loss)
    for step in STEPS:
        better = True
        while better and len(known) < TRIALS:
            better = False
            for trial in _around(best, step):
                if len(known) < TRIALS and loss(trial) < loss(best) - LEAST:
                    best, better = trial, True
                    break
    _put(sums, best)
    return len(known)


def searched(lowered: Lowered) -> list[Sum]:
    """The sums whose weights are searched for."""
    names = [node.name for node in lowered.lock.nodes if node.op == "sum" and node.attrs.get("weights") == "search"]
    return [one for one in map(lowered.learned.__getitem__, names) if isinstance(one, Sum)]


def _starts(counts: Sequence[int]) -> Iterator[Array]:
    """Equal parts in every sum; then in one sum each operand alone, and equal parts in the others."""
    equal = np.concatenate([np.full(count, 1 / count) for count in counts])
    yield equal
    begin = 0
    for count in counts:
        for k in range(count):
            alone = equal.copy()
            alone[begin : begin + count] = np.eye(count)[k]
            yield alone
        begin += count


def _around(weights: Array, step: float) -> Iterator[Array]:
    for k in range(len(weights)):
        for change in (step, -step):
            trial = weights.copy()
            trial[k] = np.clip(trial[k] + change, -LARGEST, LARGEST)
            yield trial


@torch.no_grad()
def _put(sums: Sequence[Sum], weights: Array) -> None:
    begin = 0
    for one in sums:
        one.weight.copy_(torch.from_numpy(weights[begin : begin + len(one.weight)]))
        begin += len(one.weight)
