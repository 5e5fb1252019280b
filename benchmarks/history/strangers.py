"""A network with random weights in the catalogue: how often it is recommended, and whether its gain is told apart from
none.

Every run is another draw of 16 labels a class, of the tasks in turn. The ranker is asked twice on the same rows, with
the stranger and without; its gain is the difference of the leave-one-out scores of the two answers, with a 95 %
interval, paired row by row.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks._starter import library
from benchmarks.history.build import Say, Stopped, sources, stoppable
from benchmarks.history.cells import targets_of
from benchmarks.history.placebo import write_random
from benchmarks.history.problems import Problem, Source
from composer.assemble import offer
from composer.baseline import Plain
from composer.blocks import Blocks
from composer.cache import FeatureCache
from composer.choices import Candidate, Ranking
from composer.rank.probe import NORMAL_95, Array, Probe, Targets, gram, probe
from composer.recommend import rank
from priors.errors import BadTask, UserError
from priors.library import Entry, Library, LocalLibrary
from priors.manifest import PriorRef
from priors.tasks import Draw

LABELS = 16
SOURCES = ("messages", "words", "snippets", "conversations", "drawn", "photographs", "turned", "voices", "notes")
"""Those that a network of the starter catalogue reads."""


@dataclass(frozen=True)
class Strangers:
    """Of `runs` runs: in how many the stranger was recommended, and in how many the interval of its gain holds 0."""

    runs: int
    recommended: int
    holds_zero: int
    where: tuple[str, ...]


@dataclass(frozen=True)
class Beside:
    """Two libraries as one."""

    first: Library
    second: Library

    def entries(self) -> list[Entry]:
        return [*self.first.entries(), *self.second.entries()]

    def directory(self, ref: PriorRef) -> Path:
        known = {entry.ref for entry in self.first.entries()}
        return (self.first if ref in known else self.second).directory(ref)


def strangers(results: Path, runs: int, say: Say, *, only: Sequence[str] = SOURCES) -> Strangers:
    """Runs the ranker with a stranger in the catalogue. Raises Stopped when interrupted."""
    asked: list[tuple[str, bool, bool]] = []
    known = {name: read for name, read in sources(None).items() if name in only}
    with stoppable() as stopped:
        for place, (name, read) in enumerate(known.items()):
            try:
                source = read(results / "files" / name)
            except UserError as err:  # its package is not installed
                say(f"{name} left out: {err}")
                continue
            numbers = [number for number in range(runs) if number % len(known) == place]
            asked += _of_source(source, results, numbers, stopped)
            say(
                f"{name}: {len(numbers)} runs, recommended in {sum(used for n, used, _ in asked if n.startswith(name))}"
            )
    return Strangers(
        len(asked),
        sum(recommended for _, recommended, _ in asked),
        sum(holds for *_, holds in asked),
        tuple(name for name, recommended, _ in asked if recommended),
    )


def _of_source(
    source: Source, results: Path, numbers: Sequence[int], stopped: Callable[[], bool]
) -> list[tuple[str, bool, bool]]:
    starter = offer(source.task, library().entries())
    network = max(
        (unit for unit in starter.units if unit.trusted),
        key=lambda unit: starter.manifests[unit.candidates[0]].parameters or 0,
    )
    [entry] = [entry for entry in library().entries() if entry.ref == network.candidates[0].ref]
    root = results / "placebo"
    twin = write_random(entry, library(), root)
    both = offer(source.task, [*library().entries(), twin])
    [stranger] = [unit for unit in both.units if unit.candidates[0].ref == twin.ref]
    candidates = [*starter.candidates, *stranger.candidates]
    books = Beside(library(), LocalLibrary(root))
    blocks = Blocks(source.task, both, books, FeatureCache(results / "features"), candidates=candidates)
    plain = Plain(source.task)
    problems = [problem for problem in source.problems if not problem.is_number]
    found = []
    for number in numbers:
        if stopped():
            raise Stopped
        problem, drawn = _drawn([problems[(number + i) % len(problems)] for i in range(len(problems))], number)
        train = problem.rows[drawn.train]
        targets = targets_of(problem, drawn.train, source.task.modalities)
        kernels = {candidate: gram(block) for candidate, block in blocks.fitted(train, train).items()}
        task = source.task_of(problem).subset(drawn.train)
        bare = gram(plain.fitted(train, train)[0])
        apart = {candidate: kernel for candidate, kernel in kernels.items() if candidate.ref != twin.ref}
        alone = rank(task, starter, apart, targets, bare)
        ranking = rank(task, both, kernels, targets, bare)
        used = any(member.candidate.ref == twin.ref for member in ranking.best.members)
        gap = _probe(ranking, kernels, targets, bare).hits - _probe(alone, kernels, targets, bare).hits
        width = NORMAL_95 * targets.standard_error(gap)
        found.append((problem.name, used, abs(float(gap.mean())) <= width))
    return found


def _drawn(problems: Sequence[Problem], number: int) -> tuple[Problem, Draw]:
    """The first problem that has enough rows for this draw. Raises BadTask when none has."""
    for problem in problems[:-1]:
        try:
            return problem, problem.draw(LABELS, number)
        except BadTask:
            continue
    return problems[-1], problems[-1].draw(LABELS, number)


def _probe(ranking: Ranking, kernels: Mapping[Candidate, Array], targets: Targets, bare: Array) -> Probe:
    if ranking.answer == "none":
        return probe(bare, targets)
    weighted = [member.weight * kernels[member.candidate] for member in ranking.best.members]
    return probe(np.asarray(sum(weighted)), targets)
