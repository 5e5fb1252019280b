"""Addresses as the client wrote them: `refs%2Fpr%2F1` is one segment, and `a%2520b` is decoded once.

WSGI hands Django a decoded path, in which a quoted slash is a slash like any other. `UndecodedPath` puts back those two
characters that decoding loses, from the server's raw request line; `unquoted` takes them out again, once.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import quote, unquote_to_bytes, urlsplit

from django.http import HttpRequest, HttpResponseBadRequest, HttpResponseBase
from django.utils.encoding import repercent_broken_unicode

_LOST = re.compile("%(?=2[fF]|25)")
_QUOTED = re.compile("%2F|%25", re.IGNORECASE)


def raw_path(request: HttpRequest) -> str:
    """The path of the request line, still quoted; made anew where the server does not tell."""
    # gunicorn says RAW_URI, uWSGI REQUEST_URI. Through a proxy it may be a whole address.
    line = request.META.get("RAW_URI") or request.META.get("REQUEST_URI") or ""
    path = urlsplit(line).path if line else quote(request.path)
    return f"/{path.lstrip('/')}"  # two slashes at the beginning of a Location would name another host


class UndecodedPath:
    """Middleware: `path_info` keeps a quoted slash as %2F and a quoted percent sign as %25. `request.path` stays.

    An address with a NUL character is refused here, for everything behind: PostgreSQL takes none, not even to compare.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if "\0" in request.path_info or "%00" in request.META.get("QUERY_STRING", ""):
            said = "The address holds a NUL character, which no name here does."
            return HttpResponseBadRequest(said, content_type="text/plain", headers={"X-Error-Message": said})
        line = request.META.get("RAW_URI") or request.META.get("REQUEST_URI")
        if line and "%" in line:
            path = raw_path(request)
            half = repercent_broken_unicode(unquote_to_bytes(_LOST.sub("%25", path))).decode()
            request.path_info = "/" + half.removeprefix(request.META.get("SCRIPT_NAME", "")).lstrip("/")
        elif "%" in request.path_info:
            request.path_info = request.path_info.replace("%", "%25")
        return self._get_response(request)


def unquoted(text: str) -> str:
    """A captured part as the client meant it."""
    return _QUOTED.sub(lambda found: "/" if found[0] in "%2F%2f" else "%", text)
