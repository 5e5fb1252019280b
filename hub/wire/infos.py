"""What a repository is, and lists of them."""

from __future__ import annotations

from typing import Any

from django.db.models import Sum
from django.http import HttpResponse, JsonResponse

from hub.accounts.permissions import require
from hub.catalog import listing, revisions
from hub.catalog.frontmatter import validate
from hub.catalog.models import Item
from hub.errors import BadRequest
from hub.repos import trees
from hub.repos.models import Commit, Namespace, Repository, RepositoryBlob
from hub.safety.status import repository_status
from hub.wire.calls import Call, listed, offset, revision
from hub.wire.errors import NotServed
from hub.wire.shapes import iso, only, sibling
from priors.errors import NotFound

_PAGE, _OWN_PAGE = 100, 500
_MOST = 1000


def info(call: Call, type: str, ns: str, name: str, rev: str = "main") -> HttpResponse:
    """A repository at a revision: its files, card, tags and date, beside likes and downloads, which have no revision.

    Of a gated one everybody may know this much; only the files are refused.
    """
    repository = call.repository(type, ns, name)
    commit = revision(repository, rev) if rev != "main" or repository.head is not None else None
    wanted = call.many("expand")
    item = Item.objects.filter(repository=repository).defer("card_html", "terms", "search_text", "manifest").first()
    if item is None or commit is None or commit == repository.head:
        found = info_of(repository, item, commit)
    else:
        item.repository = repository
        found = info_of(repository, revisions.at(item, commit), commit) | {"lastModified": iso(commit.created_at)}
    if not wanted or "siblings" in wanted:
        files = trees.read(commit.tree_id).values() if commit is not None else []
        found["siblings"] = [sibling(file, blobs=call.flag("blobs")) for file in files]
    if call.flag("securityStatus"):
        nothing = {"scansDone": True, "filesWithIssues": []}
        found["securityRepoStatus"] = repository_status(commit) if commit is not None else nothing
    return JsonResponse(only(found, wanted) if wanted else found)


def index(call: Call, type: str) -> HttpResponse:
    """Repositories of a type, in pages; each parameter narrows."""
    if "apps" in call.query:
        raise NotServed("This hub does not know which applications run a model. Leave `apps` out.")
    if call.query.get("direction", "-1") not in {"-1", ""}:
        raise BadRequest("Lists are sorted from the largest or newest down. Leave `direction` out.")
    if "inference" in call.query or "inference_provider" in call.query:
        return listed(call, [])  # nobody runs models here, so none is warm and none has a provider
    page = listing.repositories(
        call.actor,
        type=type,
        search_text=call.query.get("search", ""),
        author=call.query.get("author", ""),
        filters=call.many("filter"),
        pipeline_tag=call.query.get("pipeline_tag", ""),
        library=call.query.get("library", ""),
        language=call.query.get("language", ""),
        gated=call.flag("gated") if "gated" in call.query else None,
        num_parameters=call.query.get("num_parameters", ""),
        sort=call.query.get("sort") or "trendingScore",
        after=call.query.get("cursor", ""),
        limit=call.number("limit", _PAGE, most=_MOST),
    )
    wanted, full = call.many("expand"), call.flag("full")
    items = []
    for item in page.items:
        found = info_of(item.repository, item, item.commit)
        if not wanted and not full:
            kept = {name for name in ("cardData", "config") if call.flag(name)}
            found = {name: value for name, value in found.items() if name not in _ON_REQUEST or name in kept}
        items.append(only(found, wanted) if wanted else found)
    return listed(call, items, following={"cursor": page.next} if page.next else None)


def info_of(repository: Repository, item: Item | None, commit: Commit | None) -> dict[str, Any]:
    """Everything but the files. The item is the commit's."""
    found: dict[str, Any] = {
        "_id": str(repository.pk),
        "id": repository.full_name,
        "author": repository.namespace.name,
        "sha": commit.oid if commit is not None else None,
        "lastModified": iso(repository.updated_at),
        "createdAt": iso(repository.created_at),
        "private": repository.private,
        "gated": repository.gated or False,
        "disabled": False,
        "likes": repository.likes,
        "downloads": item.downloads if item is not None else 0,
        "downloadsAllTime": item.downloads_all_time if item is not None else 0,
        "trendingScore": round(item.trending) if item is not None else 0,
        "tags": item.tags if item is not None else [],
        "cardData": item.card if item is not None else {},
        "usedStorage": item.size_bytes if item is not None else 0,
        "description": repository.description or (item.summary if item is not None else ""),
    }
    match repository.type:
        case Repository.Type.MODEL:
            found |= {"modelId": repository.full_name, "spaces": [], "config": item.config if item is not None else {}}
            if item is not None:
                known = {
                    "pipeline_tag": item.task, "library_name": item.library, "safetensors": item.facts,
                    "model-index": item.card.get("model-index"),
                }  # fmt: skip
                found |= {name: value for name, value in known.items() if value}
        case Repository.Type.SPACE:
            found |= {"sdk": found["cardData"].get("sdk"), "models": [], "datasets": []}
    return found


_ON_REQUEST = frozenset(["cardData", "config", "model-index", "usedStorage", "description", "safetensors", "spaces"])
"""What lists leave out unless it is asked for."""


def own(call: Call) -> HttpResponse:
    """The caller's own repositories, private ones too, with what they store."""
    return _stored(call, Namespace.objects.get(owner=call.user, kind=Namespace.Kind.USER))


def of_organisation(call: Call, name: str) -> HttpResponse:
    """The same of an organisation, for who may create in it."""
    found = Namespace.objects.filter(name=name, kind=Namespace.Kind.ORG).first()
    if found is None:
        raise NotFound(f"There is no organisation {name[:100]!r}.")
    require(call.user, "create", found)
    return _stored(call, found)


def _stored(call: Call, namespace: Namespace) -> HttpResponse:
    mine = Repository.objects.visible_to(call.actor).filter(namespace=namespace).order_by("-updated_at", "pk")
    start = offset(call)
    page = list(mine.select_related("namespace")[start : start + _OWN_PAGE + 1])
    sizes = RepositoryBlob.objects.filter(repository__namespace=namespace, payer=None).values("repository")
    stored = dict(sizes.annotate(size=Sum("blob__size")).values_list("repository", "size"))
    total = sum(stored.values()) or 1
    items = [
        {
            "id": repository.full_name,
            "type": repository.type,
            "visibility": "private" if repository.private else "public",
            "storage": stored.get(repository.pk, 0),
            "storagePercent": round(100 * stored.get(repository.pk, 0) / total, 2),
            "updatedAt": iso(repository.updated_at),
        }
        for repository in page[:_OWN_PAGE]
    ]
    return listed(call, items, following={"cursor": str(start + _OWN_PAGE)} if len(page) > _OWN_PAGE else None)


def validate_yaml(call: Call) -> HttpResponse:
    """What a commit of this card would be refused for, and what its readers will miss."""
    said = call.json()
    content = said.get("content")
    if not isinstance(content, str):
        raise BadRequest("content is missing, or no text. Send the whole card.")
    verdict = validate(content, repository_type=str(said.get("repoType") or "model"))
    answer = {name: [{"message": text} for text in getattr(verdict, name)] for name in ("errors", "warnings")}
    return JsonResponse(answer, status=400 if verdict.errors else 200)
