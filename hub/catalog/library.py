"""The hub's own storage as a library of priors (priors/library.py), for jobs that run beside it."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Collection
from functools import cached_property
from pathlib import Path

from django.db.models import Q

from hub.accounts.access import Actor
from hub.catalog.models import Item
from hub.home import prior_cache
from hub.repos.models import Commit, Repository
from hub.repos.services import materialise
from hub.safety.holds import held_repositories
from priors.errors import UnknownPrior
from priors.library import Entry, find
from priors.manifest import FILE_NAME, PriorManifest, PriorRef, parse_manifest


class HubStorage:
    """Every prior whose files `actor` may have, as it was when first asked: a job sees one catalogue to its end.

    published  only those that everybody may see, for work whose result everybody reads: reports name what was tried
    beside     with `published`, also the private ones beside this private task, of the same namespace: whoever reads
               what was measured on it reads those
    """

    def __init__(self, actor: Actor, *, published: bool = False, beside: Repository | None = None) -> None:
        self._actor, self._published = actor, published
        self._beside = beside.namespace_id if beside is not None and beside.private else None

    def entries(self) -> list[Entry]:
        """All of them, by namespace and name."""
        return [entry for entry, _ in self._rows.values()]

    def directory(self, ref: PriorRef) -> Path:
        """A read-only folder with the prior's files, the same for all jobs. Raises UnknownPrior."""
        entry = find(self, ref)
        return unpacked(self._rows[entry.ref.repo][1], entry.manifest)

    def composition(self, ref: PriorRef) -> Path:
        """A read-only folder with the newest commit of a composition. Raises UnknownPrior."""
        usable = Repository.objects.open_to(self._actor).filter(kind=Repository.Kind.COMPOSITION, name=ref.name)
        if self._published:
            usable = usable.filter(Q(private=False) | Q(namespace=self._beside))
        found = usable.select_related("head").filter(namespace__name=ref.namespace or "", head__isnull=False).first()
        if found is None or found.head is None or found.pk in held_repositories([found]):
            raise UnknownPrior(f"no composition is called {ref.repo!r} here, or it is not yours to use.")
        return unpacked(found.head)

    @cached_property
    def _rows(self) -> dict[str, tuple[Entry, Commit]]:
        found = Item.objects.open_to(self._actor).priors().for_cards()
        if self._published:
            found = found.filter(Q(repository__private=False) | Q(repository__namespace=self._beside))
        held = held_repositories([item.repository for item in found])
        return {
            item.repository.full_name: (
                Entry(PriorRef.parse(item.ref), parse_manifest(item.manifest), item.created_at.isoformat()),
                item.commit,
            )
            for item in found.order_by("repository__namespace__name", "repository__name")
            if item.manifest is not None and item.commit is not None and item.repository_id not in held
        }


def given_out(items: Collection[int], actor: Actor) -> set[int]:
    """Those of the catalogue's items, by primary key, whose files the actor may have and nothing holds back."""
    found = Item.objects.open_to(actor).filter(pk__in=items).select_related("repository").only("repository")
    held = held_repositories([item.repository for item in found])
    return {item.pk for item in found if item.repository_id not in held}


def unpacked(commit: Commit, manifest: PriorManifest | None = None) -> Path:
    """The commit's files in the cache, laid out once. Two jobs at once make two drafts, of which one is renamed in.

    A plain model gets the manifest that was derived for it: its repository has none.
    """
    target = prior_cache() / commit.oid
    if target.is_dir():
        return target
    draft = prior_cache() / f".{commit.oid}.{os.getpid()}.{uuid.uuid4().hex}"
    try:
        materialise(commit, draft)
        if manifest is not None and not (draft / FILE_NAME).exists():
            (draft / FILE_NAME).write_text(manifest.to_json(), encoding="utf-8")
        draft.rename(target)
    except OSError:
        if not target.is_dir():
            raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return target
