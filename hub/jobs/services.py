"""The life of a job: submitted, claimed, reported on, and ended by exactly one of finish, fail, cancel or the reaper.

Every change of a running job carries the fence of its claim. A worker that was thought dead and comes back holds an old
one: its writes change no row and raise Superseded, so a job has one result whatever happens to workers.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import F, Q
from django.utils import timezone

from hub.accounts import rates
from hub.accounts.models import User
from hub.accounts.permissions import require
from hub.boards import recording
from hub.boards import services as boards
from hub.errors import BadSpec
from hub.jobs import queue, secret, sources
from hub.jobs.models import Job, JobEvent
from hub.jobs.specs import job_key, parse_spec, split_rev
from hub.repos import commits
from hub.repos import services as repos
from hub.repos.blobs import put_file
from hub.repos.models import Repository
from hub.safety import leaks
from priors.errors import NotFound, UserError

Status = Job.Status
_PINNED = {"task": Repository.Kind.TASK, "model": Repository.Kind.COMPOSITION, "data": Repository.Kind.TASK}
_WAKE_AFTER = timedelta(seconds=60)


class Superseded(Exception):
    """This claim no longer holds the job: the reaper gave it to another worker. Stop, and write nothing."""


@dataclass(frozen=True)
class Claim:
    """The right to work on a job, until somebody else's fence is higher."""

    job_id: Any
    kind: str
    spec: dict[str, Any]
    owner: User
    fence: int
    attempt: int


@dataclass(frozen=True)
class Push:
    """A folder, or files that are stored already, that become a commit together with the job's result or not at all."""

    folder: Path | None
    repository: str
    kind: str
    message: str
    private: bool = False
    files: Sequence[commits.Put] = ()
    type: str = ""
    provenance: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Outcome:
    """What a runner gives back."""

    result: dict[str, Any]
    push: Push | None = None
    output: Path | None = None
    """A file for the owner to download."""
    measured: Mapping[str, Any] | None = None
    """What a `verify` job measured, sealed for its claim; no part of the result, which its owner reads."""


# ── asking ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def submit(
    *, kind: str, spec: Mapping[str, Any], owner: User, again: bool = False, source_token: str | None = None
) -> Job:
    """The job for this request: a new one, or the live or done one that was asked for before.

    Revisions are pinned to commits first, so the same names over other content are another job. `again` starts a new
    one although one is done; a live one is shared even then. One that will make a repository counts as making it now.
    Raises BadSpec, NotFound, NotAllowed, TooManyRequests.

    source_token  what an import shows to the hub it copies from; kept sealed, and only until the job ends
    """
    pinned = _pin(parse_spec(kind, spec), owner)
    makes_repository = "push_to" in pinned and _require_push(pinned, owner) is None
    if source_token is not None:
        secret.check(kind, pinned, source_token)
    return start(
        kind=kind, spec=pinned, owner=owner, again=again, source_token=source_token, makes_repository=makes_repository
    )


def start(
    *,
    kind: str,
    spec: Mapping[str, Any],
    owner: User,
    again: bool = False,
    source_token: str | None = None,
    makes_repository: bool = False,
) -> Job:
    """The job of a spec that needs no more checks: what `submit` pinned, or what another service of this hub wrote.

    Raises TooManyRequests.
    """
    pinned = dict(spec)
    key = job_key(kind, pinned, owner.pk)
    same = Job.objects.filter(key=key, status__in=Job.LIVE if again else [*Job.LIVE, Status.DONE])
    if makes_repository and not same.exists():
        rates.charge_user("create", owner)  # before the transaction: taken back with it, a lease would be spent twice
    try:
        with transaction.atomic():
            if job := same.order_by("-id").first():
                secret.keep(job, source_token)
                return job
            job = Job.objects.create(
                kind=kind, spec=pinned, owner=owner, key=key, queue=queue.QUEUES[kind], woken_at=timezone.now()
            )
            secret.keep(job, source_token)
            _event(job.pk, JobEvent.Kind.STATUS, status=Status.QUEUED)
            queue.enqueue(job)
            return job
    except IntegrityError:
        return Job.objects.live().get(key=key)  # somebody asked the same at the same time and was first


def request_cancel(job: Job) -> None:
    """Asks a job to stop: at once while it waits, at the next step while it runs, never once it ended."""
    with transaction.atomic():
        waiting = Job.objects.filter(pk=job.pk, status=Status.QUEUED)
        if waiting.update(status=Status.CANCELLED, cancel_requested=True, finished_at=timezone.now()):
            secret.forget(job.pk)
            recording.ended(job.pk, "It was cancelled.")
            _event(job.pk, JobEvent.Kind.STATUS, status=Status.CANCELLED)
        else:
            Job.objects.filter(pk=job.pk, status=Status.RUNNING).update(cancel_requested=True)


# ── working ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def claim(job_id: str) -> Claim | None:
    """The job, if it waits and nobody was faster. One UPDATE decides."""
    now = timezone.now()
    with transaction.atomic():
        won = Job.objects.filter(pk=job_id, status=Status.QUEUED).update(
            status=Status.RUNNING, fence=F("fence") + 1, attempt=F("attempt") + 1, worker=worker_name(),
            started_at=now, heartbeat_at=now, step=0, of=0, message="",
        )  # fmt: skip
        if not won:
            return None
        job = Job.objects.select_related("owner").get(pk=job_id)
        _event(job.pk, JobEvent.Kind.STATUS, status=Status.RUNNING, attempt=job.attempt)
    return Claim(job.pk, job.kind, job.spec, job.owner, job.fence, job.attempt)


def beat(held: Claim) -> None:
    """Says the worker is alive. Raises Superseded."""
    if not _held(held).update(heartbeat_at=timezone.now()):
        raise Superseded


def cancel_requested(held: Claim) -> bool:
    """Whether somebody asked the job to stop. Raises Superseded."""
    asked = _held(held).values_list("cancel_requested", flat=True).first()
    if asked is None:
        raise Superseded
    return bool(asked)


def record_progress(held: Claim, *, step: int, of: int, message: str, metrics: Mapping[str, Any]) -> None:
    """Writes how far the job is. Callers limit the rate (hub/jobs/reporter.py). Raises Superseded."""
    with transaction.atomic():
        now = timezone.now()
        if not _held(held).update(step=step, of=of, message=message[:500], heartbeat_at=now):
            raise Superseded
        _event(held.job_id, JobEvent.Kind.PROGRESS, step=step, of=of, message=message[:500], **metrics)


def finish(held: Claim, outcome: Outcome) -> None:
    """Publishes what the job made and its result in one transaction. Raises Superseded, and a commit's refusals."""
    changes = _stored(outcome.push, held.owner) if outcome.push else []
    output = put_file(outcome.output, by=held.owner) if outcome.output else None
    with leaks.atomic():
        if not _held(held).select_for_update().exists():
            raise Superseded
        result = dict(outcome.result)
        if push := outcome.push:
            repository = _push_target(push, held)
            commit = commits.commit(
                repository=repository, changes=changes, message=push.message, by=held.owner, replace=True
            )
            if push.provenance is not None:
                repository.provenance = dict(push.provenance)
                repository.save(update_fields=["provenance"])
            result |= {"repo": repository.full_name, "commit": commit.oid}
        if output is not None:
            result |= {"blob": output.sha256}
        if held.kind == Job.Kind.VERIFY:
            result |= recording.record(job_id=held.job_id, fence=held.fence, sent=outcome.measured)
        _end(held, Status.DONE, result=result, output=output)
        if held.kind == Job.Kind.BENCHMARK:
            boards.record(job=Job.objects.get(pk=held.job_id))


def fail(held: Claim, *, code: str, detail: str) -> None:
    """Ends the job with its cause. Raises Superseded."""
    with transaction.atomic():
        _end(held, Status.FAILED, error={"code": code, "detail": detail})


def release(held: Claim) -> None:
    """Gives a job back because its worker is stopping in good order; that costs no attempt. Raises Superseded."""
    with transaction.atomic():
        back = _held(held).update(status=Status.QUEUED, fence=F("fence") + 1, attempt=F("attempt") - 1, message="")
        if not back:
            raise Superseded
        _event(
            held.job_id, JobEvent.Kind.STATUS, status=Status.QUEUED, why="The hub is stopping; it goes on afterwards."
        )
        Job.objects.filter(pk=held.job_id).update(woken_at=timezone.now())
        queue.enqueue(Job.objects.get(pk=held.job_id))


def cancel(held: Claim) -> None:
    """Ends a job that stopped because it was asked to. Raises Superseded."""
    with transaction.atomic():
        _end(held, Status.CANCELLED)


# ── looking after ───────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Reaped:
    """What `reap` did."""

    requeued: int = 0
    failed: int = 0
    woken: int = 0


def reap(*, wake_after: timedelta = _WAKE_AFTER) -> Reaped:
    """Runs jobs of dead workers again, or fails them after too many attempts; reminds queues of forgotten jobs."""
    now = timezone.now()
    dead_after = timedelta(seconds=settings.JOB_DEAD_AFTER_SECONDS)
    silent = Q(heartbeat_at__lt=now - dead_after)
    here = Q(worker__startswith=f"{socket.gethostname()}:")
    requeued = failed = woken = 0
    for job in Job.objects.filter(silent | here, status=Status.RUNNING):
        spoke = job.heartbeat_at is not None and job.heartbeat_at > now - dead_after
        if spoke and _is_alive(job.worker):
            continue
        if job.attempt < settings.JOB_MAX_ATTEMPTS and not job.cancel_requested:
            requeued += _requeue(job)
        else:
            failed += _give_up(job)
    for job in Job.objects.filter(status=Status.QUEUED, woken_at__lt=now - wake_after):
        with transaction.atomic():
            Job.objects.filter(pk=job.pk).update(woken_at=now)
            queue.enqueue(job)
        woken += 1
    recording.abandoned()
    return Reaped(requeued, failed, woken)


def _requeue(job: Job) -> bool:
    with transaction.atomic():
        still = Job.objects.filter(pk=job.pk, status=Status.RUNNING, fence=job.fence)
        # The fence rises here and not only at the next claim: the old worker is refused from this moment on.
        if not still.update(status=Status.QUEUED, fence=F("fence") + 1, woken_at=timezone.now(), message=""):
            return False
        _event(
            job.pk, JobEvent.Kind.STATUS, status=Status.QUEUED, why=f"Worker {job.worker} stopped; running it again."
        )
        queue.enqueue(job)
    return True


def _give_up(job: Job) -> bool:
    held = Claim(job.pk, job.kind, job.spec, job.owner, job.fence, job.attempt)
    with transaction.atomic():
        try:
            if job.cancel_requested:
                _end(held, Status.CANCELLED)
            else:
                detail = (
                    f"Its worker stopped {job.attempt} times, the last being {job.worker}. It may need more memory."
                )
                _end(held, Status.FAILED, error={"code": "worker-lost", "detail": detail})
        except Superseded:
            return False
    return True


def worker_name() -> str:
    """host:pid of this process; the reaper on the same host can ask whether it lives."""
    return f"{socket.gethostname()}:{os.getpid()}"


def _is_alive(worker: str) -> bool:
    try:
        os.kill(int(worker.rpartition(":")[2]), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


# ── inside ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _held(held: Claim) -> Any:
    return Job.objects.filter(pk=held.job_id, status=Status.RUNNING, fence=held.fence)


def _end(held: Claim, status: Job.Status, **fields: Any) -> None:
    if not _held(held).update(status=status, finished_at=timezone.now(), **fields):
        raise Superseded
    secret.forget(held.job_id)
    if held.kind == Job.Kind.VERIFY and status != Status.DONE:
        recording.ended(held.job_id, fields["error"]["detail"] if "error" in fields else "It was cancelled.")
    _event(
        held.job_id, JobEvent.Kind.STATUS, status=status, **({"error": fields["error"]} if "error" in fields else {})
    )


def _event(job_id: Any, kind: str, **data: Any) -> None:
    JobEvent.objects.create(job_id=job_id, kind=kind, data=data)


def _pin(spec: dict[str, Any], owner: User) -> dict[str, Any]:
    """`spec` with every repository it reads at a commit, and the one it writes allowed."""
    pinned = dict(spec)
    for name, kind in _PINNED.items():
        if name not in spec:
            continue
        full_name, rev = split_rev(spec[name])
        named = Repository.objects.visible_to(owner).named(full_name)
        repository = named.filter(kind=kind).first() or named.first()
        if repository is None:
            raise NotFound(f"There is no repository {full_name!r} here, or it is not yours to see.")
        if repository.kind != kind:
            raise BadSpec(f"{full_name} is a {repository.kind}; `{name}` needs a {kind}. Name one of that kind.")
        require(owner, "read_files", repository)
        pinned[name] = f"{full_name}@{repos.resolve(repository, rev).oid}"
    return pinned


def _require_push(spec: Mapping[str, Any], owner: User) -> Repository | None:
    """The repository that a job with this spec writes to, None for a new one. Raises NotAllowed, NotFound, BadSpec."""
    full_name, source = spec["push_to"], spec.get("source")
    prefix = f"{spec['type']}s/" if source else ""
    existing = Repository.objects.visible_to(owner).named(f"{prefix}{full_name}").first()
    if source:
        sources.endpoint(source)
    if existing is None:
        require(owner, "create", repos.namespace_of(full_name))
        return None
    require(owner, "write", existing)
    if source and existing.provenance.get("source") != source:
        raise BadSpec(f"{full_name} exists and is no copy of {source}. Choose another name.")
    wanted = spec.get("kind", Repository.Kind.COMPOSITION)
    if not source and existing.kind != wanted:
        raise BadSpec(f"{full_name} is a {existing.kind}; what is pushed there is a {wanted}. Choose another name.")
    if not source and spec["private"] and not existing.private:
        raise BadSpec(
            f"{full_name} is public, and what would be pushed there is private or names private priors. "
            "Choose another name, or make the repository private first."
        )
    return existing


def _stored(push: Push, owner: User) -> Sequence[commits.Put]:
    return commits.store_folder(push.folder, by=owner) if push.folder is not None else push.files


def _push_target(push: Push, held: Claim) -> Repository:
    """Asked again at the end: rights and names may have changed while the job ran."""
    spec = {**held.spec, "push_to": push.repository, "private": push.private, "kind": push.kind}
    existing = _require_push(spec, held.owner)
    return existing or repos.create_repository(
        name=push.repository, kind=push.kind, type=push.type, private=push.private
    )


def cause(error: BaseException) -> tuple[str, str]:
    """Code and one line for the job's error."""
    if isinstance(error, UserError):
        return error.code, str(error)
    if isinstance(error, MemoryError):
        return "out-of-memory", "The job needed more memory than the worker has. Use fewer rows or smaller priors."
    return "internal", f"{type(error).__name__} in the worker; its log has the details under this job's id."
