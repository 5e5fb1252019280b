"""What a client of the chunk routes may do: short-lived signed values, so that asking costs no table.

A token names the user, the token they came with, the repository and what may be done with it; all of it is asked again
at every request, so what was revoked or taken away meanwhile counts.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Literal

from django.contrib.auth.models import AnonymousUser
from django.core import signing
from django.db.models import Q

from hub.accounts.access import Actor, narrow_token
from hub.accounts.models import ApiToken, User
from hub.accounts.permissions import can
from hub.repos.models import Repository
from hub.xet.models import Scope
from priors.errors import NotAllowed, TokenRejected

Purpose = Literal["read", "write", "propose"]
"""`propose`: to upload for a pull request, which whoever may discuss may do."""

TOKEN_S = 3600
URL_S = 3600
_ACTIONS: dict[Purpose, Literal["read_files", "write", "discuss"]] = {
    "read": "read_files",
    "write": "write",
    "propose": "discuss",
}


@dataclass(frozen=True)
class Grant:
    """What a client is told: where the chunk routes are, below the hub's own address, and what to show there."""

    path: str
    token: str
    expires: int


@dataclass(frozen=True)
class Bearer:
    """Who came with a token. Readers of public repositories have no scope: they send nothing."""

    actor: Actor
    repository: Repository
    scope: Scope | None


def grant(actor: Actor, repository: Repository, purpose: Purpose) -> Grant:
    """A token for a repository. The caller has checked that the actor may do that with it.

    The path differs by user and namespace: a client remembers by it what it sent, and must not name to somebody else
    what this one sent. It has the scope's epoch in it, so that the hub can make clients forget.
    """
    scope = None
    if purpose != "read":
        if not isinstance(actor, User):
            raise TokenRejected("To upload, say who you are: send a token of this hub.")
        scope = scope_of(actor, repository)
    expires = int(time.time()) + TOKEN_S
    token = getattr(actor, "token", None)
    said = [actor.pk, token.pk if token else None, repository.pk.hex, scope.pk.hex if scope else None, purpose, expires]
    path = f"/xet/{scope.pk}/{scope.epoch}" if scope is not None else f"/xet/{repository.pk}/0"
    return Grant(path, signing.dumps(said, salt="xet.token"), expires)


def bearer(text: str, *, write: bool) -> Bearer:
    """Who shows a token. Raises TokenRejected, and NotAllowed when it is only for reading or no longer counts."""
    try:
        user, token, repository, scope, purpose, expires = signing.loads(text, salt="xet.token")
    except (signing.BadSignature, ValueError) as err:
        raise TokenRejected(
            "This is no token for chunks. Ask the hub for one: xet-read-token, xet-write-token."
        ) from err
    if expires < time.time():
        raise TokenRejected("The token for chunks has expired. Ask the hub for a new one.")
    actor = actor_of(user, token)
    found = Repository.objects.select_related("namespace").filter(pk=repository).first()
    # Whoever may propose changes to a gated repository may not have its files for that.
    action = _ACTIONS[purpose] if write else "read_files"
    if found is None or not can(actor, action, found) or (write and purpose == "read"):
        raise NotAllowed("The token for chunks does not allow this, or no longer. Ask the hub for a new one.")
    return Bearer(actor, found, Scope.objects.get(pk=scope) if scope is not None else None)


def sign_range(xorb: int, start: int, stop: int) -> str:
    """A ticket for some bytes of a xorb, which needs no token beside it."""
    return signing.dumps([xorb, start, stop], salt="xet.range")


def signed_range(ticket: str) -> tuple[int, int, int]:
    """The xorb, start and stop of a ticket. Raises NotAllowed: clients then ask where the bytes are anew."""
    try:
        xorb, start, stop = signing.loads(ticket, salt="xet.range", max_age=URL_S)
    except signing.BadSignature as err:
        raise NotAllowed("This address has expired or was changed. Ask for the reconstruction again.") from err
    return int(xorb), int(start), int(stop)


def scope_of(user: User, repository: Repository) -> Scope:
    """A fine-grained token has a scope of its own: it may not name what its user sent to places it does not reach."""
    scope, _ = Scope.objects.get_or_create(user=user, namespace=repository.namespace, token=narrow_token(user))
    return scope


def actor_of(user: int | None, token: int | None) -> Actor:
    """Whoever was given something signed, if they and the token they came with still count. Raises TokenRejected."""
    if user is None:
        return AnonymousUser()
    if token is None:
        found = User.objects.filter(pk=user, is_active=True).first()
    else:
        row = ApiToken.objects.select_related("user").filter(Q(user__is_active=True), pk=token, user=user).first()
        found = row.user if row is not None and row.is_usable else None
        if found is not None:
            found.token = row
    if found is None:
        raise TokenRejected("The account or token behind this address is no longer valid. Log in again.")
    return found
