"""Which queue a job goes to, and telling that queue of it."""

from __future__ import annotations

from hub.announce import announce
from hub.jobs.models import Job

QUEUES: dict[str, str] = {
    Job.Kind.RECOMMEND: "train",
    Job.Kind.FIT: "train",
    Job.Kind.BENCHMARK: "train",
    Job.Kind.PREDICT: "quick",
    Job.Kind.IMPORT: "quick",
    Job.Kind.VERIFY: "train",
    Job.Kind.RETRAIN: "train",
}
"""`train` computes for minutes, one job a process; `quick` answers while somebody waits."""


def enqueue(job: Job) -> None:
    """Tells the job's queue of it once the current transaction has committed."""
    announce("jobs.run", str(job.pk), queue=job.queue)
