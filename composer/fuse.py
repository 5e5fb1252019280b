"""What learns in a composition is fitted, and how the members of a set are joined is chosen by cross-validation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from composer.assemble import FUSIONS, Fusion, Offer, set_graph
from composer.blocks import fit_functions, frozen_values
from composer.cache import FeatureCache
from composer.check import check
from composer.choices import Cancelled, Member, Report, never, silent
from composer.delta import deltas_live
from composer.descent import Learner, descend
from composer.dropout import Losable
from composer.errors import Cancelled as Stopped
from composer.examples import Examples
from composer.heads import Ending, fit_heads, read_by_heads, what_heads_learn
from composer.lock import Lock
from composer.lower import Lowered, lower
from composer.nested import resolver
from composer.rank.probe import CUT, Probe, Targets
from composer.rank.rows import folds, sample
from composer.schedule import Schedule, by_descent, role_of
from composer.search import search_sums
from priors.library import Library

if TYPE_CHECKING:
    from priors.tasks import Task

Fusing = Literal[Fusion, "auto"]

FOLDS = 4

MAX_ROWS = 1_000
"""Rows that fusions are compared on: every one but `concat` and `late` is trained FOLDS times for it."""

CLEAR = 1.0
"""Standard errors of the paired difference by which the held-out loss of another fusion must be lower than that of
blocks side by side. A set is trained for longer and means more to go wrong with it, so a tie is no reason."""

Array = NDArray[np.float64]


def train(
    lowered: Lowered,
    values: Mapping[str, Tensor],
    targets: Targets,
    *,
    checkpoint: Path | None = None,
    report: Report = silent,
    cancelled: Cancelled = never,
) -> tuple[Probe, int]:
    """Fits everything that learns in `lowered`, in place, on the values of all labelled rows; (probe, descent
    steps). Weights of sums are searched for first, with all else where it starts.

    checkpoint  a file that a killed run left and this one goes on from, to the same bits
    """
    search_sums(lowered, values, targets, report=report, cancelled=cancelled)
    fit_functions(lowered, values, np.arange(len(targets)))
    learning = [node for node in by_descent(lowered.lock) if node.name in lowered.learned]
    if not learning:
        return fit_heads(lowered, values, targets), 0
    examples = Examples(lowered, values)
    learners = [Learner(lowered.learned[node.name], role_of(node)) for node in learning]
    with deltas_live(one.module for one in learners):
        body = lowered.part(examples.slots, read_by_heads(lowered.lock))
    schedule = Schedule.of(
        lowered.lock.fit,
        rows=len(targets),
        sequences=examples.are_sequences,
        body=body,
        roles={one.role for one in learners},
    )
    steps, judged = descend(
        body,
        learners,
        examples,
        what_heads_learn(lowered, values, targets),
        schedule,
        seed=lowered.lock.seed,
        losable=Losable.of(lowered, read_by_heads(lowered.lock)),
        checkpoint=checkpoint,
        report=report,
        cancelled=cancelled,
    )
    return fit_heads(lowered, values, targets, judged=judged if steps else None), steps


def choose(
    task: Task,
    members: Sequence[Member],
    offered: Offer,
    library: Library,
    cache: FeatureCache,
    targets: Targets,
    *,
    seed: int = 0,
    report: Report = silent,
    cancelled: Cancelled = never,
) -> tuple[Fusion, dict[str, Any]]:
    """How to join `members`, and the held-out losses that say so: "concat" unless another is clearly better.

    Each fusion is fitted on the other folds as `fit` would, with what it chooses chosen within them. Raises Cancelled.
    """
    rows = sample(targets, MAX_ROWS)
    some, wanted = task.subset(rows), targets.take(rows)
    numbers = folds(wanted, FOLDS, seed)
    losses: dict[Fusion, Array] = {}
    seen: set[str] = set()
    for at, fusion in enumerate(FUSIONS):
        graph = set_graph(task, members, offered, seed=seed, fusion=fusion)
        lock = Lock.of(check(graph, resolver(library)))
        if lock.structure in seen:
            continue  # of one block, or one column, there is nothing to join in another way
        seen.add(lock.structure)
        report(at + 1, len(FUSIONS), f"comparing fusions, {fusion}")
        losses[fusion] = held_out(lock, some, library, cache, wanted, numbers, cancelled=cancelled)
    best = min(losses, key=lambda one: losses[one].mean())
    gap = losses["concat"] - losses[best]
    if best != "concat" and gap.mean() <= CLEAR * wanted.standard_error(gap):
        best = "concat"
    shown = {fusion: round(float(found.mean()), 4) for fusion, found in losses.items()}
    return best, {"chosen": best, "held_out_loss": shown, "rows": len(wanted), "folds": int(numbers.max()) + 1}


def held_out(
    lock: Lock,
    task: Task,
    library: Library,
    cache: FeatureCache,
    targets: Targets,
    numbers: NDArray[np.int64],
    *,
    cancelled: Cancelled = never,
) -> Array:
    """(n,) the loss of each row under the composition that was fitted on the other folds: log loss in nats, or squared
    error in parts of the variance."""
    found = np.empty(len(targets))
    ending = Ending.of(lock)
    for k in range(int(numbers.max()) + 1):
        if cancelled():
            raise Stopped("stopped while comparing fusions. Features are cached.")
        train_rows, held = np.flatnonzero(numbers != k), np.flatnonzero(numbers == k)
        lowered = lower(lock, library)
        values = frozen_values(lowered, task, cache, cancelled=cancelled)
        train(lowered, {name: value[train_rows] for name, value in values.items()}, targets.take(train_rows))
        with torch.inference_mode():
            [said] = lowered.part(list(values), [ending.output])(*(v[held] for v in values.values()))
        found[held] = _losses(said.numpy().astype(np.float64), lowered, targets.take(held))
    return found


def _losses(said: Array, lowered: Lowered, targets: Targets) -> Array:
    """(n,) of what the output says."""
    if targets.is_number:
        return np.asarray(((said[:, 0] - targets.mean) / targets.spread - targets.matrix[:, 0]) ** 2)
    head = lowered.learned[Ending.of(lowered.lock).head.name]
    said = said / float(head.get_buffer("temperature"))
    if targets.sets:
        return np.asarray(np.logaddexp(0.0, said * np.where(targets.matrix > CUT, -1.0, 1.0)).sum(axis=1))
    said = said - said.max(axis=1, keepdims=True)
    right = said[np.arange(len(said)), cast("NDArray[np.int64]", targets.labels)]
    return np.asarray(np.log(np.exp(said).sum(axis=1)) - right)
