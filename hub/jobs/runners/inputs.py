"""What several runners read: task repositories as `Task`s, published models as folders."""

from __future__ import annotations

from pathlib import Path

from hub.jobs.runners import Work
from hub.jobs.specs import split_rev
from hub.repos.models import Repository
from hub.repos.services import materialise, resolve
from priors.errors import NotFound
from priors.tasks import Task


def repository_folder(work: Work, rev: str, name: str) -> Path:
    """The files of `ns/name@rev` in the job's own folder. Raises NotFound, also when it was deleted meanwhile."""
    full_name, commit = split_rev(rev)
    repository = Repository.objects.open_to(work.owner).named(full_name).first()
    if repository is None:
        raise NotFound(f"There is no repository {full_name!r} any more. Publish it again, then run the job again.")
    return materialise(resolve(repository, commit), work.folder / name)


def is_private(full_name: str) -> bool:
    """Whether some repository of that name is, or there is none: not everybody may hear of it."""
    found = Repository.objects.named(full_name).values_list("private", flat=True)
    return not found or any(found)


def read_task(work: Work) -> Task:
    """The spec's task, cut to its rows where it names some."""
    task = Task.from_dir(repository_folder(work, work.spec["task"], "task"))
    rows = work.spec.get("rows")
    return task if rows is None else task.subset(rows)
