"""What every view goes through: common context, and refusals shown as pages."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from functools import wraps
from typing import Any

from django.conf import settings
from django.contrib.auth.views import redirect_to_login
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import render

from hub.repos.models import Repository
from priors.errors import NotFound, TokenRejected, UserError

View = Callable[..., HttpResponseBase]


def page(
    request: HttpRequest, template: str, context: dict[str, Any], *, section: str = "", status: int = 200
) -> HttpResponse:
    """The rendered page. `section` is the entry of the navigation it belongs to."""
    return render(request, template, {"section": section, "hub_version": settings.VERSION, **context}, status=status)


def explained(view: View) -> View:
    """A view whose UserErrors become pages: 404 for what is not to be seen, sign-in for nobody, else cause and fix."""

    @wraps(view)
    def wrapped(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        try:
            return view(request, *args, **kwargs)
        except NotFound as error:
            raise Http404(str(error)) from error
        except TokenRejected:
            return redirect_to_login(request.get_full_path())
        except UserError as error:
            return page(request, "refused.html", {"detail": str(error), "code": error.code}, status=error.status)

    return wrapped


def find_repository(request: HttpRequest, owner: str, name: str) -> Repository:
    """The repository, if the visitor may see it. Raises NotFound: unknown and private look the same."""
    found = Repository.objects.visible_to(request.user).for_cards().named(f"{owner}/{name}").first()
    if found is None:
        raise NotFound(f"There is no repository {owner}/{name} here, or it is not yours to see.")
    return found


def error_400(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Malformed requests."""
    return page(request, "400.html", {}, status=400)


def error_403(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Signed in, and still not allowed."""
    return page(request, "403.html", {}, status=403)


def error_404(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Nothing here; public repositories of a similar name are offered."""
    words = [word for word in request.path.strip("/").split("/") if word][-1:]
    near = Repository.objects.visible_to(request.user).for_cards()
    near = near.filter(name__icontains=words[0][:40])[:5] if words else near.none()
    return page(request, "404.html", {"near": near}, status=404)


def error_500(request: HttpRequest) -> HttpResponse:
    """Our mistake. No database, no session: whatever broke may be one of them."""
    return render(None, "500.html", {"number": secrets.token_hex(4)}, status=500)  # type: ignore[arg-type]
