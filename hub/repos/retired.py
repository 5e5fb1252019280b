"""Names that are not given out again: whoever pinned `ann/mail` must never get somebody else's.

A deleted name leads nowhere. A name that was moved away from leads to the repository that left it, by id: when that is
deleted the old names lead nowhere either, and none of them ever leads to another account's repository.
"""

from __future__ import annotations

from django.db.models import Case, When

from hub.accounts.access import Actor
from hub.errors import Moved
from hub.repos.models import Namespace, Repository, RetiredName
from priors.errors import Conflict, NotFound


def key_of(repository: Repository) -> str:
    """What a repository's name is kept under: each type has names of its own, and case makes none."""
    return f"{repository.type}s/{repository.full_name}".lower()


def retire(key: str, *, by: Repository | None = None, namespace: Namespace | None = None) -> None:
    """Keeps the name from being used again; `by` or `namespace` is what goes on under another one."""
    RetiredName.objects.update_or_create(key=key.lower(), defaults={"repository": by, "namespace": namespace})


def require_free(key: str, *, for_: Repository | None = None, of: Namespace | None = None) -> None:
    """Raises Conflict for a retired name, unless it is an old one of `for_` or `of`, which then has it back.

    Call it after the row with the name is written and in the same transaction: of a creation that waited for a deletion
    to commit, only a question asked afterwards sees the tombstone.
    """
    found = RetiredName.objects.filter(key=key.lower()).first()
    if found is None:
        return
    back = for_ is not None and found.repository_id == for_.pk
    if back or (of is not None and found.namespace_id == of.pk):
        found.delete()
        return
    raise Conflict(f"{key} was somebody's name already, and names are given out once. Choose another.")


def moved_to(name: str, *, actor: Actor, type: str = "") -> Repository | None:
    """Where the repository that once had this name is now, if the actor may see it. No type: a model before others."""
    keys = [f"{each}s/{name}".lower() for each in ([type] if type else Repository.Type.values)]
    found = Repository.objects.visible_to(actor).for_cards().filter(former_names__key__in=keys)
    return found.order_by(Case(When(type=Repository.Type.MODEL, then=0), default=1)).first()


def renamed_to(namespace: str) -> Namespace | None:
    """Who once had this name, and has another now."""
    return Namespace.objects.filter(former_names__key=namespace.lower()).first()


def not_found(name: str, *, actor: Actor, type: str = "") -> NotFound | Moved:
    """What to raise for `namespace/name` that the actor cannot see: where it is now, or that there is none."""
    moved = moved_to(name, actor=actor, type=type)
    if moved is not None:
        return Moved(name, moved.full_name)
    return NotFound(f"There is no repository {name} here, or it is not yours to see.")
