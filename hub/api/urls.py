"""The API: its routers, its errors, its address below /api/v1/."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.http.response import HttpResponseBase
from django.urls import path, re_path
from ninja import NinjaAPI
from ninja.parser import Parser

from hub.api import problems
from hub.api.auth import Somebody
from hub.api.blobs import router as blobs
from hub.api.boards import router as boards
from hub.api.catalog import router as catalog
from hub.api.chunks import router as chunks
from hub.api.compositions import router as compositions
from hub.api.history import router as history
from hub.api.holds import router as holds
from hub.api.jobs import router as jobs
from hub.api.namespaces import router as namespaces
from hub.api.repositories import router as repositories
from hub.api.schemas import Health, WhoAmI
from hub.api.uploads import router as uploads
from hub.home import hub_id
from hub.texts import is_storable


class _Texts(Parser):
    def parse_body(self, request: HttpRequest) -> Any:
        """The body's JSON. Raises ValueError for what is none, and for texts that cannot be stored."""
        found = super().parse_body(request)
        if not is_storable(found):
            raise ValueError("a text holds a NUL character or half a surrogate pair")
        return found


api = NinjaAPI(
    title="Priorhub",
    version=settings.VERSION,
    description="Publish, find, compose and run priors. Errors are application/problem+json with a stable `code`.",
    docs_url=None,  # the interactive page loads scripts from elsewhere, which the site's policy forbids
    urls_namespace="api",
    parser=_Texts(),
)
problems.register(api)
api.add_router("/priors", catalog)
api.add_router("/compositions", compositions)
api.add_router("/repos", repositories)
api.add_router("/repos", holds)
api.add_router("/repos", chunks)
api.add_router("/repos", uploads)
api.add_router("/blobs", blobs)
api.add_router("/namespaces", namespaces)
api.add_router("/jobs", jobs)
api.add_router("/boards", boards)
api.add_router("/history", history)


@api.get("/health", auth=None, response=Health, tags=["hub"], summary="Whether this is a hub, and which")
def health(request: HttpRequest) -> Health:
    return Health(status="ok", version=settings.VERSION, hub_id=hub_id())


@api.get("/whoami", auth=Somebody(), response=WhoAmI, tags=["hub"], summary="Whose token this is")
def whoami(request: Any) -> WhoAmI:
    token = request.auth.token
    return WhoAmI(name=request.auth.username, scopes=token.scopes if token else ["read", "write"])


def nothing_here(request: HttpRequest) -> HttpResponse:
    """Every other address below the API: a problem, not a page."""
    return problems.problem(
        404, "not-found", f"The API has no {request.path}. See /api/v1/openapi.json for what it has."
    )


def _refusing_with_a_problem(view: Callable[..., HttpResponseBase]) -> Callable[..., HttpResponseBase]:
    """The view; where ninja answers another method with bare text, it says which there are."""

    @wraps(view)
    def answer(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        response = view(request, *args, **kwargs)
        if not isinstance(response, HttpResponseNotAllowed):
            return response
        allowed = ", ".join(sorted(response.headers["Allow"].split(", ")))  # ninja has them in a set
        said = problems.problem(405, "method-not-allowed", f"{request.method} does nothing here. Send {allowed}.")
        said.headers["Allow"] = allowed
        return said

    return answer


_routes, _app, _namespace = api.urls
for _route in _routes:
    if _route.callback is not None:
        _route.callback = _refusing_with_a_problem(_route.callback)
urlpatterns = [path("", nothing_here), path("", (_routes, _app, _namespace)), re_path(r"", nothing_here)]
