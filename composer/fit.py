"""Fits a composition to labelled rows: frozen values once through the cache, then whatever learns.

Two ways, chosen by what learns. When only fitted functions and one linear head do (sets fused by `concat`),
everything is a closed form: functions from their rows, the head by ridge regression at the leave-one-out penalty.
When anything else learns too (projections, gates, attention, a network's own weights), all of it is trained together by
gradient descent from a start that equals the best known part, for as many steps as cross-validation says
(`composer.descent`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor

from composer.adapt import PENALTY, Adapted, Budget, Mode, Workplace, decide
from composer.adapt_graph import fit_deltas
from composer.assemble import ADAPTED_DELTA, Fusion, Offer, offer, plain_members, set_graph
from composer.blocks import adapted_values, encoded_values, fit_functions, frozen_values
from composer.cache import FeatureCache
from composer.calibrate import reliability
from composer.check import TypedNode, check
from composer.choices import Cancelled, Choice, Member, Report, never, silent, within
from composer.composition import Composition
from composer.delta import Delta
from composer.dropout import columns_of, with_dropout
from composer.errors import BadGraph
from composer.fuse import Fusing, choose, train
from composer.gaps import count_gaps
from composer.graph import Graph
from composer.heads import Ending, set_head
from composer.lock import Lock
from composer.lower import Lowered, lower
from composer.nested import resolver
from composer.rank.head import Ridge, ridge, ridge_at
from composer.rank.history import History
from composer.rank.learned import Ranker
from composer.rank.precision import mean_average_precision
from composer.rank.probe import CUT, Probe, Targets, macro_f1
from composer.recommend import open_library, recommend
from composer.schedule import only_deltas_descend
from composer.targets import read_targets, to_learn_from
from priors.errors import BadTask
from priors.library import Library

if TYPE_CHECKING:
    from priors.client import Hub
    from priors.tasks import Task

STEPS = 4

ClassWeights = Literal["none", "balanced"]


def fit(
    task: Task,
    choice: Choice | Graph | None = None,
    *,
    hub: Hub | None = None,
    library: Library | None = None,
    history: History | None = None,
    ranker: Ranker | None = None,
    cache: FeatureCache | Path | str | None = None,
    seed: int = 0,
    fusion: Fusing = "concat",
    adapt: Mode = "none",
    budget_seconds: float | None = None,
    class_weights: ClassWeights = "none",
    folder: Path | str | None = None,
    report: Report = silent,
    cancelled: Cancelled = never,
) -> Composition:
    """The composition `choice` fitted to `task`'s labelled rows; without a choice, the recommended one.

    history         of other tasks, for the recommendation where there is no choice; ranker: what was learned of it
    seed            of projections, folds and deltas; 0 keeps the one a graph names
    fusion          how the members of a choice are joined (composer.assemble.set_graph); a graph says so itself. "auto"
                    keeps "concat" unless cross-validation on the rows is clearly for another (composer.fuse)
    class_weights   "balanced" lets every class count the same in all, however many rows it has
    adapt           "auto" adapts the choice's leading network to the rows where cross-validation on them is for it;
                    "lora" and "full" do so anyway; "none" leaves every network as it is
    folder          where the files lie that constants of a graph name
    budget_seconds  what adapting may take, comparison included. Steps are planned from it by the clock; without one,
                    nothing depends on time

    Same task, same graph, same seed: the same bits on the same machine. A run that adapts and is killed goes on where
    it was when it is called again. Raises BadTask, BadGraph, PortMismatch or UnknownPrior for what cannot be fitted;
    Cancelled when stopped.
    """
    library = open_library(library, hub)
    cache = FeatureCache.of(cache)
    task = to_learn_from(task)
    targets = read_targets(task)
    if class_weights == "balanced":
        if targets.labels is None:
            what = "several labels a row" if targets.sets else "a number"
            raise BadTask(
                f"class_weights='balanced' weighs rows by their one label; {task.name} has {what}. Use 'none'."
            )
        targets = targets.balanced()
    facts: dict[str, Any] = {}
    started = perf_counter()
    if choice is None:
        ranking = recommend(
            task, library=library, history=history, ranker=ranker, cache=cache, report=report, cancelled=cancelled
        )
        choice, facts["ranking"] = ranking.best, ranking.to_dict()
    adapted: Adapted | None = None
    if isinstance(choice, Graph):
        if adapt not in ("auto", "none"):
            raise BadGraph(
                f"adapt={adapt} changes a choice, and a graph says itself what is adapted. Add a delta node."
            )
        graph = Graph.from_dict({**choice.to_dict(), "fit": {**choice.fit, "seed": seed}}) if seed else choice
    else:
        offered = offer(task, library.entries())
        choice = _with_members(task, choice, offered)
        members = [member.to_dict() for member in choice.members]
        place = Workplace(cache, task=task.fingerprint, members=members, adapt=adapt, seed=seed, budget=budget_seconds)
        joined: Fusion = "concat"
        if fusion == "auto":
            joined, facts["fusion"] = choose(
                task, choice.members, offered, library, cache, targets, seed=seed, report=within(report, 1, STEPS),
                cancelled=cancelled,
            )  # fmt: skip
        else:
            joined = fusion
        if adapt != "none":
            adapted, facts["adaptation"] = _decide(
                task, choice, offered, library, cache, targets, adapt, joined, Budget(budget_seconds), place, seed,
                within(report, 1, STEPS), cancelled,
            )  # fmt: skip
        graph = _graph_of(task, choice, offered, adapted, seed=seed, fusion=joined)
    report(1, STEPS, f"checking {graph.name}: {len(graph.nodes)} nodes")
    lock = Lock.of(check(graph, resolver(library)))
    _fits_task(lock, task)
    if isinstance(choice, Graph):
        place = Workplace(cache, task=task.fingerprint, structure=lock.structure, seed=lock.seed, fit=dict(lock.fit))
    lowered = lower(lock, library, folder=None if folder is None else Path(folder))
    report(2, STEPS, "computing frozen features")
    values = frozen_values(lowered, task, cache, report=within(report, 2, STEPS), cancelled=cancelled)
    computed = perf_counter() - started
    report(3, STEPS, "fitting")
    if adapted is not None:
        delta = lowered.learned[ADAPTED_DELTA]
        if not isinstance(delta, Delta):
            raise BadGraph(f"node {ADAPTED_DELTA!r} of {graph.name} is no delta. Fit the choice again.")
        delta.load_state_dict(adapted.delta, strict=False)  # it has more where the network is deeper than the tap
        delta.requires_grad_(False)
        values |= adapted_values(lowered, task)
        found, steps = fit_mixture(lowered, values, targets, adapted), adapted.recipe.steps
    elif only_deltas_descend(lock):
        (found, weight, bias), steps = fit_deltas(
            lowered, task, targets, values, place=place, report=within(report, 3, STEPS), cancelled=cancelled
        )
        set_head(lowered.learned[Ending.of(lock).output], weight, bias, found, targets)
        facts["adaptation"] = {"chosen": "as the graph says", "why": "its delta nodes were trained on the rows"}
    else:
        found, steps = train(
            lowered,
            {**values, **encoded_values(lowered, task)},
            targets,
            checkpoint=place.file("descent"),
            report=within(report, 3, STEPS),
            cancelled=cancelled,
        )
    place.clear()
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
    if gaps := count_gaps(task):
        facts["gaps"] = gaps
    if not targets.is_number:
        facts["calibration"] = reliability(found)
    if targets.sets:
        facts["map"] = round(mean_average_precision(found.targets.matrix, found.scores), 4)
        facts["macro_f1"] = round(macro_f1(found.targets.matrix, found.scores > CUT), 4)
    if targets.weights is not None:
        facts["class_weights"] = class_weights
        facts["balanced_accuracy"] = round(float(np.average(found.hits, weights=found.targets.weights)), 4)
    if task.unit:
        facts["unit"] = task.unit
    folded = steps or facts.get("adaptation", {}).get("chosen", "frozen") != "frozen"
    facts["judged"] = "cross-validated" if folded else "leave-one-out"
    report(4, STEPS, f"{facts['judged']} {task.metric} {found.score:.3f}", expected=found.score)
    return Composition(graph, lock, lowered, facts)


def fit_mixture(lowered: Lowered, values: Mapping[str, Tensor], targets: Targets, adapted: Adapted) -> Probe:
    """The head over frozen blocks and, last, the adapted one: a ridge head for each, mixed as cross-validation says.

    A linear head over blocks side by side holds both. The adapted rows were trained on with their labels, so its head
    has a given penalty, and scores and temperature are the cross-validated ones.
    """
    fit_functions(lowered, values, np.arange(len(targets)))
    head = lowered.lock.node(next(iter(lowered.lock.outputs.values())))
    joined = lowered.lock.node(head.sources[0])
    ends = list(joined.sources) if joined.op == "concat" else [joined.name]
    with torch.inference_mode():
        blocks = [block.numpy() for block in lowered.part(list(values), ends)(*values.values())]
    weight, bias = ridge_at(blocks[-1], targets, PENALTY)
    if len(blocks) > 1:
        frozen = _with_columns_lost(lowered.lock, joined.name, np.hstack(blocks[:-1]), targets)
        weight = np.hstack([(1 - adapted.part) * frozen.weight, adapted.part * weight])
        bias = (1 - adapted.part) * frozen.bias + adapted.part * bias
    set_head(lowered.learned[head.name], weight, bias, adapted.probe, targets)
    return adapted.probe


def _with_columns_lost(lock: Lock, joined: str, frozen: np.ndarray, targets: Targets) -> Ridge:
    """The head of the frozen blocks, which stand first in `joined`: with dropout of columns where they have several."""
    made, columns = ridge(frozen, targets), columns_of(lock, joined)
    if columns is None:
        return made
    kept = np.unique(columns[: frozen.shape[1]], return_inverse=True)[1].astype(np.int64)
    return with_dropout(made, frozen, targets, kept, mixed=True) if kept.any() else made


def _decide(
    task: Task, choice: Choice, offered: Offer, library: Library, cache: FeatureCache, targets: Targets, mode: Mode,
    fusion: Fusion, budget: Budget, place: Workplace, seed: int, report: Report, cancelled: Cancelled,
) -> tuple[Adapted | None, dict[str, Any]]:  # fmt: skip
    if fusion != "concat":
        if mode != "auto":
            raise BadTask(f"adapt={mode} and fusion={fusion} do not go together. Use fusion='concat'.")
        return None, {"chosen": "frozen", "why": f"sets fused by {fusion} are not adapted"}
    verdict = decide(
        task, choice, offered, library, cache, targets, mode=mode, budget=budget, place=place, seed=seed,
        report=report, cancelled=cancelled,
    )  # fmt: skip
    return verdict.adapted, dict(verdict.facts)


def _with_members(task: Task, choice: Choice, offered: Offer) -> Choice:
    """The choice with members this library has; plain ones where it names none. Raises BadTask."""
    members: Sequence[Member] = choice.members or plain_members(offered)
    if not members:
        raise BadTask(f"nothing was recommended for {task.name}, and the library has no plain features. Name a set.")
    for member in members:
        if member.candidate not in offered.manifests:
            raise BadTask(f"{member.candidate.name} cannot read {task.name}. Recommend again with this library.")
    return replace(choice, members=tuple(members))


def _graph_of(
    task: Task, choice: Choice, offered: Offer, adapted: Adapted | None, *, seed: int, fusion: Fusion
) -> Graph:
    if adapted is None:
        return set_graph(task, choice.members, offered, seed=seed, fusion=fusion)
    recipe = adapted.recipe
    delta: dict[str, Any] = {"kind": recipe.kind, "targets": list(recipe.targets)}
    delta |= {key: value for key, value in {"r": recipe.r, "alpha": recipe.alpha}.items() if value is not None}
    members = choice.members if adapted.part < 1 else ()
    return set_graph(task, members, offered, seed=seed, adapted=adapted.candidate, delta=delta)


def _fits_task(lock: Lock, task: Task) -> None:
    """The heads of the graph's output must be of the task."""
    for head, _ in Ending.of(lock).heads:
        _head_fits(head, task)


def _head_fits(head: TypedNode, task: Task) -> None:
    labels = tuple(head.attrs.get("labels", ()))
    if labels != task.labels:
        shown = ", ".join(task.labels) or "a number"
        raise BadGraph(f"head {head.name!r} predicts {', '.join(labels) or 'a number'}, {task.name} has {shown}.")
    if labels and (head.attrs["loss"] == "binary_cross_entropy") != (task.kind == "multilabel"):
        one, loss = (
            ("several labels", "binary_cross_entropy") if task.kind == "multilabel" else ("one label", "cross_entropy")
        )
        raise BadGraph(f"head {head.name!r} has loss {head.attrs['loss']}, a row of {task.name} has {one}. Use {loss}.")
    if not labels and task.unit and head.attrs.get("unit", task.unit) != task.unit:
        raise BadGraph(
            f"head {head.name!r} predicts {head.attrs['unit']}, {task.target} is in {task.unit}. Convert one."
        )
