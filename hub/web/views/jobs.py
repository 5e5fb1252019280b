"""The visitor's jobs: the list, one of them live, and cancel."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_POST, require_safe

from hub.accounts.access import Actor
from hub.accounts.permissions import require
from hub.boards.models import Result
from hub.jobs.models import Job, JobEvent
from hub.jobs.services import request_cancel, submit
from hub.web.own import job_context
from hub.web.pages import page
from hub.web.present import facts_of, find_ranking, ranking_view
from hub.web.templatetags.show import subject
from priors.errors import NotFound

_PAGE = 30
_EVENTS = 200  # the newest; a log of a long job stays readable


@login_required
@require_safe
def index(request: HttpRequest) -> HttpResponse:
    """Newest first."""
    jobs = Paginator(Job.objects.visible_to(request.user).defer("result"), _PAGE).get_page(request.GET.get("page"))
    return page(request, "jobs/list.html", {"jobs": jobs}, section="jobs")


@login_required
@require_safe
def show(request: HttpRequest, job_id: UUID) -> HttpResponse:
    """State, steps, log and result. The same page, loaded again, is what live updates show."""
    job = _find(request, job_id)
    newest = list(job.events.order_by("-id")[:_EVENTS])
    context = {
        "job": job,
        "task": subject(job),
        "log": [(event.at, said) for event in reversed(newest) if (said := _said(event))],
        "after": newest[0].pk if newest else 0,
        "ahead": _ahead(job),
        **_result(job, request.user),
    }
    return page(request, "jobs/job.html", context, section="jobs")


@login_required
@require_POST
def cancel(request: HttpRequest, job_id: UUID) -> HttpResponse:
    """Asks the job to stop; back to its page."""
    job = _find(request, job_id)
    require(request.user, "cancel", job)
    request_cancel(job)
    return redirect(job)


@login_required
@require_POST
def again(request: HttpRequest, job_id: UUID) -> HttpResponse:
    """The same job once more, as a new one."""
    job = _find(request, job_id)
    require(request.user, "create", job)  # an administrator sees it, and starts nothing in somebody else's name
    return redirect(submit(kind=job.kind, spec=job.spec, owner=job.owner, again=True))


def _find(request: HttpRequest, job_id: UUID) -> Job:
    job = Job.objects.visible_to(request.user).select_related("owner").filter(pk=job_id).first()
    if job is None:
        raise NotFound("There is no such job, or it is not yours to see.")
    return job


def _said(event: JobEvent) -> str:
    """An event's line in the log; a change of state speaks only when it has a reason."""
    return str(event.data.get("message") or event.data.get("why") or "")


def _ahead(job: Job) -> int:
    """How many jobs the same queue takes first."""
    if job.status != Job.Status.QUEUED:
        return 0
    return Job.objects.live().filter(queue=job.queue, pk__lt=job.pk).count()


def _result(job: Job, user: Actor) -> dict[str, Any]:
    if job.status != Job.Status.DONE or not isinstance(job.result, dict):
        return {}
    match job.kind:
        case Job.Kind.RECOMMEND:
            return {"ranking": ranking_view(job.result)}
        case Job.Kind.FIT:
            report = job.result.get("report")
            ranking = find_ranking(report)
            context = job_context(job, user)
            return context | {"ranking": ranking_view(ranking) if ranking else None, "facts": facts_of(report)}
        case Job.Kind.BENCHMARK:
            return {"board": Result.objects.filter(job=job).first()}
    return {}
