"""What has to happen around requests of every part: headers for caches, headers of rate limits, acts in /admin/."""

from __future__ import annotations

from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponseBase

from hub.accounts import audit

_SAFE = frozenset(["GET", "HEAD", "OPTIONS"])


class PrivateAnswers:
    """What somebody in particular was answered is kept by no cache, unless its view says what may be kept.

    By who asked and not by the address, which a stranger may have made up: `/account/tokens/x.css` is no style sheet.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self._get_response(request)
        session = settings.SESSION_COOKIE_NAME
        if session in request.COOKIES or session in response.cookies or "Authorization" in request.headers:
            response.headers.setdefault("Cache-Control", "private, no-store")
        return response


class RateHeaders:
    """Tells callers what `rates.charge` counted."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self._get_response(request)
        for header, value in getattr(request, "rate", {}).items():
            response[header] = value
        return response


class AdminActs:
    """An audit entry for everything that is changed through Django's admin."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self._get_response(request)
        user = request.user
        changed = request.method not in _SAFE and response.status_code < 400
        if changed and request.path.startswith("/admin/") and user.is_authenticated:
            audit.record("admin", by=user, subject=request.path, method=request.method)
        return response
