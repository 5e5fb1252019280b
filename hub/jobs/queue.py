"""Waking workers: sends the name of a task and the id of a job, after the row is committed."""

from __future__ import annotations

import logging
from functools import partial

from django.db import transaction
from kombu.exceptions import OperationalError

from hub.jobs.models import Job

logger = logging.getLogger(__name__)

QUEUES: dict[str, str] = {
    Job.Kind.RECOMMEND: "train",
    Job.Kind.FIT: "train",
    Job.Kind.BENCHMARK: "train",
    Job.Kind.PREDICT: "quick",
    Job.Kind.IMPORT: "quick",
}
"""`train` computes for minutes, one job a process; `quick` answers while somebody waits."""


def enqueue(job: Job) -> None:
    """Tells the job's queue of it once the current transaction has committed."""
    transaction.on_commit(partial(_send, str(job.pk), job.queue))


def announce(task: str, argument: str, *, queue: str = "quick") -> None:
    """Sends a task's name and the id of its row, after the current transaction. The message may be lost."""
    transaction.on_commit(partial(_announce, task, argument, queue))


def _send(job_id: str, queue: str) -> None:
    _announce("jobs.run", job_id, queue)


def _announce(task: str, argument: str, queue: str) -> None:
    from hub.celery import app  # the web process needs Celery only from its first job on

    try:
        app.send_task(task, args=[argument], queue=queue)
    except (OperationalError, OSError) as err:
        # The row is committed and `reap` wakes it again: a broker that is down delays a job and loses none.
        logger.warning("not announced: task=%s of=%s queue=%s cause=%s", task, argument, queue, err)
