"""Liking a repository. The count beside the rows changes in the same transaction, so a list can sort by it."""

from __future__ import annotations

from django.db import transaction
from django.db.models import F

from hub.accounts.models import User
from hub.accounts.permissions import require
from hub.catalog import services as catalog
from hub.repos.models import Like, Repository


@transaction.atomic
def like(*, repository: Repository, by: User) -> None:
    """Says that `by` likes it; once is enough. Raises NotFound, TokenRejected, NotAllowed."""
    require(by, "discuss", repository)
    _, made = Like.objects.get_or_create(repository=repository, user=by)
    if made:
        _count(repository, 1)


@transaction.atomic
def unlike(*, repository: Repository, by: User) -> None:
    """Takes it back; without a like nothing happens. Raises NotFound, TokenRejected, NotAllowed."""
    require(by, "discuss", repository)
    gone, _ = Like.objects.filter(repository=repository, user=by).delete()
    if gone:
        _count(repository, -1)


def _count(repository: Repository, by: int) -> None:
    Repository.objects.filter(pk=repository.pk).update(likes=F("likes") + by)
    repository.refresh_from_db(fields=["likes"])
    catalog.liked(repository)
