"""The first page, and the small ones: colors, robots, the list of addresses."""

from __future__ import annotations

from django.contrib.auth import get_user_model
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_POST, require_safe

from hub.accounts.services import needs_setup
from hub.boards.models import Result
from hub.catalog.models import Item
from hub.catalog.query import Query
from hub.jobs.models import Job
from hub.repos.models import Repository
from hub.web.pages import page
from hub.web.present import report_view, short_report
from hub.web.templatetags.show import THEMES

_YEAR_S = 365 * 24 * 3600


@require_safe
def home(request: HttpRequest) -> HttpResponse:
    """Search, what a prior is, what is new, and what to run first."""
    from hub.catalog.search import search

    results = list(Result.objects.visible_to(request.user).for_cards().filter(task__private=False)[:3])
    tasks = Repository.objects.visible_to(request.user).for_cards().filter(kind=Repository.Kind.TASK)
    priors = search(Query(facets={"kind": tuple(Item.Kind.values)}), visible_to=request.user)
    context = {
        "priors": priors.page(sort="updated", limit=6).items,
        "prior_count": priors.count,
        "results": [(result, short_report(result.report)) for result in results],
        "showpiece": report_view(results[0].report) if results else None,
        "showpiece_result": results[0] if results else None,
        "tasks": tasks.filter(private=False, head__isnull=False)[:6],
        "needs_setup": needs_setup(),
        "has_users": get_user_model().objects.exists(),
        "my_jobs": Job.objects.visible_to(request.user).live()[:3] if request.user.is_authenticated else [],
    }
    return page(request, "web/home.html", context, section="home")


@require_safe
def docs(request: HttpRequest) -> HttpResponse:
    """Where the API is described, and how to reach it from Python and the command line."""
    return page(request, "web/docs.html", {"address": request.build_absolute_uri("/").rstrip("/")})


@require_POST
def theme(request: HttpRequest) -> HttpResponse:
    """Keeps the visitor's choice of colors in a cookie."""
    there = request.POST.get("next", "/")
    safe = url_has_allowed_host_and_scheme(there, allowed_hosts={request.get_host()}, require_https=request.is_secure())
    response = redirect(there if safe else "/")
    if (chosen := request.POST.get("theme")) in THEMES:
        response.set_cookie("theme", str(chosen), max_age=_YEAR_S, samesite="Lax", secure=request.is_secure())
    return response


@require_safe
def robots(request: HttpRequest) -> HttpResponse:
    """Crawlers stay out of what is personal."""
    lines = ["User-agent: *", *(f"Disallow: {path}" for path in ("/jobs", "/account", "/setup", "/try", "/api"))]
    return HttpResponse("\n".join(lines) + "\n", content_type="text/plain")
