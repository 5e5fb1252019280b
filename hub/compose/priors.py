"""The priors that somebody may use, found by the references that a graph or a lock names, in two queries at most."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path

from django.db.models import Q

from hub.accounts.access import Actor
from hub.catalog.models import Item
from hub.safety.holds import held_repositories
from priors.errors import BadManifest, UnknownArchitecture, UnknownFunction, UnknownPrior
from priors.library import Entry, find
from priors.manifest import PriorManifest, PriorRef, parse_manifest

MAX_REFS = 200
_MOST_NAMES = 5_000
_NEAR = 3


class Readable:
    """Resolves references against the priors whose files `actor` may have. What is private is as unknown as ever."""

    def __init__(self, actor: Actor, refs: Iterable[PriorRef]) -> None:
        self._actor = actor
        self._entries = _entries(actor, list(dict.fromkeys(refs))[:MAX_REFS])

    def __call__(self, ref: PriorRef) -> PriorManifest:
        """The manifest of a prior. Raises UnknownPrior with the names that are near it."""
        manifest = self.known(ref)
        if manifest is not None:
            return manifest
        same = [entry for entry in self._entries if entry.ref.name == ref.name]
        if same:
            find(self, ref)  # says that it has another content here, or stands in several namespaces
        near = self._near(ref)
        hint = f"Nearest: {', '.join(near)}." if near else "Search the catalogue for one that reads the same values."
        raise UnknownPrior(f"no prior is called {ref.repo!r} here, or it is not yours to use. {hint}")

    def _near(self, ref: PriorRef) -> list[str]:
        """Names that are much like it, of priors that this actor may use now."""
        usable = Item.objects.open_to(self._actor).priors().order_by("-downloads", "pk")
        names = usable.values_list("repository__namespace__name", "repository__name", "pk")[:_MOST_NAMES]
        by_name = {f"{owner}/{name}": pk for owner, name, pk in names}
        near = get_close_matches(ref.repo if ref.namespace else f"/{ref.name}", by_name, n=2 * _NEAR, cutoff=0.5)
        items = {item.pk: item for item in usable.for_cards().filter(pk__in=[by_name[name] for name in near])}
        held = held_repositories([item.repository for item in items.values()])
        return [name for name in near if by_name[name] in items and items[by_name[name]].repository_id not in held][
            :_NEAR
        ]

    def known(self, ref: PriorRef) -> PriorManifest | None:
        """The manifest of a prior, None when it is not here, of another content, or not for this actor."""
        try:
            return find(self, ref).manifest
        except UnknownPrior:
            return None

    def entries(self) -> list[Entry]:
        """Those of the references that are here, as `priors.library.find` asks for them."""
        return self._entries

    def directory(self, ref: PriorRef) -> Path:
        """No files: what is checked is never run."""
        raise UnknownPrior(f"the files of {ref.repo} are not fetched for a check. Pull it to run it.")


def _entries(actor: Actor, refs: list[PriorRef]) -> list[Entry]:
    """By content and by name, whatever of both the references have."""
    if not refs:
        return []
    wanted = Q(identity__in=[ref.identity for ref in refs if ref.sha256 and len(ref.sha256) == 64])
    for ref in refs:
        named = Q(repository__name=ref.name)
        wanted |= named & Q(repository__namespace__name=ref.namespace) if ref.namespace else named
    items = list(Item.objects.open_to(actor).priors().for_cards().filter(wanted)[: 5 * MAX_REFS])
    held = held_repositories([item.repository for item in items])
    found = []
    for item in items:
        if item.repository_id in held or item.manifest is None:
            continue
        try:
            found.append(Entry(PriorRef.parse(item.ref), parse_manifest(item.manifest)))
        except (BadManifest, UnknownArchitecture, UnknownFunction):
            continue  # of another version of this hub: as a library leaves it out
    return sorted(found, key=lambda entry: entry.ref.repo)
