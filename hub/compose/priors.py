"""The priors that somebody may use, found by the references that a graph or a lock names, in two queries at most.

A composition is a prior, too: its lock says what it reads and gives. It is looked for where no prior has the name, a
few queries a level of compositions inside each other.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path

from django.db.models import Q

from composer.errors import BadGraph, BadLock
from composer.license_texts import MAX_FILE, NAMES
from composer.lock import FILE_NAME as LOCK_FILE
from composer.lock import Lock
from composer.nested import MAX_DEPTH, inside, manifest_of, parse_lock
from hub.accounts.access import Actor
from hub.catalog.models import Item
from hub.repos import trees
from hub.repos.models import Commit, Repository
from hub.repos.storage import store
from hub.repos.trees import FileEntry
from hub.safety.holds import held_repositories, standing
from priors.errors import BadManifest, PriorhubError, UnknownArchitecture, UnknownFunction, UnknownPrior
from priors.library import Entry, find
from priors.manifest import PriorManifest, PriorRef, parse_manifest

MAX_REFS = 200
MAX_COMPOSITIONS = 50
"""Inside each other and beside each other, of one that is checked while a page waits."""
MAX_LOCK_BYTES = 1 << 20
_MOST_NAMES = 5_000
_NEAR = 3


class Readable:
    """Resolves references against the priors whose files `actor` may have. What is private is as unknown as ever."""

    def __init__(self, actor: Actor, refs: Iterable[PriorRef]) -> None:
        self._actor = actor
        self._refs = list(dict.fromkeys(refs))[:MAX_REFS]
        found = _entries(actor, self._refs)
        self._entries = [entry for entry, _ in found]
        self._commits = {entry.ref: commit for entry, commit in found}

    def __call__(self, ref: PriorRef) -> PriorManifest:
        """The manifest of a prior. Raises UnknownPrior with the names that are near it."""
        manifest = self._prior(ref) or self._composition(ref)
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

    def _composition(self, ref: PriorRef) -> PriorManifest | None:
        """What a composition reads and gives. Raises BadLock, and BadGraph for too many inside each other."""
        lock = self._nested.get(ref)
        if lock is None:
            return None
        if isinstance(lock, BadLock):
            raise lock
        below, level, seen = inside(lock), 1, 1
        while below:
            level, seen = level + 1, seen + len(below)
            if level > MAX_DEPTH or seen > MAX_COMPOSITIONS:
                raise BadGraph(f"{ref.repo} has too many compositions inside each other to run. Use its parts.")
            locks = _locks(self._actor, below).values()
            below = tuple(dict.fromkeys(each for one in locks if isinstance(one, Lock) for each in inside(one)))
        return manifest_of(lock, ref)

    @cached_property
    def _nested(self) -> dict[PriorRef, Lock | BadLock]:
        """The locks of those references that are no priors here but compositions."""
        return _locks(self._actor, [ref for ref in self._refs if self._prior(ref) is None])

    def known(self, ref: PriorRef) -> PriorManifest | None:
        """The manifest of a prior, None when it is not here, of another content, or not for this actor."""
        manifest = self._prior(ref)
        lock = self._nested.get(ref) if manifest is None else None
        if not isinstance(lock, Lock):
            return manifest
        try:
            return manifest_of(lock, ref)
        except BadLock:
            return None

    def _prior(self, ref: PriorRef) -> PriorManifest | None:
        try:
            return find(self, ref).manifest
        except UnknownPrior:
            return None

    def license_files(self, ref: PriorRef) -> list[bytes]:
        """License and notice files beside a prior, of one that this actor may have as it is named."""
        try:
            found = find(self, ref)
        except UnknownPrior:
            return []
        commit = self._commits[found.ref]
        there = trees.find_all(commit.tree_id, NAMES)
        small = [each for each in there.values() if isinstance(each, FileEntry) and each.size <= MAX_FILE]
        held = {hold.sha256 for hold in standing(commit, [each.sha256 for each in small])}
        return [] if "" in held else [_bytes(each) for each in small if each.sha256 not in held]

    def entries(self) -> list[Entry]:
        """Those of the references that are here, as `priors.library.find` asks for them."""
        return self._entries

    def directory(self, ref: PriorRef) -> Path:
        """No files: what is checked is never run."""
        raise UnknownPrior(f"the files of {ref.repo} are not fetched for a check. Pull it to run it.")


def _locks(actor: Actor, refs: Sequence[PriorRef]) -> dict[PriorRef, Lock | BadLock]:
    """The locks of compositions as they are now, of those that the actor may have; or what is wrong with them."""
    wanted = Q(pk__in=[])
    for ref in refs[:MAX_COMPOSITIONS]:
        if ref.namespace:
            wanted |= Q(namespace__name=ref.namespace, name=ref.name)
    usable = Repository.objects.open_to(actor).filter(wanted, kind=Repository.Kind.COMPOSITION)
    found = list(usable.select_related("namespace", "head")) if refs else []
    held = held_repositories(found) if found else {}
    by_name = {each.full_name: each.head for each in found if each.pk not in held and each.head is not None}
    return {ref: _read(by_name[ref.repo], ref) for ref in refs if ref.repo in by_name}


def _read(commit: Commit, ref: PriorRef) -> Lock | BadLock:
    entry = trees.find(commit.tree_id, LOCK_FILE)
    if not isinstance(entry, FileEntry) or standing(commit, [entry.sha256]):
        return BadLock(f"{ref.repo} has no {LOCK_FILE} to read. Save it again with `priorhub fit`, and push that.")
    if entry.size > MAX_LOCK_BYTES:
        return BadLock(f"the lock of {ref.repo} has {entry.size:,} bytes, too large to check here. Check it locally.")
    with store().open(entry.sha256) as file:
        text = file.read().decode("utf-8", "replace")
    try:
        return parse_lock(text, ref)
    except BadLock as error:
        return error
    except PriorhubError as error:
        return BadLock(f"the lock of {ref.repo} cannot be used: {str(error)[:300]}")


def _bytes(file: FileEntry) -> bytes:
    with store().open(file.sha256) as opened:
        return opened.read()


def _entries(actor: Actor, refs: list[PriorRef]) -> list[tuple[Entry, Commit]]:
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
        if item.repository_id in held or item.manifest is None or item.commit is None:
            continue
        try:
            found.append((Entry(PriorRef.parse(item.ref), parse_manifest(item.manifest)), item.commit))
        except (BadManifest, UnknownArchitecture, UnknownFunction):
            continue  # of another version of this hub: as a library leaves it out
    return sorted(found, key=lambda pair: pair[0].ref.repo)
