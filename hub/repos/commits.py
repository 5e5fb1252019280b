"""Changing a repository: all of a change or nothing, one after the other on each branch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from django.utils import timezone

from hub.accounts.models import User
from hub.catalog import services as catalog
from hub.catalog.facts import Facts, read
from hub.errors import BadName, BlobMissing, ParentMoved
from hub.repos import gitobjects, quotas, trees
from hub.repos.checks import Described, check_files, kind_of
from hub.repos.incoming import Incoming
from hub.repos.lfs import wants_lfs
from hub.repos.models import Blob, Commit, Ref, Repository, RepositoryBlob
from hub.repos.names import check_ref, check_sha256
from hub.repos.storage import store
from hub.repos.trees import FileEntry
from hub.safety import leaks
from hub.safety.holds import require_unlocked
from hub.safety.scans import note_commit
from priors.errors import NotFound

MAIN = "main"
HUB_NAME = "Priorhub"
"""Who signs what the hub commits by itself."""
_MAX_MESSAGE = 10_000
_OPTIMISTIC_TRIES = 3


@dataclass(frozen=True)
class Put:
    """A file with bytes that are in the store already. `lfs` None: as its name and size suggest."""

    path: str
    sha256: str
    lfs: bool | None = None


@dataclass(frozen=True)
class Remove:
    """A file that goes."""

    path: str


@dataclass(frozen=True)
class RemoveFolder:
    """A folder that goes with everything in it."""

    path: str


Change = Put | Remove | RemoveFolder
_Files = dict[str, FileEntry]


@dataclass(frozen=True)
class _Ready:
    """A tree that passed its checks, on the tip it was made for."""

    tip: Commit | None
    files: _Files
    changed: list[FileEntry]
    kind: str
    described: Described
    facts: Facts


def commit(
    *,
    repository: Repository,
    changes: Sequence[Change],
    message: str,
    by: User | None,
    branch: str = MAIN,
    parent: str | None = None,
    replace: bool = False,
    skip_unchanged: bool = True,
    merges: Commit | None = None,
) -> Commit:
    """A new commit at the tip of a branch, or of a pull request's `refs/pr/<n>`.

    by              None: the hub itself, which may use any stored blob
    parent          the oid, or its first 7 or more digits, where the branch must be; None accepts any, so that
                    commits of several writers all land, each on top of the one before
    replace         the changes are the whole tree and not laid over the tip's
    skip_unchanged  give back the tip when nothing would change
    merges          the commit whose work this one takes in: its second parent

    Raises ParentMoved, Quarantined, BlobMissing, NotFound for what should be removed and is not there, BadName for a
    name that is not allowed or stands twice, and what `check_files` raises. Then nothing is written.
    """
    kind = Ref.Kind.PULL if branch.startswith("refs/pr/") else Ref.Kind.BRANCH
    if kind == Ref.Kind.BRANCH:
        check_ref(branch)
    require_unlocked(repository)
    puts = _puts(changes, by)
    for attempt in range(_OPTIMISTIC_TRIES):
        ready = _prepare(repository, kind, branch, changes, puts, parent, replace)
        if skip_unchanged and _is_unchanged(ready):
            return ready.tip  # type: ignore[return-value]
        with leaks.atomic():
            # Everything slow was done before this lock; somebody may have been faster meanwhile.
            Repository.objects.lock(repository)
            if tip(repository, branch, kind) != ready.tip:
                if parent is not None:
                    raise _moved(repository, branch, tip(repository, branch, kind))
                if attempt < _OPTIMISTIC_TRIES - 1:
                    continue
                ready = _prepare(repository, kind, branch, changes, puts, parent, replace)
                if skip_unchanged and _is_unchanged(ready):
                    return ready.tip  # type: ignore[return-value]
            return _write(repository, kind, branch, ready, puts, message, by, merges)
    raise AssertionError("the last try returns or raises")


def commit_folder(
    *, repository: Repository, folder: Path, message: str, by: User | None, skip_unchanged: bool = True
) -> Commit:
    """Commits every file below `folder` as the whole tree of main."""
    changes = store_folder(folder, by=by)
    return commit(
        repository=repository, changes=changes, message=message, by=by, replace=True, skip_unchanged=skip_unchanged
    )


def store_folder(folder: Path, *, by: User | None) -> list[Put]:
    """Stores the bytes of every file below `folder`; a commit of the returned changes makes them visible."""
    puts = []
    with Incoming(by=by) as incoming:
        for path in sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()):
            puts.append(Put(path.relative_to(folder).as_posix(), incoming.keep_file(path)))
    return puts


def tip(repository: Repository, branch: str, kind: str = Ref.Kind.BRANCH) -> Commit | None:
    """The newest commit of a branch, or None while it does not exist."""
    ref = Ref.objects.select_related("commit").filter(repository=repository, kind=kind, name=branch).first()
    return ref.commit if ref else None


def commit_oid(tree: str, parents: Sequence[str], author: str, at: datetime, message: str) -> str:
    """The id git gives a commit with these fields."""
    return gitobjects.commit_oid(tree=tree, parents=parents, by=_signature(author, at), message=f"{message}\n")


def commit_body(tree: str, parents: Sequence[str], author: str, at: datetime, message: str) -> bytes:
    """The same commit as git stores it."""
    return gitobjects.commit_body(tree=tree, parents=parents, by=_signature(author, at), message=f"{message}\n")


def _signature(author: str, at: datetime) -> gitobjects.Signature:
    return gitobjects.Signature(author, f"{author}@priorhub.invalid", at)


def _puts(changes: Sequence[Change], by: User | None) -> dict[str, Blob]:
    """The blobs that the changes name, by hash. Raises BlobMissing."""
    hashes = {check_sha256(change.sha256) for change in changes if isinstance(change, Put)}
    usable = Blob.objects.usable_by(by) if by is not None else Blob.objects.all()
    known = {blob.sha256: blob for blob in usable.filter(sha256__in=hashes)}
    if lacking := sorted(hashes - known.keys()):
        path = next(change.path for change in changes if isinstance(change, Put) and change.sha256 == lacking[0])
        raise BlobMissing(f"The bytes of {path!r} ({lacking[0]}) are not here. Send them first, then commit.")
    return known


def _hold(puts: Mapping[str, Blob]) -> None:
    """Keeps blobs that were found before the transaction until it ends. Raises BlobMissing: a sweep may be faster."""
    # Not their keys, too: other commits refer to the same blobs, and would wait for this one in whatever order.
    rows = Blob.objects.select_for_update(no_key=True).filter(pk__in=puts).order_by("pk")
    held = rows.values_list("pk", flat=True)
    if lacking := puts.keys() - set(held):
        raise BlobMissing(f"The bytes {min(lacking)} were removed meanwhile. Send them again, then commit.")


def _prepare(
    repository: Repository,
    kind: str,
    branch: str,
    changes: Sequence[Change],
    puts: Mapping[str, Blob],
    parent: str | None,
    replace: bool,
) -> _Ready:
    now = tip(repository, branch, kind)
    if parent is not None and (now is None or len(parent) < 7 or not now.oid.startswith(parent)):
        raise _moved(repository, branch, now)
    before = trees.read(now.tree_id) if now is not None else {}
    after = _apply({} if replace else dict(before), changes, puts)
    changed = {path for path, file in after.items() if path not in before or before[path].blob != file.blob}
    becomes = kind_of(repository.kind, {path: file.blob for path, file in after.items()}, store())
    described = check_files(
        becomes, {path: file.blob for path, file in after.items()}, store(),
        changed=changed if becomes == repository.kind else None,
    )  # fmt: skip
    new = [after[path] for path in sorted(changed)]
    leaks.refuse_secrets(repository, new, after.get(leaks.IGNORE))
    facts = read(after, store(), manifest=described.manifest, description=repository.description)
    return _Ready(now, after, new, becomes, described, facts)


def _apply(files: _Files, changes: Sequence[Change], puts: Mapping[str, Blob]) -> _Files:
    """`files` after the changes, in their order."""
    named: set[str] = set()
    for change in changes:
        if change.path in named:
            raise BadName(f"The commit names {change.path[:100]!r} twice. Name each file once.")
        named.add(change.path)
        match change:
            case Put(path, sha256, lfs):
                blob = puts[sha256]
                files[path] = FileEntry(path, blob, wants_lfs(path, blob.size) if lfs is None else lfs)
            case Remove(path):
                if files.pop(path, None) is None:
                    raise NotFound(f"There is no file {path[:200]!r} to delete. See the tree for those there are.")
            case RemoveFolder(path):
                inside = [name for name in files if name.startswith(f"{path.rstrip('/')}/")]
                if not inside:
                    raise NotFound(f"There is no folder {path[:200]!r} to delete. See the tree for those there are.")
                for name in inside:
                    del files[name]
    return files


def _is_unchanged(ready: _Ready) -> bool:
    return ready.tip is not None and ready.tip.tree_id == trees.oid_of(ready.files)


def _write(
    repository: Repository,
    kind: str,
    branch: str,
    ready: _Ready,
    puts: Mapping[str, Blob],
    message: str,
    by: User | None,
    merges: Commit | None,
) -> Commit:
    _hold(puts)
    tree = trees.write(ready.files)
    used = {file.blob for file in ready.files.values()} if ready.tip is None else set(puts.values())
    owner = repository.namespace
    payer = quotas.payer(repository, by) if kind == Ref.Kind.PULL and by is not None else owner
    proposer = payer if payer != owner else None
    RepositoryBlob.objects.bulk_create(
        [
            RepositoryBlob(repository=repository, blob=blob, payer=proposer)
            for blob in sorted(used, key=lambda blob: blob.sha256)
        ],
        batch_size=500,
        ignore_conflicts=True,
    )
    if proposer is None:
        quotas.take_over(repository, [blob.sha256 for blob in used])
    if puts:  # whoever is over may still remove
        quotas.require_within(payer)
    now = timezone.now().replace(microsecond=0)
    author = by.username if by is not None else HUB_NAME
    message = message.strip()[:_MAX_MESSAGE] or "Update"
    parents = [each.oid for each in (ready.tip, merges) if each is not None]
    made, _ = Commit.objects.get_or_create(
        repository=repository, oid=commit_oid(tree, parents, author, now, message),
        defaults={
            "tree_id": tree, "parent": ready.tip, "merged": merges, "message": message, "author": by,
            "author_name": author, "created_at": now,
        },
    )  # fmt: skip
    Ref.objects.update_or_create(repository=repository, kind=kind, name=branch, defaults={"commit": made})
    note_commit(made, ready.changed, ready.described.pickles)
    if kind == Ref.Kind.BRANCH and branch == MAIN:
        repository.head, repository.kind = made, ready.kind
        repository.save(update_fields=["head", "kind", "updated_at"])
        catalog.committed(made, ready.facts)
    return made


def _moved(repository: Repository, branch: str, now: Commit | None) -> ParentMoved:
    where = now.oid if now else "without a commit"
    return ParentMoved(
        f"{branch} of {repository} is at {where}, not where this commit expected it. Pull, then push again."
    )
