"""Job `verify`: a submission judged on a board, beside everything it must beat."""

from __future__ import annotations

import os
import platform
import shutil
from dataclasses import replace
from functools import reduce
from importlib.metadata import PackageNotFoundError, version
from operator import or_
from pathlib import Path
from typing import Any

import numpy as np
from django.conf import settings
from django.db.models import Q

from composer.cache import FeatureCache
from composer.composition import read_folder
from composer.verified import Verified, Way, graph_of, verify
from hub.boards import editions, hidden
from hub.boards.models import Run
from hub.boards.recording import packed
from hub.catalog.library import HubStorage
from hub.catalog.models import Item
from hub.errors import BadSpec
from hub.home import feature_cache
from hub.jobs.models import Job
from hub.jobs.runners import Work
from hub.jobs.runners.inputs import repository_folder
from hub.jobs.services import Outcome
from hub.repos.models import Commit, Repository
from hub.repos.services import materialise, resolve
from hub.safety.holds import held_repositories
from priors.errors import NotFound, UserError
from priors.tasks import Task, held_out

_LIBRARIES = ("torch", "numpy", "scipy", "scikit-learn", "safetensors", "tokenizers")
_MOST_SOURCES = 500

CURVE = (4, 16, 64, 256)
"""Labels a class of the label curve, beside the board's own number."""


class TestRowsSeen(BadSpec):
    """What was submitted was made from rows that judge it."""

    code = "test-rows-seen"


class Unknowable(BadSpec):
    """Whether what was submitted was made from rows that judge it cannot be told."""

    code = "sources-unknown"


def run(work: Work) -> Outcome:
    """The run's id; what was measured goes to the board alone, sealed for this claim."""
    row = (
        Run.objects.select_related("board__task__namespace", "repository__namespace", "hidden", "owner")
        .filter(pk=work.spec["run"])
        .first()
    )
    if row is None or row.owner is None:
        raise NotFound("The run of this job is gone: its account was deleted.")
    task = Task.from_dir(repository_folder(work, work.spec["task"], "task"))
    name = row.submission
    if row.hidden is not None:
        rows = hidden.read(row.hidden, task, work.folder / "hidden")
        _refuse_seen(work, row, rows)
        task = held_out.beside(task, rows)
    library = HubStorage(work.owner, published=not row.private)
    beside = row.board.live_task if row.private else None
    if row.kind == Repository.Kind.COMPOSITION:
        graph, lock = read_folder(repository_folder(work, f"{name}@{row.commit}", "submission"))
        if lock.structure != row.content:
            raise BadSpec(f"{name} is no longer what was submitted. Submit it again.")
    else:
        graph = graph_of(task, name, library)
    seeds = editions.seeds_of(row.board, row.edition)
    found = verify(
        task, graph, name=name, library=library, rivals=HubStorage(work.owner, published=True, beside=beside),
        cache=FeatureCache(feature_cache()), folder=work.folder / "placebos", labels=row.labels, seeds=seeds,
        test_rows=row.board.test_rows, curve=CURVE, adapt_seconds=settings.BOARD_ADAPT_SECONDS, report=work.report,
        cancelled=work.cancelled,
    )  # fmt: skip
    return Outcome({"board": row.board.live_task.full_name}, measured=work.seal(_measured(row, task, found, seeds)))


def _measured(row: Run, task: Task, found: Verified, seeds: list[int]) -> dict[str, Any]:
    own = found.submitted.hits
    judged = np.flatnonzero(~np.isnan(own)) if own is not None else np.array([], dtype=int)
    return {
        "run": str(row.pk),
        "edition": row.edition,
        "data": task.fingerprint if row.hidden is None else hidden.seal_of(row.board, task.fingerprint.encode()),
        "metric": found.metric,
        "test_rows": found.test_rows,
        "ways": [_way(way, judged) for way in found.ways],
        "curve": {
            str(labels): [_way(replace(way, hits=None), judged) for way in ways] for labels, ways in found.curve.items()
        },
        "lock": dict(found.lock),
        "facts": {"seeds": editions.commitment(seeds), **machine()},
    }


def _way(way: Way, judged: Any) -> dict[str, Any]:
    return {
        "arm": way.arm, "name": way.name[:300], "members": list(way.members), "scores": list(way.scores),
        "errors": list(way.errors), "seconds": way.seconds, "skipped": way.skipped, "submitted": way.submitted,
        "hits": None if way.hits is None else packed([float(each) for each in way.hits[judged]]),
    }  # fmt: skip


def machine() -> dict[str, Any]:
    """What the numbers were computed with."""
    libraries = {"python": platform.python_version(), "priorhub": settings.VERSION}
    for name in _LIBRARIES:
        try:
            libraries[name] = version(name)
        except PackageNotFoundError:
            continue
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    hardware = {"processor": _processor(), "cores": os.cpu_count() or 1, "memory_gb": round(memory / 1e9, 1)}
    return {"versions": libraries, "hardware": hardware}


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.machine()


def _refuse_seen(work: Work, row: Run, rows: Task) -> None:
    """Raises TestRowsSeen when what this hub knows the submission was made from holds rows that judge it.

    Only what the asker may read is named, and of what they may not nothing is looked at that somebody wrote into a
    manifest: else a name in it would ask whether such a task is there and has these rows.
    """
    name, own, most = row.submission, held_out.marks(rows), held_out.allowed(rows)
    for at, commit in enumerate(_sources(work, row)):
        source = commit.repository
        if source.pk in held_repositories([source]):
            continue
        folder = work.folder / f"made-from-{at}"
        try:
            taught = Task.from_dir(materialise(commit, folder))
            both = held_out.shared(own, held_out.marks(taught))
        except UserError:
            continue  # no task
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        if both > most:
            readable = Repository.objects.open_to(work.owner).filter(pk=source.pk).exists()
            called = source.full_name if readable else "a task"
            # How many is not said: whoever guesses at rows must not learn how many were right.
            raise TestRowsSeen(f"{name} was made from {called}, which holds hidden rows. It is not judged by them.")


def _sources(work: Work, row: Run) -> list[Commit]:
    """The tasks, as they were, that fits of this hub made the submission from, and those that its priors say they were
    trained on, as far as the asker may read them.

    Raises Unknowable when they cannot all be looked at: what cannot be told apart from cheating is not judged.
    """
    repo = row.submission.partition("#")[0]
    names = {repo}
    submitted = row.repository or Repository.objects.named(repo).first()
    known = {repo}
    if submitted is not None:
        former = submitted.former_names.values_list("key", flat=True)
        known |= {submitted.full_name, *(key.partition("/")[2] for key in former)}
    called = reduce(or_, (Q(result__repo__iexact=each) for each in sorted(known)))
    fits = Job.objects.filter(called, kind=Job.Kind.FIT, status=Job.Status.DONE)
    found: dict[str, Commit | None] = {}
    for task in fits.order_by("-pk").values_list("spec__task", flat=True):
        oid = str(task).partition("@")[2]
        if oid not in found:  # by its commit: a task that was renamed is the same one
            found[oid] = Commit.objects.filter(oid=oid).select_related("repository__namespace").first()
    if None in found.values():
        raise Unknowable(
            f"{row.submission} was fitted on a state of a task that is deleted by now: whether it held hidden rows "
            "cannot be told any more. Fit it on one that is here, and submit that."
        )
    if row.kind == Repository.Kind.COMPOSITION and submitted is not None:
        _, lock = read_folder(materialise(resolve(submitted, row.commit), work.folder / "made-of"))
        names |= {ref.repo for ref in lock.priors.values()}
    open_tasks = Repository.objects.open_to(work.owner).select_related("head__repository__namespace")
    for one in sorted(names):
        item = Item.objects.filter(repository__in=Repository.objects.named(one)).first()
        for said in ((item.manifest if item else None) or {}).get("training_data", ()):
            full_name, _, rev = str(said).partition("@")
            for task in open_tasks.filter(kind=Repository.Kind.TASK, head__isnull=False).named(full_name):
                try:
                    commit = resolve(task, rev) if rev else task.head
                except UserError:
                    continue
                found.setdefault(commit.oid if commit else "", commit)
    if len(found) > _MOST_SOURCES:
        raise Unknowable(
            f"{row.submission} was made from {len(found)} tasks of this hub; {_MOST_SOURCES} are the most that are "
            "looked through for hidden rows."
        )
    return [commit for commit in found.values() if commit is not None]
