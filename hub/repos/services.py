"""Making, reading, changing and deleting repositories. Permissions are the callers' (hub/accounts/permissions.py)."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from django.db import IntegrityError, transaction
from django.utils import timezone

from hub.accounts.models import User
from hub.catalog import services as catalog
from hub.errors import BadName, BlobMissing, ParentMoved
from hub.repos import gitobjects
from hub.repos.blobs import put_file
from hub.repos.checks import check_files
from hub.repos.models import Blob, Commit, Namespace, Ref, Repository, TreeEntry
from hub.repos.names import check_ref, check_sha256, split_name
from hub.repos.storage import store
from priors.errors import BadManifest, Conflict, NotFound
from priors.manifest import PriorRef

MAIN = "main"
HUB_NAME = "Priorhub"
"""Who signs what the hub commits by itself."""
_MAX_MESSAGE = 10_000
_OID_PREFIX = re.compile(r"[0-9a-f]{7,40}\Z")


@dataclass(frozen=True)
class File:
    """A path of a commit and the hash of its bytes, which are in the store already."""

    path: str
    sha256: str


def namespace_of(full_name: str) -> Namespace:
    """The namespace of `namespace/name`. Raises BadName, NotFound."""
    name, _ = split_name(full_name)
    namespace = Namespace.objects.filter(name=name).first()
    if namespace is None:
        raise NotFound(f"There is no namespace {name!r}. Publish under your own user name.")
    return namespace


def create_repository(*, name: str, kind: str, private: bool = False, description: str = "") -> Repository:
    """An empty repository. Raises BadName, NotFound for an unknown namespace, Conflict for a taken name."""
    if kind not in Repository.Kind.values:
        raise BadName(f"{kind!r} is no kind of repository. Use one of {', '.join(Repository.Kind.values)}.")
    if kind == Repository.Kind.PRIOR:
        _require_prior_name(name)
    namespace = namespace_of(name)
    try:
        with transaction.atomic():
            return Repository.objects.create(
                namespace=namespace, name=split_name(name)[1], kind=kind, private=private, description=description[:500]
            )
    except IntegrityError as err:
        raise Conflict(f"{name} exists already. Commit to it, or choose another name.") from err


def _require_prior_name(name: str) -> None:
    try:
        PriorRef.parse(name)
    except BadManifest as err:
        raise BadName(
            f"{name[:200]!r} cannot name a prior: references are in lower case. Use lower-case names."
        ) from err


def delete_repository(repository: Repository) -> None:
    """Removes it with all commits. Callers use hub/jobs/cleanup.py, which also removes what jobs made of it."""
    with transaction.atomic():
        catalog.forget(repository)
        repository.delete()


def commit_files(
    *,
    repository: Repository,
    files: Sequence[File],
    message: str,
    by: User | None,
    branch: str = MAIN,
    parent: str | None = None,
    replace: bool = True,
    skip_unchanged: bool = False,
) -> Commit:
    """A new commit at the tip of `branch`, all of it or nothing.

    by              None: the hub itself, which may use any stored blob
    parent          the oid the branch must be at, or None to accept any
    replace         True: `files` are the whole tree; False: they are laid over the parent's
    skip_unchanged  return the tip when its tree is the same already

    Raises ParentMoved when the branch is, or meanwhile moves, elsewhere; BlobMissing; and what `check_files` raises.
    """
    check_ref(branch)
    tip = branch_tip(repository, branch)
    if parent is not None and parent != (tip.oid if tip else None):
        raise _moved(repository, branch, tip)
    tree = _resolve_tree(files, tip if not replace else None, by)
    described = check_files(repository.kind, tree, store())
    card = catalog.render_card(described.card)
    tree_oid = gitobjects.tree_oid({path: blob.git_oid for path, blob in tree.items()})
    if skip_unchanged and tip is not None and tip.tree_oid == tree_oid:
        return tip

    with transaction.atomic():
        Repository.objects.select_for_update().get(pk=repository.pk)  # one writer a repository
        now_tip = branch_tip(repository, branch)
        if now_tip != tip:
            raise _moved(repository, branch, now_tip)
        commit = _write_commit(repository, tip, tree_oid, message, by)
        TreeEntry.objects.bulk_create(
            [TreeEntry(commit=commit, path=path, blob=blob) for path, blob in sorted(tree.items())], batch_size=500
        )
        Ref.objects.update_or_create(
            repository=repository, kind=Ref.Kind.BRANCH, name=branch, defaults={"commit": commit}
        )
        if branch == MAIN:
            repository.head = commit
            repository.save(update_fields=["head", "updated_at"])
            if described.manifest is not None:
                size = sum(blob.size for blob in tree.values())
                catalog.publish(commit=commit, manifest=described.manifest, card_html=card, size_bytes=size)
    return commit


def commit_folder(
    *,
    repository: Repository,
    folder: Path,
    message: str,
    by: User | None,
    skip_unchanged: bool = True,
) -> Commit:
    """Commits every file below `folder` as the whole tree of main."""
    files = store_folder(folder, by=by)
    return commit_files(repository=repository, files=files, message=message, by=by, skip_unchanged=skip_unchanged)


def store_folder(folder: Path, *, by: User | None) -> list[File]:
    """Stores the bytes of every file below `folder`; a commit of the returned files makes them visible."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return [File(path.relative_to(folder).as_posix(), put_file(path, by=by).sha256) for path in paths]


def create_tag(*, repository: Repository, name: str, rev: str) -> Ref:
    """A name that stays with the commit of `rev`. Raises BadName, NotFound, Conflict."""
    check_ref(name)
    commit = resolve(repository, rev)
    try:
        with transaction.atomic():
            return Ref.objects.create(repository=repository, kind=Ref.Kind.TAG, name=name, commit=commit)
    except IntegrityError as err:
        raise Conflict(f"{repository} has a tag {name!r} already. Tags stay; choose another name.") from err


def branch_tip(repository: Repository, branch: str) -> Commit | None:
    """The newest commit of a branch, or None while it does not exist."""
    ref = Ref.objects.select_related("commit").filter(repository=repository, kind=Ref.Kind.BRANCH, name=branch).first()
    return ref.commit if ref else None


def resolve(repository: Repository, rev: str = MAIN) -> Commit:
    """The commit of a branch, a tag, or an oid of at least 7 digits. Raises NotFound."""
    by_name = {ref.kind: ref.commit for ref in repository.refs.filter(name=rev).select_related("commit")}
    if commit := by_name.get(Ref.Kind.BRANCH) or by_name.get(Ref.Kind.TAG):
        return commit
    if _OID_PREFIX.match(rev):
        found = list(repository.commits.filter(oid__startswith=rev)[:2])
        if len(found) == 1:
            return found[0]
    raise NotFound(f"{repository} has no branch, tag or commit {rev[:100]!r}. See its /refs for those it has.")


def tree(commit: Commit) -> list[TreeEntry]:
    """The files of a commit with their blobs, by path."""
    return list(commit.entries.select_related("blob").order_by("path"))


def entry(commit: Commit, path: str) -> TreeEntry:
    """One file of a commit. Raises NotFound."""
    found = commit.entries.select_related("blob").filter(path=path).first()
    if found is None:
        raise NotFound(f"The commit {commit.oid[:12]} has no file {path[:200]!r}. See its tree for those it has.")
    return found


def read_file(commit: Commit, path: str, *, limit: int = 1 << 20) -> bytes:
    """The first `limit` bytes of a file. Raises NotFound."""
    with store().open(entry(commit, path).blob_id) as file:
        return file.read(limit)


def materialise(commit: Commit, folder: Path) -> Path:
    """Lays the files of a commit into `folder`, which must not exist. Hard links where the disk is the same."""
    folder.mkdir(parents=True)
    blobs = store()
    for file in tree(commit):
        target = folder / file.path  # names were checked at commit (repos/names.py)
        target.parent.mkdir(parents=True, exist_ok=True)
        source = blobs.path(file.blob_id)
        try:
            os.link(source, target)
        except OSError:  # another disk, or one without links
            shutil.copyfile(source, target)
    return folder


def _resolve_tree(files: Sequence[File], under: Commit | None, by: User | None) -> dict[str, Blob]:
    paths = [file.path for file in files]
    if len(set(paths)) != len(paths):
        twice = next(path for path in paths if paths.count(path) > 1)
        raise BadName(f"The commit names {twice[:100]!r} twice. Name each file once.")
    hashes = {check_sha256(file.sha256) for file in files}
    usable = Blob.objects.usable_by(by) if by is not None else Blob.objects.all()
    known = {blob.sha256: blob for blob in usable.filter(sha256__in=hashes)}
    if lacking := sorted(hashes - known.keys()):
        path = next(file.path for file in files if file.sha256 == lacking[0])
        raise BlobMissing(f"The bytes of {path!r} ({lacking[0]}) are not here. Send them to /blobs first.")
    base: Mapping[str, Blob] = {file.path: file.blob for file in tree(under)} if under else {}
    return {**base, **{file.path: known[file.sha256] for file in files}}


def _write_commit(repository: Repository, tip: Commit | None, tree_oid: str, message: str, by: User | None) -> Commit:
    now = timezone.now().replace(microsecond=0)
    author = by.username if by is not None else HUB_NAME
    message = message.strip()[:_MAX_MESSAGE] or "Update"
    oid = commit_oid(tree_oid, tip.oid if tip else None, author, now, message)
    return Commit.objects.create(
        repository=repository, oid=oid, tree_oid=tree_oid, parent=tip, message=message,
        author=by, author_name=author, created_at=now,
    )  # fmt: skip


def commit_oid(tree_oid: str, parent: str | None, author: str, at: datetime, message: str) -> str:
    """The id git gives a commit with these fields."""
    signature = gitobjects.Signature(author, f"{author}@priorhub.invalid", at)
    return gitobjects.commit_oid(tree=tree_oid, parent=parent, by=signature, message=f"{message}\n")


def _moved(repository: Repository, branch: str, tip: Commit | None) -> ParentMoved:
    where = tip.oid if tip else "without a commit"
    return ParentMoved(
        f"{branch} of {repository} is at {where}, not where this commit expected it. Pull, then push again."
    )
