"""`/import`: a form that starts the job which copies a repository of another hub."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.debug import sensitive_post_parameters

from hub.jobs.models import Job
from hub.jobs.services import submit
from hub.web.forms import ImportForm
from hub.web.pages import page
from priors.errors import TokenRejected, UserError


@sensitive_post_parameters("token")
def new(request: HttpRequest) -> HttpResponse:
    """Everybody may look; a copy needs an account to belong to."""
    if request.method == "POST" and not request.user.is_authenticated:
        raise TokenRejected("To copy a repository, sign in.")
    begun = {field: request.GET.get(field, "")[:200] for field in ("repo", "to")}
    form: Any = ImportForm(request.POST or None, initial=begun, sources=settings.IMPORT_ENDPOINTS, user=request.user)
    if request.method == "POST" and form.is_valid():
        try:
            token = form.cleaned_data["token"] or None
            job = submit(kind=Job.Kind.IMPORT, spec=form.spec(), owner=request.user, again=True, source_token=token)  # type: ignore[arg-type]
            return redirect(job)
        except UserError as error:
            form.add_error(None, str(error))
    context = {"form": form, "sources": settings.IMPORT_ENDPOINTS}
    return page(request, "jobs/import.html", context, status=422 if form.errors else 200)
