"""Another name for a person or an organisation. What they have stays theirs by id: tokens, teams, quotas, sessions.

The old name is never anybody else's, and what stood under it is found under the new one: repositories each by their id,
as after a move of one (hub/repos/retired.py), the namespace's page by the namespace's.
"""

from __future__ import annotations

from datetime import timedelta

from django.db import IntegrityError, transaction
from django.utils import timezone

from hub.accounts import audit
from hub.accounts.access import administers
from hub.accounts.models import User
from hub.accounts.permissions import require
from hub.accounts.services import check_resemblance
from hub.catalog import services as catalog
from hub.errors import BadName
from hub.jobs.models import Job
from hub.repos import retired
from hub.repos.models import Namespace, Repository
from hub.repos.names import check_namespace
from hub.repos.services import require_prior_name
from priors.errors import Conflict, NotAllowed

WAIT = timedelta(days=30)
"""Between two names: who pins or cites one must not meet another every day. An administrator of the hub needs not."""


@transaction.atomic
def rename_namespace(namespace: Namespace, to: str, *, by: User) -> Namespace:
    """Gives a person or an organisation another name. Raises BadName, NotAllowed, Conflict."""
    found = Namespace.objects.select_for_update().get(pk=namespace.pk)
    require(by, "admin", found)
    old = found.name
    if found.kind == Namespace.Kind.USER and found.owner is None:
        raise NotAllowed(f"{old} is the hub's own, and keeps its name.")
    check_namespace(to)
    if to.lower() == old.lower():
        raise BadName(f"{to!r} is {old!r} in other letters, and names differ in more than case. Choose another.")
    check_resemblance(to, besides=old)
    again = found.renamed_at + WAIT if found.renamed_at is not None else timezone.now()
    if timezone.now() < again and not administers(by):
        raise Conflict(
            f"{old} has this name since {found.renamed_at:%Y-%m-%d}. It can have another from {again:%Y-%m-%d} on."
        )
    if Job.objects.live().filter(spec__push_to__istartswith=f"{old}/").exists():
        raise Conflict(f"Jobs are writing to {old}. Wait until they are done, or cancel them.")
    repositories = list(Repository.objects.filter(namespace=found).select_related("namespace"))
    for prior in repositories:
        if prior.kind == Repository.Kind.PRIOR:
            require_prior_name(f"{to}/{prior.name}")
    before = {each.pk: retired.key_of(each) for each in repositories}
    try:
        with transaction.atomic():
            found.name, found.renamed_at = to, timezone.now()
            found.save(update_fields=["name", "renamed_at"])
            if found.owner is not None and found.kind == Namespace.Kind.USER:
                User.objects.filter(pk=found.owner.pk).update(username=to)
            retired.retire(old, namespace=found)
            retired.require_free(to, of=found)
    except IntegrityError as err:
        raise Conflict(f"The name {to!r} is taken. Choose another.") from err
    for each in repositories:
        each.namespace = found
        retired.retire(before[each.pk], by=each)
        retired.require_free(retired.key_of(each), for_=each)
        catalog.changed(each)
    audit.record("namespace.renamed", by=by, subject=to, namespace=to, left=old)
    return found
