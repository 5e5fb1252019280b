"""`/owner/name/holds`: what may not be downloaded, why, and for those who may, placing and lifting it."""

from __future__ import annotations

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_POST, require_safe

from hub.accounts.permissions import can
from hub.repos import services as repos
from hub.safety import holds
from hub.safety.models import Hold
from hub.web.pages import find_repository, page
from priors.errors import NotFound


@require_safe
def index(request: HttpRequest, owner: str, name: str) -> HttpResponse:
    """Every hold of the repository, standing and lifted."""
    repository = find_repository(request, owner, name)
    may_moderate = can(request.user, "moderate", repository)
    may_yank = can(request.user, "admin", repository)
    rows = [
        (hold, hold.lifted_at is None and (may_yank if hold.kind == Hold.Kind.YANK else may_moderate))
        for hold in repository.holds.select_related("commit")[:200]
    ]
    context = {"repository": repository, "rows": rows, "may_yank": may_yank, "may_moderate": may_moderate}
    return page(request, "repos/holds.html", context)


@login_required
@require_POST
def place(request: HttpRequest, owner: str, name: str) -> HttpResponse:
    """Yanks or quarantines the repository, or one revision of it."""
    repository = find_repository(request, owner, name)
    rev = request.POST.get("rev", "").strip()
    commit = repos.resolve(repository, rev) if rev else None
    put = holds.quarantine if request.POST.get("kind") == Hold.Kind.QUARANTINE else holds.yank
    put(repository, reason=request.POST.get("reason", ""), by=request.user, commit=commit)  # type: ignore[arg-type]
    messages.success(request, f"{commit.oid[:7] if commit else repository.full_name} cannot be downloaded any more.")
    return redirect("repository-holds", owner=owner, name=name)


@login_required
@require_POST
def lift(request: HttpRequest, owner: str, name: str, hold_id: int) -> HttpResponse:
    """Gives the files back."""
    repository = find_repository(request, owner, name)
    hold = repository.holds.filter(pk=hold_id).first()
    if hold is None:
        raise NotFound(f"{repository} has no hold {hold_id}.")
    holds.lift(hold, by=request.user)  # type: ignore[arg-type]
    messages.success(request, "The files can be downloaded again.")
    return redirect("repository-holds", owner=owner, name=name)
