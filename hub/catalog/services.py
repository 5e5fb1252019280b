"""Keeping the catalogue equal to the main branches it is derived from.

In a commit's transaction: `committed`, from facts that `hub.catalog.facts.read` gathered before it. Afterwards, in a
worker: what needs large files opened or a card rendered (derive.py). Every change raises the catalogue's revision.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from django.db import transaction
from django.db.models import F

from hub.announce import announce
from hub.catalog import frontmatter, terms, words
from hub.catalog.facts import Facts
from hub.catalog.models import Item, Lineage, Removed, Revision
from hub.repos.models import Commit, Repository
from priors import licenses
from priors.manifest import PriorManifest

_BASE_KINDS = {"finetune", "adapter", "merge", "quantized"}


@transaction.atomic
def enlist(repository: Repository) -> Item:
    """The item of a new repository, which has no commit yet."""
    item = Item(
        repository=repository,
        summary=repository.description,
        derivation=Item.DERIVATION,
        created_at=repository.created_at,
        updated_at=repository.updated_at,
    )
    return _store(item)


@transaction.atomic
def committed(commit: Commit, facts: Facts) -> Item:
    """Derives the item from the new tip of main; a worker then reads what takes longer."""
    repository = commit.repository
    item = Item.objects.filter(repository=repository).first() or Item(repository=repository)
    item.commit, item.repository = commit, repository
    item.created_at, item.updated_at = repository.created_at, repository.updated_at
    item.card, item.config = facts.card, facts.config
    item.architecture, item.task, item.library = facts.architecture, facts.task, facts.library
    item.languages = frontmatter.languages(facts.card)[:100]
    item.license, item.tags, item.summary = facts.license, facts.tags, facts.summary
    item.size_bytes = facts.size_bytes
    if facts.slow_key != item.slow_key or facts.manifest is not None:
        item.slow_key, item.parameters, item.dtypes = facts.slow_key, None, {}
        describe(item, facts.manifest)
    item.derivation, item.attempts, item.problem = 0, 0, ""
    _store(item)
    _relate(item)
    announce("catalog.derive", item.pk)
    return item


def describe(item: Item, manifest: PriorManifest | None) -> None:
    """Puts what a manifest says into the item, or takes it out of it. The caller stores it."""
    item.manifest = json.loads(manifest.to_json()) if manifest is not None else None
    identity = manifest.identity() if manifest is not None else ""
    if identity != item.identity:
        item.identity, item.score = identity, None  # what was measured was something else
    item.kind = manifest.kind if manifest is not None else ""
    item.modality = manifest.modality if manifest is not None else ""
    item.default_tap = manifest.default_tap if manifest is not None else ""
    if manifest is not None:
        item.parameters = manifest.parameters


@transaction.atomic
def update(item: Item, changes: Mapping[str, Any]) -> Item:
    """Sets some of an item's fields, and everything that follows from them."""
    for name, value in changes.items():
        setattr(item, name, value)
    return _store(item)


@transaction.atomic
def changed(repository: Repository) -> None:
    """Call it after a repository's visibility, gate, name or owner changed: lists and facets depend on them."""
    item = Item.objects.select_related("repository__namespace").filter(repository=repository).first()
    if item is not None:
        item.repository = repository
        item.derivation, item.attempts = (0, 0) if item.commit_id else (item.derivation, 0)  # a card's pictures move
        _store(item)
        announce("catalog.derive", item.pk)


def liked(repository: Repository) -> None:
    """Call it after a repository's likes changed."""
    for pk in Item.objects.filter(repository=repository).values_list("pk", flat=True):
        recount({pk: {"likes": repository.likes}})


@transaction.atomic
def recount(numbers: Mapping[int, Mapping[str, float]]) -> None:
    """Sets counters (downloads, likes, trending, score) of many items, by id; their words and terms stay."""
    if not numbers:
        return
    revision = _next_revision()
    items = list(Item.objects.filter(pk__in=numbers).only("pk"))
    for item in items:
        item.revision = revision
        for name, value in numbers[item.pk].items():
            setattr(item, name, value)
    fields = sorted({name for values in numbers.values() for name in values})
    Item.objects.bulk_update(items, ["revision", *fields], batch_size=500)


@transaction.atomic
def forget(repository: Repository) -> None:
    """Takes the repository's item, if it has one, out of the catalogue."""
    for item in Item.objects.filter(repository=repository).only("pk"):
        words.index().drop(item.pk)
        Removed.objects.create(item_id=item.pk, revision=_next_revision())
        item.delete()
    Lineage.objects.filter(parent=repository).update(parent=None)


def is_current(repository: Repository) -> bool:
    """Whether the catalogue has the repository at its head."""
    return Item.objects.filter(repository=repository, commit=repository.head_id).exists()


def _store(item: Item) -> Item:
    """Saves the item with what follows from it: permissions, terms, words, and the catalogue's next revision."""
    may = licenses.permissions(item.license)
    item.may_sell, item.may_fine_tune = may.sell, may.fine_tune
    item.terms, item.search_text = terms.terms_of(item), terms.text_of(item)
    item.revision = _next_revision()
    item.save()
    name, text = terms.indexed(item.repository.full_name), terms.indexed(item.search_text)
    words.index().put(item.pk, name, text)
    words.learn([*name.split(), *text.split()])
    return item


def _next_revision() -> int:
    """Raises the catalogue's revision and holds its row: changes become visible in the order of their revisions."""
    if not Revision.objects.filter(pk=1).update(value=F("value") + 1):
        Revision.objects.bulk_create([Revision(pk=1)], ignore_conflicts=True)
        Revision.objects.filter(pk=1).update(value=F("value") + 1)
    return Revision.objects.values_list("value", flat=True).get(pk=1)


def _relate(item: Item) -> None:
    """The edges to what the card's base_model and the manifest's parents name."""
    relation = next(iter(frontmatter.texts(item.card, "base_model_relation")), "")
    kind = relation if relation in _BASE_KINDS else Lineage.Kind.FINETUNE
    edges = {(str(kind), name) for name in frontmatter.texts(item.card, "base_model", limit=32)}
    edges |= {(str(Lineage.Kind.PARENT), parent[:200]) for parent in (item.manifest or {}).get("parents", [])[:32]}
    here = _named(name for _, name in edges)
    Lineage.objects.filter(item=item).delete()
    Lineage.objects.bulk_create(
        [Lineage(item=item, kind=kind, name=name, parent=here.get(_plain(name))) for kind, name in sorted(edges)]
    )
    # Those that named this one before it was here.
    full_name = item.repository.full_name
    waiting = Lineage.objects.filter(parent=None, name__in=[full_name, f"prior://{full_name}"])
    waiting.exclude(item=item).update(parent=item.repository)


def _plain(name: str) -> str:
    return name.removeprefix("prior://").partition("@")[0]


def _named(names: Iterable[str]) -> dict[str, Repository]:
    """The model repositories that are here, by `namespace/name`. A page shows one only to those who may see it."""
    found = {}
    for name in {_plain(name) for name in names}:
        if repository := Repository.objects.filter(type=Repository.Type.MODEL).named(name).first():
            found[name] = repository
    return found
