"""Files and folders of a repository at any revision, its history, single commits, branches and tags."""

from __future__ import annotations

from itertools import islice
from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_POST, require_safe

from hub.accounts.permissions import can, require
from hub.errors import BadRequest
from hub.repos import diffs, trees
from hub.repos import services as repos
from hub.repos.commits import MAIN
from hub.repos.history import ancestors, last_commits
from hub.repos.models import Commit, Ref, Repository
from hub.repos.storage import store
from hub.repos.trees import FileEntry, FolderEntry
from hub.safety.holds import standing
from hub.web.graph_changes import graph_changes
from hub.web.pages import find_repository, page, repository_bar
from priors.errors import NotFound

ENTRIES = 200
COMMITS = 30
_MOST_PAGES = 100
_MAX_SHOWN = 256 * 1024


@require_safe
def tree(request: HttpRequest, owner: str, name: str, rev: str = MAIN, path: str = "", type: str = "") -> HttpResponse:
    """A folder: its files and folders, each with the commit that last changed it. Of a file, its beginning."""
    repository = find_repository(request, owner, name, type)
    commit = repos.resolve(repository, rev)
    path = path.strip("/")
    found = trees.find(commit.tree_id, path)
    if found is None:
        raise NotFound(f"{repository} has no {path[:100]!r} at {rev[:60]}.")
    context = _at(repository, commit, rev, path) | repository_bar(request.user, repository, "files")
    if isinstance(found, FileEntry):
        return page(request, "code/file.html", context | {"file": found} | _shown(request, commit, found))
    entries = sorted(trees.listing(found.oid, below=path), key=lambda entry: (isinstance(entry, FileEntry), entry.path))
    shown = Paginator(entries, ENTRIES).get_page(request.GET.get("page"))
    last = last_commits(commit, [entry.path for entry in shown])
    rows = [
        (entry, entry.path.rpartition("/")[2], isinstance(entry, FolderEntry), last.get(entry.path)) for entry in shown
    ]
    return page(request, "code/tree.html", context | {"found": shown, "rows": rows})


@require_safe
def history(request: HttpRequest, owner: str, name: str, rev: str = MAIN, type: str = "") -> HttpResponse:
    """The commits that led to a revision, newest first."""
    repository = find_repository(request, owner, name, type)
    commit = repos.resolve(repository, rev)
    asked = request.GET.get("p", "1")
    number = int(asked) if asked.isascii() and asked.isdecimal() and len(asked) < 4 else 1
    at = max(1, min(number, _MOST_PAGES))
    some = list(islice(ancestors(commit), (at - 1) * COMMITS, at * COMMITS + 1))
    context = _at(repository, commit, rev, "") | {
        "commits": some[:COMMITS],
        "newer": at - 1 if at > 1 else 0,
        "older": at + 1 if len(some) > COMMITS and at < _MOST_PAGES else 0,
    }
    return page(request, "code/history.html", context | repository_bar(request.user, repository, "history"))


@require_safe
def commit(request: HttpRequest, owner: str, name: str, rev: str, type: str = "") -> HttpResponse:
    """One commit with what it changed, against its first parent."""
    repository = find_repository(request, owner, name, type)
    found = repos.resolve(repository, rev)
    pairs = trees.changed(found.parent.tree_id if found.parent else None, found.tree_id)
    title, _, body = found.message.partition("\n")
    context = _at(repository, found, found.oid, "") | {
        "files": diffs.shown_to(request.user, repository, pairs),
        "graph_changes": graph_changes(request.user, repository, pairs),
        "title": title,
        "body": body.strip(),
        "parents": [each for each in (found.parent, found.merged) if each is not None],
    }
    return page(request, "code/commit.html", context | repository_bar(request.user, repository, "history"))


@require_safe
def refs(request: HttpRequest, owner: str, name: str, type: str = "") -> HttpResponse:
    """Branches and tags, and where they are."""
    repository = find_repository(request, owner, name, type)
    rows = repository.refs.select_related("commit")
    context = {
        "repository": repository,
        "branches": [ref for ref in rows if ref.kind == Ref.Kind.BRANCH],
        "tags": [ref for ref in rows if ref.kind == Ref.Kind.TAG],
        "may_write": can(request.user, "write", repository),
    }
    return page(request, "code/refs.html", context | repository_bar(request.user, repository, "refs"))


@login_required
@require_POST
def change_refs(request: HttpRequest, owner: str, name: str, type: str = "") -> HttpResponse:
    """Makes or removes a branch or a tag."""
    repository = find_repository(request, owner, name, type)
    require(request.user, "write", repository)
    ref, kind = request.POST.get("name", "").strip(), request.POST.get("kind", "")
    match request.POST.get("do"), kind:
        case "make", Ref.Kind.BRANCH:
            repos.create_branch(repository=repository, name=ref, rev=request.POST.get("rev", "") or MAIN)
        case "make", Ref.Kind.TAG:
            repos.create_tag(repository=repository, name=ref, rev=request.POST.get("rev", "") or MAIN)
        case "remove", (Ref.Kind.BRANCH | Ref.Kind.TAG):
            repos.delete_ref(repository=repository, kind=Ref.Kind(kind), name=ref)
            messages.success(request, f"{ref} is gone; its commits are found by their ids.")
        case _:
            raise BadRequest("Name a branch or a tag, to make or to remove.")
    return redirect(f"{repository.get_absolute_url()}/refs")


def _at(repository: Repository, found: Commit, rev: str, path: str) -> dict[str, Any]:
    parts = path.split("/") if path else []
    return {
        "repository": repository,
        "commit": found,
        "rev": rev,
        "path": path,
        "crumbs": [(part, "/".join(parts[: number + 1])) for number, part in enumerate(parts)],
    }


def _shown(request: HttpRequest, found: Commit, file: FileEntry) -> dict[str, str]:
    """The file's text, or why there is none."""
    if not can(request.user, "read_files", found.repository):
        return {"hidden": "The files of this repository are given out on request."}
    if holds := standing(found, [file.sha256]):
        return {"hidden": f"Held back: {holds[0].reason}."}
    if file.lfs or file.size > _MAX_SHOWN:
        return {"hidden": "Too large to show here. Download it."}
    with store().open(file.sha256) as opened:
        data = opened.read()
    try:
        return {"text": data.decode()} if b"\0" not in data else {"hidden": "Not a text. Download it."}
    except UnicodeDecodeError:
        return {"hidden": "Not a text. Download it."}
