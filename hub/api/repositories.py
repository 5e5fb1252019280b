"""/repos: repositories, their trees, commits, refs and files."""

from __future__ import annotations

from http import HTTPStatus
from itertools import islice
from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseBase
from ninja import Router, Status

from hub.accounts import rates
from hub.accounts.access import Actor
from hub.accounts.permissions import Action, require
from hub.addresses import unquoted
from hub.api.auth import Anyone, Somebody
from hub.api.files import send_blob
from hub.api.schemas import (
    CommitIn,
    CommitMade,
    CommitOut,
    FileOut,
    MoveIn,
    OfType,
    RefIn,
    RefOut,
    RepositoryIn,
    RepositoryOut,
    SettingsIn,
    Tree,
)
from hub.jobs.cleanup import delete_repository
from hub.repos import commits, pulls, retired, services
from hub.repos.commits import Put
from hub.repos.history import ancestors
from hub.repos.models import Ref, Repository
from hub.safety.holds import servable

router = Router(tags=["repositories"])
MAX_COMMITS = 200


def find(request: Any, ns: str, name: str, action: Action = "read", *, type: OfType = None) -> Repository:
    """The repository, if the caller may do `action` with it. Raises NotFound, TokenRejected, NotAllowed.

    type  which of those that share the name; a model before a dataset before a space when left out
    """
    actor: Actor = request.auth
    prefix = f"{type}s/" if type else ""
    found = Repository.objects.visible_to(actor).for_cards().named(f"{prefix}{ns}/{name}").first()
    if found is None:
        raise retired.not_found(f"{ns}/{name}", actor=actor, type=type or "")
    if action != "read":
        require(actor, action, found)
    return found


@router.post("", auth=Somebody(), response={201: RepositoryOut}, summary="Create a repository")
def create(request: Any, payload: RepositoryIn) -> Any:
    require(request.auth, "create", services.namespace_of(payload.name))
    rates.charge(request, "create", request.auth)
    made = services.create_repository(**payload.model_dump(exclude_none=True))
    return Status(HTTPStatus.CREATED, RepositoryOut.from_row(made))


@router.get("/{ns}/{name}", auth=Anyone(), response=RepositoryOut, summary="One repository")
def show(request: Any, ns: str, name: str, type: OfType = None) -> RepositoryOut:
    return RepositoryOut.from_row(find(request, ns, name, type=type))


@router.delete("/{ns}/{name}", auth=Somebody(), response={204: None}, summary="Delete a repository for good")
def delete(request: Any, ns: str, name: str, type: OfType = None, only_empty: bool = False) -> Any:
    delete_repository(find(request, ns, name, "delete", type=type), by=request.auth, only_empty=only_empty)
    return Status(HTTPStatus.NO_CONTENT, None)


@router.patch("/{ns}/{name}", auth=Somebody(), response=RepositoryOut, summary="Change its settings")
def change_settings(request: Any, ns: str, name: str, payload: SettingsIn, type: OfType = None) -> RepositoryOut:
    repository = find(request, ns, name, "admin", type=type)
    services.change_settings(repository, by=request.auth, **payload.model_dump())
    return RepositoryOut.from_row(repository)


@router.post("/{ns}/{name}/move", auth=Somebody(), response=RepositoryOut, summary="Give it another name")
def move(request: Any, ns: str, name: str, payload: MoveIn, type: OfType = None) -> RepositoryOut:
    repository = find(request, ns, name, "admin", type=type)
    require(request.auth, "create", services.namespace_of(payload.to))
    rates.charge(request, "create", request.auth)  # a name that was left is never free again
    services.move_repository(repository, payload.to, by=request.auth)
    return RepositoryOut.from_row(repository)


@router.get("/{ns}/{name}/tree/{path:rev}", auth=Anyone(), response=Tree, summary="The files of a revision")
def tree(request: Any, ns: str, name: str, rev: str, type: OfType = None) -> Tree:
    commit = services.resolve(find(request, ns, name, type=type), unquoted(rev))
    return Tree(commit=commit.oid, files=[FileOut.from_row(entry) for entry in services.files(commit)])


@router.get("/{ns}/{name}/commits", auth=Anyone(), response=list[CommitOut], summary="Commits, newest first")
def history(request: Any, ns: str, name: str, rev: str = "", type: OfType = None) -> list[CommitOut]:
    """Those that led to `rev`; of all branches when it is left out."""
    repository = find(request, ns, name, type=type)
    if rev:
        line = ancestors(services.resolve(repository, rev))
    else:
        line = iter(repository.commits.select_related("parent").order_by("-id")[:MAX_COMMITS])
    return [CommitOut.from_row(commit) for commit in islice(line, MAX_COMMITS)]


@router.get("/{ns}/{name}/refs", auth=Anyone(), response=list[RefOut], summary="Branches and tags")
def refs(request: Any, ns: str, name: str, type: OfType = None) -> list[RefOut]:
    return [RefOut.from_row(ref) for ref in find(request, ns, name, type=type).refs.select_related("commit")]


@router.post("/{ns}/{name}/tags", auth=Somebody(), response={201: RefOut}, summary="Name a revision for good")
def tag(request: Any, ns: str, name: str, payload: RefIn, type: OfType = None) -> Any:
    repository = find(request, ns, name, "write", type=type)
    made = services.create_tag(repository=repository, name=payload.name, rev=payload.rev)
    return Status(HTTPStatus.CREATED, RefOut.from_row(made))


@router.delete("/{ns}/{name}/tags/{path:tag}", auth=Somebody(), response={204: None}, summary="Take a tag away")
def delete_tag(request: Any, ns: str, name: str, tag: str, type: OfType = None) -> Any:
    services.delete_ref(repository=find(request, ns, name, "write", type=type), kind=Ref.Kind.TAG, name=unquoted(tag))
    return Status(HTTPStatus.NO_CONTENT, None)


@router.post("/{ns}/{name}/branches", auth=Somebody(), response={201: RefOut}, summary="Begin a branch at a revision")
def branch(request: Any, ns: str, name: str, payload: RefIn, type: OfType = None) -> Any:
    repository = find(request, ns, name, "write", type=type)
    made = services.create_branch(repository=repository, name=payload.name, rev=payload.rev)
    return Status(HTTPStatus.CREATED, RefOut.from_row(made))


@router.delete(
    "/{ns}/{name}/branches/{path:branch}", auth=Somebody(), response={204: None}, summary="Take a branch away"
)
def delete_branch(request: Any, ns: str, name: str, branch: str, type: OfType = None) -> Any:
    services.delete_ref(
        repository=find(request, ns, name, "write", type=type), kind=Ref.Kind.BRANCH, name=unquoted(branch)
    )
    return Status(HTTPStatus.NO_CONTENT, None)


@router.post("/{ns}/{name}/commits", auth=Somebody(), response={201: CommitMade}, summary="Commit uploaded blobs")
def make_commit(request: Any, ns: str, name: str, payload: CommitIn, type: OfType = None) -> Any:
    repository = find(request, ns, name, "write", type=type)
    if payload.branch.startswith("refs/pr/"):
        pulls.require_push(request.auth, repository, payload.branch)
    made = commits.commit(
        repository=repository,
        changes=[Put(file.path, file.sha256) for file in payload.files],
        message=payload.message,
        by=request.auth,
        branch=payload.branch,
        parent=payload.parent,
        replace=payload.replace,
        skip_unchanged=False,
    )
    return Status(HTTPStatus.CREATED, CommitMade(oid=made.oid))


@router.api_operation(
    ["GET", "HEAD"],
    "/{ns}/{name}/files/{rev}/{path:path}",
    auth=Anyone(),
    response={200: bytes},
    summary="The bytes of a file; Range and If-None-Match are understood",
)
def file(
    request: HttpRequest, ns: str, name: str, rev: str, path: str, type: OfType = None
) -> HttpResponse | HttpResponseBase:
    commit = services.resolve(find(request, ns, name, "read_files", type=type), unquoted(rev))
    entry = services.file(commit, unquoted(path))
    servable(commit, [entry.sha256])
    return send_blob(request, entry.blob, path=entry.path)
