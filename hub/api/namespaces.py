"""/namespaces: the names of people and organisations."""

from __future__ import annotations

from typing import Any

from ninja import Router

from hub.accounts import rates
from hub.accounts.renaming import rename_namespace
from hub.api.auth import Somebody
from hub.api.schemas import NamespaceOut, RenameIn
from hub.repos.services import find_namespace

router = Router(tags=["namespaces"])


@router.post(
    "/{ns}/rename", auth=Somebody(), response=NamespaceOut, summary="Give it another name; the old leads to it"
)
def rename(request: Any, ns: str, payload: RenameIn) -> NamespaceOut:
    found = find_namespace(ns)
    rates.charge(request, "create", request.auth)
    renamed = rename_namespace(found, payload.to, by=request.auth)
    return NamespaceOut(name=renamed.name, kind=renamed.kind)  # type: ignore[arg-type]
