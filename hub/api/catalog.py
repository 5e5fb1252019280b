"""/priors: finding priors."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from ninja import Router
from pydantic import Field

from hub.api.auth import Anyone
from hub.api.paging import page
from hub.api.repositories import find
from hub.api.schemas import PriorCard, PriorPage
from hub.catalog.search import search
from hub.errors import BadRequest
from hub.repos import services
from hub.repos.models import Repository

router = Router(tags=["priors"])


@router.get("", auth=Anyone(), response=PriorPage, summary="Search the catalogue")
def index(
    request: Any,
    q: Annotated[str, Field(max_length=500)] = "",
    modality: Annotated[str, Field(max_length=16)] = "",
    kind: Literal["", "network", "function"] = "",
    limit: int = 50,
    cursor: str = "",
) -> PriorPage:
    found = search(visible_to=request.auth, q=q, modality=modality, kind=kind)
    items, following = page(found, limit=limit, cursor=cursor)
    return PriorPage(items=[PriorCard.from_row(prior) for prior in items], next=following)


@router.get("/{ns}/{name}/manifest", auth=Anyone(), response=dict[str, Any], summary="prior.json of a revision")
def manifest(request: Any, ns: str, name: str, rev: str = "main") -> Any:
    repository = find(request, ns, name, "read_files")
    if repository.kind != Repository.Kind.PRIOR:
        raise BadRequest(f"{repository} is a {repository.kind}, not a prior. Read its files instead.")
    return json.loads(services.read_file(services.resolve(repository, rev), "prior.json"))
