"""/repos/{ns}/{name}/holds: what may not be downloaded, why, and how to take that back."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from ninja import Router, Status

from hub.api.auth import Anyone, Somebody
from hub.api.repositories import find
from hub.api.schemas import HoldIn, HoldOut, OfType
from hub.repos import services
from hub.safety import holds
from priors.errors import NotFound

router = Router(tags=["safety"])


@router.get(
    "/{ns}/{name}/holds",
    auth=Anyone(),
    response=list[HoldOut],
    summary="What may not be downloaded here, and what could not",
)
def index(request: Any, ns: str, name: str, type: OfType = None) -> list[HoldOut]:
    found = find(request, ns, name, type=type).holds.select_related("commit")[:200]
    return [HoldOut.from_row(hold) for hold in found]


@router.post(
    "/{ns}/{name}/holds", auth=Somebody(), response={201: HoldOut}, summary="Yank (owners) or quarantine (moderators)"
)
def place(request: Any, ns: str, name: str, payload: HoldIn, type: OfType = None) -> Any:
    repository = find(request, ns, name, type=type)
    commit = services.resolve(repository, payload.rev) if payload.rev is not None else None
    hold = holds.quarantine if payload.kind == "quarantine" else holds.yank
    made = hold(repository, reason=payload.reason, by=request.auth, commit=commit)
    return Status(HTTPStatus.CREATED, HoldOut.from_row(made))


@router.post("/{ns}/{name}/holds/{hold_id}/lift", auth=Somebody(), response=HoldOut, summary="Give the files back")
def lift(request: Any, ns: str, name: str, hold_id: int, type: OfType = None) -> HoldOut:
    hold = find(request, ns, name, type=type).holds.select_related("commit").filter(pk=hold_id).first()
    if hold is None:
        raise NotFound(f"{ns}/{name} has no hold {hold_id}. List them at /holds.")
    return HoldOut.from_row(holds.lift(hold, by=request.auth))
