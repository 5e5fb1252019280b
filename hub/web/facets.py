"""The filters of the search page: each value with the number of priors it leaves, the other filters applied."""

from __future__ import annotations

from dataclasses import dataclass

from django.db.models import Count

from hub.accounts.access import Actor
from hub.catalog.models import Prior
from hub.catalog.search import search
from hub.web.templatetags.show import MODALITIES


@dataclass(frozen=True)
class Value:
    """One choice of a filter."""

    value: str
    name: str
    count: int
    chosen: bool


@dataclass(frozen=True)
class Facet:
    """A filter: its query parameter, its name, its choices."""

    key: str
    name: str
    values: tuple[Value, ...]

    @property
    def chosen(self) -> Value | None:
        return next((value for value in self.values if value.chosen), None)


@dataclass(frozen=True)
class Filters:
    """What was asked for; unknown values count as not given."""

    q: str = ""
    modality: str = ""
    kind: str = ""

    @classmethod
    def of(cls, given: dict[str, str]) -> Filters:
        modality, kind = given.get("modality", ""), given.get("kind", "")
        return cls(
            q=given.get("q", "").strip()[:400],
            modality=modality if modality in MODALITIES else "",
            kind=kind if kind in Prior.Kind.values else "",
        )

    def without(self, key: str) -> dict[str, str]:
        """The search's keywords with one filter left out."""
        return {name: value for name, value in vars(self).items() if name != key}


def facets(filters: Filters, *, actor: Actor) -> list[Facet]:
    """Two queries, whatever the number of priors."""
    return [
        _facet("modality", "What goes in", MODALITIES, filters, actor),
        _facet("kind", "Kind", {"network": "Networks", "function": "Functions"}, filters, actor),
    ]


def removals(filters: Filters, *, actor: Actor) -> list[tuple[str, str, int]]:
    """For a search that found nothing: parameter, what it says, and how many priors appear once it is dropped."""
    said = {"q": f"“{filters.q}”", "modality": MODALITIES.get(filters.modality, ""), "kind": filters.kind}
    return [
        (key, said[key], found)
        for key in ("q", "modality", "kind")
        if vars(filters)[key] and (found := search(visible_to=actor, **filters.without(key)).order_by().count())
    ]


def _facet(key: str, name: str, names: dict[str, str], filters: Filters, actor: Actor) -> Facet:
    found = search(visible_to=actor, **filters.without(key)).order_by().values_list(key).annotate(n=Count("pk"))
    counts = dict(found)
    chosen = vars(filters)[key]
    return Facet(
        key,
        name,
        tuple(Value(value, said, counts.get(value, 0), value == chosen) for value, said in names.items()),
    )
