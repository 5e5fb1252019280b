"""Fits a composition to labelled rows: frozen values once through the cache, then whatever learns.

Two ways, chosen by what learns. When only fitted functions and one linear head do (sets fused by `concat`),
everything is a closed form: functions from their rows, the head by ridge regression at the leave-one-out penalty.
When projections, gates or mixing weights learn too, these are trained by gradient descent from a start that equals
the best known part, for as many steps as cross-validation says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from composer.assemble import Fusion, offer, plain_members, set_graph
from composer.blocks import fit_functions, frozen_values
from composer.cache import FeatureCache
from composer.check import check
from composer.choices import Cancelled, Choice, Member, Report, never, silent, within
from composer.composition import Composition
from composer.descent import descend
from composer.errors import BadGraph
from composer.graph import Graph
from composer.lock import Lock
from composer.lower import Lowered, lower
from composer.rank.head import ridge
from composer.rank.probe import Probe, Targets
from composer.recommend import open_library, read_targets, recommend, to_learn_from
from priors.errors import BadTask
from priors.library import Library, resolver

if TYPE_CHECKING:
    from priors.client import Hub
    from priors.tasks import Task

STEPS = 4


def fit(
    task: Task,
    choice: Choice | Graph | None = None,
    *,
    hub: Hub | None = None,
    library: Library | None = None,
    cache: FeatureCache | Path | str | None = None,
    seed: int = 0,
    fusion: Fusion = "concat",
    report: Report = silent,
    cancelled: Cancelled = never,
) -> Composition:
    """The composition `choice` fitted to `task`'s labelled rows; without a choice, the recommended one.

    seed    of projections and folds; 0 keeps the one a graph names
    fusion  how the members of a choice are joined (composer.assemble.set_graph); a graph says so itself

    Same task, same graph, same seed: the same bits on the same machine. Raises BadTask, BadGraph, PortMismatch or
    UnknownPrior for what cannot be fitted; Cancelled when stopped.
    """
    library = open_library(library, hub)
    cache = FeatureCache.of(cache)
    task = to_learn_from(task)
    targets = read_targets(task)
    facts: dict[str, Any] = {}
    started = perf_counter()
    if choice is None:
        ranking = recommend(task, library=library, cache=cache, report=report, cancelled=cancelled)
        choice, facts["ranking"] = ranking.best, ranking.to_dict()
    if isinstance(choice, Graph):
        graph = Graph.from_dict({**choice.to_dict(), "fit": {**choice.fit, "seed": seed}}) if seed else choice
    else:
        graph = _graph_of(task, choice, library, seed=seed, fusion=fusion)
    report(1, STEPS, f"checking {graph.name}: {len(graph.nodes)} nodes")
    lock = Lock.of(check(graph, resolver(library)))
    _fits_task(lock, task)
    lowered = lower(lock, library)
    report(2, STEPS, "computing frozen features")
    values = frozen_values(lowered, task, cache, report=within(report, 2, STEPS), cancelled=cancelled)
    computed = perf_counter() - started
    report(3, STEPS, "fitting")
    found, steps = train(lowered, values, targets, report=within(report, 3, STEPS), cancelled=cancelled)
    low, high = found.interval
    facts |= {
        "task": task.name,
        "rows": len(targets),
        "metric": task.metric,
        "expected": round(found.score, 4),
        "low": round(low, 4),
        "high": round(high, 4),
        "penalty": found.penalty,
        "steps": steps,
        "seed": lock.seed,
        "members": [member.to_dict() for member in choice.members] if isinstance(choice, Choice) else [],
        "seconds": {"features": round(computed, 3), "fit": round(perf_counter() - started - computed, 3)},
        "labels": list(task.labels),
    }
    report(4, STEPS, f"leave-one-out {task.metric} {found.score:.3f}", expected=found.score)
    return Composition(graph, lock, lowered, facts)


def train(
    lowered: Lowered,
    values: Mapping[str, Tensor],
    targets: Targets,
    *,
    report: Report = silent,
    cancelled: Cancelled = never,
) -> tuple[Probe, int]:
    """Fits everything that learns in `lowered`, in place, on the values of all labelled rows; (probe, descent
    steps)."""
    rows = np.arange(len(targets))
    fit_functions(lowered, values, rows)
    head = lowered.lock.node(next(iter(lowered.lock.outputs.values())))
    source = head.sources[0]
    given = list(values)
    learners = [node.name for node in lowered.lock.nodes if node.learns and node.op != "fn" and node is not head]
    steps = 0
    if learners:
        body = lowered.part(given, [source])
        steps = descend(
            body,
            [lowered.learned[name] for name in learners],
            tuple(values.values()),
            targets,
            seed=lowered.lock.seed,
            report=report,
            cancelled=cancelled,
        )
    if source in values:
        features = values[source]
    else:
        with torch.inference_mode():
            features = lowered.part(given, [source])(*values.values())[0]
    return fit_head(lowered.learned[head.name], features.numpy(), targets), steps


def fit_head(head: nn.Module, features: NDArray[np.float32], targets: Targets) -> Probe:
    """Sets a head's weight, bias and temperature by ridge regression on features (n, D); its leave-one-out probe.

    Probabilities of a class head are softmax(y / temperature).
    """
    found = ridge(features, targets)
    weight, bias = found.weight, found.bias
    if targets.labels is None:
        weight, bias = weight * targets.spread, bias * targets.spread + targets.mean
    state = {
        "weight": torch.from_numpy(weight).float(),
        "bias": torch.from_numpy(bias).float(),
        "temperature": torch.tensor(1.0 / found.probe.sharpness, dtype=torch.float32),
    }
    head.load_state_dict(state)
    return found.probe


def _graph_of(task: Task, choice: Choice, library: Library, *, seed: int, fusion: Fusion) -> Graph:
    offered = offer(task, library.entries())
    members: Sequence[Member] = choice.members or plain_members(offered)
    if not members:
        raise BadTask(f"nothing was recommended for {task.name}, and the library has no plain features. Name a set.")
    for member in members:
        if member.candidate not in offered.manifests:
            raise BadTask(f"{member.candidate.name} cannot read {task.name}. Recommend again with this library.")
    return set_graph(task, members, offered, seed=seed, fusion=fusion)


def _fits_task(lock: Lock, task: Task) -> None:
    """The graph's head must be of the task."""
    head = lock.node(next(iter(lock.outputs.values())))
    if head.op != "head" or len(lock.outputs) != 1:
        raise BadGraph(f"{lock.name}: the output is a {head.op}. A composition that is fitted ends in one head.")
    labels = tuple(head.attrs.get("labels", ()))
    if labels != task.labels:
        shown = ", ".join(task.labels) or "a number"
        raise BadGraph(f"head {head.name!r} predicts {', '.join(labels) or 'a number'}, {task.name} has {shown}.")
