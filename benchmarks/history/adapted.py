"""Networks adapted to the drawn rows, beside the frozen ones: `python -m benchmarks.history adapted --results DIR`.

As the product adapts (composer.adapt): two deltas, each trained on half of the rows, their mean in the end, and
cross-validation on the halves says how far the adapted network is listened to. It is the one that leads the recommended
set. LABELS a class, as long as there is time; what was done is kept, and the next call goes on.

    adapted   the network with its delta, mixed with its own frozen layers as the halves say: arm "adapted"
    beside    the set that is recommended, frozen, with the adapted network mixed in as the halves say
"""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from benchmarks._starter import library
from benchmarks.history.build import Say, Stopped, sources, stoppable, whole
from benchmarks.history.cells import Grams, Judge, joined, unit_names, weighed
from benchmarks.history.problems import Problem, Rows, Source
from composer.adapt import PENALTY, Adapted, Budget, Workplace, decide, leading_network, normalized
from composer.arms import Arm
from composer.assemble import Offer, Unit, offer
from composer.baseline import Plain
from composer.blocks import Blocks
from composer.cache import FeatureCache
from composer.choices import Candidate, Choice, Member
from composer.contrast import Subject
from composer.rank.head import ridge_at
from composer.rank.history import Outcome
from composer.rank.probe import Array, probe
from composer.recommend import judged, rank
from priors.errors import BadTask, UserError
from priors.load import load
from priors.tasks import Draw

LABELS = (16, 64)
MOST_ROWS = 160
"""Labelled rows of a cell: a network is trained on each twice sixteen times."""

SOURCES = (
    "drawn", "voices", "messages", "digits", "notes", "words", "photographs", "snippets", "turned", "conversations",
)  # fmt: skip
"""Those that a network reads: images, sounds and texts in turn."""


@dataclass(frozen=True)
class Tried:
    """One draw: scores on the rows that were not drawn. part, beside_part: of the adapted network in the mixtures.

    frozen   the network's layers, averaged; choice  the recommended frozen set
    deep     the adapted network alone, whatever the halves say
    """

    task: str
    labels: int
    draw: int
    modality: str
    prior: str
    frozen: float
    choice: float
    deep: float
    adapted: Outcome
    beside: Outcome
    part: float
    beside_part: float
    rows: int
    seconds: float


def run_all(results: Path, minutes: float, draws: int, say: Say, *, only: Sequence[str] = SOURCES) -> list[Tried]:
    """Runs what is missing until `minutes` of processor time are spent. Raises Stopped when interrupted."""
    started = time.process_time()
    done = {(one.task, one.labels, one.draw) for one in read_tried(results)}
    with stoppable() as stopped:
        opened: dict[str, _Opened | None] = {}
        for source, problem, labels, draw in _cells(results, only, draws):
            if (problem.name, labels, draw) in done:
                continue
            if stopped():
                raise Stopped
            if time.process_time() - started > 60 * minutes:
                break
            if source.name not in opened:
                opened[source.name] = _Opened.of(source, results)
            here = opened[source.name]
            try:
                drawn = problem.draw(labels, draw)
            except BadTask:
                continue
            if here is None:
                continue
            found = here.run(problem, labels, draw, drawn)
            path = _path(results, found)
            path.parent.mkdir(parents=True, exist_ok=True)
            with whole(path) as part:
                part.write_text(json.dumps(asdict(found)), encoding="utf-8")
            say(
                f"{found.task} {labels} {draw}: frozen {found.frozen:.3f}, adapted {found.adapted.score:.3f}; set "
                f"{found.choice:.3f}, with it {found.beside.score:.3f}; {found.seconds:.0f} s of CPU"
            )
    return read_tried(results)


def read_tried(results: Path) -> list[Tried]:
    """Everything that was run."""
    return [_read(json.loads(path.read_text("utf-8"))) for path in sorted((results / "adapted").glob("*.json"))]


def outcomes(results: Path) -> list[Outcome]:
    """What the history says of it; a set that the adapted network has no part in is none with it."""
    tried = read_tried(results)
    return [one.adapted for one in tried] + [one.beside for one in tried if one.beside_part > 0]


def text(tried: Sequence[Tried]) -> str:
    """Means over tasks of each modality and number of labels, whose draws are averaged first."""
    lines = ["modality labels tasks draws: frozen network, adapted; frozen set, set with it, part of the error gone"]
    for key in sorted({(one.modality, one.labels) for one in tried}):
        some = [one for one in tried if (one.modality, one.labels) == key]
        by_task = [[one for one in some if one.task == task] for task in dict.fromkeys(one.task for one in some)]
        columns = [
            fmean(fmean(column(one) for one in draws) for draws in by_task)
            for column in (
                lambda one: one.frozen,
                lambda one: one.adapted.score,
                lambda one: one.choice,
                lambda one: one.beside.score,
            )
        ]
        gone = [fall for draws in by_task if (fall := fall_of(draws)) is not None]
        shown = ", ".join(f"{value:.3f}" for value in columns)
        lines.append(f"{key[0]} {key[1]} {len(by_task)} {len(some)}: {shown}, {fmean(gone) if gone else 0:.2f}")
    return "\n".join(lines)


def fall_of(draws: Sequence[Tried]) -> float | None:
    """The part of what the frozen network gets wrong that adapting takes away, over the draws of a task; None where it
    gets nothing wrong."""
    wrong = fmean(1 - one.frozen for one in draws)
    return fmean(one.adapted.score - one.frozen for one in draws) / wrong if wrong > 0 else None


def _read(kept: dict[str, Any]) -> Tried:
    runs = {arm: Outcome(**{**kept[arm], "members": tuple(kept[arm]["members"])}) for arm in ("adapted", "beside")}
    return Tried(**{**kept, **runs})


def _path(results: Path, one: Tried) -> Path:
    return results / "adapted" / f"{one.task.replace('/', '--')}-{one.labels}-{one.draw}.json"


def _cells(results: Path, only: Sequence[str], draws: int) -> Iterator[tuple[Source, Problem, int, int]]:
    """Those with the fewest rows first, so that whatever was stopped has some of everything."""
    known = sources(None)
    found: list[tuple[int, int, Source, Problem, int]] = []
    for name in only:
        try:
            source = known[name](results / "files" / name)
        except UserError:
            continue  # its package is not installed
        for problem in source.problems:
            found += [(labels * max(len(problem.labels), 1), len(found), source, problem, labels) for labels in LABELS]
    for draw in range(draws):
        for rows, _, source, problem, labels in sorted(found, key=lambda one: one[:2]):
            if rows <= MOST_ROWS:
                yield source, problem, labels, draw


@dataclass(frozen=True)
class _Opened:
    """A source with the features of all its priors, and the values that its networks read."""

    source: Source
    offered: Offer
    blocks: Blocks
    plain: Plain
    networks: Sequence[Unit]
    values: Sequence[Any]
    cache: FeatureCache

    @classmethod
    def of(cls, source: Source, results: Path) -> _Opened | None:
        """None where no network reads the source that can be adapted."""
        cache = FeatureCache(results / "features")
        offered = offer(source.task, library().entries())
        networks = [unit for unit in offered.units if unit.trusted]
        if not networks:
            return None
        values = list(source.task.values(str(networks[0].candidates[0].column)))
        blocks = Blocks(source.task, offered, library(), cache)
        return cls(source, offered, blocks, Plain(source.task), networks, values, cache)

    def run(self, problem: Problem, labels: int, draw: int, drawn: Draw) -> Tried:
        started = time.process_time()
        task = self.source.task_of(problem).subset(drawn.train)
        judge = Judge.of(problem, labels, draw, drawn, task.modalities)
        n, rows = len(drawn.train), problem.rows[np.concatenate([drawn.train, drawn.test])]
        grams = {c: Grams.of(block, n) for c, block in self.blocks.fitted(rows[:n], rows).items()}
        bare = Grams.of(np.concatenate(self.plain.fitted(rows[:n], rows[n:])), n)
        ranking = rank(task, self.offered, {c: one.known for c, one in grams.items()}, judge.targets, bare.known)
        best = ranking.best
        choice = bare if ranking.answer == "none" else weighed(best, grams)
        unit = self.leading(best, grams, judge)
        own = joined([grams[c] for c in unit.candidates])
        parts = tuple(Member(c, 1 / len(unit.candidates)) for c in unit.candidates)
        found = probe(own.known, judge.targets)
        place = Workplace(self.cache, history=problem.name, labels=labels, draw=draw)

        def decided(one: Choice) -> Adapted:
            verdict = decide(
                task, one, self.offered, library(), self.cache, judge.targets, mode="full", budget=Budget(None),
                place=place,
            ).adapted  # fmt: skip
            assert verdict is not None  # "full" leaves staying frozen out
            return verdict

        tuned = decided(judged(unit.name, "taps", parts, found, found, "", 0.0))
        is_led = any(member.candidate.ref == tuned.candidate.ref for member in best.members)
        part = decided(best).part if is_led else 0.0  # the same training: its checkpoint is read
        place.clear()
        deep = self.deep(tuned, judge, rows)
        name = f"{tuned.candidate.ref.repo}@adapted"
        names = unit_names(self.offered)
        taken = {member.candidate for member in best.members}
        others = {names[unit.name] for unit in self.offered.units if taken & set(unit.candidates)}
        spent = time.process_time() - started

        def outcome(frozen: Grams, share: float, members: Collection[str], arm: Arm) -> Outcome:
            scores = (1 - share) * judge.scores(frozen) + share * deep
            ran = judge.tested(scores, tuned.probe)[0]
            low, high = ran.interval
            score, low, high = (round(value, 4) for value in (ran.score, low, high))
            return Outcome(problem.name, tuple(sorted(members)), arm, labels, draw, score, low, high, round(spent, 2))

        return Tried(
            task=problem.name,
            labels=labels,
            draw=draw,
            modality=self.offered.manifests[tuned.candidate].modality,
            prior=tuned.candidate.ref.repo,
            frozen=judge.run((), "single", own).outcome.score,
            choice=judge.run((), "set", choice).outcome.score,
            deep=outcome(own, 1.0, (), "adapted").score,
            adapted=outcome(own, tuned.part, (name,), "adapted"),
            beside=outcome(choice, part, {*others, name}, "set"),
            part=round(tuned.part, 4),
            beside_part=round(part, 4),
            rows=n,
            seconds=round(spent, 1),
        )

    def leading(self, best: Choice, grams: Mapping[Candidate, Grams], judge: Judge) -> Unit:
        """The network with the largest part in the recommended set; where it has none, the best by leave-one-out."""
        lead = leading_network(best, self.offered)
        for unit in self.networks:
            if lead is not None and unit.candidates[0].ref == lead.ref:
                return unit
        return min(
            self.networks,
            key=lambda unit: probe(joined([grams[c] for c in unit.candidates]).known, judge.targets).loss,
        )

    def deep(self, tuned: Adapted, judge: Judge, rows: Rows) -> Array:
        """(m, C) what the adapted network alone says of the rows that were not drawn."""
        n = len(judge.targets)
        prior = load(library().directory(tuned.candidate.ref))
        subject = Subject(prior, tuned.candidate.tap, [self.values[row] for row in rows])
        delta = tuned.recipe.make(subject.network, 0)
        delta.load_state_dict(dict(tuned.delta))
        block = normalized(subject.features(np.arange(len(rows)), delta), np.arange(n))
        weight, bias = ridge_at(block[:n], judge.targets, PENALTY)
        return np.asarray(block[n:] @ weight.T + bias)
