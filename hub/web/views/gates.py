"""Gated repositories: asking for the files, and the page where the owner decides."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import redirect

from hub.accounts import gating
from hub.accounts.permissions import can, require
from hub.errors import BadRequest
from hub.repos import services as repos
from hub.repos.models import Namespace, Repository
from hub.web.pages import find_repository, page
from priors.errors import NotFound, UserError


@login_required
def ask(request: Any, owner: str, name: str) -> HttpResponse:
    """Asks for oneself or for an organisation, shows what became of it, and takes it back."""
    repository, error = find_repository(request, owner, name), ""
    if request.method == "POST":
        try:
            _ask(request, repository)
            return redirect("ask-access", owner, name)
        except UserError as refused:
            error = str(refused)
    mine = repository.access_requests.filter(user=request.user)
    context = {
        "repository": repository,
        "error": error,
        "request_made": mine.first(),
        "organisations": Namespace.objects.filter(memberships__user=request.user, memberships__role="admin"),
        "has_files": can(request.user, "read_files", repository),
    }
    return page(request, "repos/ask_access.html", context, status=422 if error else 200)


@login_required
def index(request: Any, owner: str, name: str) -> HttpResponse:
    """Who asked, who has the files; the owner answers, grants, and sets the gate."""
    repository, error = find_repository(request, owner, name), ""
    require(request.user, "admin", repository)
    if request.method == "POST":
        try:
            _decide(request, repository)
            messages.success(request, "Done.")
            return redirect("access", owner, name)
        except UserError as refused:
            error = str(refused)
    context = {
        "repository": repository,
        "error": error,
        "gates": [("", "none: who sees it may read it"), ("auto", "whoever asks"), ("manual", "whom I let in")],
        "requests": gating.requests_for(repository, by=request.user)[:500],
    }
    return page(request, "repos/access.html", context, status=422 if error else 200)


def _ask(request: Any, repository: Repository) -> None:
    if request.POST.get("act") == "withdraw":
        made = gating.own_request(repository, request.user)
        if made is not None:
            gating.withdraw(made, by=request.user)
        return
    organisation, chosen = None, request.POST.get("organisation", "")
    if chosen:
        organisation = Namespace.objects.filter(name=chosen).first()
        if organisation is None:
            raise NotFound(f"There is no organisation {chosen[:100]!r}.")
    answers = {key: value for key, value in request.POST.items() if key not in _OURS}
    gating.ask(repository=repository, by=request.user, organisation=organisation, fields=answers)


def _decide(request: Any, repository: Repository) -> None:
    match request.POST.get("act"):
        case "gate":
            repos.change_settings(repository, gated=request.POST.get("gate", ""), by=request.user)
        case "grant":
            to = gating.find_holder(request.POST.get("to", "").strip())
            gating.grant(repository=repository, by=request.user, to=to)
        case "accepted" | "rejected" as status:
            made = gating.find_request(repository, request.POST.get("request", ""))
            gating.handle(made, status=status, by=request.user, reason=request.POST.get("reason", ""))
        case _:
            raise BadRequest("This form has no such button.")


_OURS = frozenset(["csrfmiddlewaretoken", "act", "organisation"])
