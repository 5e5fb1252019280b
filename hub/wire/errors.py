"""Refusals as huggingface_hub understands them: it picks its exception by the header X-Error-Code, not by the status.

    RepoNotFound       401 for nobody in particular, 404 for somebody; a private repository answers exactly the same
    RevisionNotFound   404
    EntryNotFound      404; with X-Repo-Commit, so that the client may remember the absence
    GatedRepo          401 or 403

A 5xx makes the client try five times, which looks like a hang: whatever will fail again is answered with a 4xx.
"""

from __future__ import annotations

import logging
import secrets
from http import HTTPStatus
from typing import Any, ClassVar

from django.http import HttpRequest, HttpResponse, JsonResponse

from hub.errors import Gated, ParentMoved, header_text
from hub.repos.models import Commit
from priors.errors import NotFound, TokenRejected, UserError

logger = logging.getLogger(__name__)
BAD_TOKEN = "Invalid credentials in Authorization header"  # noqa: S105 - the message that clients compare with


class RepoNotFound(NotFound):
    """No such repository, or none that the caller may know of."""

    def __init__(self) -> None:
        # One text for all: it must not tell an unknown repository from a private one.
        super().__init__("Repository not found")


class RevisionNotFound(NotFound):
    """The repository has no such branch, tag or commit."""


class EntryNotFound(NotFound):
    """The revision has no such file or folder."""

    def __init__(self, message: str, commit: Commit | None = None) -> None:
        super().__init__(message)
        self.commit = commit


class Exists(UserError):
    """What should be made is there already; the client wants to know where."""

    code: ClassVar[str] = "conflict"
    status: ClassVar[int] = HTTPStatus.CONFLICT

    def __init__(self, message: str, **more: Any) -> None:
        super().__init__(message)
        self.more = more


class NotServed(UserError):
    """A part of the protocol that this hub does not have."""

    code: ClassVar[str] = "not-served"
    status: ClassVar[int] = HTTPStatus.NOT_IMPLEMENTED


_CODES = {
    RepoNotFound: "RepoNotFound",
    RevisionNotFound: "RevisionNotFound",
    EntryNotFound: "EntryNotFound",
    Gated: "GatedRepo",
}


def refusal(error: UserError, *, anonymous: bool) -> HttpResponse:
    """The response for an error that somebody can fix."""
    status = _status(error, anonymous=anonymous)
    body = {"error": str(error), **getattr(error, "more", {})}
    response = JsonResponse(body, status=status)
    response["X-Error-Message"] = header_text(str(error))
    code = _CODES.get(type(error))
    if code is not None:
        response["X-Error-Code"] = code
    if isinstance(error, EntryNotFound) and error.commit is not None:
        response["X-Repo-Commit"] = error.commit.oid
    if status == HTTPStatus.UNAUTHORIZED:
        response["WWW-Authenticate"] = "Bearer"
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        response["Retry-After"] = "5"
    response["Cache-Control"] = "no-store"
    return response


def mistake(request: HttpRequest, error: Exception) -> HttpResponse:
    """The response for an error of our own, which is logged under the number it tells."""
    number = secrets.token_hex(4)
    logger.error("request failed: id=%s %s %s", number, request.method, request.path, exc_info=error)
    said = f"The hub made a mistake. Tell its operator this number: {number}."
    response = JsonResponse({"error": said}, status=HTTPStatus.INTERNAL_SERVER_ERROR)
    response["X-Error-Message"], response["X-Request-Id"] = said, number
    return response


def _status(error: UserError, *, anonymous: bool) -> int:
    if anonymous and (isinstance(error, RepoNotFound | Gated)):
        return HTTPStatus.UNAUTHORIZED
    if isinstance(error, TokenRejected | ParentMoved):
        return error.status
    # Our 422 is the client's BadRequestError.
    return HTTPStatus.BAD_REQUEST if error.status == HTTPStatus.UNPROCESSABLE_ENTITY else error.status
