"""The LFS files of a repository over all its commits, and taking some of them out of its whole history."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime

from django.db import transaction

from hub.accounts import audit
from hub.accounts.access import Actor
from hub.catalog import services as catalog
from hub.catalog.facts import read
from hub.repos import trees
from hub.repos.blobs import drop_unused
from hub.repos.checks import check_files
from hub.repos.commits import commit_oid
from hub.repos.models import Commit, Ref, Repository, RepositoryBlob
from hub.repos.storage import store
from hub.safety.holds import require_unlocked

_FOLDER = {Ref.Kind.BRANCH: "refs/heads/", Ref.Kind.TAG: "refs/tags/", Ref.Kind.PULL: ""}


@dataclass(frozen=True)
class LfsFile:
    """One object: a path it has or had, and when and where it came in."""

    sha256: str
    size: int
    path: str
    pushed_at: datetime
    ref: str | None


def of(repository: Repository) -> list[LfsFile]:
    """Every one, the newest first. Reads each distinct tree of the repository once."""
    found: dict[str, LfsFile] = {}
    seen: set[str] = set()
    for commit in repository.commits.order_by("id"):
        if commit.tree_id in seen:
            continue
        seen.add(commit.tree_id)
        for file in trees.read(commit.tree_id).values():
            if file.lfs and file.sha256 not in found:
                found[file.sha256] = LfsFile(file.sha256, file.size, file.path, commit.created_at, None)
    for ref in repository.refs.select_related("commit"):
        for file in trees.read(ref.commit.tree_id).values():
            if file.lfs and found[file.sha256].ref is None:
                found[file.sha256] = replace(found[file.sha256], ref=f"{_FOLDER[Ref.Kind(ref.kind)]}{ref.name}")
    return sorted(found.values(), key=lambda file: (file.pushed_at, file.sha256), reverse=True)


def delete(repository: Repository, hashes: Collection[str], *, by: Actor | None = None) -> None:
    """Removes these files from every commit, which changes the ids of those commits and of all after them.

    The bytes go at once, except those that something else still uses. Raises what `check_files` raises when the newest
    files would break a rule without them, a prior its manifest for example, and Quarantined; then nothing is changed.
    """
    require_unlocked(repository)
    with transaction.atomic():
        Repository.objects.lock(repository)
        old_trees = set(repository.commits.values_list("tree", flat=True))
        rewritten: dict[int, Commit] = {}
        for commit in repository.commits.select_related("parent", "merged").order_by("id"):  # parents come first
            files = trees.read(commit.tree_id)
            kept = {path: file for path, file in files.items() if not (file.lfs and file.sha256 in hashes)}
            parent = rewritten.get(commit.parent_id or 0, commit.parent)
            merged = rewritten.get(commit.merged_id or 0, commit.merged)
            if len(kept) == len(files) and parent == commit.parent and merged == commit.merged:
                continue
            rewritten[commit.pk] = _copy(commit, trees.write(kept), parent, merged)
        for old, new in rewritten.items():
            _point_to(old, new)
        for old in sorted(rewritten, reverse=True):  # children first: a commit takes its children with it
            Commit.objects.filter(pk=old).delete()
        repository.refresh_from_db(fields=["head"])
        if repository.head is not None and repository.head in rewritten.values():
            _publish(repository, repository.head)
        RepositoryBlob.objects.filter(repository=repository, blob__in=hashes).delete()
        trees.drop_unused(old_trees)
        place = repository.namespace
        audit.record(
            "repository.files_deleted", by=by, subject=repository.prefixed_name, namespace=place, sha256=sorted(hashes)
        )
    drop_unused(hashes)


def _publish(repository: Repository, head: Commit) -> None:
    """Checks the new head as a commit would have been, and tells the catalogue of it."""
    files = trees.read(head.tree_id)
    blobs = {path: file.blob for path, file in files.items()}
    described = check_files(repository.kind, blobs, store(), changed=[])
    facts = read(files, store(), manifest=described.manifest, description=repository.description)
    catalog.committed(head, facts)


def _point_to(old: int, new: Commit) -> None:
    """Whatever names the old commit names the new one: refs, the head, the catalogue, holds."""
    for relation in Commit._meta.get_fields(include_hidden=True):
        model, field = relation.related_model, getattr(relation, "field", None)
        if relation.auto_created and not relation.concrete and field is not None and model is not Commit:
            model._base_manager.filter(**{field.name: old}).update(**{field.name: new})  # type: ignore[union-attr]


def _copy(commit: Commit, tree: str, parent: Commit | None, merged: Commit | None) -> Commit:
    parents = [each.oid for each in (parent, merged) if each is not None]
    oid = commit_oid(tree, parents, commit.author_name, commit.created_at, commit.message)
    made, _ = Commit.objects.get_or_create(
        repository=commit.repository, oid=oid,
        defaults={
            "tree_id": tree, "parent": parent, "merged": merged, "message": commit.message, "author": commit.author,
            "author_name": commit.author_name, "created_at": commit.created_at,
        },
    )  # fmt: skip
    return made
