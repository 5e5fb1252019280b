"""Recording what was measured."""

from __future__ import annotations

from hub.boards.models import Result
from hub.catalog import scores
from hub.jobs.models import Job
from hub.repos.models import Repository


def record(*, job: Job) -> Result | None:
    """The board row of a finished benchmark, or None when its task was deleted; inside the job's last transaction."""
    name, _, commit = job.spec["task"].partition("@")
    task = Repository.objects.named(name).first()
    if task is None:
        return None
    if not task.private:  # a private table's numbers are nobody else's
        scores.measured(job.result or {})
    return Result.objects.create(job=job, task=task, commit=commit, report=job.result, private=task.private)
