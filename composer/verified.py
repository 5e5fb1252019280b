"""A composition held against what it must beat: the same draws for it, for placebos and for the simplest ways.

A composition is fitted anew for each draw of the labels, from its graph alone: what it had learned before is not looked
at. Beside it, on the same rows: no prior, the same architectures with weights in random order, the same composition
taught shuffled labels, the best single prior frozen and adapted, and everything side by side.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import monotonic, perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from composer.arms import Arm
from composer.assemble import Offer, distinct, offer, set_graph
from composer.baseline import plain_predictions
from composer.benchmark import Arena, cross
from composer.blocks import Blocks
from composer.cache import FeatureCache
from composer.check import TypedNode, check
from composer.choices import Cancelled, Candidate, Member, Report, never, silent, within
from composer.errors import BadGraph
from composer.errors import Cancelled as Stopped
from composer.fit import fit
from composer.graph import Graph
from composer.lock import Lock
from composer.nested import resolver
from composer.placebo import without_knowledge
from composer.rank.probe import gram, probe, solve
from composer.recommend import judged
from composer.targets import targets_of
from priors.errors import BadManifest, BadTask
from priors.library import Library
from priors.manifest import PriorRef

if TYPE_CHECKING:
    from priors.tasks import Task

LEAST_SECONDS = 5.0
"""An adaptation that may take less in a draw is not begun."""


@dataclass(frozen=True)
class Way:
    """One way of solving the task, in every draw.

    submitted  whether it is what was to be judged, and not what it is held against
    members    candidate names (`namespace/name#tap`), sorted
    scores     (draws,) the task's metric; empty when it could not be tried, and `skipped` says why
    errors     (draws,) the standard error of each score from the rows it was judged on
    seconds    fitting and predicting, mean of the draws
    hits       (rows,) part of each row in the score, mean of the draws that judged it; NaN for other rows
    """

    arm: Arm
    name: str
    members: tuple[str, ...]
    scores: tuple[float, ...] = ()
    errors: tuple[float, ...] = ()
    seconds: float = 0.0
    skipped: str = ""
    submitted: bool = False
    hits: NDArray[np.float64] | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True)
class Verified:
    """Everything that was measured.

    curve  labels a class -> the submission and no prior with so many, on the same draws: fewer labels are part of more
    lock   the pinned one of what was fitted, as JSON values
    """

    metric: str
    labels: int
    test_rows: int
    ways: tuple[Way, ...]
    curve: Mapping[int, tuple[Way, ...]]
    lock: Mapping[str, Any]

    @property
    def submitted(self) -> Way:
        """The way that was to be judged."""
        return next(way for way in self.ways if way.submitted)


def graph_of(task: Task, name: str, library: Library) -> Graph:
    """The composition that a prior alone makes for `task`: `namespace/name`, or `namespace/name#tap`.

    Without a tap it is the mean of those that its manifest averages. Raises BadTask for one that cannot read the task.
    """
    repo, _, tap = name.partition("#")
    entries = [entry for entry in library.entries() if entry.ref.repo == repo]
    offered = offer(task, entries)
    if tap:
        chosen = [candidate for candidate in offered.candidates if candidate.tap == tap]
    else:
        chosen = [candidate for unit in offered.units for candidate in unit.candidates]
    if not chosen:
        raise BadTask(f"{repo} has no tap {tap!r} that reads {task.name}. Name one of its taps, or none.")
    return set_graph(task, [Member(candidate, 1 / len(chosen)) for candidate in chosen], offered)


def verify(
    task: Task,
    graph: Graph,
    *,
    name: str,
    library: Library,
    rivals: Library | None = None,
    cache: FeatureCache | Path | str | None,
    folder: Path,
    labels: int,
    seeds: Sequence[int],
    test_rows: int | None = None,
    curve: Sequence[int] = (),
    adapt_seconds: float = 600.0,
    report: Report = silent,
    cancelled: Cancelled = never,
) -> Verified:
    """Judges `graph` and what it must beat on one draw of `labels` rows a class for each of `seeds`.

    rivals         what the best single prior is looked for in, and what is put side by side: reports name the former;
                   None: the library
    curve          other numbers of labels at which it is held against no prior; those the task has too few rows for are
                   left out

    folder         where placebos are written; the caller removes it
    adapt_seconds  what adapting the best single prior may take in all draws together

    Raises BadTask when the task has too few rows, BadGraph or PortMismatch for a graph that does not fit it.
    """
    cache = FeatureCache.of(cache)
    lock = Lock.of(check(graph, resolver(library)))
    draws = [task.draw(labels, seed, test_rows) for seed in seeds]
    rivals = library if rivals is None else rivals
    judge = _Judge(task, rivals, cache, report=within(report, 0, len(draws)), cancelled=cancelled)
    own = members_of(lock)
    score = _Table(len(task))
    placebo, why_not = None, ""
    try:
        placebo = without_knowledge(graph, library, folder, seed=seeds[0])
    except (BadGraph, BadManifest) as reason:
        why_not = str(reason)
    until = monotonic() + adapt_seconds
    for number, (seed, draw) in enumerate(zip(seeds, draws, strict=True)):
        if cancelled():
            raise Stopped("stopped between two draws. Features are cached.")
        report(number, len(draws), f"draw {number + 1} of {len(draws)}")
        taught, asked = task.subset(draw.train), draw.test
        ways: list[tuple[Arm, str, Task, Graph, Library]] = [
            (kind_of(lock, own), name, taught, graph, library),
            ("shuffled", "taught shuffled labels", shuffled(taught, seed), graph, library),
        ]
        if placebo is not None:
            ways.append(("random_weights", "the same with random weights", taught, *placebo))
        for at, (arm, shown, some, one, where) in enumerate(ways):
            started = perf_counter()
            model = fit(some, one, library=where, cache=cache, seed=seed, cancelled=cancelled)
            said = said_of(model.predict(_values(task, asked)), task)
            score.add(judge.arena, arm, shown, own, said, asked, started, submitted=at == 0)
        judge.simple(draw.train, asked, score)
        left = (until - monotonic()) / (len(draws) - number)
        judge.adapted(draw.train, asked, score, seconds=left, seed=seed, cancelled=cancelled)
    if placebo is None:
        score.skip("random_weights", "the same with random weights", own, why_not)
    points: dict[int, tuple[Way, ...]] = {}
    for count in sorted({*curve} - {labels}):
        try:
            fewer = [task.draw(count, seed, test_rows) for seed in seeds]
        except BadTask:
            continue
        table = _Table(len(task))
        for number, (seed, draw) in enumerate(zip(seeds, fewer, strict=True)):
            report(len(draws), len(draws), f"{count} labels a class, draw {number + 1} of {len(draws)}")
            started = perf_counter()
            model = fit(task.subset(draw.train), graph, library=library, cache=cache, seed=seed, cancelled=cancelled)
            said = said_of(model.predict(_values(task, draw.test)), task)
            table.add(judge.arena, kind_of(lock, own), name, own, said, draw.test, started, submitted=True)
            judge.plain(draw.train, draw.test, table)
        points[count] = table.ways()
    report(len(draws), len(draws), "done")
    return Verified(
        metric=task.metric,
        labels=labels,
        test_rows=max(len(draw.test) for draw in draws),
        ways=score.ways(),
        curve=points,
        lock=lock.to_dict(),
    )


class _Judge:
    """The ways that need no graph of the submitter's: their features are computed once for all draws."""

    def __init__(
        self, task: Task, library: Library, cache: FeatureCache, *, report: Report, cancelled: Cancelled
    ) -> None:
        self.task, self.library, self.cache = task, library, cache
        self.offered: Offer = offer(task, distinct(library.entries()))
        self.blocks = Blocks(task, self.offered, library, cache, report=report, cancelled=cancelled)
        self.arena = Arena(task, self.offered, self.blocks)
        self._best: tuple[Candidate, Any] | None = None

    def plain(self, train: NDArray[np.int64], test: NDArray[np.int64], score: _Table) -> None:
        """No prior."""
        arena, started = self.arena, perf_counter()
        said = plain_predictions(arena.plain, arena.y, train, test, regression=self.task.kind == "regression")
        score.add(arena, "no_prior", "no prior", (), said, test, started)

    def simple(self, train: NDArray[np.int64], test: NDArray[np.int64], score: _Table) -> None:
        """No prior, the best single one by leave-one-out on the drawn rows, everything in equal parts."""
        self.plain(train, test, score)
        arena, targets, started = self.arena, targets_of(self.task, train), perf_counter()
        made = self.blocks.fitted(train, np.concatenate([train, test]))
        kernels = {candidate: gram(block[: len(train)]) for candidate, block in made.items()}
        probes = {candidate: probe(kernel, targets) for candidate, kernel in kernels.items()}
        networks = [c for c in probes if self.offered.manifests[c].kind == "network"]
        best = min(probes, key=lambda one: probes[one].loss)
        lead = min(networks, key=lambda one: probes[one].loss, default=None)
        self._best = None if lead is None else (lead, probes[lead])
        simple: list[tuple[Arm, str, tuple[Candidate, ...]]] = [
            ("single", "best single prior, frozen", (best,)),
            ("everything", "everything side by side", tuple(kernels)),
        ]
        for arm, shown, chosen in simple:
            kernel = np.asarray(sum(kernels[one] for one in chosen)) / len(chosen)
            found = probe(kernel, targets)
            dual, intercept = solve(kernel, targets.matrix, found.penalty)
            asked = np.asarray(sum(cross(made[one], len(train)) for one in chosen)) / len(chosen)
            names = tuple(sorted(f"{one.ref.repo}#{one.tap}" for one in chosen))
            score.add(
                arena, arm, shown, names if arm == "single" else (), arena.said(asked @ dual + intercept, found), test,
                started,
            )  # fmt: skip

    def adapted(
        self, train: NDArray[np.int64], test: NDArray[np.int64], score: _Table, *, seconds: float, seed: int,
        cancelled: Cancelled,
    ) -> None:  # fmt: skip
        """The best single network, all its weights tuned on the drawn rows so that rows of a class lie together."""
        shown = "best single prior, adapted"
        if self._best is None:
            score.skip("adapted", shown, (), "no network reads this task")
            return
        candidate, found = self._best
        names = (f"{candidate.ref.repo}@adapted",)
        if score.is_skipped("adapted"):
            return
        if seconds < LEAST_SECONDS:
            score.skip("adapted", shown, names, "the time for adapting was over")
            return
        started = perf_counter()
        choice = judged(candidate.name, "single", (Member(candidate, 1.0),), found, found, "", 0.0)
        try:
            model = fit(
                self.task.subset(train), choice, library=self.library, cache=self.cache, adapt="full",
                budget_seconds=seconds, seed=seed, cancelled=cancelled,
            )  # fmt: skip
        except (BadTask, BadGraph) as reason:
            score.skip("adapted", shown, names, str(reason))
            return
        facts = model.report.get("adaptation") or {}
        if facts.get("chosen") == "frozen":
            score.skip("adapted", shown, names, str(facts.get("why") or "it stayed frozen"))
            return
        said = said_of(model.predict(_values(self.task, test)), self.task)
        score.add(self.arena, "adapted", shown, names, said, test, started)


class _Table:
    """What each way scored so far."""

    def __init__(self, rows: int) -> None:
        self._rows = rows
        self._ways: dict[tuple[str, bool], Way] = {}
        self._spent: dict[tuple[str, bool], list[float]] = {}
        self._hits: dict[tuple[str, bool], tuple[NDArray[np.float64], NDArray[np.float64]]] = {}

    def add(
        self, arena: Arena, arm: Arm, name: str, members: tuple[str, ...], said: NDArray[Any],
        test: NDArray[np.int64], started: float, *, submitted: bool = False,
    ) -> None:  # fmt: skip
        """What a way said of the rows `test` in one draw."""
        key, hits = (arm, submitted), arena.hits(said, test)
        way = self._ways.get(key) or Way(arm, name, members, submitted=submitted)
        if way.skipped:
            return
        self._spent.setdefault(key, []).append(perf_counter() - started)
        members = tuple(sorted({*way.members, *members}))
        error = float(hits.std(ddof=1) / np.sqrt(len(hits))) if len(hits) > 1 else 0.0
        self._ways[key] = replace(
            way, scores=(*way.scores, arena.agreement(said, test)), errors=(*way.errors, error), members=members
        )
        sums, counts = self._hits.setdefault(key, (np.zeros(self._rows), np.zeros(self._rows)))
        sums[test] += hits
        counts[test] += 1

    def skip(self, arm: Arm, name: str, members: tuple[str, ...], why: str) -> None:
        """A way that misses a draw cannot be compared draw by draw: it has none."""
        self._ways[(arm, False)] = Way(arm, name, members, skipped=why)

    def is_skipped(self, arm: Arm) -> bool:
        way = self._ways.get((arm, False))
        return way is not None and bool(way.skipped)

    def ways(self) -> tuple[Way, ...]:
        """All of them, the submission first."""
        found = []
        for key, way in self._ways.items():
            if not way.skipped:
                sums, counts = self._hits[key]
                hits = np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
                way = replace(way, hits=hits, seconds=round(float(np.mean(self._spent[key])), 3))
            found.append(way)
        return tuple(sorted(found, key=lambda way: not way.submitted))


def shuffled(task: Task, seed: int) -> Task:
    """The task with its labels dealt out to its rows at random."""
    order = np.random.default_rng(seed).permutation(len(task))
    place = task.rows.column_names.index(task.target)
    return replace(task, rows=task.rows.set_column(place, task.target, task.rows.column(task.target).take(order)))


def said_of(predictions: Sequence[Any], task: Task) -> NDArray[Any]:
    """A model's predictions in the form of `Task.y`. Raises BadTask for a label the task does not have."""
    if task.kind == "regression":
        return np.asarray(predictions, dtype=np.float64)
    place = {label: i for i, label in enumerate(task.labels)}
    try:
        if task.kind == "multilabel":
            found = np.zeros((len(predictions), len(place)), dtype=bool)
            for row, labels in enumerate(predictions):
                found[row, [place[label] for label in labels]] = True
            return found
        return np.array([place[label] for label in predictions], dtype=np.int64)
    except KeyError as unknown:
        raise BadTask(f"the model says {unknown}, which is no label of {task.name}.") from unknown


def members_of(lock: Lock) -> tuple[str, ...]:
    """The candidate names of what a composition reads: each tap of a network and each function, sorted."""
    nodes = {node.name: node for node in lock.nodes}
    found = set()
    for node in lock.nodes:
        if node.op == "net":
            ref = _loaded(node, nodes)
            if ref is not None:
                found.add(f"{ref.repo}@adapted" if _learns(node, nodes) else f"{ref.repo}#{node.attrs.get('tap')}")
        elif node.op == "fn" and "prior" in node.attrs:
            found.add(f"{PriorRef.parse(node.attrs['prior']).repo}#out")
    return tuple(sorted(found))


def kind_of(lock: Lock, members: Sequence[str]) -> Arm:
    """Whether that is one tap, several of one prior, one adapted prior, or a set."""
    priors = {member.partition("#")[0].partition("@")[0] for member in members}
    if len(priors) > 1:
        return "set"
    if any(member.endswith("@adapted") for member in members):
        return "adapted"
    return "single" if len(members) < 2 else "taps"


def _loaded(node: TypedNode, nodes: Mapping[str, TypedNode]) -> PriorRef | None:
    """The prior whose weights a net runs with, through deltas."""
    source = dict(node.inputs).get("w")
    while source is not None:
        at = nodes[source]
        if "prior" in at.attrs:
            return PriorRef.parse(at.attrs["prior"])
        source = at.sources[0] if at.sources else None
    return None


def _learns(node: TypedNode, nodes: Mapping[str, TypedNode]) -> bool:
    source = dict(node.inputs).get("w")
    return node.attrs.get("train") not in (None, "frozen") or (source is not None and nodes[source].op == "delta")


def _values(task: Task, rows: NDArray[np.int64]) -> dict[str, Any]:
    some = task.subset(rows)
    return {column.name: some.values(column.name) for column in some.inputs}
