"""Who asked for the files of a gated repository, and the answers."""

from __future__ import annotations

from typing import Any

from django.http import HttpResponse, JsonResponse

from hub.accounts import gating
from hub.accounts.models import AccessRequest, User
from hub.errors import BadRequest
from hub.repos.models import Repository
from hub.wire.calls import Call, listed
from hub.wire.people import page_of
from hub.wire.shapes import iso
from priors.errors import NotFound


def index(call: Call, type: str, ns: str, name: str, status: str) -> HttpResponse:
    """The requests of one status, newest first."""
    repository = call.repository(type, ns, name, "admin")
    if status not in AccessRequest.Status.values:
        raise BadRequest(f"Status {status[:40]!r} is unknown. Use one of {', '.join(AccessRequest.Status.values)}.")
    rows = gating.requests_for(repository, by=call.user, status=status).order_by("-pk")
    shown, following = page_of(call, rows)
    return listed(call, [_item(each) for each in shown], following=following)


def handle(call: Call, type: str, ns: str, name: str) -> HttpResponse:
    """Accepts, rejects or reopens a request, named by the person or by its id."""
    repository, said = call.repository(type, ns, name, "admin"), call.json()
    status, reason = str(said.get("status") or ""), str(said.get("rejectionReason") or "")
    found = gating.handle(_request(repository, said), status=status, by=call.user, reason=reason)
    return JsonResponse(_item(found))


def grant(call: Call, type: str, ns: str, name: str) -> HttpResponse:
    """Gives somebody the files who did not ask."""
    repository, said = call.repository(type, ns, name, "admin"), call.json()
    return JsonResponse(
        _item(gating.grant(repository=repository, by=call.user, to=gating.find_holder(str(said.get("user")))))
    )


def _request(repository: Repository, said: dict[str, Any]) -> AccessRequest:
    asked, number = said.get("user"), said.get("requestId")
    if (asked is None) == (number is None):
        raise BadRequest("Name either the user or the requestId.")
    if number is not None:
        return gating.find_request(repository, str(number))
    to = gating.find_holder(str(asked))
    rows = repository.access_requests.select_related("user", "organisation", "repository__namespace")
    found = rows.filter(user=to).first() if isinstance(to, User) else rows.filter(organisation=to).first()
    if found is None:
        raise NotFound(f"{asked} did not ask for {repository}. Use grant to give access without a request.")
    return found


def _item(request: AccessRequest) -> dict[str, Any]:
    user = request.user
    who = (
        {"user": user.username, "fullname": user.get_full_name() or user.username, "email": user.email} if user else {}
    )
    if request.organisation is not None:
        who = {"user": request.organisation.name, "fullname": request.organisation.name, "email": ""}
    return {
        "requestId": str(request.pk),
        "user": who,
        "status": request.status,
        "timestamp": iso(request.created_at),
        "fields": request.fields,
    }
