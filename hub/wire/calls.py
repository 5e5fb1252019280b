"""What every route of the protocol goes through: who asks, which repository, and errors as the client reads them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode

from django.contrib.auth import get_user
from django.core.exceptions import RequestDataTooBig, SuspiciousOperation
from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse, QueryDict
from django.urls import URLPattern, path
from django.views.decorators.csrf import csrf_exempt

import hub.wire.paths  # noqa: F401 -- registers the converters that routes name
from hub.accounts import rates
from hub.accounts.access import Actor
from hub.accounts.callers import by_header, by_session
from hub.accounts.models import User
from hub.accounts.permissions import Action, require
from hub.addresses import raw_path
from hub.api.blobs import body as body_of
from hub.errors import BadRequest, Moved, TooLarge
from hub.repos import retired, services
from hub.repos.models import Commit, Repository
from hub.texts import is_storable
from hub.wire.errors import BAD_TOKEN, RepoNotFound, RevisionNotFound, mistake, refusal
from priors.errors import NotAllowed, NotFound, TokenRejected, UserError

_TRUE = frozenset(["true", "1", "yes", "on"])
MAX_BODY = 16 * 1024 * 1024
_MAX_FIELDS = 2000


@dataclass(frozen=True)
class Call:
    """One request of the protocol."""

    request: HttpRequest

    @cached_property
    def actor(self) -> Actor:
        """Whoever asks. Raises TokenRejected for a token that is not one, on public repositories too."""
        try:
            token = by_header(self.request, basic=True)
        except TokenRejected as err:
            raise TokenRejected(BAD_TOKEN) from err
        return token.user if token is not None else by_session(self.request)

    def anew(self) -> Call:
        """The same request, of which who asks is found out again: a long body gives time to lose a right."""
        if not self.request.headers.get("Authorization"):
            self.request.user = get_user(self.request)
        return Call(self.request)

    @property
    def user(self) -> User:
        """Somebody. Raises TokenRejected for nobody in particular."""
        if not isinstance(self.actor, User):
            raise TokenRejected("This needs a token: `hf auth login`, or HF_TOKEN. Make one on the account page.")
        return self.actor

    @property
    def endpoint(self) -> str:
        """The hub's own address as the caller knows it, without a slash at the end."""
        return f"{self.request.scheme}://{self.request.get_host()}{self.request.META.get('SCRIPT_NAME', '')}"

    @property
    def query(self) -> QueryDict:
        """The parameters after the question mark."""
        return self.request.GET

    def flag(self, name: str) -> bool:
        """A parameter that is `true`, `True` or `1`."""
        return self.query.get(name, "").lower() in _TRUE

    def many(self, name: str) -> list[str]:
        """A repeated parameter, spelled `a=1&a=2` or `a[]=1&a[]=2`."""
        return [*self.query.getlist(name), *self.query.getlist(f"{name}[]")]

    def number(self, name: str, default: int, *, most: int) -> int:
        """A parameter from 1 to `most`; larger ones are cut. Raises BadRequest."""
        text = self.query.get(name, "")
        if not text:
            return default
        if not (text.isascii() and text.isdecimal() and len(text) < 10) or int(text) < 1:
            raise BadRequest(f"{name}={text[:40]!r} is not a number from 1. Leave it out for {default}.")
        return min(int(text), most)

    def json(self) -> dict[str, Any]:
        """The body, which is a JSON object. Raises BadRequest."""
        try:
            found = json.loads(self._body() or b"{}")
        except (ValueError, RecursionError) as err:
            raise BadRequest("The body is not JSON. Send a JSON object.") from err
        if not isinstance(found, dict):
            raise BadRequest("The body is JSON, but not an object. Send one.")
        if not is_storable(found):
            raise BadRequest("A text of the body holds a NUL character or half a surrogate pair. Leave it out.")
        return found

    def form(self) -> QueryDict:
        """The body, which is form-encoded. Raises BadRequest."""
        try:
            # Not request.POST: it refuses more fields than a page has, and clients ask for a thousand paths.
            pairs = parse_qsl(self._body().decode(), keep_blank_values=True, max_num_fields=_MAX_FIELDS)
        except ValueError as err:
            raise BadRequest(f"The body is no form of at most {_MAX_FIELDS} fields. Ask in several calls.") from err
        if not is_storable([*map(list, pairs)]):
            raise BadRequest("A field of the body holds a NUL character. Leave it out.")
        found = QueryDict(mutable=True)
        for name, value in pairs:
            found.appendlist(name, value)
        return found

    def _body(self) -> bytes:
        if not self.request.META.get("CONTENT_LENGTH") and not self.request.META.get("wsgi.input_terminated"):
            return b""
        body = bytearray()
        for piece in body_of(self.request):
            body += piece
            if len(body) > MAX_BODY:
                raise BadRequest(f"The body is larger than {MAX_BODY} bytes. Send fewer items at once.")
        return bytes(body)

    def repository(self, type: str, ns: str, name: str, action: Action = "read") -> Repository:
        """The repository, if the caller may do `action`. Raises RepoNotFound, Moved, NotAllowed, TokenRejected."""
        found = (
            Repository.objects.visible_to(self.actor)
            .for_cards()
            .filter(type=type, namespace__name=ns, name=name)
            .first()
        )
        if found is None:
            moved = retired.moved_to(f"{ns}/{name}", type=type, actor=self.actor)
            raise Moved(f"{ns}/{name}", moved.full_name) if moved is not None else RepoNotFound
        if action != "read" and (action != "read_files" or found.gated):  # who sees an ungated one may have its files
            require(self.actor, action, found)
        return found

    def next_page(self, **changes: str) -> str:
        """This address with other parameters: absolute and complete, as clients follow it."""
        query = self.query.copy()
        for name, value in changes.items():
            query[name] = value
        host = f"{self.request.scheme}://{self.request.get_host()}"
        return f"{host}{raw_path(self.request)}?{urlencode(list(query.lists()), doseq=True)}"


View = Callable[..., HttpResponseBase]


def revision(repository: Repository, rev: str) -> Commit:
    """The commit of a branch, tag, pull request or oid. Raises RevisionNotFound."""
    if rev == "main" and repository.head is not None:
        return repository.head
    try:
        return services.resolve(repository, rev)
    except NotFound as err:
        raise RevisionNotFound(f"Invalid rev id: {rev[:100]}") from err


def offset(call: Call) -> int:
    """Where a page starts, of a list whose cursor is the number of items before it. Raises BadRequest."""
    text = call.query.get("cursor", "")
    if text and not (text.isascii() and text.isdecimal() and len(text) < 9):
        raise BadRequest("The cursor is not one of this hub. Follow the Link header as it came.")
    return int(text or 0)


def listed(call: Call, items: list[Any], *, following: dict[str, str] | None = None) -> JsonResponse:
    """A page of a list: the bare items, and in the Link header where more of them are."""
    response = JsonResponse(items, safe=False)
    if following is not None:
        response["Link"] = f'<{call.next_page(**following)}>; rel="next"'
    return response


def at(route: str, name: str, **views: View) -> URLPattern:
    """An address with a view for each method, `GET=…, POST=…`; a view takes a Call and what the route captures.

    HEAD is GET's unless it has a view of its own.
    """
    allowed = sorted(views.keys() | ({"HEAD"} if "GET" in views else set()))

    @csrf_exempt  # tokens need none; Call.actor asks for it where a session is used
    def answer(request: HttpRequest, **captured: Any) -> HttpResponseBase:
        is_head = request.method == "HEAD"
        view = views.get(request.method or "GET") or (views.get("GET") if is_head else None)
        call = Call(request)
        response = _answered(call, view, captured) if view is not None else _not_allowed(call, allowed)
        return _without_body(response) if is_head else response

    answer.methods = allowed  # type: ignore[attr-defined]  # the permission matrix wants a row for each
    return path(route, answer, name=name)


def _answered(call: Call, view: View, captured: dict[str, Any]) -> HttpResponseBase:
    try:
        # A bad token is refused before anything else, whatever the address is.
        rates.charge(call.request, "api", call.actor)
        call.request.auth = call.actor  # type: ignore[attr-defined]  # as the native API has it
        return view(call, **captured)
    except Moved as error:
        return _moved(call, error)
    except TokenRejected as error:
        return refusal(error, anonymous=True)
    except UserError as error:
        return refusal(error, anonymous=_is_nobody(call))
    except RequestDataTooBig:
        return refusal(TooLarge("The body is larger than this address takes. Send less at once."), anonymous=False)
    except SuspiciousOperation:
        return refusal(BadRequest("The request has more fields than anybody needs. Ask in several."), anonymous=False)
    except Exception as error:
        return mistake(call.request, error)


def _is_nobody(call: Call) -> bool:
    try:
        return not call.actor.is_authenticated
    except NotAllowed:  # a session without the site's CSRF token is somebody's
        return False


def _without_body(response: HttpResponseBase) -> HttpResponseBase:
    """What HEAD gets: the length of what GET would, and nothing else. gunicorn sends whatever it is handed."""
    if isinstance(response, HttpResponse) and response.content:
        length = str(len(response.content))
        response.content = b""
        response["Content-Length"] = length
    return response


def _moved(call: Call, error: Moved) -> HttpResponse:
    """To the same address of the repository's present name: relative, so that the client keeps its token."""
    query, path = call.request.META.get("QUERY_STRING", ""), raw_path(call.request)
    to = error.location(path)
    if to == path:  # the name was quoted without need: `m%61il`
        to = error.location(quote(f"/{call.request.path.lstrip('/')}"))
    return HttpResponse(status=error.status, headers={"Location": f"{to}?{query}" if query else to})


def _not_allowed(call: Call, allowed: list[str]) -> JsonResponse:
    said = f"{call.request.method} is not one of {', '.join(allowed)}, which this address knows."
    response = JsonResponse({"error": said}, status=HTTPStatus.METHOD_NOT_ALLOWED)
    response["Allow"] = ", ".join(allowed)
    response["X-Error-Message"] = said
    return response
