"""Who sends a request, by its Authorization header or by the site's session."""

from __future__ import annotations

import base64

from django.contrib.auth.models import AnonymousUser
from django.http import HttpRequest
from ninja.utils import check_csrf

from hub.accounts import rates
from hub.accounts.access import Actor
from hub.accounts.models import ApiToken
from hub.accounts.services import authenticate
from priors.errors import NotAllowed, TokenRejected

SAFE = frozenset(["GET", "HEAD", "OPTIONS"])


def by_header(request: HttpRequest, *, basic: bool = False) -> ApiToken | None:
    """The token of the header, with its user; None without one. Raises TokenRejected.

    basic  whether a name and a password do, too: git and git-lfs send the token as that, whatever the name
    """
    scheme, _, text = request.headers.get("Authorization", "").partition(" ")
    match scheme.lower():
        case "":
            return None
        case "bearer":
            token = text.strip()
        case "basic" if basic:
            try:
                token = base64.b64decode(text.strip(), validate=True).decode().partition(":")[2]
            except ValueError as err:
                raise TokenRejected("The password is not readable. Give a token of this hub.") from err
        case _ if basic:
            raise TokenRejected("Give any name, and a token of this hub as the password.")
        case _:
            raise TokenRejected("The Authorization header is not 'Bearer ph_…'. Send a token of this hub.")
    return authenticate(token, address=rates.address_of(request))


def by_session(request: HttpRequest) -> Actor:
    """Whoever is signed in, or nobody. Raises NotAllowed for what a page elsewhere may have made a browser send."""
    if not request.user.is_authenticated:
        return AnonymousUser()
    # A browser sends its session by itself, so a page elsewhere could use it: only with the site's CSRF token.
    if request.method not in SAFE and check_csrf(request) is not None:
        raise NotAllowed("This request came without the site's CSRF token. Use the site, or a token.")
    return request.user
