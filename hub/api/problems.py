"""Errors as application/problem+json (RFC 9457): type, title, status, code, detail."""

from __future__ import annotations

import logging
import secrets
from http import HTTPStatus
from typing import Any

from django.conf import settings
from django.core.exceptions import RequestDataTooBig, SuspiciousOperation
from django.http import Http404, HttpRequest, JsonResponse
from ninja import NinjaAPI
from ninja.errors import HttpError, ValidationError

from hub.errors import Moved, TooLarge, TooManyRequests
from priors.errors import PriorhubError, TokenRejected, UserError

logger = logging.getLogger(__name__)


def problem(status: int, code: str, detail: str) -> JsonResponse:
    """The response. `code` is stable; `detail` is one line with the cause and what to do."""
    body = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "code": code, "detail": detail}
    response = JsonResponse(body, status=status, content_type="application/problem+json")
    response["Cache-Control"] = "no-store"
    return response


def from_user_error(error: UserError) -> JsonResponse:
    """What somebody can fix, with its own status and code."""
    response = problem(error.status, error.code, str(error))
    if isinstance(error, TokenRejected):
        response["WWW-Authenticate"] = "Bearer"
    if isinstance(error, TooManyRequests):
        for header, value in error.headers.items():
            response[header] = value
    if error.status == HTTPStatus.SERVICE_UNAVAILABLE:
        response["Retry-After"] = "5"
    return response


def register(api: NinjaAPI) -> None:
    """Every error of the API leaves through here."""
    api.add_exception_handler(PriorhubError, _ours)
    api.add_exception_handler(ValidationError, _invalid)
    api.add_exception_handler(Http404, _not_found)
    api.add_exception_handler(HttpError, _http)
    api.add_exception_handler(RequestDataTooBig, _too_big)
    api.add_exception_handler(SuspiciousOperation, _suspicious)
    api.add_exception_handler(Exception, _unexpected)


def _ours(request: HttpRequest, error: Any) -> JsonResponse:
    if not isinstance(error, UserError):
        return _unexpected(request, error)
    response = from_user_error(error)
    if isinstance(error, Moved):
        response["Location"] = error.location(request.get_full_path())
    return response


def _invalid(request: HttpRequest, error: Any) -> JsonResponse:
    first = error.errors[0]
    where = ".".join(str(part) for part in first["loc"][1:] if part not in {"body", "payload"}) or "the request"
    return problem(422, "bad-request", f"{where}: {first['msg']}. See /api/v1/openapi.json for what is expected.")


def _not_found(request: HttpRequest, error: Any) -> JsonResponse:
    return problem(404, "not-found", "There is nothing at this address, or it is not yours to see.")


def _http(request: HttpRequest, error: Any) -> JsonResponse:
    return problem(error.status_code, "bad-request", f"{error}. See /api/v1/openapi.json for what is expected.")


def _too_big(request: HttpRequest, error: Any) -> JsonResponse:
    most = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
    return from_user_error(TooLarge(f"The JSON is larger than {most} bytes. Send less at once; files go to /blobs."))


def _suspicious(request: HttpRequest, error: Any) -> JsonResponse:
    return problem(400, "bad-request", "The request has more fields than anybody needs. Ask in several.")


def _unexpected(request: HttpRequest, error: Any) -> JsonResponse:
    number = secrets.token_hex(4)
    logger.error("request failed: id=%s %s %s", number, request.method, request.path, exc_info=error)
    return problem(500, "internal", f"The hub made a mistake. Tell its operator this number: {number}.")
