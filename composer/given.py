"""The weights of a set that somebody chose: how much each of its members counts, by leave-one-out on the labelled rows.

    choice = given(task, ["char-ngrams", "word-ngrams", "all-minilm-l6-v2"])
    model = fit(task, choice)

Every member alone, all of them with equal parts, and mixtures between are compared and averaged over the evidence
(composer.rank.sets): where the rows cannot tell members apart none is trusted alone, and where they can the best leads.
Before the rows are seen members are as probable as other tasks make them (composer.known).
"""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

from composer.assemble import Offer, Unit, offer
from composer.blocks import Blocks
from composer.cache import FeatureCache
from composer.choices import Cancelled, Choice, Kind, Report, join_names, never, silent, within
from composer.known import known_of
from composer.rank.probe import gram, probe
from composer.rank.rows import sample
from composer.rank.sets import weigh
from composer.recommend import MAX_ROWS, judged, members_of, open_library, unit_kernel
from composer.targets import read_targets, to_learn_from
from priors.errors import BadTask
from priors.library import Library

if TYPE_CHECKING:
    from priors.client import Hub
    from priors.tasks import Task


def given(
    task: Task,
    names: Sequence[str],
    *,
    hub: Hub | None = None,
    library: Library | None = None,
    cache: FeatureCache | Path | str | None = None,
    report: Report = silent,
    cancelled: Cancelled = never,
) -> Choice:
    """The set of the priors `names` (`char-ngrams`, `ann/encoder`, `:column` after it where several could be read).

    Raises BadTask for a name that the library does not have or that reads no column of the task.
    """
    library = open_library(library, hub)
    task = to_learn_from(task)
    targets = read_targets(task)
    offered = offer(task, library.entries())
    units = {unit.name: unit for name in names for unit in units_named(offered, name, task)}
    candidates = [candidate for unit in units.values() for candidate in unit.candidates]
    cache = FeatureCache.of(cache)
    blocks = Blocks(
        task,
        offered,
        library,
        cache,
        candidates=candidates,
        report=within(report, 1, 2, "computing "),
        cancelled=cancelled,
    )
    rows = sample(targets, MAX_ROWS)
    targets = targets.take(rows)
    started = perf_counter()
    report(2, 2, f"weighing {len(units)} members")
    kernels = {candidate: gram(block) for candidate, block in blocks.fitted(rows, rows).items()}
    by_unit = {name: unit_kernel(unit, kernels) for name, unit in units.items()}
    chosen = list(units.values())
    found = weigh(by_unit, targets, trusted=trusted_over(chosen), known=known_of(chosen, offered))
    singles = sorted((probe(kernel, targets) for kernel in by_unit.values()), key=lambda one: one.loss)
    members = members_of(found.weights, units)
    kind: Kind = "single" if len(members) == 1 else "taps" if len(found.weights) == 1 else "set"
    parts = ", ".join(f"{name} {weight:.0%}" for name, weight in sorted(found.weights.items(), key=lambda i: -i[1]))
    why = f"a set that was given; weights averaged over the evidence: {parts}"
    name = join_names(members, columns=offered.several_columns)
    return judged(name, kind, members, found.probe, singles[0], why, perf_counter() - started)


def trusted_over(units: Sequence[Unit]) -> dict[str, list[str]]:
    """Pretrained networks -> the other members that read the same column."""
    column = {unit.name: unit.candidates[0].column for unit in units}
    return {
        unit.name: [name for name in column if name != unit.name and column[name] == column[unit.name]]
        for unit in units
        if unit.trusted
    }


def units_named(offered: Offer, name: str, task: Task) -> list[Unit]:
    """The units of the prior `name`, one a column that it can read. Raises BadTask when there is none."""
    prior, _, column = name.partition(":")
    found = [
        unit
        for unit in offered.units
        for one in unit.candidates[:1]
        if prior in (one.ref.name, one.ref.repo) and column in ("", one.column)
    ]
    if not found:
        known = sorted({unit.candidates[0].ref.name for unit in offered.units})
        near = get_close_matches(prior, known, n=3, cutoff=0.5) or known[:8]
        raise BadTask(f"no prior {name!r} reads {task.name}. Those that do: {', '.join(near)}.")
    return found
