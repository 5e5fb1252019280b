"""Removing for good: a repository with everything that was made of it, and what attempts that are over left behind."""

from __future__ import annotations

import re
import shutil
from functools import reduce
from operator import or_
from pathlib import Path

from django.db import transaction
from django.db.models import Q

from hub.accounts import audit
from hub.accounts.access import Actor
from hub.boards import kept
from hub.home import scratch
from hub.jobs.models import Job
from hub.jobs.services import request_cancel
from hub.repos import services as repos
from hub.repos.blobs import drop_unused
from hub.repos.models import Repository, RepositoryBlob
from priors.errors import Conflict

_OF_A_JOB = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}-\d+\Z")


def delete_repository(repository: Repository, *, by: Actor | None = None, only_empty: bool = False) -> None:
    """Removes a repository, cancels the jobs that read it, and removes their files: predictions repeat their rows.

    Its bytes go at once, except those that something else still uses. What was measured on it stays, as numbers.
    Raises Conflict for one that has a commit where `only_empty` may go.
    """
    former = repository.former_names.values_list("key", flat=True)
    names = {repository.full_name, *(key.partition("/")[2] for key in former)}
    with transaction.atomic():
        Repository.objects.lock(repository)
        if only_empty and repository.commits.exists():
            raise Conflict(f"{repository} has commits by now, and only an empty repository was to be deleted.")
        hashes = set(RepositoryBlob.objects.filter(repository=repository).values_list("blob_id", flat=True))
        for field in ("task", "data"):
            pinned = reduce(or_, (Q(**{f"spec__{field}__istartswith": f"{name}@"}) for name in names))
            for job in Job.objects.filter(pinned):
                request_cancel(job)
                if job.output_id:
                    hashes.add(job.output_id)
                    Job.objects.filter(pk=job.pk).update(output=None)
        name, namespace = repository.prefixed_name, repository.namespace
        kept.task_deleted(repository)
        repos.delete_repository(repository)
        audit.record("repository.deleted", by=by, subject=name, namespace=namespace)
    drop_unused(hashes)


def is_job_folder(path: Path) -> bool:
    """Whether a scratch folder is that of an attempt: `<job>-<fence>`."""
    return _OF_A_JOB.match(path.name) is not None


def remove_job_folders() -> int:
    """Removes scratch folders whose attempt is over: the job holds another fence by now, or ended. How many."""
    # Folders first: one is made only after its claim is committed, so each claim of these is in the rows read next.
    folders = [path for path in scratch().iterdir() if is_job_folder(path)]
    running = Job.objects.filter(status=Job.Status.RUNNING).values_list("pk", "fence")
    held = {f"{pk}-{fence}" for pk, fence in running}
    over = [path for path in folders if path.name not in held]
    for path in over:
        shutil.rmtree(path, ignore_errors=True)
    return len(over)
