"""Commits: what is to be sent how, and the commit itself."""

from __future__ import annotations

import base64
import binascii
import time
from typing import Any

from django.http import HttpResponse, JsonResponse

from hub.accounts import rates
from hub.api.blobs import body as body_of
from hub.errors import BadRequest
from hub.repos import commits, lfs, pulls, quotas, trees
from hub.repos.commits import MAIN, Change, Put, Remove, RemoveFolder
from hub.repos.incoming import Incoming
from hub.repos.models import Blob, Commit, Ref, Repository
from hub.repos.patterns import spec_of
from hub.repos.storage import store
from hub.repos.trees import FileEntry, FolderEntry
from hub.safety import leaks
from hub.wire.calls import Call, revision
from hub.wire.errors import EntryNotFound
from hub.wire.ndjson import Line, read_lines
from hub.wire.shapes import commit_made
from priors.errors import NotFound

_MOST_FILES, _MOST_LINES = 1000, 25_000
_MAX_ATTRIBUTES = 256 * 1024
_MAX_PATH, _MATCHING_S = 512, 5.0


def preupload(call: Call, type: str, ns: str, name: str, rev: str) -> HttpResponse:
    """For each file: whole or as a pointer, whether .gitignore leaves it out, and what stands at its path now."""
    repository = _writable(call, type, ns, name, rev)
    said = call.json()
    files = _files(said)
    commit = _tip(repository, rev)
    now = trees.find_all(commit.tree_id, [*files, ".gitattributes", ".gitignore"]) if commit is not None else {}
    attributes = _text_of(now.get(".gitattributes"))
    ignore = said.get("gitIgnore")
    text = ignore if isinstance(ignore, str) else _text_of(now.get(".gitignore")) or ""
    ignored = spec_of(text.splitlines())
    attributes = lfs.ATTRIBUTES if attributes is None else attributes
    answer, until = [], time.monotonic() + _MATCHING_S
    for path, (size, sample) in files.items():
        if time.monotonic() > until:
            raise BadRequest(
                "Matching these files against .gitignore and .gitattributes takes too long. Ask for fewer."
            )
        mode = "lfs" if lfs.wants_lfs(path, size, sample=sample, attributes=attributes) else "regular"
        left_out = ignored.match_file(path)
        answer.append({"path": path, "uploadMode": mode, "shouldIgnore": left_out, "oid": _oid(now.get(path))})
    return JsonResponse({"files": answer, "commitOid": commit.oid if commit is not None else None})


def commit(call: Call, type: str, ns: str, name: str, rev: str) -> HttpResponse:
    """One commit from the lines of the body, which is read as it arrives; or a pull request with it."""
    repository = _writable(call, type, ns, name, rev)
    if call.flag("create_pr") and _branch(rev) != MAIN:
        raise BadRequest(f"A pull request starts from main, not from {rev[:100]!r}. Commit to main with create_pr.")
    rates.charge(call.request, "upload", call.actor)
    header, changes = _changes(call, repository, _tip(repository, rev))
    call = call.anew()
    repository = _writable(call, type, ns, name, rev)
    if not call.flag("create_pr"):
        made = _committed(call, repository, _branch(rev), header, changes)
        return JsonResponse(commit_made(call.endpoint, repository, made))
    with leaks.atomic():  # no pull request without its commit
        pull = pulls.open_pull(
            repository=repository, by=call.user, title=_said(header, "summary")[:200] or "Changes",
            description=_said(header, "description"),
        )  # fmt: skip
        made = _committed(call, repository, pull.ref, header, changes)
    return JsonResponse(commit_made(call.endpoint, repository, made, pull=pull.number))


def _writable(call: Call, type: str, ns: str, name: str, rev: str) -> Repository:
    """The repository, if the caller may commit there; for a pull request of their own one need not be able to write."""
    if rev.startswith("refs/pr/"):
        repository = call.repository(type, ns, name)
        revision(repository, rev)
        pulls.require_push(call.user, repository, rev)
        return repository
    return call.repository(type, ns, name, "discuss" if call.flag("create_pr") else "write")


def _committed(
    call: Call, repository: Repository, branch: str, header: dict[str, Any], changes: list[Change]
) -> Commit:
    message = "\n\n".join(filter(None, (_said(header, "summary"), _said(header, "description"))))
    try:
        return commits.commit(
            repository=repository, changes=changes, message=message, by=call.user, branch=branch,
            parent=_parent(header),
        )  # fmt: skip
    except NotFound as err:
        raise EntryNotFound(f"A file with this name doesn't exist: {err}") from err


def _said(header: dict[str, Any], name: str) -> str:
    return str(header.get(name) or "").strip()


def _changes(call: Call, repository: Repository, tip: Commit | None) -> tuple[dict[str, Any], list[Change]]:
    """The header and the changes, the last one for each path. Content goes into the store on the way."""
    header: dict[str, Any] | None = None
    changes: dict[str, Change] = {}
    sizes: dict[str, int] = {}
    with Incoming(by=call.user, place=quotas.payer(repository, call.user)) as incoming:
        for line in read_lines(body_of(call.request), keep=incoming.keep):
            if line.key == "header":
                header = line.value
                if (parent := _parent(header)) is not None and (tip is None or not tip.oid.startswith(parent)):
                    break  # nothing more need arrive: the commit will be refused
                continue
            change = _change(line)
            changes.pop(change.path, None)  # in the order of the last ones
            changes[change.path] = change
            if isinstance(change, Put) and isinstance(size := line.value.get("size"), int):
                sizes[change.sha256] = size
            if len(changes) > _MOST_LINES:
                raise BadRequest(f"The commit has more than {_MOST_LINES} changes. Send several.")
    if header is None:
        raise BadRequest('The commit has no line {"key": "header", "value": {"summary": …}}. Send it first.')
    for blob in Blob.objects.filter(sha256__in=sizes):
        if blob.size != sizes[blob.sha256]:
            raise BadRequest(f"{blob.sha256} has {blob.size} bytes, not {sizes[blob.sha256]} as the commit says.")
    return header, list(changes.values())


def _change(line: Line) -> Change:
    path = line.value.get("path")
    if not isinstance(path, str):
        raise BadRequest(f"A line {line.key[:40]!r} of the commit names no path. Name it.")
    match line.key:
        case "file":
            if line.content is None or line.value.get("encoding", "base64") != "base64":
                raise BadRequest(f"{path[:200]!r} has no content in base64. Send it so, or as an LFS file.")
            return Put(path, line.content.sha256, lfs=line.content.size > lfs.MAX_INLINE_BYTES)
        case "lfsFile":
            oid = line.value.get("oid")
            if not isinstance(oid, str) or line.value.get("algo", "sha256") != "sha256":
                raise BadRequest(f"{path[:200]!r} names no sha256 as its oid. Name it.")
            return Put(path, oid, lfs=True)
        case "deletedFile":
            return Remove(path)
        case "deletedFolder":
            return RemoveFolder(path)
    raise BadRequest(f"The commit has a line {line.key[:40]!r}, which this hub does not know.")


def _parent(header: dict[str, Any]) -> str | None:
    parent = header.get("parentCommit")
    if parent is not None and not isinstance(parent, str):
        raise BadRequest("parentCommit is no text. Give the id of a commit, or its first 7 digits.")
    return parent or None


def _branch(rev: str) -> str:
    return rev.removeprefix("refs/heads/")


def _tip(repository: Repository, rev: str) -> Commit | None:
    """Where a branch or pull request is; None for main before its first commit. Raises RevisionNotFound."""
    branch = _branch(rev)
    if branch == MAIN:
        return repository.head
    kind = Ref.Kind.PULL if branch.startswith("refs/pr/") else Ref.Kind.BRANCH
    if (found := commits.tip(repository, branch, kind)) is not None:
        return found
    revision(repository, rev)  # raises when there is no such revision at all
    raise BadRequest(f"{rev[:100]!r} is a tag or a commit; only branches take commits. Make a branch there first.")


def _files(said: dict[str, Any]) -> dict[str, tuple[int, bytes]]:
    listed = said.get("files")
    if not isinstance(listed, list) or len(listed) > _MOST_FILES:
        raise BadRequest(f"files is no list of at most {_MOST_FILES}. Ask in several calls.")
    files = {}
    for item in listed:
        try:
            path, size = item["path"], item["size"]
            sample = base64.b64decode(item.get("sample") or "", validate=True)
        except (KeyError, TypeError, AttributeError, binascii.Error) as err:
            raise BadRequest('A file is not {"path", "size", "sample" in base64}. Send all three.') from err
        if isinstance(path, str) and len(path) > _MAX_PATH:
            raise BadRequest(f"The path {path[:100]!r}… is longer than {_MAX_PATH} characters. Rename the file.")
        if not isinstance(path, str) or not isinstance(size, int) or size < 0:
            raise BadRequest("A file's path is no text, or its size no number. Send both.")
        files[path] = (size, sample)
    return files


def _oid(entry: FileEntry | FolderEntry | None) -> str | None:
    """What clients compare with their file: git's id, of a pointer the hash of the bytes."""
    if not isinstance(entry, FileEntry):
        return None
    return entry.sha256 if entry.lfs else entry.oid


def _text_of(entry: FileEntry | FolderEntry | None) -> str | None:
    if not isinstance(entry, FileEntry):
        return None
    with store().open(entry.sha256) as file:
        return file.read(_MAX_ATTRIBUTES).decode("utf-8", errors="replace")
