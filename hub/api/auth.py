"""Who is asking: a bearer token, the site's session, or nobody."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import AnonymousUser
from django.http import HttpRequest
from ninja.security import HttpBearer
from ninja.utils import check_csrf

from hub.accounts import rates
from hub.accounts.models import User
from hub.accounts.services import authenticate
from priors.errors import NotAllowed, TokenRejected

_SAFE = frozenset(["GET", "HEAD", "OPTIONS"])


class Anyone(HttpBearer):
    """Everybody may call this; what they get depends on who they are. A bad token is refused, not ignored."""

    openapi_name = "token"

    def __call__(self, request: HttpRequest) -> Any:
        """The actor: `request.auth` of the operation. Counts the request as theirs; raises TooManyRequests."""
        actor = self._actor(request)
        rates.charge(request, "api", actor)
        return actor

    def _actor(self, request: HttpRequest) -> Any:
        header = request.headers.get("Authorization")
        if header is not None:
            return self._token_user(request, header)
        if request.user.is_authenticated:
            # A browser sends the session by itself, so a page elsewhere could use it: only with the site's CSRF token.
            if request.method not in _SAFE and check_csrf(request) is not None:
                raise NotAllowed("This request came without the site's CSRF token. Use the site, or a token.")
            return request.user
        return AnonymousUser()

    def authenticate(self, request: HttpRequest, token: str) -> Any:
        """Required by the base class; `__call__` decides."""
        return authenticate(token, address=rates.address_of(request)).user

    def _token_user(self, request: HttpRequest, header: str) -> User:
        scheme, _, text = header.partition(" ")
        if scheme.lower() != "bearer":
            raise TokenRejected("The Authorization header is not 'Bearer ph_…'. Send a token of this hub.")
        token = authenticate(text.strip(), address=rates.address_of(request))
        if request.method not in _SAFE and not token.may_write:
            raise NotAllowed(f"The token {token.prefix}… may only read. Make one that may write.")
        return token.user


class Somebody(Anyone):
    """Only for signed-in callers; anything that changes state asks for this."""

    def __call__(self, request: HttpRequest) -> Any:
        """The user, never AnonymousUser. Raises TokenRejected."""
        actor = super().__call__(request)
        if not actor.is_authenticated:
            raise TokenRejected("This needs a token. Run `priorhub login`, or send 'Authorization: Bearer ph_…'.")
        return actor
