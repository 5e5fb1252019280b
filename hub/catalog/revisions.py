"""What the catalogue would say of a revision that is not main's tip."""

from __future__ import annotations

import copy

from hub.catalog import frontmatter
from hub.catalog.facts import Files, read, text_of
from hub.catalog.models import Item
from hub.repos import trees
from hub.repos.models import Commit, Repository
from hub.repos.storage import BlobStore, store
from priors.errors import UserError
from priors.manifest import PriorManifest, parse_manifest

_MAX_MANIFEST = 1 << 20
_OF_WEIGHTS = (".safetensors", ".safetensors.index.json")


def at(item: Item, commit: Commit) -> Item:
    """The item as it stands where the commit is main's tip, else a copy that tells what the commit's files say.

    Downloads and likes are the repository's. Numbers of the weights stay where these are the same files; other weights
    are not opened within a request, so theirs are unknown. The copy is to be shown, and has no address in the database.
    """
    if item.commit == commit:
        return item
    files, blobs = trees.read(commit.tree_id), store()
    facts = read(
        files, blobs, manifest=_manifest(item.repository, files, blobs), description=item.repository.description
    )
    then = copy.copy(item)
    then.pk, then.commit = None, commit
    then.updated_at = commit.created_at
    then.card, then.config = facts.card, facts.config
    then.architecture, then.task, then.library = facts.architecture, facts.task, facts.library
    then.languages, then.license = frontmatter.languages(facts.card), facts.license
    then.tags, then.summary, then.size_bytes = facts.tags, facts.summary, facts.size_bytes
    now = trees.read(item.commit.tree_id) if item.commit is not None else {}
    if facts.slow_key != item.slow_key and _weights(files) != _weights(now):
        then.parameters, then.dtypes = None, {}
    return then


def _weights(files: Files) -> dict[str, str]:
    return {path: file.sha256 for path, file in files.items() if path.endswith(_OF_WEIGHTS)}


def _manifest(repository: Repository, files: Files, blobs: BlobStore) -> PriorManifest | None:
    """The revision's own, None before the repository became a prior."""
    file = files.get("prior.json")
    if repository.kind != Repository.Kind.PRIOR or file is None or file.size > _MAX_MANIFEST:
        return None
    try:
        return parse_manifest(text_of(files, "prior.json", blobs, limit=_MAX_MANIFEST).encode())
    except UserError:
        return None
