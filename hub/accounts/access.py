"""Who reaches what, as conditions on rows: the one place where roles, teams, grants and tokens are added up.

`Repository.objects.visible_to` and `permissions.can` both ask here, so a list and a single object cannot disagree, and
what was taken away a moment ago is gone from both. A token only ever takes away: rights are the user's and the token's.
"""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from django.db.models import F, Q, QuerySet

from hub.accounts.models import AccessRequest, ApiToken, Membership, Role, TeamGrant, TokenScope

Actor = AbstractBaseUser | AnonymousUser
"""Whoever asks: a user, or nobody in particular."""

_NOTHING = Q(pk__in=[])
_EVERYTHING = Q(pk__isnull=False)  # not Q(): `public | Q()` is only what is public


def readable(actor: Actor) -> Q:
    """Repositories that exist for the actor: public ones, and those they reach."""
    return Q(private=False) | reaches(actor, Role.READ)


def along(path: str, condition: Q) -> Q:
    """A condition on repositories, for rows that lead to one: `along("repository__", readable(actor))`.

    As a join it is compiled and run in half the time of a subquery with the same condition.
    """
    made = Q(_connector=condition.connector, _negated=condition.negated)
    for child in condition.children:
        if isinstance(child, Q):
            made.children.append(along(path, child))
        elif isinstance(child, tuple):
            made.children.append((path + child[0], child[1]))
        else:
            raise TypeError(f"{child!r} is neither a condition on a field nor conditions in turn.")
    return made


def open_to(actor: Actor) -> Q:
    """Repositories whose files the actor may have: readable ones, of the gated only with a grant or a role there."""
    mine = reaches(actor, Role.READ)
    if _stands(actor):
        accepted = AccessRequest.objects.filter(status=AccessRequest.Status.ACCEPTED).order_by()
        granted = accepted.filter(Q(user=actor.pk) | Q(organisation__in=_organisations(actor, Role.READ)))
        mine |= Q(private=False, pk__in=granted.values("repository")) & _token_covers(actor, Role.READ)
    return Q(private=False, gated="") | mine


def reaches(actor: Actor, role: str) -> Q:
    """Repositories in which the actor has `role`, by owning them, as a member, by a team, or as an administrator."""
    if not _stands(actor):
        return _NOTHING
    if _is_superuser(actor):
        mine = _EVERYTHING
    else:
        mine = Q(namespace__owner=actor.pk) | Q(namespace__in=_organisations(actor, role))
        if role != Role.READ:  # to read, being a member is enough
            mine |= Q(pk__in=_granted(actor, role))
    return mine & _token_covers(actor, role)


def speaks(actor: Actor) -> Q:
    """Repositories in which the actor may open a discussion or a pull request: whatever they read, but not with a
    token that may only read."""
    return readable(actor) & _token_covers(actor, Role.WRITE) if _stands(actor) else _NOTHING


def governs(actor: Actor, role: str) -> Q:
    """Namespaces in which the actor has `role`: to create in them (write), or to change them (admin)."""
    if not _stands(actor):
        return _NOTHING
    mine = _EVERYTHING if _is_superuser(actor) else Q(owner=actor.pk) | Q(pk__in=_organisations(actor, role))
    token = _token(actor)
    if token is None or token.covers(role):
        return mine
    return mine & Q(pk__in=_scopes(token, role).filter(repository=None).values("namespace"))


def acts(actor: Actor, role: str) -> bool:
    """Whether the actor's account as a whole can be used at `role`: its jobs, its organisations, its settings.

    A fine-grained token names places, not the account, and so never does.
    """
    token = _token(actor)
    return _stands(actor) and (token is None or token.covers(role))


def administers(actor: Actor, role: str = Role.ADMIN) -> bool:
    """Whether the actor is an administrator of the hub, and acts as one at `role`."""
    return _is_superuser(actor) and acts(actor, role)


def moderates(actor: Actor) -> bool:
    """Whether the actor is of the hub's staff, and acts with more than a token that may only read."""
    return bool(getattr(actor, "is_staff", False)) and acts(actor, Role.WRITE)


def narrow_token(actor: Actor) -> ApiToken | None:
    """The fine-grained token at hand. What its user sent elsewhere is none of its business."""
    token = _token(actor)
    return token if token is not None and token.role == ApiToken.Role.FINE_GRAINED else None


def _token_covers(actor: Actor, role: str) -> Q:
    """Repositories for which the token at hand does not stand in the way of `role`."""
    token = _token(actor)
    if token is None or token.covers(role):
        return _EVERYTHING
    scopes = _scopes(token, role)
    everywhere = scopes.filter(repository=None).values("namespace")
    return Q(namespace__in=everywhere) | Q(pk__in=scopes.filter(namespace=None).values("repository"))


def _organisations(actor: Actor, role: str) -> QuerySet[Membership, Any]:
    roles = Role.at_least(role)
    return Membership.objects.filter(user=actor.pk, role__in=roles).order_by().values("organisation")


def _granted(actor: Actor, role: str) -> QuerySet[TeamGrant, Any]:
    grants = TeamGrant.objects.filter(team__members__user=actor.pk, role__in=Role.at_least(role))
    # A repository that moved to somebody else keeps no rights of the teams it came from.
    return grants.filter(repository__namespace=F("team__organisation")).values("repository")


def _scopes(token: ApiToken, role: str) -> QuerySet[TokenScope]:
    return TokenScope.objects.filter(token=token.pk, role__in=Role.at_least(role)).order_by()


def _token(actor: Actor) -> ApiToken | None:
    return getattr(actor, "token", None)


def _stands(actor: Actor) -> bool:
    return actor.is_authenticated and actor.is_active


def _is_superuser(actor: Actor) -> bool:
    return bool(getattr(actor, "is_superuser", False))
