"""Repositories, files and commits in the JSON of the protocol."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime
from typing import Any

from hub.repos import lfs
from hub.repos.models import Commit, Repository
from hub.repos.trees import FileEntry, FolderEntry


def iso(at: datetime) -> str:
    """`2026-01-02T03:04:05.678Z`."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def url_of(endpoint: str, repository: Repository) -> str:
    """Where the repository is; clients parse type and name out of it."""
    return f"{endpoint}/{repository.prefixed_name}"


def tree_item(
    entry: FileEntry | FolderEntry,
    *,
    xet: str | None = None,
    last: Commit | None = None,
    safety: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """An item of a tree or of paths-info.

    xet     what the chunk service calls the file, where it can be fetched there
    last    the commit that changed it, where that was asked for
    safety  what checks and scans found, where that was asked for
    """
    if isinstance(entry, FolderEntry):
        item: dict[str, Any] = {"type": "directory", "oid": entry.oid, "size": 0, "path": entry.path}
    else:
        item = {"type": "file", "oid": entry.oid, "size": entry.size, "path": entry.path}
        if entry.lfs:
            item["lfs"] = {"oid": entry.sha256, "size": entry.size, "pointerSize": _pointer_size(entry)}
            if xet is not None:
                item["xetHash"] = xet
    if safety is not None:
        item["securityFileStatus"] = safety
    if last is not None:
        item["lastCommit"] = {"id": last.oid, "title": last.title, "date": iso(last.created_at)}
    return item


def sibling(entry: FileEntry, *, blobs: bool) -> dict[str, Any]:
    """A file in a repository's info, with its hashes where they were asked for. Here `lfs.oid` is called `sha256`."""
    item: dict[str, Any] = {"rfilename": entry.path}
    if blobs:
        item |= {"size": entry.size, "blobId": entry.oid}
        if entry.lfs:
            item["lfs"] = {"sha256": entry.sha256, "size": entry.size, "pointerSize": _pointer_size(entry)}
    return item


def commit_item(commit: Commit, *, formatted: bool = False) -> dict[str, Any]:
    """A commit in a history."""
    title, _, body = commit.message.partition("\n")
    item: dict[str, Any] = {
        "id": commit.oid,
        "title": title,
        "message": body.strip(),
        "authors": [{"user": commit.author_name}],
        "date": iso(commit.created_at),
    }
    if formatted:  # plain text: what people wrote is never sent as HTML
        item["formatted"] = {"title": title, "message": body.strip()}
    return item


def commit_made(endpoint: str, repository: Repository, commit: Commit, *, pull: int | None = None) -> dict[str, Any]:
    """The answer to a commit; both addresses are parsed by the client."""
    where = url_of(endpoint, repository)
    made = {"success": True, "commitOid": commit.oid, "commitUrl": f"{where}/commit/{commit.oid}", "hookOutput": ""}
    if pull is not None:
        made["pullRequestUrl"] = f"{where}/discussions/{pull}"
    return made


def only(info: dict[str, Any], wanted: Collection[str]) -> dict[str, Any]:
    """What stays of an info when `expand` names what is wanted: that and the id."""
    return {name: value for name, value in info.items() if name in wanted or name in {"_id", "id"}}


def _pointer_size(entry: FileEntry) -> int:
    return len(lfs.pointer(entry.sha256, entry.size))
