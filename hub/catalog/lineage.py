"""Parents and children of a repository, as cards and manifests say, for whom may see them."""

from __future__ import annotations

from hub.accounts.access import Actor
from hub.catalog.models import Item, Lineage
from hub.repos.models import Repository

MAX_CHILDREN = 50


def parents(repository: Repository, *, visible_to: Actor) -> list[Lineage]:
    """What it says it comes from. A parent that the actor may not see stays a name, as if it were not here."""
    edges = list(Lineage.objects.filter(item__repository=repository).select_related("parent__namespace"))
    named = [edge.parent_id for edge in edges if edge.parent_id]
    seen = set(Repository.objects.visible_to(visible_to).filter(pk__in=named).values_list("pk", flat=True))
    for edge in edges:
        if edge.parent_id not in seen:
            edge.parent = None
    return edges


def children(repository: Repository, *, visible_to: Actor) -> list[Lineage]:
    """What says that it comes from this one, the newest first."""
    items = Item.objects.visible_to(visible_to).filter(parents__parent=repository)
    edges = Lineage.objects.filter(parent=repository, item__in=items).select_related("item__repository__namespace")
    return list(edges.order_by("-item__updated_at")[:MAX_CHILDREN])
