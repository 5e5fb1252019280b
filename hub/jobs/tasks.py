"""The Celery tasks of jobs: fetch the row, run it, record how it ended."""

from __future__ import annotations

import ctypes
import ctypes.util
import logging
import shutil
from functools import partial
from pathlib import Path

from celery import shared_task
from celery.signals import worker_shutting_down
from django.utils import timezone

from composer.errors import Cancelled
from hub.boards import attest
from hub.home import scratch
from hub.jobs import reporter, secret, services
from hub.jobs.cleanup import remove_job_folders
from hub.jobs.runners import Work, load_runner
from hub.jobs.services import Claim, Superseded
from priors.errors import UserError

logger = logging.getLogger(__name__)


@shared_task(name="jobs.run")  # type: ignore[untyped-decorator]
def run_job(job_id: str) -> None:
    """Works on a job if it still waits; a message that came twice or late does nothing."""
    # A stopping worker may still be handed messages; `reap` announces the job again to those that go on.
    held = None if reporter.is_stopping() else services.claim(job_id)
    if held is None:
        return
    folder = scratch() / f"{held.job_id}-{held.fence}"
    try:
        _run(held, folder)
    except Superseded:
        logger.warning("job lost: job=%s fence=%s is another worker's now", held.job_id, held.fence)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        _give_memory_back()


def _run(held: Claim, folder: Path) -> None:
    started = timezone.now()
    try:
        with reporter.Reporter(held) as reports:
            work = Work(
                kind=held.kind, spec=held.spec, owner=held.owner, folder=folder, report=reports.report,
                cancelled=reports.cancelled, source_token=partial(secret.reveal, held.job_id, held.spec),
                seal=partial(attest.seal, attest.token_of(held.job_id, held.fence)),
            )  # fmt: skip
            outcome = load_runner(held.kind)(work)
        services.finish(held, outcome)
    except Superseded:
        raise
    except reporter.Interrupted:
        services.release(held)
    except Cancelled:
        services.cancel(held)
    except Exception as err:  # whatever a runner raises ends this job with a cause, and the worker goes on
        code, detail = services.cause(err)
        logger.log(
            logging.INFO if isinstance(err, UserError) else logging.ERROR,
            "job failed: job=%s kind=%s code=%s detail=%s", held.job_id, held.kind, code, detail,
            exc_info=None if isinstance(err, UserError) else err,
        )  # fmt: skip
        services.fail(held, code=code, detail=detail)
    else:
        seconds = (timezone.now() - started).total_seconds()
        logger.info("job finished: job=%s kind=%s seconds=%.1f", held.job_id, held.kind, seconds)


@shared_task(name="jobs.reap")  # type: ignore[untyped-decorator]
def reap() -> None:
    """Looks after jobs of dead workers, and removes what they left."""
    reaped = services.reap()
    remove_job_folders()
    if reaped != services.Reaped():
        logger.warning("jobs reaped: requeued=%d failed=%d woken=%d", reaped.requeued, reaped.failed, reaped.woken)


@worker_shutting_down.connect  # type: ignore[untyped-decorator]
def _stop_jobs(**_: object) -> None:
    reporter.interrupt()


def _give_memory_back() -> None:
    """The tuned allocator keeps freed memory in the process (hub/ops/processes.py): hand it back between jobs."""
    name = ctypes.util.find_library("c")
    if name and hasattr(libc := ctypes.CDLL(name), "malloc_trim"):
        libc.malloc_trim(0)
