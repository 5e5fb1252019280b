"""All cells of all problems: a file a problem, whole or not there, and the Parquet of all of them."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks._starter import library
from benchmarks.history import pictures, sounds, tables, texts
from benchmarks.history.cells import Arena, Ran, fixed_functions, run_cell
from benchmarks.history.placebo import write_random
from benchmarks.history.problems import Problem, Read, Source
from composer.assemble import offer
from composer.baseline import Plain
from composer.blocks import Blocks
from composer.cache import FeatureCache
from composer.rank.history import ALL_LABELS, Outcome, TaskCard, set_name, write_outcomes
from priors.errors import BadTask, UserError
from priors.library import LocalLibrary
from priors.tasks.spec import modality_of

LABELS, CURVE, DRAWS = (16, 64, ALL_LABELS), (4, 256), 3
"""Labels a class at which sets are fitted too, and those at which only singles are: the ends of the label curves."""

MOST_ROWS = 640
"""Labelled rows of a cell: fitting takes their cube."""

Say = Callable[[str], None]


class Stopped(Exception):
    """Asked to stop; what was finished is kept."""


def sources(data: Path | None) -> dict[str, Read]:
    """Every source by name; those of downloaded packages only with the folder they are in."""
    found: dict[str, Read] = {**texts.SOURCES, **pictures.SOURCES, **sounds.SOURCES, **tables.SOURCES}
    return found if data is None else {**found, **tables.downloaded(data)}


def build(results: Path, data: Path | None, only: Sequence[str] | None, say: Say) -> None:
    """Runs what is not there yet. Raises Stopped between two cells when interrupted."""
    results.mkdir(parents=True, exist_ok=True)
    chosen = {name: read for name, read in sources(data).items() if not only or name in only}
    with stoppable() as stopped:
        for number, (name, read) in enumerate(chosen.items(), 1):
            try:
                source = read(results / "files" / name)
            except UserError as err:  # its package is not installed; the others are
                say(f"{name} left out: {err}")
                continue
            todo = [problem for problem in source.problems if not _is_done(results, problem)]
            if not todo:
                continue
            started = time.process_time()
            arena = open_arena(source, results)
            features = time.process_time() - started
            say(f"{name}: source {number} of {len(chosen)}, features in {features:.0f} s of CPU")
            for problem in todo:
                started = time.process_time()
                runs = _cells(arena, problem, stopped)
                modality = modality_of(source.task.modalities)
                seconds = time.process_time() - started
                _keep(results, problem, problem.card(modality), runs, seconds, features)
                features = 0.0
                say(f"  {problem.name}: {sum(len(found) for found in runs.values())} runs in {seconds:.0f} s of CPU")


def open_arena(source: Source, results: Path, *, twins: bool = True) -> Arena:
    """The features of a source, computed unless they are cached."""
    cache = FeatureCache(results / "features")
    entries = library().entries()
    offered = offer(source.task, entries, functions=fixed_functions())
    tried = offer(source.task, entries)
    blocks = Blocks(source.task, offered, library(), cache)
    networks = [unit for unit in tried.units if unit.trusted]
    made = None
    if twins and networks:
        largest = max(networks, key=lambda unit: tried.manifests[unit.candidates[0]].parameters or 0)
        [entry] = [entry for entry in entries if entry.ref == largest.candidates[0].ref]
        root = results / "placebo"
        twin = write_random(entry, library(), root)
        alike = offer(source.task, [twin])
        wanted = alike.units[0].candidates
        made = alike, Blocks(source.task, alike, LocalLibrary(root), cache, candidates=wanted)
    return Arena(offered, tried, blocks, Plain(source.task), made)


def _cells(arena: Arena, problem: Problem, stopped: Callable[[], bool]) -> dict[tuple[int, int], list[Ran]]:
    found: dict[tuple[int, int], list[Ran]] = {}
    for labels in sorted((*LABELS, *CURVE)):
        for draw in range(DRAWS):
            if stopped():
                raise Stopped
            if labels * max(len(problem.labels), 1) > MOST_ROWS:
                continue
            try:
                found[labels, draw] = run_cell(arena, problem, labels, draw, sets=labels in LABELS)
            except BadTask:
                continue  # too few rows for so many labels
    return found


def _is_done(results: Path, problem: Problem) -> bool:
    path = result_path(results, problem.name)
    return path.is_file() and json.loads(path.read_text("utf-8"))["of"] == _stamp(problem)


def _stamp(problem: Problem) -> str:
    """What a result depends on besides the code."""
    asked = [problem.rows.tolist(), list(problem.answers), list(problem.groups or ()), LABELS, CURVE, DRAWS]
    return hashlib.sha256(json.dumps(asked).encode()).hexdigest()


def result_path(results: Path, name: str) -> Path:
    """Where the runs of a task are kept."""
    return results / "tasks" / f"{name.replace('/', '--')}.json"


def _keep(
    results: Path,
    problem: Problem,
    card: TaskCard,
    runs: Mapping[tuple[int, int], Sequence[Ran]],
    cell: float,
    features: float,
) -> None:
    """The runs of a problem as JSON, and beside it what each said about the test rows, in half precision."""
    path = result_path(results, problem.name)
    path.parent.mkdir(parents=True, exist_ok=True)
    said = {f"{labels}-{draw}": np.stack([ran.said for ran in found]) for (labels, draw), found in runs.items()}
    with whole(path.with_suffix(".npz")) as part, part.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **said)
    content = {
        "of": _stamp(problem),
        "card": asdict(card),
        "seconds": {"features": round(features, 2), "cells": round(cell, 2)},
        "runs": [
            {**asdict(ran.outcome), "expected": round(ran.expected.score, 4), "loss": round(ran.expected.loss, 5)}
            for found in runs.values()
            for ran in found
        ],
    }
    with whole(path) as part:
        part.write_text(json.dumps(content), encoding="utf-8")


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A file to write that appears under its name when it is finished."""
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield part
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def stoppable() -> Iterator[Callable[[], bool]]:
    """Whether SIGINT or SIGTERM came: asked between cells, so that nothing is cut in half."""
    asked: list[int] = []
    before = {
        number: signal.signal(number, lambda got, frame: asked.append(got))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def read_runs(results: Path) -> tuple[list[dict[str, Any]], list[TaskCard], dict[str, dict[str, float]]]:
    """Every run with what was expected of it, the cards of all tasks, and their CPU seconds."""
    runs: list[dict[str, Any]] = []
    cards: list[TaskCard] = []
    seconds: dict[str, dict[str, float]] = {}
    for path in sorted((results / "tasks").glob("*.json")):
        content = json.loads(path.read_text("utf-8"))
        runs += content["runs"]
        cards.append(TaskCard(**content["card"]))
        seconds[cards[-1].name] = content["seconds"]
    return runs, cards, seconds


def outcome_of(run: Mapping[str, Any]) -> Outcome:
    """The Outcome of a run as it was kept."""
    kept = {key: value for key, value in run.items() if key not in ("expected", "loss")}
    return Outcome(**{**kept, "members": tuple(run["members"])})


def write(results: Path, target: Path, beside: Sequence[Outcome] = ()) -> int:
    """The Parquet that the hub's seed imports, of all runs and those `beside`; gives how many outcomes it holds."""
    runs, cards, _ = read_runs(results)
    outcomes = sorted(
        (*(outcome_of(run) for run in runs), *beside),
        key=lambda one: (one.task, one.labels, one.draw, one.arm, len(one.members), set_name(one.members)),
    )
    with whole(target) as part:
        write_outcomes(part, outcomes, cards)
    return len(outcomes)
