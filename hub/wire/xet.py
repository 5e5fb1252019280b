"""Tokens for the chunk service, and what a file is called there."""

from __future__ import annotations

from django.http import HttpResponse, JsonResponse

from hub.accounts.permissions import can
from hub.repos import pulls
from hub.repos.models import Repository
from hub.wire.calls import Call, revision
from hub.xet.tokens import Purpose, grant


def read_token(call: Call, type: str, ns: str, name: str, rev: str) -> HttpResponse:
    """To fetch the chunks of files of this repository."""
    repository = call.repository(type, ns, name, "read_files")
    revision(repository, rev)
    return _token(call, repository, "read")


def write_token(call: Call, type: str, ns: str, name: str, rev: str) -> HttpResponse:
    """To send chunks for this repository; for a pull request one need not be able to write in it."""
    proposes = call.flag("create_pr") or rev.startswith("refs/pr/")
    repository = call.repository(type, ns, name, "discuss" if proposes else "write")
    if rev.startswith("refs/pr/"):
        pulls.require_push(call.user, repository, rev)
    return _token(call, repository, "write" if can(call.actor, "write", repository) else "propose")


def refresh_address(call: Call, repository: Repository, oid: str) -> str:
    """Where clients that download get their tokens."""
    return f"{call.endpoint}/api/{repository.type}s/{repository.full_name}/xet-read-token/{oid}"


def _token(call: Call, repository: Repository, purpose: Purpose) -> HttpResponse:
    given = grant(call.actor, repository, purpose)
    where = call.endpoint + given.path
    response = JsonResponse({"casUrl": where, "accessToken": given.token, "exp": given.expires})
    response["X-Xet-Cas-Url"] = where
    response["X-Xet-Access-Token"] = given.token
    response["X-Xet-Token-Expiration"] = str(given.expires)
    response["Cache-Control"] = "no-store"
    return response
