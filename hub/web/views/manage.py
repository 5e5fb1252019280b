"""The settings of a repository, for those who administer it."""

from __future__ import annotations

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect

from hub.accounts import rates
from hub.accounts.models import User
from hub.accounts.permissions import require
from hub.errors import BadRequest
from hub.repos import services as repos
from hub.repos.models import Repository
from hub.web.forms import SettingsForm
from hub.web.pages import find_repository, page, repository_bar


@login_required
def settings(request: HttpRequest, owner: str, name: str, type: str = "") -> HttpResponse:
    """Description, who sees it, who gets the files; another name."""
    repository = find_repository(request, owner, name, type)
    require(request.user, "admin", repository)
    if request.method == "POST":
        return _changed(request, repository)
    return _page(request, repository, SettingsForm(initial=_now(repository)))


def _changed(request: HttpRequest, repository: Repository) -> HttpResponse:
    assert isinstance(request.user, User)  # noqa: S101 -- for the type checker; `login_required` stands before it
    match request.POST.get("do"):
        case "settings":
            form = SettingsForm(request.POST)
            if not form.is_valid():
                return _page(request, repository, form, status=422)
            repos.change_settings(repository, by=request.user, **form.cleaned_data)
            messages.success(request, "The settings are saved.")
        case "move":
            to = request.POST.get("to", "").strip()
            require(request.user, "delete", repository)
            require(request.user, "create", repos.namespace_of(to))
            rates.charge(request, "create", request.user)
            repos.move_repository(repository, to, by=request.user)
            messages.success(request, f"It is called {repository.full_name} now; its old name leads here.")
        case _:
            raise BadRequest("The form says nothing that can be done here.")
    return redirect(f"{repository.get_absolute_url()}/settings")


def _page(request: HttpRequest, repository: Repository, form: SettingsForm, *, status: int = 200) -> HttpResponse:
    context = {
        "repository": repository,
        "form": form,
    }
    bar = repository_bar(request.user, repository, "settings")
    return page(request, "repos/settings.html", context | bar, status=status)


def _now(repository: Repository) -> dict[str, object]:
    return {"description": repository.description, "private": repository.private, "gated": repository.gated}
