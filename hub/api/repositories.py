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
from hub.api.auth import Anyone, Somebody
from hub.api.files import send_blob
from hub.api.schemas import (
    CommitIn,
    CommitMade,
    CommitOut,
    FileOut,
    MoveIn,
    RefIn,
    RefOut,
    RepositoryIn,
    RepositoryOut,
    SettingsIn,
    Tree,
)
from hub.jobs.cleanup import delete_repository
from hub.repos import commits, retired, services
from hub.repos.commits import Put
from hub.repos.history import ancestors
from hub.repos.models import Ref, Repository
from hub.safety.holds import servable

router = Router(tags=["repositories"])
MAX_COMMITS = 200


def find(request: Any, ns: str, name: str, action: Action = "read") -> Repository:
    """The repository, if the caller may do `action` with it. Raises NotFound, TokenRejected, NotAllowed."""
    actor: Actor = request.auth
    found = Repository.objects.visible_to(actor).for_cards().named(f"{ns}/{name}").first()
    if found is None:
        raise retired.not_found(f"{ns}/{name}", actor=actor)
    if action != "read":
        require(actor, action, found)
    return found


@router.post("", auth=Somebody(), response={201: RepositoryOut}, summary="Create a repository")
def create(request: Any, payload: RepositoryIn) -> Any:
    require(request.auth, "create", services.namespace_of(payload.name))
    rates.charge(request, "create", request.auth)
    made = services.create_repository(**payload.model_dump())
    return Status(HTTPStatus.CREATED, RepositoryOut.from_row(made))


@router.get("/{ns}/{name}", auth=Anyone(), response=RepositoryOut, summary="One repository")
def show(request: Any, ns: str, name: str) -> RepositoryOut:
    return RepositoryOut.from_row(find(request, ns, name))


@router.delete("/{ns}/{name}", auth=Somebody(), response={204: None}, summary="Delete a repository for good")
def delete(request: Any, ns: str, name: str) -> Any:
    delete_repository(find(request, ns, name, "delete"), by=request.auth)
    return Status(HTTPStatus.NO_CONTENT, None)


@router.patch("/{ns}/{name}", auth=Somebody(), response=RepositoryOut, summary="Change its settings")
def change_settings(request: Any, ns: str, name: str, payload: SettingsIn) -> RepositoryOut:
    repository = find(request, ns, name, "admin")
    services.change_settings(repository, by=request.auth, **payload.model_dump())
    return RepositoryOut.from_row(repository)


@router.post("/{ns}/{name}/move", auth=Somebody(), response=RepositoryOut, summary="Give it another name")
def move(request: Any, ns: str, name: str, payload: MoveIn) -> RepositoryOut:
    repository = find(request, ns, name, "admin")
    require(request.auth, "create", services.namespace_of(payload.to))
    services.move_repository(repository, payload.to, by=request.auth)
    return RepositoryOut.from_row(repository)


@router.get("/{ns}/{name}/tree/{path:rev}", auth=Anyone(), response=Tree, summary="The files of a revision")
def tree(request: Any, ns: str, name: str, rev: str) -> Tree:
    commit = services.resolve(find(request, ns, name), rev)
    return Tree(commit=commit.oid, files=[FileOut.from_row(entry) for entry in services.files(commit)])


@router.get("/{ns}/{name}/commits", auth=Anyone(), response=list[CommitOut], summary="Commits, newest first")
def history(request: Any, ns: str, name: str, rev: str = "") -> list[CommitOut]:
    """Those that led to `rev`; of all branches when it is left out."""
    repository = find(request, ns, name)
    if rev:
        line = ancestors(services.resolve(repository, rev))
    else:
        line = iter(repository.commits.select_related("parent").order_by("-id")[:MAX_COMMITS])
    return [CommitOut.from_row(commit) for commit in islice(line, MAX_COMMITS)]


@router.get("/{ns}/{name}/refs", auth=Anyone(), response=list[RefOut], summary="Branches and tags")
def refs(request: Any, ns: str, name: str) -> list[RefOut]:
    return [RefOut.from_row(ref) for ref in find(request, ns, name).refs.select_related("commit")]


@router.post("/{ns}/{name}/tags", auth=Somebody(), response={201: RefOut}, summary="Name a revision for good")
def tag(request: Any, ns: str, name: str, payload: RefIn) -> Any:
    repository = find(request, ns, name, "write")
    made = services.create_tag(repository=repository, name=payload.name, rev=payload.rev)
    return Status(HTTPStatus.CREATED, RefOut.from_row(made))


@router.delete("/{ns}/{name}/tags/{path:tag}", auth=Somebody(), response={204: None}, summary="Take a tag away")
def delete_tag(request: Any, ns: str, name: str, tag: str) -> Any:
    services.delete_ref(repository=find(request, ns, name, "write"), kind=Ref.Kind.TAG, name=tag)
    return Status(HTTPStatus.NO_CONTENT, None)


@router.post("/{ns}/{name}/branches", auth=Somebody(), response={201: RefOut}, summary="Begin a branch at a revision")
def branch(request: Any, ns: str, name: str, payload: RefIn) -> Any:
    repository = find(request, ns, name, "write")
    made = services.create_branch(repository=repository, name=payload.name, rev=payload.rev)
    return Status(HTTPStatus.CREATED, RefOut.from_row(made))


@router.delete(
    "/{ns}/{name}/branches/{path:branch}", auth=Somebody(), response={204: None}, summary="Take a branch away"
)
def delete_branch(request: Any, ns: str, name: str, branch: str) -> Any:
    services.delete_ref(repository=find(request, ns, name, "write"), kind=Ref.Kind.BRANCH, name=branch)
    return Status(HTTPStatus.NO_CONTENT, None)


@router.post("/{ns}/{name}/commits", auth=Somebody(), response={201: CommitMade}, summary="Commit uploaded blobs")
def make_commit(request: Any, ns: str, name: str, payload: CommitIn) -> Any:
    made = commits.commit(
        repository=find(request, ns, name, "write"),
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
def file(request: HttpRequest, ns: str, name: str, rev: str, path: str) -> HttpResponse | HttpResponseBase:
    commit = services.resolve(find(request, ns, name, "read_files"), rev)
    entry = services.file(commit, path)
    servable(commit, [entry.sha256])
    return send_blob(request, entry.blob, path=path)
