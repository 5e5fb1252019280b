"""A branch as one commit.

What no branch, tag or pull request leads to afterwards is removed, with the bytes that only it had: that is why
somebody squashes. So whoever pinned such a commit by its id finds it gone.
"""

from __future__ import annotations

from collections.abc import Iterable

from django.db import transaction
from django.utils import timezone

from hub.accounts import audit
from hub.accounts.models import User
from hub.catalog import facts
from hub.catalog import services as catalog
from hub.repos import blobs, history, trees
from hub.repos.checks import check_files
from hub.repos.commits import MAIN, commit_oid
from hub.repos.models import Commit, Ref, Repository, RepositoryBlob, TreeEntry
from hub.repos.storage import store
from hub.safety.holds import require_unlocked
from hub.safety.models import Hold
from priors.errors import Conflict, NotFound

_BATCH = 500
_MAX_MESSAGE = 10_000


@transaction.atomic
def squash(*, repository: Repository, branch: str, message: str, by: User) -> Commit:
    """One commit without a parent in place of a branch's history. Raises NotFound, Conflict while something is held."""
    require_unlocked(repository)
    Repository.objects.lock(repository)
    if Hold.objects.standing().filter(commit__repository=repository).exists():
        raise Conflict(f"A revision of {repository} is held. Its history stays as it is until the hold is lifted.")
    ref = repository.refs.select_related("commit").filter(kind=Ref.Kind.BRANCH, name=branch).first()
    if ref is None:
        raise NotFound(f"{repository} has no branch {branch[:100]!r}.")
    made = _alone(ref.commit, message.strip()[:_MAX_MESSAGE] or "Squash", by)
    Ref.objects.filter(pk=ref.pk).update(commit=made)
    if branch == MAIN:
        _describe(repository, made)
    _drop_unreachable(repository)
    place = repository.namespace
    audit.record("repository.squashed", by=by, subject=repository.prefixed_name, namespace=place, branch=branch)
    return made


def _alone(commit: Commit, message: str, by: User) -> Commit:
    """The same files without a past."""
    now = timezone.now().replace(microsecond=0)
    made, _ = Commit.objects.get_or_create(
        repository_id=commit.repository_id, oid=commit_oid(str(commit.tree_id), [], by.username, now, message),
        defaults={
            "tree_id": commit.tree_id, "message": message, "author": by, "author_name": by.username, "created_at": now,
        },
    )  # fmt: skip
    return made


def _describe(repository: Repository, made: Commit) -> None:
    """Lets main's head and the catalogue follow. The files passed their checks when they were committed."""
    files = trees.read(made.tree_id)
    by_path = {path: file.blob for path, file in files.items()}
    described = check_files(repository.kind, by_path, store(), changed=())
    repository.head = made
    repository.save(update_fields=["head", "updated_at"])
    said = facts.read(files, store(), manifest=described.manifest, description=repository.description)
    catalog.committed(made, said)


def _drop_unreachable(repository: Repository) -> None:
    """Removes commits that no ref leads to, their folders, and bytes that no other commit has."""
    reachable: set[int] = set()
    for ref in repository.refs.select_related("commit"):
        if ref.commit_id not in reachable:
            reachable |= {commit.pk for commit in history.ancestors(ref.commit)}
    gone = repository.commits.exclude(pk__in=reachable)
    folders = set(gone.values_list("tree", flat=True))
    gone.delete()
    trees.drop_unused(folders)
    used = _blobs_below(repository.commits.values_list("tree", flat=True))
    had = RepositoryBlob.objects.filter(repository=repository)
    lost = sorted(set(had.values_list("blob", flat=True)) - used)
    for start in range(0, len(lost), _BATCH):
        had.filter(blob__in=lost[start : start + _BATCH]).delete()
    transaction.on_commit(lambda: blobs.drop_unused(lost) and None)


def _blobs_below(folders: Iterable[str]) -> set[str]:
    """The hashes of all files below these; one query a level of depth and 500 folders."""
    found: set[str] = set()
    seen: set[str] = set()
    level = set(folders)
    while level:
        seen |= level
        oids = sorted(level)
        below: set[str] = set()
        for start in range(0, len(oids), _BATCH):
            rows = TreeEntry.objects.filter(tree__in=oids[start : start + _BATCH])
            for blob, folder in rows.values_list("blob", "subtree"):
                if blob is not None:
                    found.add(blob)
                else:
                    below.add(str(folder))
        level = below - seen
    return found
