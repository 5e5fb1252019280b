"""The starter catalogue as repositories of the hub itself. Running it again changes nothing that did not change."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from hub.home import scratch
from hub.repos.commits import commit_folder, tip
from hub.repos.models import Namespace, Repository
from hub.repos.services import create_repository
from priors.errors import Conflict, UserError

NAMESPACE = "priorhub"
TASKS = ("topics", "sms", "movie", "digits", "wine")

Say = Callable[[str], None]


def seed(say: Say, *, tasks: bool = True) -> None:
    """Publishes the starter priors and tasks; prints what is new. Safe beside a running hub and beside itself."""
    Namespace.objects.get_or_create(name=NAMESPACE, defaults={"kind": Namespace.Kind.ORG})
    # Beside the jobs' folders, under a name that no job has; the same disk as the blobs.
    with tempfile.TemporaryDirectory(prefix="seed-", dir=scratch().parent) as folder:
        _seed_priors(Path(folder) / "priors", say)
        if tasks:
            _seed_tasks(Path(folder) / "tasks", say)


def _seed_priors(root: Path, say: Say) -> None:
    from priors.sources.starter import write_starter  # converts with torch

    for entry in write_starter(root):
        folder = root / str(entry.ref.namespace) / entry.ref.name
        _publish(folder, f"{NAMESPACE}/{entry.ref.name}", Repository.Kind.PRIOR, entry.manifest.summary, say)


def _seed_tasks(root: Path, say: Say) -> None:
    from priors.tasks.starter import starter_task

    for name in TASKS:
        try:
            task = starter_task(name, root / "sources")
        except UserError as err:  # its package is not installed; the others are
            say(f"  task {name} left out: {err}")
            continue
        folder = task.save(root / name, portable=True)
        _publish(folder, f"{NAMESPACE}/{name}", Repository.Kind.TASK, task.summary or "", say)


def _publish(folder: Path, name: str, kind: str, description: str, say: Say) -> None:
    repository = Repository.objects.named(name).first()
    if repository is None:
        try:
            repository = create_repository(name=name, kind=kind, description=description)
        except Conflict:  # another seed was faster
            repository = Repository.objects.named(name).get()
    before = tip(repository, "main")
    commit = commit_folder(repository=repository, folder=folder, message="Starter catalogue", by=None)
    if commit != before:
        say(f"  {name} {commit.oid[:12]}")
