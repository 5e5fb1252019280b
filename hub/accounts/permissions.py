"""The one place that says who may do what; access.py adds up what an actor reaches.

Reading is decided by each model's `visible_to`, so lists and single objects cannot disagree. What an actor may not read
does not exist for them: `require` answers NotFound, never "forbidden".

    read         see that it is there        read_files   get its contents (of a gated repository: with a grant)
    discuss      open a discussion or a pull request: whoever reads it
    write        commit, branch, tag         create       a repository in a namespace; a job; an organisation
    admin        settings, members, gating   delete       for good; cancel: a job; withdraw: a run on a board
    moderate     quarantine: staff, with what they can see
"""

from __future__ import annotations

from typing import Any, Literal

from django.db.models import Model, Q, QuerySet

from hub.accounts.access import Actor, acts, administers, governs, moderates, open_to, reaches, speaks
from hub.accounts.models import ApiToken, Role
from hub.boards.models import Result, Run
from hub.errors import Gated
from hub.jobs.models import Job
from hub.repos.models import Namespace, Repository
from priors.errors import NotAllowed, NotFound, TokenRejected

Action = Literal[
    "read", "read_files", "discuss", "write", "create", "admin", "delete", "cancel", "moderate", "withdraw"
]


def can(actor: Actor, action: Action, obj: Model) -> bool:
    """Whether `actor` may do `action` with `obj`. Pairs that are not named here are refused."""
    match action, obj:
        case "read", Repository() | Job() | Result() | Run() | ApiToken():
            visible: QuerySet[Any] = type(obj).objects.visible_to(actor)
            return visible.filter(pk=obj.pk).exists()
        case "read_files", Repository():
            return _among(obj, open_to(actor))
        case "discuss", Repository():
            return _among(obj, speaks(actor))
        case "write", Repository():
            return _among(obj, reaches(actor, Role.WRITE))
        case "moderate", Repository():
            return moderates(actor) and can(actor, "read", obj)
        case (("admin" | "delete"), Repository()):
            return _among(obj, reaches(actor, Role.ADMIN))
        case "create", Namespace():
            return _among(obj, governs(actor, Role.WRITE))
        case "admin", Namespace():
            return _among(obj, governs(actor, Role.ADMIN))
        case "create", Job():
            return acts(actor, Role.WRITE) and obj.owner_id == actor.pk
        case (("cancel" | "delete"), Job()):
            return acts(actor, Role.WRITE) and (obj.owner_id == actor.pk or administers(actor))
        case "withdraw", Run():
            mine = obj.owner_id == actor.pk or administers(actor)
            made = obj.repository is not None and _among(obj.repository, reaches(actor, Role.ADMIN))
            return acts(actor, Role.WRITE) and (mine or made)
        case "delete", ApiToken():
            return acts(actor, Role.WRITE) and obj.user_id == actor.pk
    return False


def require(actor: Actor, action: Action, obj: Model) -> None:
    """Raises NotFound for what the actor cannot see, Gated, TokenRejected for nobody, NotAllowed for somebody else."""
    if can(actor, action, obj):
        return
    if not isinstance(obj, Namespace) and not obj._state.adding and not can(actor, "read", obj):
        raise NotFound(f"There is no {obj} here, or it is not yours to see.")
    if action == "read_files":
        raise Gated(f"The files of {obj} are for those whom its owner lets in. Sign in and ask on its page.")
    what = f"a repository in {obj}" if action == "create" and isinstance(obj, Namespace) else obj
    if not actor.is_authenticated:
        raise TokenRejected(f"To {action} {what}, say who you are: `priorhub login` or the sign-in page.")
    token = getattr(actor, "token", None)
    if token is not None and not token.covers(Role.WRITE):
        may = ", ".join(token.scopes) or "nothing"
        raise NotAllowed(f"The token {token.prefix}… may not {action} {what}: it may {may}. Make one that may.")
    raise NotAllowed(f"You may not {action} {what}. Ask its owner, or use a namespace of your own.")


def _among(obj: Model, condition: Q) -> bool:
    return type(obj)._default_manager.filter(condition, pk=obj.pk).exists()
