"""Branches, tags and the history behind them."""

from __future__ import annotations

from itertools import islice
from typing import Any

from django.http import HttpResponse, JsonResponse

from hub.errors import BadRequest
from hub.repos import history, services, squashing
from hub.repos.models import Ref
from hub.wire.calls import Call, listed, offset, revision
from hub.wire.errors import Exists, RevisionNotFound
from hub.wire.shapes import commit_item
from priors.errors import Conflict, NotFound

_COMMITS = 100
_PREFIX = {Ref.Kind.BRANCH: "refs/heads/", Ref.Kind.TAG: "refs/tags/", Ref.Kind.PULL: ""}


def refs(call: Call, type: str, ns: str, name: str) -> HttpResponse:
    """All branches and tags, and the branches of pull requests where those were asked for."""
    repository = call.repository(type, ns, name)
    found: dict[str, list[dict[str, str]]] = {kind: [] for kind in Ref.Kind.values}
    for ref in repository.refs.select_related("commit").order_by("pk"):
        full = _PREFIX[Ref.Kind(ref.kind)] + ref.name
        short = ref.name.removeprefix("refs/") if ref.kind == Ref.Kind.PULL else ref.name
        found[ref.kind].append({"name": short, "ref": full, "targetCommit": ref.commit.oid})
    answer: dict[str, Any] = {"tags": found[Ref.Kind.TAG], "branches": found[Ref.Kind.BRANCH], "converts": []}
    if call.flag("include_prs"):
        answer["pullRequests"] = found[Ref.Kind.PULL]
    return JsonResponse(answer)


def create_branch(call: Call, type: str, ns: str, name: str, branch: str) -> HttpResponse:
    """A branch at `startingPoint`, main when that is not named."""
    repository = call.repository(type, ns, name, "write")
    commit = revision(repository, _start(call.json()))
    try:
        made = services.create_branch(repository=repository, name=branch, rev=commit.oid)
    except Conflict as err:
        raise Exists(f"Reference already exists: {branch[:100]}") from err
    return JsonResponse({"success": True, "name": made.name})


def delete_branch(call: Call, type: str, ns: str, name: str, branch: str) -> HttpResponse:
    """Takes the branch away; its commits stay."""
    _delete(call, type, ns, name, Ref.Kind.BRANCH, branch)
    return JsonResponse({"success": True})


def create_tag(call: Call, type: str, ns: str, name: str, rev: str) -> HttpResponse:
    """A tag at a revision. It has no message of its own: the commit's says what it is."""
    repository = call.repository(type, ns, name, "write")
    tag = call.json().get("tag")
    if not isinstance(tag, str):
        raise BadRequest("tag is missing. Name it.")
    commit = revision(repository, rev)
    try:
        services.create_tag(repository=repository, name=tag, rev=commit.oid)
    except Conflict as err:
        raise Exists(f"Tag reference exists already: {tag[:100]}") from err
    return JsonResponse({"success": True})


def delete_tag(call: Call, type: str, ns: str, name: str, rev: str) -> HttpResponse:
    """Takes the tag away."""
    _delete(call, type, ns, name, Ref.Kind.TAG, rev)
    return JsonResponse({"success": True})


def commits(call: Call, type: str, ns: str, name: str, rev: str) -> HttpResponse:
    """What a revision builds on, newest first, in pages."""
    commit = revision(call.repository(type, ns, name), rev)
    limit, start = call.number("limit", _COMMITS, most=_COMMITS), offset(call)
    page = list(islice(history.ancestors(commit), start, start + limit + 1))
    formatted = "formatted" in call.many("expand")
    items = [commit_item(each, formatted=formatted) for each in page[:limit]]
    return listed(call, items, following={"cursor": str(start + limit)} if len(page) > limit else None)


def super_squash(call: Call, type: str, ns: str, name: str, branch: str) -> HttpResponse:
    """Makes the branch one commit with the files it has now; what nothing else builds on is gone."""
    repository = call.repository(type, ns, name, "admin")
    message = call.json().get("message") or f"Super-squash branch '{branch}'"
    if not repository.refs.filter(kind=Ref.Kind.BRANCH, name=branch).exists():
        revision(repository, branch)  # raises when there is no such revision at all
        raise BadRequest(f"{branch[:100]!r} is no branch. Only the history of a branch can be squashed.")
    made = squashing.squash(repository=repository, branch=branch, message=str(message), by=call.user)
    return JsonResponse({"success": True, "commitOid": made.oid})


def _start(said: dict[str, Any]) -> str:
    start = said.get("startingPoint") or "main"
    if not isinstance(start, str):
        raise BadRequest("startingPoint is no text. Name a branch, a tag or a commit.")
    return start


def _delete(call: Call, type: str, ns: str, name: str, kind: Ref.Kind, ref: str) -> None:
    repository = call.repository(type, ns, name, "write")
    try:
        services.delete_ref(repository=repository, kind=kind, name=ref)
    except NotFound as err:
        raise RevisionNotFound(f"Invalid rev id: {ref[:100]}") from err
