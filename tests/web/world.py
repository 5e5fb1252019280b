"""A small hub to look at: priors, tasks, a result and jobs in every state, made through the services."""

from __future__ import annotations

import json
from typing import Any

from django.http import HttpResponse
from django.utils import timezone

from composer.check import check
from composer.graph import Graph
from composer.lock import Lock
from hub.accounts.models import User
from hub.boards.models import Result
from hub.catalog.models import Item
from hub.jobs.models import Job, JobEvent
from hub.repos.models import Repository
from priors.manifest import parse_manifest
from tests.factories import make_board, make_commit, make_prior, make_repository, make_run, make_task

World = dict[str, Any]
"""What `make_world` made, by a short name."""

CURVE = [
    {"labels": 4, "none": 0.381, "best_single": 0.522, "recommended": 0.561},
    {"labels": 8, "none": 0.477, "best_single": 0.618, "recommended": 0.659},
    {"labels": 16, "none": 0.578, "best_single": 0.697, "recommended": 0.739},
    {"labels": 32, "none": 0.661, "best_single": 0.748, "recommended": 0.784},
    {"labels": 64, "none": 0.741, "best_single": 0.804, "recommended": 0.833},
]


def report(task: str = "priorhub/topics") -> dict[str, Any]:
    """A benchmark's report, with the numbers of a trial run."""
    ngrams = "prior://ada/char-ngrams@sha256:" + "a" * 64

    def row(name: str, kind: str, accuracy: float, seconds: float) -> dict[str, Any]:
        spread = {"accuracy": accuracy, "low": accuracy - 0.021, "high": accuracy + 0.019, "seconds": seconds}
        return {"name": name, "kind": kind, "priors": [] if kind == "none" else [ngrams], **spread}

    return {
        "task": task,
        "labels_per_class": 16,
        "draws": 5,
        "rows": [
            row("words (TF-IDF)", "none", 0.578, 0.2),
            row("char-ngrams", "single", 0.530, 0.4),
            row("word-ngrams", "single", 0.541, 0.3),
            row("all-minilm-l6-v2 · layer_3", "single", 0.697, 9.1),
            row("all-minilm-l6-v2 · layer_6", "single", 0.693, 9.1),
            row("all-minilm-l6-v2 · layers_2_6", "taps", 0.703, 9.2),
            row("everything concatenated", "all", 0.719, 11.0),
            row("all-minilm-l6-v2 · layers_2_6 + char-ngrams + word-ngrams", "recommended", 0.739, 10.6),
        ],
        "curve": CURVE,
        "labels_saved": {
            "labels": 16,
            "single_needs": 28.4,
            "saved": 12.4,
            "text": "16 labels a class with the recommended set do what the best single prior needs 28 for.",
        },
    }


def ranking() -> dict[str, Any]:
    """A ranking with singles and sets."""

    def choice(name: str, kind: str, expected: float, why: str) -> dict[str, Any]:
        return {
            "name": name, "kind": kind, "members": [], "expected": expected, "low": expected - 0.03,
            "high": expected + 0.03, "gain": 0.0, "supported": True, "why": why, "seconds": 1.0,
        }  # fmt: skip

    best = choice("layers_2_6 + char-ngrams", "set", 0.74, "adds 3.1 points where the other is unsure")
    return {
        "task": "topics", "rows": 112, "classes": 7, "metric": "accuracy", "answer": "set",
        "why": "Two priors that err on different rows: the set is 3 points above the best single one.",
        "baseline": {"expected": 0.58, "low": 0.54, "high": 0.62},
        "singles": [
            choice("layers_2_6", "taps", 0.71, "sentence meaning from the middle layers"),
            choice("layer_3", "single", 0.70, ""),
            choice("char-ngrams", "single", 0.53, "spelling and word parts"),
        ],
        "sets": [best],
        "best": best,
        "warnings": ["column 'id' is enough to tell 'topic' of every row."],
        "passed": [{"name": "old-encoder", "rows": 64, "expected": 0.41}],
        "explained": {
            "parts": [{"what": "guessing", "value": 0.14}, {"what": "the best single prior instead", "value": 0.6}],
            "credits": [
                {"name": "char-ngrams", "weight": 0.24, "drop": 0.031, "low": 0.004, "high": 0.058, "overlap": 0.21}
            ],
            "growth": [],
            "would_change": "About 340 labelled rows in all would tell the set from layers_2_6.",
            "rows_needed": 340,
            "next": [{"name": "old-encoder", "expected": 0.41, "upper": 0.53, "why": "it has read 64 rows only"}],
            "nearest": [{"task": "headlines", "agreement": 0.71, "best": "lab/e5#layer_6"}],
            "stands": [],
        },
        "prospects": [
            {
                "name": name, "kind": kind, "how": how, "expected": 0.76, "low": 0.7, "high": 0.82, "gain": gain,
                "gain_low": gain - 0.04, "gain_high": gain + 0.05, "over_adapted": over, "seconds": seconds,
                "memory_mb": 480.0, "within": seconds < 60, "why": "as was measured on texts",
            }
            for name, kind, how, gain, over, seconds in (
                ("layers_2_6 + char-ngrams", "frozen", "", 0.0, None, 0.0),
                ("all-minilm-l6-v2, full", "adapted", "full", 0.02, None, 21.0),
                ("layers_2_6 + adapted all-minilm-l6-v2, full", "set", "full", 0.018, -0.002, 90.0),
            )
        ],
    }  # fmt: skip


def composition(prior: str, *, column: str = "text") -> dict[str, Any]:
    """Two blocks of one prior, concatenated under a head."""
    return {
        "composition": 1,
        "name": "topics",
        "adapt": "trainable",
        "nodes": {
            "text": {"op": "input", "type": "text.raw[B]:str", "column": column},
            "chars": {"op": "fn", "in": ["text"], "fn": "char_ngrams", "prior": prior},
            "words": {"op": "fn", "in": ["text"], "fn": "word_ngrams"},
            "both": {"op": "concat", "in": ["chars", "words"]},
            "y": {"op": "head", "in": ["both"], "labels": ["food", "talk"]},
        },
        "outputs": {"y": "y"},
    }


def make_job(owner: User, kind: str, status: str, **fields: Any) -> Job:
    """A job in any state, with a log."""
    now = timezone.now()
    spec = {"task": f"{owner.username}/topics@" + "0" * 40, **fields.pop("spec", {})}
    job = Job.objects.create(
        kind=kind, owner=owner, queue="train", spec=spec, key=f"{kind}{status}{Job.objects.count()}", status=status,
        started_at=None if status == "queued" else now, heartbeat_at=now,
        finished_at=None if status in Job.LIVE else now, **fields,
    )  # fmt: skip
    for step, said in enumerate(("Reading the task", "Features of char-ngrams", "Ranking 12 candidates"), start=1):
        JobEvent.objects.create(job=job, kind="progress", data={"step": step, "of": 9, "message": said})
    return job


def make_composition(owner: User, name: str = "topics-model") -> Repository:
    """A composition repository with its lock, of the owner's prior `char-ngrams`."""
    manifests = {}
    for prior in Item.objects.priors():
        manifests[prior.repository.full_name] = parse_manifest(prior.manifest)
    own = Item.objects.get(repository__namespace__name=owner.username, repository__name="char-ngrams")
    graph = Graph.from_dict(composition(own.ref))
    lock = Lock.of(check(graph, lambda ref: manifests[ref.repo]))
    repository = make_repository(owner, name, kind=Repository.Kind.COMPOSITION)
    files = {"composition.json": json.dumps(graph.to_dict()).encode(), "composition.lock.json": lock.to_json().encode()}
    make_commit(repository, files, by=owner)
    return repository


def make_result(owner: User, task: Repository) -> Result:
    """A finished benchmark of `task`."""
    job = make_job(owner, "benchmark", "done", step=9, of=9, result=report(task.full_name))
    return Result.objects.create(job=job, task=task, commit="0" * 40, report=report(task.full_name))


def make_world(owner: User) -> World:
    """All of it."""
    card = "# Character n-grams\n\nHashes **pieces** of words.\n\n| n | share |\n|---|---|\n| 3 | .4 |\n"
    make_prior(owner, "char-ngrams", card=card)
    make_prior(owner, "word-ngrams", summary="Counts of words and word pairs, hashed.")
    task = make_task(owner).repository
    make_composition(owner)
    board = make_board(owner, "judged")
    run = make_run(board, f"{owner.username}/char-ngrams", 0.8, owner)
    make_run(board, f"{owner.username}/word-ngrams", 0.55, owner)
    return {
        "board": board,
        "run": run,
        "task": task,
        "result": make_result(owner, task),
        "running": make_job(owner, "fit", "running", step=3, of=9, message="Ranking 12 candidates"),
        "queued": make_job(owner, "recommend", "queued"),
        "failed": make_job(
            owner, "fit", "failed", error={"code": "bad-table", "detail": "train.csv: column 'x' is NaN in row 3."}
        ),
        "recommended": make_job(owner, "recommend", "done", step=9, of=9, result=ranking()),
        "fitted": make_job(
            owner, "fit", "done", step=9, of=9,
            result={"repo": f"{owner.username}/topics-model", "report": {"accuracy": 0.74, "ranking": ranking()}},
        ),
    }  # fmt: skip


def body(response: HttpResponse) -> str:
    """The text of an answer."""
    return response.content.decode()
