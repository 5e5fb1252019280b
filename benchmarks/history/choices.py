"""What the product's ranker chooses from the drawn rows of every cell, and what that scores on the others.

The history holds every set of up to three units on the same rows, so a choice can be held against all of them.
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
from benchmarks.history.cells import MOST_IN_SETS, Grams, Judge, candidate_name, unit_names
from benchmarks.history.problems import Problem, Source
from composer.assemble import Offer, offer
from composer.baseline import Plain
from composer.blocks import Blocks
from composer.cache import FeatureCache
from composer.choices import Ranking
from composer.rank.probe import gram
from composer.recommend import rank
from priors.errors import BadTask, UserError


@dataclass(frozen=True)
class Chosen:
    """The ranker's answer on one draw of a task.

    units      what it takes, as a history names it; empty for "no prior"
    single     its best single block by leave-one-out
    expected, low, high, gain, supported   what it says to expect, with a 95 % interval
    score      on the rows that were not drawn
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
    score: float
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
    return {
        (row["cell"][0], row["cell"][1]): row["chosen"]
        and Chosen(**{**row["chosen"], "units": tuple(row["chosen"]["units"])})
        for row in rows
    }


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
    task, plain, names = source.task_of(problem), Plain(source.task), unit_names(offered)
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
        started = time.process_time()
        ranking = rank(
            task.subset(drawn.train),
            offered,
            {c: one.known for c, one in grams.items()},
            judge.targets,
            gram(known),
        )
        seconds = time.process_time() - started
        if ranking.answer == "none":
            taken = Grams.of(np.concatenate([known, asked]), n)
        else:
            members = ranking.best.members
            taken = Grams(
                np.asarray(sum(m.weight * grams[m.candidate].known for m in members)),
                np.asarray(sum(m.weight * grams[m.candidate].asked for m in members)),
            )
        score = judge.run((), "set", taken).outcome.score
        found[labels, number] = _chosen(problem, labels, number, ranking, offered, names, score, seconds)
    return found


def _chosen(
    problem: Problem,
    labels: int,
    number: int,
    ranking: Ranking,
    offered: Offer,
    names: Mapping[str, str],
    score: float,
    seconds: float,
) -> Chosen:
    best = ranking.best
    taken = {member.candidate for member in best.members} if ranking.answer != "none" else set()
    units = [names[unit.name] for unit in offered.units if taken & set(unit.candidates)]
    return Chosen(
        task=problem.name,
        labels=labels,
        draw=number,
        answer=ranking.answer,
        units=tuple(sorted(units)),
        single=candidate_name(ranking.singles[0].members[0].candidate),
        expected=best.expected,
        low=best.low,
        high=best.high,
        gain=best.gain,
        supported=best.supported,
        score=score,
        seconds=round(seconds, 3),
    )
