"""Which priors to combine for a task: the probe tier, from the labelled rows alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from composer.assemble import Offer, Unit, offer, plain_members
from composer.baseline import Plain
from composer.blocks import Blocks
from composer.cache import FeatureCache
from composer.choices import (
    Cancelled,
    Candidate,
    Choice,
    Kind,
    Limits,
    Member,
    Ranking,
    Report,
    join_names,
    never,
    silent,
)
from composer.errors import Cancelled as Stopped
from composer.rank.probe import Array, Probe, Targets, chance, gram, probe
from composer.rank.sets import Scored, Weights, mix, search
from priors.errors import BadTask
from priors.library import Library

if TYPE_CHECKING:
    from priors.client import Hub
    from priors.tasks import Task

STEPS = 4
SHOWN_SETS = 5
CLEAR = 2.0
"""Standard errors of the paired loss difference from which a claim is called supported."""


def recommend(
    task: Task,
    *,
    hub: Hub | None = None,
    library: Library | None = None,
    limits: Limits | Mapping[str, Any] | None = None,
    cache: FeatureCache | Path | str | None = None,
    report: Report = silent,
    cancelled: Cancelled = never,
) -> Ranking:
    """Ranks the priors of `library` (or of `hub`) and sets of them for `task` by leave-one-out on its labelled rows.

    Every expected score is exact leave-one-out of the same head that `fit` trains. Raises BadTask when the rows
    cannot be ranked on or no prior reads them; Cancelled when stopped.
    """
    library = open_library(library, hub)
    targets = read_targets(task)
    offered = offer(task, library.entries(), limits)
    report(1, STEPS, f"{len(offered.candidates)} blocks of {len(offered.units)} priors")
    blocks = Blocks(
        task,
        offered,
        library,
        FeatureCache.of(cache),
        report=_within(report, 2, "computing"),
        cancelled=cancelled,
    )
    rows = np.arange(len(task))
    report(3, STEPS, "scoring every prior alone")
    kernels = {candidate: gram(block) for candidate, block in blocks.fitted(rows).items()}
    if cancelled():
        raise Stopped("stopped while scoring. Features are cached.")
    report(4, STEPS, "searching for sets")
    plain = gram(Plain(task).fitted(rows, rows)[0])
    return rank(task, offered, kernels, targets, plain)


def rank(task: Task, offered: Offer, kernels: Mapping[Candidate, Array], targets: Targets, plain: Array) -> Ranking:
    """The ranking, given the Gram matrices (n, n) of every candidate and of the plain features on the labelled rows."""
    singles = sorted((_single(candidate, kernels, targets) for candidate in kernels), key=lambda one: one[1].loss)
    best_single = singles[0][1]
    base = _judge("no prior", "none", plain_members(offered), probe(plain, targets), best_single, "", 0.0)

    started = perf_counter()
    units = {unit.name: unit for unit in offered.units}
    by_unit = {name: unit_kernel(unit, kernels) for name, unit in units.items()}
    found = search(by_unit, targets, trusted=[name for name, unit in units.items() if unit.trusted])
    seconds = perf_counter() - started

    single_choices = tuple(
        _judge(c.name, "single", (Member(c, 1.0),), p, best_single, _why_single(p, targets, c, offered), s)
        for c, p, s in singles
    )
    best = _set_choice(found.averaged, units, best_single, seconds, best_of=single_choices)
    sets = (best, *_others(found.tried, found.averaged.weights, units, best_single))
    baseline_probe = probe(plain, targets)
    answer, why = _answer(best, found.averaged.probe, baseline_probe, targets)
    chosen = base if answer == "none" else best
    return Ranking(
        task=task.name,
        rows=len(targets),
        classes=len(task.labels),
        metric=task.metric,
        answer=answer,
        why=why,
        baseline=base,
        singles=single_choices,
        sets=sets,
        best=chosen,
        warnings=tuple(_warnings(task)),
    )


def unit_kernel(unit: Unit, kernels: Mapping[Candidate, Array]) -> Array:
    """The Gram matrix of a unit: the mean of its taps'."""
    return mix({c.tap: kernels[c] for c in unit.candidates}, {c.tap: 1 / len(unit.candidates) for c in unit.candidates})


def members_of(weights: Weights, units: Mapping[str, Unit]) -> tuple[Member, ...]:
    """The blocks of a weighted set of units, heaviest first; a unit's weight is shared equally by its taps."""
    found = [
        Member(candidate, weight / len(units[name].candidates))
        for name, weight in weights.items()
        for candidate in units[name].candidates
    ]
    return tuple(sorted(found, key=lambda member: -member.weight))


def read_targets(task: Task) -> Targets:
    """The targets of the labelled rows. Raises BadTask for rows that leave-one-out cannot judge."""
    if task.kind == "regression":
        if len(task) < 4:
            raise BadTask(f"{task.name} has {len(task)} labelled rows. Give at least 4 for a number to predict.")
        return Targets.of_values(np.asarray(task.y, dtype=np.float64)).grouped(task.groups)
    counts = np.bincount(task.y, minlength=len(task.labels))
    for label, count in zip(task.labels, counts, strict=True):
        if count < 2:
            rows = "no labelled row" if count == 0 else "one labelled row"
            raise BadTask(f"class {label!r} of {task.name} has {rows}. Label at least 2 of it, or leave the class out.")
    return Targets.of_classes(np.asarray(task.y, dtype=np.int64), len(task.labels)).grouped(task.groups)


def open_library(library: Library | None, hub: Hub | None) -> Library:
    """The library given, or the hub's catalogue, or what is in the local cache."""
    if library is not None:
        return library
    from priors.client import HubLibrary  # httpx, wanted only by those who have a hub

    return HubLibrary(hub)


def _single(
    candidate: Candidate, kernels: Mapping[Candidate, Array], targets: Targets
) -> tuple[Candidate, Probe, float]:
    started = perf_counter()
    found = probe(kernels[candidate], targets)
    return candidate, found, perf_counter() - started


def _judge(
    name: str, kind: Kind, members: Sequence[Member], found: Probe, best_single: Probe, why: str, seconds: float
) -> Choice:
    n = len(found.hits)
    error = float(found.hits.std() / np.sqrt(n))
    if kind != "none":
        # Wilson-like floor: 20 of 20 right is not certainty.
        error = max(error, float(np.sqrt((found.score + 2 / n) * max(1 - found.score + 2 / n, 0) / (n + 4))))
    gap = best_single.losses - found.losses
    return Choice(
        name=name,
        kind=kind,
        members=tuple(members),
        expected=round(found.score, 4),
        low=round(max(found.score - 1.96 * error, -1.0 if found.score < 0 else 0.0), 4),
        high=round(min(found.score + 1.96 * error, 1.0), 4),
        gain=round(found.score - best_single.score, 4),
        supported=bool(gap.mean() > CLEAR * gap.std() / np.sqrt(n)),
        why=why,
        seconds=round(seconds, 3),
    )


def _set_choice(
    found: Scored, units: Mapping[str, Unit], best_single: Probe, seconds: float, *, best_of: Sequence[Choice]
) -> Choice:
    members = members_of(found.weights, units)
    kind: Kind = "single" if len(members) == 1 else "taps" if len(found.weights) == 1 else "set"
    parts = ", ".join(f"{name} {weight:.0%}" for name, weight in sorted(found.weights.items(), key=lambda i: -i[1]))
    why = f"weights averaged over the evidence for every set tried: {parts}; best single is {best_of[0].name}"
    return _judge(join_names(members), kind, members, found.probe, best_single, why, seconds)


def _others(tried: Sequence[Scored], chosen: Weights, units: Mapping[str, Unit], best_single: Probe) -> list[Choice]:
    """The best set of each other combination of units, to be shown beside the recommended one."""
    seen = {frozenset(chosen)}
    found = []
    for one in tried:
        key = frozenset(one.weights)
        if key in seen or len(key) < 2:
            continue
        seen.add(key)
        members = members_of(one.weights, units)
        why = "lowest leave-one-out loss with these priors"
        found.append(_judge(join_names(members), "set", members, one.probe, best_single, why, 0.0))
        if len(found) == SHOWN_SETS:
            break
    return found


def _answer(best: Choice, found: Probe, plain: Probe, targets: Targets) -> tuple[Any, str]:
    gap = chance(targets) - found.losses
    if gap.mean() <= CLEAR * gap.std() / np.sqrt(len(gap)):
        note = " None of it is clearly better than guessing by class frequency: label more rows before relying on it."
    else:
        note = ""
    if found.loss >= plain.loss:
        losses = f"{plain.loss:.3f} without one, {found.loss:.3f} with the best set"
        return "none", f"No prior helps here: the leave-one-out loss is {losses}.{note}"
    if best.kind != "set":
        return "one", f"{best.name} is enough: no other prior earned a part of the weight.{note}"
    sure = "clearly" if best.supported else "tentatively, within the noise of these rows,"
    return "set", f"Combining {sure} beats the best single prior by {best.gain:+.1%} on the labelled rows.{note}"


def _why_single(found: Probe, targets: Targets, candidate: Candidate, offered: Offer) -> str:
    guess = float(chance(targets).mean())
    what = "network" if offered.manifests[candidate].kind == "network" else "function"
    explained = 1 - found.loss / guess if guess > 0 else 0.0
    return f"{what}; explains {max(explained, 0):.0%} of the uncertainty about the label, penalty {found.penalty:g}"


def _warnings(task: Task) -> list[str]:
    found = []
    if task.kind != "regression":
        counts = np.bincount(task.y, minlength=len(task.labels))
        if counts.max() > 20 * counts.min():
            found.append(
                f"class {task.labels[int(counts.argmax())]!r} has {counts.max() // max(counts.min(), 1)} times as many "
                f"rows as {task.labels[int(counts.argmin())]!r}: accuracy says little about the rare one."
            )
    return found


def _within(report: Report, step: int, what: str) -> Report:
    def inner(done: int, of: int, message: str, **metrics: Any) -> None:
        report(step, STEPS, f"{what} {message}: {done:,} of {of:,}", **metrics)

    return inner
