"""What every view goes through: common context, and refusals shown as pages."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.contrib.auth.models import AnonymousUser
from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect
from django.shortcuts import render

from hub.accounts.access import Actor
from hub.accounts.permissions import can
from hub.boards.models import Board
from hub.errors import BadRequest, Moved
from hub.repos import retired
from hub.repos.models import Repository
from hub.texts import is_storable
from priors.errors import NotFound, TokenRejected, UserError

View = Callable[..., HttpResponseBase]


def page(
    request: HttpRequest, template: str, context: dict[str, Any], *, section: str = "", status: int = 200
) -> HttpResponse:
    """The rendered page. `section` is the entry of the navigation it belongs to."""
    return render(request, template, {"section": section, **context}, status=status)


def explained(view: View) -> View:
    """A view whose UserErrors become pages: 404 for what is not to be seen, sign-in for nobody, else cause and fix."""

    @wraps(view)
    def wrapped(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        try:
            if request.method == "POST" and not is_storable([value for _, value in request.POST.lists()]):
                raise BadRequest("A field holds a NUL character, which no text here may. Take it out.")
            return view(request, *args, **kwargs)
        except NotFound:
            return _nothing_here(request)
        except Moved as error:
            return HttpResponseRedirect(error.location(request.get_full_path()), status=error.status)
        except TokenRejected:
            return redirect_to_login(request.get_full_path())
        except UserError as error:
            return page(request, "refused.html", {"detail": str(error), "code": error.code}, status=error.status)

    return wrapped


def find_repository(request: HttpRequest, owner: str, name: str, type: str = "") -> Repository:
    """The repository, if the visitor may see it. Raises NotFound: unknown and private look the same.

    type  only one of that type; without it a model comes before a dataset of the same name
    """
    prefix = f"{type}s/" if type else ""
    found = Repository.objects.visible_to(request.user).for_cards().named(f"{prefix}{owner}/{name}").first()
    if found is None:
        raise retired.not_found(f"{owner}/{name}", actor=request.user)
    return found


def repository_bar(actor: Actor, repository: Repository, tab: str) -> dict[str, Any]:
    """What the head of every page of a repository shows: its tabs, and whether the visitor likes it."""
    return {
        "tab": tab,
        "threads": repository.discussions.filter(status__in=["open", "draft"]).count(),
        "liked": actor.is_authenticated and repository.liked_by.filter(user=actor.pk).exists(),
        "may_admin": can(actor, "admin", repository),
        "has_board": repository.kind == Repository.Kind.TASK and Board.objects.filter(task=repository).exists(),
    }


def _nothing_here(request: HttpRequest) -> HttpResponse:
    """404 with public repositories of a similar name. Says nothing that depends on whether something private exists."""
    name = request.path.strip("/").rpartition("/")[2][:40]
    near = Repository.objects.visible_to(AnonymousUser()).for_cards().filter(name__icontains=name)
    return page(request, "404.html", {"near": near[:5] if name else []}, status=404)
