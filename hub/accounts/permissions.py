"""The one place that says who may do what.

Reading is decided by each model's `visible_to`, so lists and single objects cannot disagree. What an actor may not read
does not exist for them: `require` answers NotFound, never "forbidden".
"""

from __future__ import annotations

from typing import Any, Literal

from django.db.models import Model, QuerySet

from hub.accounts.models import ApiToken
from hub.boards.models import Result
from hub.jobs.models import Job
from hub.repos.models import Actor, Namespace, Repository
from priors.errors import NotAllowed, NotFound, TokenRejected

Action = Literal["read", "write", "delete", "create", "cancel"]


def can(actor: Actor, action: Action, obj: Model) -> bool:
    """Whether `actor` may do `action` with `obj`. Pairs that are not named here are refused."""
    match action, obj:
        case "read", Repository() | Job() | Result() | ApiToken():
            visible: QuerySet[Any] = type(obj).objects.visible_to(actor)
            return visible.filter(pk=obj.pk).exists()
        case (("write" | "delete"), Repository(namespace=namespace)):
            return _owns(actor, namespace)
        case "create", Namespace():
            return _owns(actor, obj)
        case (("cancel" | "delete"), Job()):
            return _is_admin(actor) or _is(actor, obj.owner_id)
        case "delete", ApiToken():
            return _is(actor, obj.user_id)
    return False


def require(actor: Actor, action: Action, obj: Model) -> None:
    """Raises NotFound for what the actor cannot see, TokenRejected for nobody, NotAllowed for somebody else."""
    if can(actor, action, obj):
        return
    if not isinstance(obj, Namespace) and not can(actor, "read", obj):
        raise NotFound(f"There is no {obj} here, or it is not yours to see.")
    if not actor.is_authenticated:
        raise TokenRejected(f"To {action} {obj}, say who you are: `priorhub login` or the sign-in page.")
    raise NotAllowed(f"You may not {action} {obj}. Ask its owner, or use a namespace of your own.")


def _is(actor: Actor, user_id: int | None) -> bool:
    return actor.is_authenticated and actor.is_active and actor.pk == user_id


def _is_admin(actor: Actor) -> bool:
    return actor.is_authenticated and actor.is_active and bool(getattr(actor, "is_superuser", False))


def _owns(actor: Actor, namespace: Namespace) -> bool:
    return _is_admin(actor) or (namespace.owner_id is not None and _is(actor, namespace.owner_id))
