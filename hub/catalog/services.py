"""Keeping the catalogue equal to the main branches it is derived from."""

from __future__ import annotations

import json

from django.db import transaction

from hub.catalog import cards, search
from hub.catalog.models import Prior
from hub.repos.models import Commit, Repository
from priors.manifest import PriorManifest


def render_card(markdown: str) -> str:
    """The card as safe HTML; call it outside the commit's transaction, for it takes a while."""
    return cards.render(markdown) if markdown else ""


@transaction.atomic
def publish(*, commit: Commit, manifest: PriorManifest, card_html: str, size_bytes: int) -> Prior:
    """Derives the catalogue row of a prior from the new tip of its main branch."""
    repository = commit.repository
    spdx = manifest.license.spdx
    words = [repository.full_name, manifest.name, manifest.summary, manifest.modality, manifest.kind, spdx]
    words += [*manifest.tags, *manifest.training_data]
    words += [word.replace("-", "") for text in words for word in text.split() if "-" in word]  # n-grams: ngrams, too
    prior, _ = Prior.objects.update_or_create(
        repository=repository,
        defaults={
            "commit": commit,
            "identity": manifest.identity(),
            "manifest": json.loads(manifest.to_json()),
            "kind": manifest.kind,
            "modality": manifest.modality,
            "default_tap": manifest.default_tap,
            "parameters": manifest.parameters,
            "size_bytes": size_bytes,
            "license": spdx,
            "summary": manifest.summary[:500],
            "tags": list(manifest.tags),
            "search_text": " ".join(words),
            "card_html": card_html,
        },
    )
    search.index(prior)
    return prior


def forget(repository: Repository) -> None:
    """Takes the repository's prior, if it has one, out of the catalogue."""
    for prior in Prior.objects.filter(repository=repository):
        search.forget(prior)
        prior.delete()


def is_current(repository: Repository) -> bool:
    """Whether the catalogue row is of the repository's head."""
    return Prior.objects.filter(repository=repository, commit=repository.head_id).exists()
