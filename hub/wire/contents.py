"""The files of a revision: as a tree, by their paths, and their bytes."""

from __future__ import annotations

from bisect import bisect_right

from django.http import HttpResponse, HttpResponseBase, JsonResponse

from hub.api.files import send_blob
from hub.catalog import downloads
from hub.errors import BadRequest
from hub.repos import history, trees
from hub.repos.models import Commit, Repository
from hub.repos.trees import FileEntry, FolderEntry
from hub.safety.holds import servable
from hub.safety.status import file_status
from hub.wire.calls import Call, listed, revision
from hub.wire.errors import EntryNotFound
from hub.wire.shapes import tree_item
from hub.wire.xet import refresh_address
from hub.xet.reconstruct import offered

_PAGE, _PAGE_EXPANDED = 5000, 200
_MOST_PATHS = 1000


def tree(call: Call, type: str, ns: str, name: str, rev: str, path: str = "") -> HttpResponse:
    """Files and folders below a path, in pages."""
    repository = call.repository(type, ns, name)
    commit = revision(repository, rev)
    path = path.strip("/")
    top = trees.find(commit.tree_id, path)
    if not isinstance(top, FolderEntry):
        raise EntryNotFound(f"{path[:200]} does not exist on {rev[:100]!r}, or is no folder.", commit)
    entries = trees.listing(top.oid, below=path, recursive=call.flag("recursive"))
    expand = call.flag("expand")
    most = _PAGE_EXPANDED if expand else _PAGE
    limit = call.number("limit", most, most=most)
    after = call.query.get("cursor", "")
    start = bisect_right(entries, after, key=lambda entry: entry.path) if after else 0
    page = entries[start : start + limit]
    more = start + limit < len(entries)
    items = _items(repository, commit, page, expand=expand)
    return listed(call, items, following={"cursor": page[-1].path} if more else None)


def paths_info(call: Call, type: str, ns: str, name: str, rev: str) -> HttpResponse:
    """What lies at some paths; unknown ones are left out."""
    repository = call.repository(type, ns, name)
    commit = revision(repository, rev)
    is_json = call.request.content_type == "application/json"
    said = call.json() if is_json else call.form()
    paths = said.get("paths", []) if is_json else said.getlist("paths")  # type: ignore[union-attr]
    paths = [paths] if isinstance(paths, str) else paths
    if not isinstance(paths, list) or not all(isinstance(path, str) for path in paths) or len(paths) > _MOST_PATHS:
        raise BadRequest(f"paths is no list of at most {_MOST_PATHS} texts. Ask in several calls.")
    found = trees.find_all(commit.tree_id, [path.strip("/") for path in paths])
    expand = str(said.get("expand", "")).lower() in {"true", "1"}
    return JsonResponse(_items(repository, commit, [found[path] for path in sorted(found)], expand=expand), safe=False)


def resolve(call: Call, ns: str, name: str, rev: str, path: str, type: str = Repository.Type.MODEL) -> HttpResponseBase:
    """The bytes of a file, whole or one range of it."""
    repository = call.repository(type, ns, name, "read_files")
    commit = revision(repository, rev)
    entry = trees.find(commit.tree_id, path)
    if not isinstance(entry, FileEntry):
        raise EntryNotFound("Entry not found", commit)
    servable(commit, [entry.sha256])
    oid = entry.sha256 if entry.lfs else entry.oid
    response = send_blob(call.request, entry.blob, path=path, oid=oid)
    if call.request.method == "GET":
        downloads.record(repository, call.request)
    response["X-Repo-Commit"] = commit.oid
    if entry.lfs:
        response["X-Linked-Etag"] = f'"{oid}"'
        response["X-Linked-Size"] = str(entry.size)
        if (hash_there := offered(repository, [oid]).get(oid)) is not None:
            response["X-Xet-Hash"] = hash_there
            response["Link"] = f'<{refresh_address(call, repository, commit.oid)}>; rel="xet-auth"'
    return response


def _items(
    repository: Repository, commit: Commit, entries: list[FileEntry | FolderEntry], *, expand: bool
) -> list[dict[str, object]]:
    last = history.last_commits(commit, [entry.path for entry in entries]) if expand else {}
    files = [entry.sha256 for entry in entries if isinstance(entry, FileEntry)] if expand else []
    safety = file_status(commit, files) if files else {}
    pointers = [entry.sha256 for entry in entries if isinstance(entry, FileEntry) and entry.lfs]
    xet = offered(repository, pointers) if pointers else {}
    return [
        tree_item(entry, last=last.get(entry.path), xet=xet.get(entry.sha256), safety=safety.get(entry.sha256))
        if isinstance(entry, FileEntry)
        else tree_item(entry, last=last.get(entry.path))
        for entry in entries
    ]
