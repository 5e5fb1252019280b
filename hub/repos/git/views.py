"""`git clone` and `git fetch` over HTTP. Nothing is pushed this way: the hub's API checks files as they arrive.

Private repositories ask for a name and a password, which is a token; the name may be any.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from functools import wraps
from http import HTTPStatus
from typing import Any

from django.contrib.auth.models import AnonymousUser
from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.shortcuts import redirect
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST, require_safe

from hub.accounts import rates
from hub.accounts.access import Actor
from hub.accounts.callers import by_header
from hub.accounts.permissions import require
from hub.errors import BadRequest, TooLarge
from hub.repos.git.pktline import line
from hub.repos.git.upload_pack import advertise, answer
from hub.repos.models import Repository
from hub.repos.retired import moved_to
from hub.safety.holds import servable
from priors.errors import NotFound, TokenRejected, UserError

_MAX_BODY = 8 * 1024 * 1024
_NO_PUSH = (
    "This hub takes no pushes from git: it checks every file as it arrives. "
    "Use `hf upload`, `priorhub push`, or a pull request on the site.\n"
)
View = Callable[..., HttpResponseBase]


def _said(view: View) -> View:
    """A view whose refusals are texts, which git shows to whoever typed the command."""

    @csrf_exempt  # git has no session: it sends a token or nothing
    @wraps(view)
    def wrapped(request: HttpRequest, **captured: Any) -> HttpResponseBase:
        try:
            response = view(request, **captured)
        except UserError as error:
            status = HTTPStatus.BAD_REQUEST if error.status == HTTPStatus.UNPROCESSABLE_ENTITY else error.status
            if error.code == "gated" and "Authorization" not in request.headers:
                status = HTTPStatus.UNAUTHORIZED  # git asks for a token, and comes back with somebody's
            response = _text(f"{error}\n", status)
            if status == HTTPStatus.UNAUTHORIZED:
                response["WWW-Authenticate"] = 'Basic realm="Priorhub", charset="UTF-8"'
        response["Cache-Control"] = "no-cache, max-age=0, must-revalidate"
        return response

    return wrapped


@_said
@require_safe
def info_refs(request: HttpRequest, owner: str, name: str, prefix: str | None = None) -> HttpResponseBase:
    """The refs, and what the server can do."""
    service = request.GET.get("service", "")
    if service == "git-receive-pack":
        return _text(_NO_PUSH, HTTPStatus.FORBIDDEN)
    if service != "git-upload-pack":
        return _text("This hub speaks git's smart protocol only. Use git 1.6.6 or newer.\n", HTTPStatus.FORBIDDEN)
    found = _find(request, owner, name, prefix)
    if isinstance(found, str):
        return redirect(f"/{found}.git/info/refs?service={service}")
    body = b"".join(advertise(found, version=_version(request)))
    return HttpResponse(body, content_type="application/x-git-upload-pack-advertisement")


@_said
@require_POST
def upload_pack(request: HttpRequest, owner: str, name: str, prefix: str | None = None) -> HttpResponseBase:
    """Lists refs, or sends a pack as it is read."""
    found = _find(request, owner, name, prefix)
    if isinstance(found, str):
        return redirect(f"/{found}.git/git-upload-pack", preserve_request=True)
    try:
        pieces = answer(found, _body(request), version=_version(request))
    except UserError as error:
        pieces = iter([line(f"ERR {error}")])
    return StreamingHttpResponse(pieces, content_type="application/x-git-upload-pack-result")


@_said
def receive_pack(request: HttpRequest, owner: str, name: str, prefix: str | None = None) -> HttpResponseBase:
    """Refuses."""
    return _text(_NO_PUSH, HTTPStatus.FORBIDDEN)


def _find(request: HttpRequest, owner: str, name: str, prefix: str | None) -> Repository | str:
    """The repository, or where it is now. Raises TokenRejected for nobody, who may be somebody that may read it."""
    token = by_header(request, basic=True)  # a browser's session does not count here
    actor: Actor = token.user if token is not None else AnonymousUser()
    rates.charge(request, "api", actor)
    type = Repository.TYPE_OF_PREFIX[prefix or "models"]
    found = Repository.objects.visible_to(actor).for_cards()
    repository = found.filter(type=type, namespace__name=owner, name=name).first()
    if repository is None:
        moved = moved_to(f"{owner}/{name}", actor=actor, type=type)
        if moved is not None:
            return moved.prefixed_name
        if not actor.is_authenticated:
            raise TokenRejected("There is no such repository, or it is private. The password is a token of yours.")
        raise NotFound("There is no such repository here, or it is not yours to see.")
    require(actor, "read_files", repository)
    servable(repository)
    return repository


def _version(request: HttpRequest) -> int:
    """2 where the client speaks it, else 0; version 1 is version 0 with a line that says so."""
    return 2 if "version=2" in request.headers.get("Git-Protocol", "").split(":") else 0


def _body(request: HttpRequest) -> bytes:
    """What git asks; it compresses what is long, and sends what is longer in pieces of unknown number."""
    if "chunked" in request.headers.get("Transfer-Encoding", "").lower():
        body: bytes = request.META["wsgi.input"].read(_MAX_BODY + 1)  # Django reads only what was announced
    else:
        body = request.read(_MAX_BODY + 1)
    if request.headers.get("Content-Encoding", "") in {"gzip", "x-gzip"}:
        opened = zlib.decompressobj(wbits=31)
        try:
            body = opened.decompress(body, _MAX_BODY + 1)
        except zlib.error as err:
            raise BadRequest("The request says it is gzip and is not.") from err
    if len(body) > _MAX_BODY:
        raise TooLarge(f"The request is larger than {_MAX_BODY} bytes. Fetch fewer branches at once.")
    return body


def _text(said: str, status: int) -> HttpResponse:
    return HttpResponse(said, status=status, content_type="text/plain; charset=utf-8")
