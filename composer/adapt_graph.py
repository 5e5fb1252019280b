"""Trains the deltas that a graph names itself, and judges the whole by folds, as trained rows cannot judge it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from composer.adapt import FOLDS, PENALTY, RECIPES, Workplace
from composer.blocks import adapted_values, column_values, fit_functions
from composer.check import TypedNode
from composer.choices import Cancelled, Report, never, silent, within
from composer.contrast import Recipe, Subject, alike, tune
from composer.delta import Delta
from composer.errors import BadGraph
from composer.examples import computed
from composer.heads import Ending
from composer.lower import Lowered
from composer.rank.head import ridge_at
from composer.rank.probe import Array, Probe, Targets, hits_of, judge
from composer.rank.rows import folds

if TYPE_CHECKING:
    from priors.tasks import Task

Trained = tuple[Probe, Array, Array]


def fit_deltas(
    lowered: Lowered,
    task: Task,
    targets: Targets,
    values: Mapping[str, Tensor],
    *,
    place: Workplace,
    report: Report = silent,
    cancelled: Cancelled = never,
) -> tuple[Trained, int]:
    """Trains every delta of `lowered` that learns, then its functions, in place; the head's cross-validated probe,
    weight and bias, and the steps of the deltas.

    Steps and learning rate are those of the graph's `fit` (`steps`, `lr: {delta: ...}`). Raises BadGraph for a delta
    whose net does not read an input column by itself, or beside other parts that learn by descent.
    """
    jobs = [_job(lowered, node, task) for node in lowered.lock.nodes if node.op == "delta" and node.learns]
    starts = [{name: value.clone() for name, value in delta.state_dict().items()} for delta, _, _ in jobs]
    numbers = folds(targets, FOLDS, lowered.lock.seed)
    count = int(numbers.max()) + 1
    scores = np.zeros_like(targets.matrix)
    everything = np.arange(len(targets))
    for k in range(count + 1):
        train, held = (np.flatnonzero(numbers != k), np.flatnonzero(numbers == k)) if k < count else (everything,) * 2
        name = f"fold-{k}" if k < count else "all"
        for number, ((delta, subject, recipe), start) in enumerate(zip(jobs, starts, strict=True)):
            delta.load_state_dict(start)
            delta.requires_grad_(True)
            tune(
                subject, delta, train, alike(targets.take(train)), recipe, seed=lowered.lock.seed,
                checkpoint=place.file(f"{name}-{number}"), report=within(report, k + 1, count + 1), cancelled=cancelled,
            )  # fmt: skip
        features = _features(lowered, {**values, **adapted_values(lowered, task)}, train)
        weight, bias = ridge_at(features[train], targets.take(train), PENALTY)
        if k < count:
            scores[held] = features[held] @ weight.T + bias
    sharpness, losses = judge(scores, targets)
    return (Probe(targets, PENALTY, sharpness, scores, losses, hits_of(scores, losses, targets)), weight, bias), max(
        r.steps for _, _, r in jobs
    )


def _features(lowered: Lowered, values: Mapping[str, Tensor], train: np.ndarray) -> Array:
    """(n, D) of what the head reads, for all rows, with functions fitted on the rows `train`."""
    fit_functions(lowered, values, train)
    source = Ending.of(lowered.lock).head.sources[0]
    return np.asarray(computed(lowered, values, source).numpy(), dtype=np.float64)


def _job(lowered: Lowered, node: TypedNode, task: Task) -> tuple[Delta, Subject, Recipe]:
    nodes = {one.name: one for one in lowered.lock.nodes}
    others = [one for one in nodes.values() if one.learns and one.op not in ("delta", "net", "fn", "head")]
    if others:
        raise BadGraph(
            f"nodes {node.name!r} (delta) and {others[0].name!r} ({others[0].op}) would both be trained by descent. "
            "Fit one of them: this version trains deltas beside functions and a head."
        )
    nets = [one for one in nodes.values() if one.op == "net" and node.name in one.sources]
    column = _column(nodes, nets[-1]) if nets else None
    base = nodes[node.sources[0]]
    if column is None or base.op != "load":
        raise BadGraph(
            f"node {node.name!r} (delta) is trained where it changes a loaded prior whose net reads one input column "
            "of raw values. Wire it so, or write 'train: frozen'."
        )
    values = column_values(lowered.lock, task)[column]
    subject = Subject(lowered.priors.get(base.attrs["prior"]), nets[-1].attrs["tap"], list(values))
    delta: Any = lowered.learned[node.name]
    kind, asked = node.attrs["kind"], lowered.lock.fit
    recipe = RECIPES["full" if kind == "full" else "lora"]
    rates = asked.get("lr")
    rate = rates.get("delta") if isinstance(rates, Mapping) else None
    return (
        delta,
        subject,
        replace(recipe, kind=kind, steps=int(asked.get("steps", recipe.steps)), lr=float(rate or recipe.lr)),
    )


def _column(nodes: Mapping[str, TypedNode], net: TypedNode) -> str | None:
    """The input node whose raw values the net reads through its own encoder; None where it reads something else."""
    sources = [source for port, source in net.inputs if port != "w"]
    if len(sources) != 1 or nodes[sources[0]].op != "encode":
        return None
    source = nodes[nodes[sources[0]].sources[0]]
    return source.name if source.op == "input" else None
