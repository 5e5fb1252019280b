"""/priors: finding priors."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from ninja import Query as InQuery
from ninja import Router
from pydantic import BaseModel, Field

from hub.accounts.access import Actor
from hub.api.auth import Anyone
from hub.api.paging import MAX_LIMIT
from hub.api.repositories import find
from hub.api.schemas import PriorCard, PriorPage
from hub.catalog.library import given_out
from hub.catalog.models import Item
from hub.catalog.query import Partner, Query
from hub.errors import BadRequest
from hub.repos import services
from hub.repos.checks import MAX_DESCRIPTION_BYTES
from hub.repos.models import Commit, Repository
from hub.safety.holds import servable
from priors.errors import NotFound

router = Router(tags=["priors"])

Text = Annotated[str, Field(max_length=200)]
Texts = Annotated[list[Text], Field(max_length=20)]
Bound = Annotated[float | None, Field(ge=0)]


class PriorFilter(BaseModel):
    """Values of one parameter are alternatives; parameters all have to hold. What is unknown fits no filter."""

    q: Annotated[str, Field(max_length=500, description="words, or their beginnings; mistyped ones are corrected")] = ""
    modality: Annotated[str, Field(max_length=16)] = ""
    kind: Literal["", "network", "function"] = ""
    task: Texts = Field(default_factory=list)
    library: Texts = Field(default_factory=list)
    language: Texts = Field(default_factory=list)
    license: Annotated[Texts, Field(description="SPDX identifiers")] = Field(default_factory=list)
    may: Annotated[list[Literal["sell", "fine-tune"]], Field(description="what the license permits")] = Field(
        default_factory=list
    )
    takes: Annotated[Texts, Field(description="heads of port types: text.ids")] = Field(default_factory=list)
    gives: Annotated[Texts, Field(description="heads of port types: vec.feat")] = Field(default_factory=list)
    dtype: Texts = Field(default_factory=list)
    tag: Texts = Field(default_factory=list)
    min_parameters: Bound = None
    max_parameters: Bound = None
    min_size_bytes: Bound = None
    max_size_bytes: Bound = None
    min_score: float | None = None
    max_price_cents: Bound = None
    fits: Annotated[Text, Field(description="namespace/name of a prior that the found ones can be strung to")] = ""
    ways: Annotated[list[Literal["after", "before", "beside"]], Field(description="how; every way when empty")] = Field(
        default_factory=list
    )
    sort: Literal["relevance", "updated", "created", "downloads", "likes", "trending", "score"] = "relevance"
    limit: int = 50
    cursor: Annotated[str, Field(max_length=200)] = ""

    def query(self, actor: Actor) -> Query:
        """The same for the catalogue. Raises NotFound for a partner that is not there."""
        lists = {key: tuple(getattr(self, key)) for key in _LISTS if getattr(self, key)}
        one = {"modality": (self.modality,)} if self.modality else {}
        return Query(
            q=self.q,
            facets={**lists, **one, "kind": (self.kind,) if self.kind else tuple(Item.Kind.values)},
            ranges={
                "parameters": (self.min_parameters, self.max_parameters),
                "size_bytes": (self.min_size_bytes, self.max_size_bytes),
                "score": (self.min_score, None),
                "price_cents": (None, self.max_price_cents),
            },
            partner=_partner(self.fits, actor) if self.fits else None,
            ways=tuple(self.ways),
        )


_LISTS = ("task", "library", "language", "license", "may", "takes", "gives", "dtype", "tag")


@router.get("", auth=Anyone(), response=PriorPage, summary="Search the catalogue")
def index(request: Any, asked: InQuery[PriorFilter]) -> PriorPage:
    if not 1 <= asked.limit <= MAX_LIMIT:
        raise BadRequest(f"limit={asked.limit} is not between 1 and {MAX_LIMIT}. Ask for fewer, and follow `next`.")
    from hub.catalog.search import search

    found = search(asked.query(request.auth), visible_to=request.auth)
    page = found.page(sort=asked.sort, after=asked.cursor, limit=asked.limit)
    had = given_out([item.id for item in page.items], request.auth)
    return PriorPage(items=[PriorCard.from_row(item, open=item.id in had) for item in page.items], next=page.next)


@router.get("/{ns}/{name}/manifest", auth=Anyone(), response=dict[str, Any], summary="prior.json of a revision")
def manifest(request: Any, ns: str, name: str, rev: str = "main") -> Any:
    repository = find(request, ns, name, "read_files")
    commit = services.resolve(repository, rev)
    if repository.kind == Repository.Kind.PRIOR:
        servable(commit, [services.file(commit, "prior.json").sha256])
        return _read(services.read_file(commit, "prior.json", limit=MAX_DESCRIPTION_BYTES), commit)
    servable(commit)
    item = Item.objects.visible_to(request.auth).priors().filter(repository=repository).first()
    if item is None or commit.pk != item.commit_id:
        raise BadRequest(f"{repository} is a {repository.kind}, not a prior. Read its files instead.")
    return item.manifest


def _read(text: bytes, commit: Commit) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):  # the repository was a plain one then, whose files may be anything
        raise BadRequest(f"The prior.json of {commit.oid[:12]} is no manifest. Ask for a later revision.")
    return found


def _partner(name: str, actor: Actor) -> Partner:
    namespace, _, rest = name.partition("/")
    named = Item.objects.visible_to(actor).priors().for_cards().filter(repository__namespace__name=namespace)
    item = named.filter(repository__name=rest).first()
    if item is None:
        raise NotFound(f"There is no prior {name!r} here, or it is not yours to see.")
    return Partner.of(item)
