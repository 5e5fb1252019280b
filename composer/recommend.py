"""Which priors to combine for a task: the probe tier, from the labelled rows alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from composer.assemble import Offer, Unit, distinct, offer, plain_members
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
    Passed,
    Ranking,
    Report,
    join_names,
    never,
    silent,
    within,
)
from composer.costs import Costs, affordable
from composer.errors import Cancelled as Stopped
from composer.explain import CLEAR, explain
from composer.known import followers, known_of
from composer.past import Past, history_at, ranker_at
from composer.prospects import prospects
from composer.race import Rows, by_loss, narrowed, race
from composer.rank.history import History
from composer.rank.learned import Ranker
from composer.rank.probe import Array, Probe, Targets, chance, gram, probe
from composer.rank.rows import sample
from composer.rank.sets import Scored, Search, Weights, mix, search
from composer.rank.starter import starter_priors
from composer.suspect import suspicions
from composer.taps import alone, at_clear_taps
from composer.targets import read_targets, to_learn_from
from priors.library import Library

if TYPE_CHECKING:
    from priors.client import Hub
    from priors.tasks import Task

STEPS = 4
SHOWN_SETS = 5
MAX_ROWS = 1_000
"""Labelled rows that are judged on: a score takes the cube of the rows, measured 0.1 s for 1,000 and 7 s for 4,000."""


def recommend(
    task: Task,
    *,
    hub: Hub | None = None,
    library: Library | None = None,
    limits: Limits | Mapping[str, Any] | None = None,
    history: History | None = None,
    ranker: Ranker | None = None,
    cache: FeatureCache | Path | str | None = None,
    report: Report = silent,
    cancelled: Cancelled = never,
) -> Ranking:
    """Ranks the priors of `library` (or of `hub`) and sets of them for `task` by leave-one-out on its labelled rows.

    history  how priors did on other tasks, by default what `hub` measured: it has a say in which networks read all rows
             and which one leads a set, the more the fewer rows there are, and the ranking says so
    ranker   what was learned of that history, by default what `hub` trained; the ranking says whether it is on

    Every expected score is exact leave-one-out of the same head that `fit` trains. Raises BadTask when the rows
    cannot be ranked on or no prior reads them; Cancelled when stopped.
    """
    limits = Limits.of(limits)
    library = open_library(library, hub)
    suspected = suspicions(task)
    task = to_learn_from(task)
    targets = read_targets(task)
    offered = offer(task, distinct(library.entries()), limits)
    report(1, STEPS, f"{len(offered.candidates)} blocks of {len(offered.units)} priors")
    rows = sample(targets, MAX_ROWS)
    targets = targets.take(rows)
    offered, costs, late = affordable(
        task, offered, library, limits, report=within(report, 1, STEPS), cancelled=cancelled
    )
    cache = FeatureCache.of(cache)
    hashes: dict[Any, str] = {}

    def read(candidates: Sequence[Candidate], some: Rows) -> Mapping[Candidate, NDArray[np.float32]]:
        blocks = Blocks(
            task, offered, library, cache, candidates=candidates, rows=some, hashes=hashes,
            report=within(report, 2, STEPS, "computing "), cancelled=cancelled,
        )  # fmt: skip
        return blocks.fitted(some, some)

    if history is None and (asked := hub_of(library, hub)) is not None:
        history = history_at(asked)
        ranker = ranker_at(asked) if history is not None and ranker is None else ranker
    past = None if history is None else Past(history, task, offered.units, offered.manifests, ranker)
    rate = by_loss if past is None else past.rate
    ran = race(
        offered, targets, rows, len(task), read, rate=rate, unproven=unproven(offered, past),
        report=within(report, 2, STEPS, "comparing "),
    )  # fmt: skip
    offered = narrowed(offered, ran.kept)
    blocks = read(offered.candidates, rows)
    report(3, STEPS, "scoring every prior alone")
    kernels = {candidate: gram(block) for candidate, block in blocks.items()}
    if cancelled():
        raise Stopped("stopped while scoring. Features are cached.")
    report(4, STEPS, "searching for sets")
    plain = gram(Plain(task).fitted(rows, rows)[0])
    found = rank(
        task, offered, kernels, targets, plain, passed=ran.passed, costs=costs, past=past,
        report=within(report, 4, STEPS, "searching "),
    )  # fmt: skip
    return replace(found, warnings=(*suspected, *late, *found.warnings))


def rank(
    task: Task,
    offered: Offer,
    kernels: Mapping[Candidate, Array],
    targets: Targets,
    plain: Array,
    *,
    passed: Sequence[Passed] = (),
    costs: Costs | None = None,
    past: Past | None = None,
    report: Report = silent,
) -> Ranking:
    """The ranking, given the Gram matrices (n, n) of every candidate and of the plain features on the labelled rows."""
    singles = sorted((_single(candidate, kernels, targets) for candidate in kernels), key=lambda one: one[1].loss)
    best_single = singles[0][1]
    baseline = probe(plain, targets)
    what = "words, pixels, loudness or the bare columns alone"
    base = judged("no prior", "none", plain_members(offered), baseline, best_single, what, 0.0)

    started = perf_counter()
    probes = {candidate: found for candidate, found, _ in singles}
    offered, by_unit, found = find_sets(offered, kernels, targets, probes, past, report, costs)
    units = {unit.name: unit for unit in offered.units}
    seconds = perf_counter() - started

    guess = chance(targets)
    single_choices = tuple(
        judged(offered.name(c), "single", (Member(c, 1.0),), p, best_single, _why_single(p, guess, c, offered), s)
        for c, p, s in singles
    )
    best = _set_choice(found, offered, best_single, seconds, best_of=single_choices)
    sets = (best, *_others(found, offered, by_unit, targets, best_single))
    answer, why = _answer(best, found, baseline, guess)
    chosen = base if answer == "none" else best
    ways = prospects(
        chosen, baseline if answer == "none" else found.chosen.probe, offered, by_unit, targets,
        costs or Costs(), labelled=len(task), history=None if past is None else past.history,
    )  # fmt: skip
    explained = explain(
        found, units, by_unit, targets, baseline, best_single, (best.name, single_choices[0].name),
        (chosen, *sets, *single_choices), passed, ways, past,
    )  # fmt: skip
    return Ranking(
        task=task.name,
        rows=len(task),
        classes=len(task.labels),
        metric=task.metric,
        answer=answer,
        why=why,
        baseline=base,
        singles=single_choices,
        sets=sets,
        best=chosen,
        warnings=(*_spent(chosen, offered, costs), *_warnings(task, targets)),
        passed=tuple(passed),
        explained=explained,
        prospects=ways,
    )


def find_sets(
    offered: Offer,
    kernels: Mapping[Candidate, Array],
    targets: Targets,
    probes: Mapping[Candidate, Probe] | None = None,
    past: Past | None = None,
    report: Report = silent,
    costs: Costs | None = None,
) -> tuple[Offer, dict[str, Array], Search]:
    """The sets of units that the evidence speaks for, with what is known of units before a row is seen: the offer that
    their units are of (see `composer.taps`), the Gram matrix (n, n) of each, and what the search found.

    probes  of single blocks, where they are known
    """
    by_unit, found = _search(offered, kernels, targets, past, report, costs)
    known = probes or {candidate: probe(kernel, targets) for candidate, kernel in kernels.items()}
    if (placed := at_clear_taps(offered, known, found.chosen.probe)) is not None:
        offered = placed
        by_unit, found = _search(offered, kernels, targets, past, report, costs)
    if (unit := alone(offered, known, found.chosen.probe)) is not None:
        [block] = unit.candidates
        offered = replace(offered, units=tuple(unit if one.name == unit.name else one for one in offered.units))
        by_unit[unit.name] = kernels[block]
        found = replace(found, chosen=Scored({unit.name: 1.0}, known[block]))
    return offered, by_unit, found


def _search(
    offered: Offer,
    kernels: Mapping[Candidate, Array],
    targets: Targets,
    past: Past | None,
    report: Report,
    costs: Costs | None,
) -> tuple[dict[str, Array], Search]:
    """Sets of what is known first, as if nobody had brought anything else: what is unproven takes part only in a set
    that is clearly better than that. Or fifty strangers could move a recommendation without being in it, by the places
    they take among those that are tried."""
    by_unit = {unit.name: unit_kernel(unit, kernels) for unit in offered.units}
    trusted = [unit.name for unit in offered.units if unit.trusted]
    if past is not None:
        trusted = past.leaders(trusted, {name: probe(by_unit[name], targets) for name in trusted})
    strangers = frozenset(unproven(offered, past))
    known = known_of(offered.units, offered)

    def found(names: Sequence[str]) -> Search:
        return search(
            {name: by_unit[name] for name in names}, targets, trusted=trusted, followers=followers(offered),
            unproven=strangers, known=known, fits=(costs or Costs()).allow, progress=report,
        )  # fmt: skip

    proven = found([name for name in by_unit if name not in strangers])
    if not strangers:
        return by_unit, proven
    beside = found(list(by_unit))
    gap = proven.chosen.probe.losses - beside.chosen.probe.losses
    return by_unit, beside if _clear(gap, targets) else proven


def unproven(offered: Offer, past: Past | None = None) -> list[str]:
    """The units whose prior neither the past nor the starter history knows; none where nothing of the offer is known,
    for then nothing sets them apart."""
    known = starter_priors() | (frozenset() if past is None else past.proven)
    strangers = [unit.name for unit in offered.units if unit.candidates[0].ref.repo not in known]
    return strangers if len(strangers) < len(offered.units) else []


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


def open_library(library: Library | None, hub: Hub | None) -> Library:
    """The library given, or the hub's catalogue, or what is in the local cache."""
    if library is not None:
        return library
    from priors.client import HubLibrary  # httpx, wanted only by those who have a hub

    return HubLibrary(hub)


def hub_of(library: Library, hub: Hub | None) -> Hub | None:
    """The hub given, or the one that the library lists."""
    from priors.client import HubLibrary

    return library.hub if hub is None and isinstance(library, HubLibrary) else hub


def _single(
    candidate: Candidate, kernels: Mapping[Candidate, Array], targets: Targets
) -> tuple[Candidate, Probe, float]:
    started = perf_counter()
    found = probe(kernels[candidate], targets)
    return candidate, found, perf_counter() - started


def judged(
    name: str, kind: Kind, members: Sequence[Member], found: Probe, best_single: Probe, why: str, seconds: float
) -> Choice:
    """What to expect of `members`, given their probe and that of the best single block."""
    low, high = found.interval
    return Choice(
        name=name,
        kind=kind,
        members=tuple(members),
        expected=round(found.score, 4),
        low=round(low, 4),
        high=round(high, 4),
        gain=round(found.score - best_single.score, 4),
        supported=_supported(found, best_single),
        why=why,
        seconds=round(seconds, 3),
    )


def _supported(found: Probe, best_single: Probe) -> bool:
    """Whether more than the best single block is claimed of a set: in loss, which tells smaller differences, and in
    the score that people read. On the starter history a quarter of 32 claims by loss alone did not come true."""
    fewer, more = best_single.losses - found.losses, found.hits - best_single.hits
    return _clear(fewer, found.targets) and _clear(more, found.targets)


def _clear(gaps: Array, targets: Targets) -> bool:
    """Whether the mean of paired differences (n,) of losses is beyond noise."""
    return bool(gaps.mean() > CLEAR * targets.standard_error(gaps))


def _set_choice(
    search: Search, offered: Offer, best_single: Probe, seconds: float, *, best_of: Sequence[Choice]
) -> Choice:
    found = search.chosen
    members = members_of(found.weights, {unit.name: unit for unit in offered.units})
    kind: Kind = "single" if len(members) == 1 else "taps" if len(found.weights) == 1 else "set"
    parts = ", ".join(f"{name} {weight:.0%}" for name, weight in sorted(found.weights.items(), key=lambda i: -i[1]))
    why = f"weights averaged over the evidence for every set tried: {parts}; best single is {best_of[0].name}"
    if found is not search.averaged and found is not search.grown:
        why = "clearly better by itself than the sets that were tried"
    name = join_names(members, columns=offered.several_columns)
    return judged(name, kind, members, found.probe, best_single, why, seconds)


def _others(
    found: Search, offered: Offer, kernels: Mapping[str, Array], targets: Targets, best_single: Probe
) -> list[Choice]:
    """The best set of each other combination of units, judged on all rows, to be shown beside the recommended one."""
    units = {unit.name: unit for unit in offered.units}
    seen = {frozenset(found.chosen.weights)}
    choices = []
    for one in found.tried:
        key = frozenset(one.weights)
        if key in seen or len(key) < 2:
            continue
        seen.add(key)
        members = members_of(one.weights, units)
        scored = probe(mix(kernels, one.weights), targets)  # the search may have looked at a part of the rows only
        why = "lowest leave-one-out loss with these priors"
        name = join_names(members, columns=offered.several_columns)
        choices.append(judged(name, "set", members, scored, best_single, why, 0.0))
        if len(choices) == SHOWN_SETS:
            break
    return choices


def _answer(best: Choice, search: Search, plain: Probe, guess: Array) -> tuple[Literal["set", "one", "none"], str]:
    """The answer and why; `guess` (n,) are the losses of guessing."""
    note, found = "", search.chosen.probe
    if not _clear(guess - found.losses, found.targets):
        how = "the mean" if found.targets.is_number else "class frequency"
        note = f" None of it is clearly better than guessing by {how}: label more rows before relying on it."
    if found.loss >= plain.loss:
        losses = f"{plain.loss:.3f} without one, {found.loss:.3f} with the best set"
        return "none", f"No prior helps here: the leave-one-out loss is {losses}.{note}"
    if best.kind != "set" and len(search.averaged.weights) > 1:
        return "one", f"{best.name} is enough: it is clearly better than the sets that were tried.{note}"
    if best.kind != "set":
        return "one", f"{best.name} is enough: no other prior earned a part of the weight.{note}"
    if best.supported:
        how = "clearly beats the best single prior"
    elif best.gain > 0:
        how = "beats the best single prior tentatively, within the noise of these rows"
    else:
        how = "is not told apart from the best single prior by these rows, and is the safer choice"
    return "set", f"Combining {how} ({best.gain:+.1%} on the labelled rows).{note}"


def _spent(chosen: Choice, offered: Offer, costs: Costs | None) -> list[str]:
    """What the choice costs, where that is limited."""
    limits = Limits() if costs is None else costs.limits
    names = [
        unit.name for unit in offered.units if not {m.candidate for m in chosen.members}.isdisjoint(unit.candidates)
    ]
    said = []
    if costs is not None and chosen.kind != "none":
        if limits.latency_ms is not None:
            said.append(f"{costs.milliseconds(names):.1f} ms a row on this machine")
        if limits.price is not None:
            said.append(f"{costs.price(names):g} % of what the model is sold for in fees")
    return [f"{chosen.name} takes {' and '.join(said)}."] if said else []


def _why_single(found: Probe, guess: Array, candidate: Candidate, offered: Offer) -> str:
    what = "network" if offered.manifests[candidate].kind == "network" else "function"
    explained = 1 - found.loss / float(guess.mean())
    return f"{what}; explains {max(explained, 0):.0%} of the uncertainty about the label, penalty {found.penalty:g}"


def _warnings(task: Task, targets: Targets) -> list[str]:
    found = []
    if len(targets) < len(task):
        found.append(f"judged on {len(targets):,} of {len(task):,} rows, chosen at random; fitting uses all.")
    if task.kind not in ("regression", "multilabel"):
        found += _one_group_classes(task)
        counts = np.bincount(task.y, minlength=len(task.labels))
        if counts.max() > 20 * counts.min():
            found.append(
                f"class {task.labels[int(counts.argmax())]!r} has {counts.max() // max(counts.min(), 1)} times as many "
                f"rows as {task.labels[int(counts.argmin())]!r}: accuracy says little about the rare one."
            )
    return found


def _one_group_classes(task: Task) -> list[str]:
    if task.groups is None:
        return []
    alone = [label for i, label in enumerate(task.labels) if len(set(task.groups[task.y == i])) == 1]
    return [
        f"every row of class {label!r} has the same {task.group!r}: with them left out nothing is known of the class, "
        "and its rows count as wrong."
        for label in alone
    ]
