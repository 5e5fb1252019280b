"""The routes of the chunk service, below the address that a token was given with.

hf-xet tries newer routes first and takes a 404 as "not here": v2/shards, v2/reconstructions, and without a bucket
xorb-grants.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Iterator
from functools import wraps
from http import HTTPStatus
from typing import Any, Concatenate, ParamSpec

from django.http import FileResponse, HttpRequest, HttpResponse, HttpResponseBase, JsonResponse, UnreadablePostError
from django.urls import reverse
from django.views.decorators.csrf import csrf_exempt

from hub.accounts import rates
from hub.accounts.models import User
from hub.api.files import Part
from hub.errors import BadRequest, BlobLost, RangeNotSatisfiable, header_text
from hub.repos import quotas
from hub.repos.objects import bucket, objects
from hub.repos.storage import CHUNK
from hub.xet import direct, known, receive
from hub.xet.models import Scope, Xorb
from hub.xet.reconstruct import Term, reconstruction
from hub.xet.tokens import Bearer, bearer, sign_range, signed_range
from hub.xet.xorbs import MAX_BODY_BYTES
from priors.chunks import from_hex
from priors.errors import NotAllowed, NotFound, TokenRejected, UserError

logger = logging.getLogger(__name__)
P = ParamSpec("P")
_RANGE = re.compile(r"bytes=(\d{1,18})-(\d{0,18})\Z")


def _answering(method: str, view: Callable[Concatenate[HttpRequest, P], HttpResponseBase]) -> Any:
    """A view for one method whose refusals are JSON."""

    @csrf_exempt
    @wraps(view)
    def answer(request: HttpRequest, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
        if request.method != method:
            return JsonResponse({"error": f"Use {method} here."}, status=HTTPStatus.METHOD_NOT_ALLOWED)
        try:
            return view(request, *args, **kwargs)
        except UserError as err:
            response = JsonResponse({"error": str(err)}, status=err.status)
            response["X-Error-Message"] = header_text(str(err))
            return response

    return answer


def _get(view: Callable[Concatenate[HttpRequest, P], HttpResponseBase]) -> Any:
    return _answering("GET", view)


def _post(view: Callable[Concatenate[HttpRequest, P], HttpResponseBase]) -> Any:
    return _answering("POST", view)


@_get
def chunk(request: HttpRequest, place: str, epoch: str, name: str) -> HttpResponse:
    """A shard with what the client need not send when its file has this chunk."""
    who, scope, _ = _writer(request, place)
    return HttpResponse(known.shard_about(who, scope, from_hex(name)), content_type="application/octet-stream")


@_post
def xorb(request: HttpRequest, place: str, epoch: str, name: str) -> HttpResponse:
    """Takes a xorb in."""
    who, scope, user = _writer(request, place)
    rates.charge(request, "upload", user)
    new = receive.receive_xorb(scope, name, _body(request), payer=quotas.payer(who.repository, user))
    return JsonResponse({"was_inserted": new})


@_post
def xorb_grant(request: HttpRequest, place: str, epoch: str, name: str) -> HttpResponse:
    """Where a client puts a xorb into the bucket by itself."""
    who, scope, user = _writer(request, place)
    if bucket() is None:
        raise NotFound("This hub has no bucket. Send the xorb itself.")
    rates.charge(request, "upload", user)
    size = _length(request)
    if known.touch(scope, name):
        return JsonResponse({"was_inserted": False})
    payer = quotas.payer(who.repository, user)
    begun = direct.begin_xorb(scope=scope, user=user, payer=payer, name=name, size=size)
    said = {"id": str(begun.upload.pk), "method": "PUT", "url": begun.urls[0], "headers": {}}
    return JsonResponse(said, status=HTTPStatus.CREATED)


@_post
def xorb_commit(request: HttpRequest, place: str, epoch: str, name: str, grant: str) -> HttpResponse:
    """A client says that it put a xorb there; answered once a worker has stored its chunks."""
    _, scope, _ = _writer(request, place)
    direct.xorb_arrived(scope, name, grant)
    return JsonResponse({"was_inserted": True})


@_post
def shard(request: HttpRequest, place: str, epoch: str) -> HttpResponse:
    """Takes a shard in: its files are blobs then, which the sender may commit."""
    who, scope, user = _writer(request, place)
    rates.charge(request, "upload", user)
    payer = quotas.payer(who.repository, user)
    if bucket() is not None:  # a worker reads what the shard names
        direct.put_shard(scope=scope, user=user, payer=payer, data=receive.shard_bytes(_body(request)))
        return JsonResponse({"result": 1})
    new = receive.receive_shard(scope, user, _body(request), into=payer)
    return JsonResponse({"result": int(new)})


@_get
def reconstruct(request: HttpRequest, place: str, epoch: str, name: str) -> HttpResponse:
    """Where a file's bytes are, as tickets for ranges of xorbs."""
    who = _bearer(request, write=False)
    start, stop = _range(request) or (0, None)
    found = reconstruction(who.repository, name, start, stop)
    fetch: dict[str, list[dict[str, Any]]] = {}
    for term in dict.fromkeys(found.terms):
        fetch.setdefault(term.xorb, []).append(
            {
                "range": {"start": term.start, "end": term.stop},
                "url": _url(request, term),
                "url_range": {"start": term.first_byte, "end": term.stop_byte - 1},
            }
        )
    terms = [
        {"hash": term.xorb, "unpacked_length": term.raw_size, "range": {"start": term.start, "end": term.stop}}
        for term in found.terms
    ]
    return JsonResponse({"offset_into_first_range": found.skip, "terms": terms, "fetch_info": fetch})


@_get
def data(request: HttpRequest, ticket: str) -> HttpResponseBase:
    """The bytes of a ticket, or some of them."""
    pk, first, stop = signed_range(ticket)
    start, end = _range(request) or (first, stop)
    end = stop if end is None else end
    if not first <= start < end <= stop:
        raise NotAllowed(f"The ticket is for bytes {first} to {stop - 1}. Ask for some of these.")
    found = Xorb.objects.filter(pk=pk).first()
    if found is None:
        raise NotAllowed("These chunks are no longer kept. Ask for the reconstruction again.")
    try:
        file = objects().open(found.key)
    except BlobLost:
        logger.exception("a xorb is lost", extra={"xorb": found.hash})
        raise NotFound("These chunks are lost. Tell the operator of the hub.") from None
    file.seek(start)
    response = FileResponse(Part(file, end - start), status=HTTPStatus.PARTIAL_CONTENT)
    response["Content-Length"] = str(end - start)
    response["Content-Range"] = f"bytes {start}-{end - 1}/{found.size}"
    response["Content-Type"] = "application/octet-stream"
    response["Cache-Control"] = "private, max-age=3600, immutable"
    return response


@_post
def telemetry(request: HttpRequest, place: str = "", epoch: str = "") -> HttpResponse:
    """Clients tell how fast they were; nothing is kept of it."""
    return JsonResponse({})


@csrf_exempt
def nothing(request: HttpRequest, **_: Any) -> HttpResponse:
    """Routes that this hub does not have; the client then uses an older one."""
    return JsonResponse({"error": "This hub has no such route."}, status=HTTPStatus.NOT_FOUND)


def _url(request: HttpRequest, term: Term) -> str:
    if (elsewhere := objects().range_url(term.key, term.first_byte, term.stop_byte)) is not None:
        return elsewhere
    ticket = sign_range(term.xorb_id, term.first_byte, term.stop_byte)
    return request.build_absolute_uri(reverse("xet-data", args=[ticket]))


def _bearer(request: HttpRequest, *, write: bool) -> Bearer:
    scheme, _, text = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        raise TokenRejected("This needs a token for chunks. Ask the hub for one: xet-read-token, xet-write-token.")
    return bearer(text.strip(), write=write)


def _writer(request: HttpRequest, place: str) -> tuple[Bearer, Scope, User]:
    """Who uploads, with their scope. Any epoch of its address will do: an upload that began before the last rise goes
    on with what it sends, and what it may no longer name it is told."""
    who = _bearer(request, write=True)
    if who.scope is None or str(who.scope.pk) != place or not isinstance(who.actor, User):
        raise NotAllowed("The token for chunks is for another address. Ask the hub for one for this repository.")
    return who, who.scope, who.actor


def _range(request: HttpRequest) -> tuple[int, int | None] | None:
    text = request.headers.get("Range")
    if text is None:
        return None
    match = _RANGE.match(text)
    if match is None:
        raise BadRequest(f"Range {text[:60]!r} is not of the form bytes=first-last.")
    start, stop = int(match[1]), int(match[2]) + 1 if match[2] else None
    if stop is not None and stop <= start:
        raise RangeNotSatisfiable(f"Range {text[:60]!r} ends before it begins.")
    return start, stop


def _length(request: HttpRequest) -> int:
    """Of a xorb, as announced in a request for its address."""
    try:
        length = json.loads(request.body)["length"]
    except (ValueError, TypeError, KeyError, RecursionError) as err:
        raise BadRequest('The body is not {"length": bytes}. Send it so.') from err
    if not isinstance(length, int) or not 0 < length <= MAX_BODY_BYTES:
        raise BadRequest(f"A xorb has 1 to {MAX_BODY_BYTES} bytes. Cut it into several.")
    return length


def _body(request: HttpRequest) -> Iterator[bytes]:
    try:
        while piece := request.read(CHUNK):
            yield piece
    except (UnreadablePostError, OSError) as err:
        raise BadRequest("The connection broke during the upload. Send it again.") from err
