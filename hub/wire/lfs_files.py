"""What a repository stores as LFS files: the list, deleting for good, and use in another repository."""

from __future__ import annotations

import re

from django.http import HttpResponse, JsonResponse

from hub.errors import BadRequest
from hub.repos import blobs, lfs_files
from hub.repos.models import Blob, RepositoryBlob
from hub.wire.calls import Call, listed
from hub.wire.errors import NotServed
from hub.wire.shapes import iso

_SHA256 = re.compile(r"[0-9a-f]{64}")
_MOST = 1000


def index(call: Call, type: str, ns: str, name: str) -> HttpResponse:
    """The LFS files of all commits, the newest first; for whoever may write."""
    found = lfs_files.of(call.repository(type, ns, name, "write"))
    limit, start = call.number("limit", _MOST, most=_MOST), call.number("p", 1, most=10**9) - 1
    items = [
        {
            "fileOid": each.sha256, "oid": each.sha256, "filename": each.path, "size": each.size,
            "pushedAt": iso(each.pushed_at), "ref": each.ref,
        }
        for each in found[start * limit : (start + 1) * limit]
    ]  # fmt: skip
    more = (start + 1) * limit < len(found)
    return listed(call, items, following={"p": str(start + 2)} if more else None)


def delete(call: Call, type: str, ns: str, name: str) -> HttpResponse:
    """Takes files out of every commit, which get new ids, and their bytes away."""
    repository = call.repository(type, ns, name, "admin")
    said = call.json().get("deletions")
    if not isinstance(said, dict):
        said = {}
    hashes = said.get("sha")
    if not isinstance(hashes, list) or not all(isinstance(sha, str) and _SHA256.fullmatch(sha) for sha in hashes):
        raise BadRequest('The body is not {"deletions": {"sha": [sha256, …]}}. Send it so.')
    if not said.get("rewriteHistory", True):
        raise NotServed("This hub keeps no commit without its files. Ask with rewrite_history=True.")
    lfs_files.delete(repository, set(hashes), by=call.actor)
    return JsonResponse({"success": True})


def duplicate(call: Call, type: str, ns: str, name: str) -> HttpResponse:
    """Lets the caller use some files of this repository in commits of another."""
    source = call.repository(type, ns, name, "read_files")
    said = call.json()
    target, files = said.get("target"), said.get("files")
    if not isinstance(target, dict) or not isinstance(files, list) or len(files) > _MOST:
        raise BadRequest('The body is not {"target": {"type", "name"}, "files": [{"sha256"}, …]}. Send it so.')
    namespace, _, rest = str(target.get("name", "")).partition("/")
    call.repository(str(target.get("type", "model")), namespace, rest, "discuss")
    wanted = [str(file.get("sha256", "")) if isinstance(file, dict) else "" for file in files]
    here = set(RepositoryBlob.objects.filter(repository=source, blob__in=wanted).values_list("blob", flat=True))
    usable = set(Blob.objects.usable_by(call.user).filter(pk__in=here).values_list("pk", flat=True))
    for sha256 in usable:
        blobs.known_blob(sha256, call.user)
    failed = [{"sha256": sha[:64], "error": "This repository has no such file."} for sha in wanted if sha not in usable]
    return JsonResponse({"failed": failed})
