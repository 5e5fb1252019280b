"""What a repository is, and lists of them."""

from __future__ import annotations

from typing import Any

from django.http import HttpResponse, JsonResponse

from hub.repos import trees
from hub.repos.models import Commit, Repository
from hub.wire.calls import Call, revision
from hub.wire.shapes import iso, only, sibling


def info(call: Call, type: str, ns: str, name: str, rev: str = "main") -> HttpResponse:
    """A repository at a revision. Of a gated one everybody may know this much; only the files are refused."""
    repository = call.repository(type, ns, name)
    commit = revision(repository, rev) if rev != "main" or repository.head is not None else None
    wanted = call.many("expand")
    found = info_of(repository, commit)
    if not wanted or "siblings" in wanted:
        files = trees.read(commit.tree_id).values() if commit is not None else []
        found["siblings"] = [sibling(file, blobs=call.flag("blobs")) for file in files]
    if call.flag("securityStatus"):
        found["securityRepoStatus"] = {"scansDone": True, "filesWithIssues": []}
    return JsonResponse(only(found, wanted) if wanted else found)


def info_of(repository: Repository, commit: Commit | None) -> dict[str, Any]:
    """Everything but the files."""
    return {
        "_id": str(repository.pk),
        "id": repository.full_name,
        "modelId": repository.full_name,
        "author": repository.namespace.name,
        "sha": commit.oid if commit is not None else None,
        "lastModified": iso(repository.updated_at),
        "createdAt": iso(repository.created_at),
        "private": repository.private,
        "gated": repository.gated or False,
        "disabled": False,
        "downloads": 0,
        "downloadsAllTime": 0,
        "likes": 0,
        "tags": [],
    }
