"""/jobs: ask for work, follow it, stop it."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any
from uuid import UUID

from django.http import HttpRequest, HttpResponseBase
from ninja import Router, Status

from hub.accounts.permissions import require
from hub.api.auth import Anyone, Somebody
from hub.api.files import send_blob
from hub.api.paging import page
from hub.api.schemas import JobIn, JobOut, JobPage
from hub.jobs import events, services
from hub.jobs.models import Job
from priors.errors import NotFound

router = Router(tags=["jobs"])


def find(request: Any, job_id: UUID) -> Job:
    """The job, if it is the caller's. Raises NotFound."""
    job = Job.objects.visible_to(request.auth).filter(pk=job_id).first()
    if job is None:
        raise NotFound("There is no such job, or it is not yours to see.")
    return job


@router.post(
    "", auth=Somebody(), response={202: JobOut}, summary="Ask for a job; asking for the same again gives the same"
)
def submit(request: Any, payload: JobIn) -> Any:
    require(request.auth, "create", Job(owner=request.auth))
    given = payload.source_token.get_secret_value() if payload.source_token is not None else None
    job = services.submit(
        kind=payload.kind, spec=payload.spec, owner=request.auth, again=payload.again, source_token=given
    )
    return Status(HTTPStatus.ACCEPTED, JobOut.from_row(job))


@router.get("", auth=Somebody(), response=JobPage, summary="Your jobs, newest first")
def index(request: Any, limit: int = 50, cursor: str = "") -> JobPage:
    items, following = page(Job.objects.visible_to(request.auth), limit=limit, cursor=cursor)
    return JobPage(items=[JobOut.from_row(job) for job in items], next=following)


@router.get("/{job_id}", auth=Anyone(), response=JobOut, summary="One job")
def show(request: Any, job_id: UUID) -> JobOut:
    return JobOut.from_row(find(request, job_id))


@router.post("/{job_id}/cancel", auth=Somebody(), response={202: JobOut}, summary="Ask a job to stop")
def cancel(request: Any, job_id: UUID) -> Any:
    job = find(request, job_id)
    require(request.auth, "cancel", job)
    services.request_cancel(job)
    job.refresh_from_db()
    return Status(HTTPStatus.ACCEPTED, JobOut.from_row(job))


@router.get(
    "/{job_id}/events",
    auth=Anyone(),
    response={200: str},
    summary="The job's events as they come (text/event-stream); Last-Event-ID goes on from there",
)
def stream(request: HttpRequest, job_id: UUID) -> HttpResponseBase:
    return events.stream_response(find(request, job_id), last_event_id=request.headers.get("Last-Event-ID"))


@router.api_operation(
    ["GET", "HEAD"],
    "/{job_id}/file",
    auth=Anyone(),
    response={200: bytes},
    summary="The file a job made: predictions as CSV",
)
def file(request: HttpRequest, job_id: UUID) -> HttpResponseBase:
    job = find(request, job_id)
    if job.output is None:
        raise NotFound(f"The job {job.pk} has no file: it is {job.status}, or the rows it was made of were deleted.")
    blob = job.output
    name = f"predictions-{str(job.pk)[:8]}.csv"
    return send_blob(request, blob, path=name)
