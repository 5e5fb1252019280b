"""Who is asking: a bearer token, the site's session, or nobody."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from ninja.security import HttpBearer

from hub.accounts import rates
from hub.accounts.callers import SAFE, by_header, by_session
from hub.accounts.services import authenticate
from priors.errors import NotAllowed, TokenRejected


class Anyone(HttpBearer):
    """Everybody may call this; what they get depends on who they are. A bad token is refused, not ignored."""

    openapi_name = "token"
    changes_nothing = False
    """Whether also a POST only reads, so that a token that may only read will do."""

    def __call__(self, request: HttpRequest) -> Any:
        """The actor: `request.auth` of the operation. Counts the request as theirs; raises TooManyRequests."""
        actor = self._actor(request)
        rates.charge(request, "api", actor)
        return actor

    def _actor(self, request: HttpRequest) -> Any:
        if "Authorization" not in request.headers:
            return by_session(request)
        token = by_header(request)
        if token is None:
            raise TokenRejected("The Authorization header is empty. Send 'Bearer ph_…', or leave it out.")
        if not self.changes_nothing and request.method not in SAFE and not token.may_write:
            raise NotAllowed(f"The token {token.prefix}… may only read. Make one that may write.")
        return token.user

    def authenticate(self, request: HttpRequest, token: str) -> Any:
        """Required by the base class; `__call__` decides."""
        return authenticate(token, address=rates.address_of(request)).user


class AnyReader(Anyone):
    """The same for a POST that changes nothing."""

    changes_nothing = True


class Somebody(Anyone):
    """Only for signed-in callers; anything that changes state asks for this."""

    def __call__(self, request: HttpRequest) -> Any:
        """The user, never AnonymousUser. Raises TokenRejected."""
        actor = super().__call__(request)
        if not actor.is_authenticated:
            raise TokenRejected("This needs a token. Run `priorhub login`, or send 'Authorization: Bearer ph_…'.")
        return actor
