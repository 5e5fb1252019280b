"""What the product's ranker chooses from the drawn rows of every cell, and what that scores on the others.

The history holds every set of up to three units on the first draws, so a choice can be held against all of them; what
its members score alone is kept beside the choice, so that more draws than those can be asked about. The ranker is given
the starter history as the product gives it, without any task of the source that it is asked about.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks._starter import library
from benchmarks.history.build import DRAWS, LABELS, Say, Stopped, result_path, sources, stoppable, whole
from benchmarks.history.cells import MOST_IN_SETS, Grams, Judge, candidate_name, joined, weighed
from benchmarks.history.problems import Problem, Source
from composer.assemble import Offer, offer
from composer.baseline import Plain
from composer.blocks import Blocks
from composer.cache import FeatureCache
from composer.choices import Candidate, Choice, Ranking
from composer.past import Past
from composer.rank.probe import probe
from composer.rank.starter import starter_scores
from composer.recommend import rank
from priors.errors import BadTask, UserError
from priors.manifest import PriorRef
from priors.tasks import Task


@dataclass(frozen=True)
class Chosen:
    """The ranker's answer on one draw of a task.

    units      what it takes, as a history names it; empty for "no prior"
    single     its best single block by leave-one-out
    expected, low, high, gain, supported   what it says to expect, with a 95 % interval
    clear      by how many standard errors the set is above that single: in loss, and in hits
    score      on the rows that were not drawn; error: half the 95 % interval of it over these rows
    alone      what each of the units scores there by itself, in their order; single_score: what the single does
    bare       the score without the history, where that led to another choice
    """

    task: str
    labels: int
    draw: int
    answer: str
    units: tuple[str, ...]
    single: str
    expected: float
    low: float
    high: float
    gain: float
    supported: bool
    clear: tuple[float, float]
    score: float
    error: float
    alone: tuple[float, ...]
    single_score: float
    bare: float
    seconds: float


def choose_all(results: Path, data: Path | None, only: Sequence[str] | None, say: Say, *, draws: int = DRAWS) -> None:
    """Asks the ranker on every cell of every task that was run and not asked yet. Raises Stopped when interrupted."""
    with stoppable() as stopped:
        for name, read in sources(data).items():
            if only and name not in only:
                continue
            try:
                source = read(results / "files" / name)
            except UserError:
                continue
            known = {p.name: _known(results, p) for p in source.problems if result_path(results, p.name).is_file()}
            todo = [p for p in source.problems if p.name in known and _missing(known[p.name], draws)]
            if not todo:
                continue
            offered = offer(source.task, library().entries())
            blocks = Blocks(source.task, offered, library(), FeatureCache(results / "features"))
            for problem in todo:
                started = time.process_time()
                found = _choose(source, problem, offered, blocks, _missing(known[problem.name], draws), stopped)
                asked = {**known[problem.name], **found}
                path = choice_path(results, problem.name)
                path.parent.mkdir(parents=True, exist_ok=True)
                with whole(path) as part:
                    kept = [{"cell": cell, "chosen": one and asdict(one)} for cell, one in asked.items()]
                    part.write_text(json.dumps(kept), encoding="utf-8")
                say(f"  {problem.name}: {len(found)} choices in {time.process_time() - started:.0f} s of CPU")


def choice_path(results: Path, name: str) -> Path:
    """Where the choices for a task are kept."""
    return results / "choices" / f"{name.replace('/', '--')}.json"


def read_choices(results: Path) -> list[Chosen]:
    """Every choice that was kept."""
    found: list[Chosen] = []
    for path in sorted((results / "choices").glob("*.json")):
        found += [one for one in _read(path).values() if one is not None]
    return found


def _read(path: Path) -> dict[tuple[int, int], Chosen | None]:
    """(labels, draw) -> what was chosen; None for a cell that has too few rows, or too many."""
    if not path.is_file():
        return {}
    rows: list[dict[str, Any]] = json.loads(path.read_text("utf-8"))
    return {(row["cell"][0], row["cell"][1]): row["chosen"] and _chosen(row["chosen"]) for row in rows}


def _chosen(kept: Mapping[str, Any]) -> Chosen:
    values: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in kept.items()}
    return Chosen(**values)


def _known(results: Path, problem: Problem) -> dict[tuple[int, int], Chosen | None]:
    return _read(choice_path(results, problem.name))


def _missing(known: Mapping[tuple[int, int], Chosen | None], draws: int) -> list[tuple[int, int]]:
    return [(labels, draw) for draw in range(draws) for labels in LABELS if (labels, draw) not in known]


def _choose(
    source: Source,
    problem: Problem,
    offered: Offer,
    blocks: Blocks,
    cells: Sequence[tuple[int, int]],
    stopped: Callable[[], bool],
) -> dict[tuple[int, int], Chosen | None]:
    task, plain = source.task_of(problem), Plain(source.task)
    past = Past(starter_scores(without=source.name), task, offered.units, offered.manifests)
    found: dict[tuple[int, int], Chosen | None] = dict.fromkeys(cells)
    for labels, number in cells:
        if stopped():
            raise Stopped
        try:
            drawn = problem.draw(labels, number)
        except BadTask:
            continue
        if len(drawn.train) > MOST_IN_SETS:
            continue
        judge = Judge.of(problem, labels, number, drawn, task.modalities)
        train, n = problem.rows[drawn.train], len(drawn.train)
        rows = np.concatenate([train, problem.rows[drawn.test]])
        grams = {c: Grams.of(block, n) for c, block in blocks.fitted(train, rows).items()}
        known, asked = plain.fitted(train, rows[n:])
        bare = Grams.of(np.concatenate([known, asked]), n)
        found[labels, number] = _Asked(task.subset(drawn.train), judge, offered, grams, bare).choose(past)
    return found


@dataclass(frozen=True)
class _Asked:
    """One draw, about to be ranked: the Gram matrices of every block, and those of no prior."""

    task: Task
    judge: Judge
    offered: Offer
    grams: Mapping[Candidate, Grams]
    bare: Grams

    def choose(self, past: Past) -> Chosen:
        started = time.process_time()
        ranking = self.rank(past)
        seconds = time.process_time() - started
        tested = self.judge.run((), "set", self.taken(ranking)).outcome
        best, alone = ranking.best, ranking.singles[0].members[0].candidate
        units = {} if ranking.answer == "none" else self.units(best)
        return Chosen(
            task=self.judge.problem.name,
            labels=self.judge.labels,
            draw=self.judge.draw,
            answer=ranking.answer,
            units=tuple(units),
            single=candidate_name(alone),
            expected=best.expected,
            low=best.low,
            high=best.high,
            gain=best.gain,
            supported=best.supported,
            clear=self.clear(ranking, alone),
            score=tested.score,
            error=round((tested.high - tested.low) / 2, 4),
            alone=tuple(self.score(joined([self.grams[c] for c in taps])) for taps in units.values()),
            single_score=self.score(self.grams[alone]),
            bare=self.score(self.taken(self.rank(None))) if self.is_led(past) else tested.score,
            seconds=round(seconds, 3),
        )

    def units(self, best: Choice) -> dict[str, list[Candidate]]:
        """What a set is made of, by the names of a history: of each prior the taps that are in it."""
        taps: dict[PriorRef, list[Candidate]] = {}
        for member in best.members:
            taps.setdefault(member.candidate.ref, []).append(member.candidate)
        found = {
            f"{ref.namespace}/{ref.name}#*" if len(some) > 1 else candidate_name(some[0]): some
            for ref, some in taps.items()
        }
        return dict(sorted(found.items()))

    def rank(self, past: Past | None) -> Ranking:
        kernels = {candidate: one.known for candidate, one in self.grams.items()}
        return rank(self.task, self.offered, kernels, self.judge.targets, self.bare.known, past=past)

    def is_led(self, past: Past) -> bool:
        """Whether the history leaves a start out, all that it can do to a choice among few priors."""
        trusted = {
            unit.name: probe(joined([self.grams[c] for c in unit.candidates]).known, self.judge.targets)
            for unit in self.offered.units
            if unit.trusted
        }
        return len(trusted) > 1 and len(past.leaders(list(trusted), trusted)) < len(trusted)

    def taken(self, ranking: Ranking) -> Grams:
        """What is recommended, side by side by weight."""
        return self.bare if ranking.answer == "none" else weighed(ranking.best, self.grams)

    def clear(self, ranking: Ranking, alone: Candidate) -> tuple[float, float]:
        """How far what is recommended is above the best single one on the labelled rows, in standard errors."""
        targets = self.judge.targets
        ours, single = probe(self.taken(ranking).known, targets), probe(self.grams[alone].known, targets)
        gaps = (single.losses - ours.losses, ours.hits - single.hits)
        less, more = (float(gap.mean()) / max(targets.standard_error(gap), 1e-9) for gap in gaps)
        return round(less, 3), round(more, 3)

    def score(self, grams: Grams) -> float:
        return self.judge.run((), "single", grams).outcome.score
