"""Making, reading, changing and deleting repositories. Permissions are the callers' (hub/accounts/permissions.py)."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from django.db import IntegrityError, transaction

from hub.accounts import audit
from hub.accounts.access import Actor
from hub.catalog import services as catalog
from hub.errors import BadName, BadRequest
from hub.repos import quotas, retired, trees
from hub.repos.commits import MAIN
from hub.repos.models import Commit, Namespace, Ref, Repository
from hub.repos.names import check_ref, split_name
from hub.repos.storage import store
from hub.repos.trees import FileEntry
from hub.safety.holds import servable
from hub.safety.leaks import require_publishable
from priors.errors import BadManifest, Conflict, NotFound
from priors.manifest import PriorRef

_OID_PREFIX = re.compile(r"[0-9a-f]{7,40}\Z")
_TYPE_OF_KIND = {Repository.Kind.TASK: Repository.Type.DATASET}


def namespace_of(full_name: str) -> Namespace:
    """The namespace of `namespace/name`. Raises BadName, NotFound."""
    return find_namespace(split_name(full_name)[0])


def find_namespace(name: str) -> Namespace:
    """The namespace of this name. Raises NotFound, which tells of one that has another name now."""
    namespace = Namespace.objects.filter(name=name).first()
    if namespace is not None:
        return namespace
    if (now := retired.renamed_to(name)) is not None:
        raise NotFound(f"{name} is called {now} now. Use that name.")
    raise NotFound(f"There is no namespace {name[:100]!r}. Publish under your own user name.")


def create_repository(
    *, name: str, kind: str, type: str = "", private: bool = False, description: str = ""
) -> Repository:
    """An empty repository. Raises BadName, NotFound for an unknown namespace, Conflict for a taken name.

    type  what the Hugging Face protocol takes it for; tasks are datasets and everything else a model when left out
    """
    if kind not in Repository.Kind.values:
        raise BadName(f"{kind!r} is no kind of repository. Use one of {', '.join(Repository.Kind.values)}.")
    type = type or _TYPE_OF_KIND.get(Repository.Kind(kind), Repository.Type.MODEL)
    if type not in Repository.Type.values:
        raise BadName(f"{type!r} is no type of repository. Use one of {', '.join(Repository.Type.values)}.")
    if kind == Repository.Kind.PRIOR:
        require_prior_name(name)
    namespace = namespace_of(name)
    try:
        with transaction.atomic():
            made = Repository.objects.create(
                namespace=namespace, name=split_name(name)[1], kind=kind, type=type, private=private,
                description=description[:500],
            )  # fmt: skip
            retired.require_free(retired.key_of(made))
            catalog.enlist(made)
            return made
    except IntegrityError as err:
        raise Conflict(f"{name} exists already. Commit to it, or choose another name.") from err


def require_prior_name(name: str) -> None:
    """Raises BadName for what no reference to a prior can name."""
    try:
        PriorRef.parse(name)
    except BadManifest as err:
        raise BadName(
            f"{name[:200]!r} cannot name a prior: references are in lower case. Use lower-case names."
        ) from err


def delete_repository(repository: Repository) -> None:
    """Removes it with all commits; nobody gets its name again, unless it never had a commit.

    Callers use hub/jobs/cleanup.py, which also removes what jobs made of it.
    """
    with transaction.atomic():
        Repository.objects.lock(repository)  # before the catalogue's, in the order that commits take them
        if repository.head_id is not None or repository.former_names.exists():
            retired.retire(retired.key_of(repository))
        folders = set(repository.commits.values_list("tree", flat=True))
        catalog.forget(repository)
        repository.delete()
        trees.drop_unused(folders)


@transaction.atomic
def move_repository(repository: Repository, to: str, *, by: Actor | None = None) -> None:
    """Gives it another name, namespace included. The old one leads to it, by id, as long as it exists.

    Raises BadName, NotFound for an unknown namespace, Conflict for a taken name.
    """
    namespace, name = namespace_of(to), split_name(to)[1]
    if repository.kind == Repository.Kind.PRIOR:
        require_prior_name(to)
    old = retired.key_of(repository)
    repository.namespace, repository.name = namespace, name
    new = retired.key_of(repository)
    try:
        with transaction.atomic():
            Repository.objects.lock(repository)
            repository.save(update_fields=["namespace", "name", "updated_at"])
            if new != old:
                retired.retire(old, by=repository)
                retired.require_free(new, for_=repository)
                repository.team_grants.exclude(team__organisation=namespace).delete()
                catalog.changed(repository)
                audit.record("repository.moved", by=by, subject=new, namespace=namespace, left=old)
    except IntegrityError as err:
        raise Conflict(f"{to} exists already. Choose another name.") from err


@transaction.atomic
def change_settings(
    repository: Repository,
    *,
    by: Actor | None = None,
    private: bool | None = None,
    gated: str | None = None,
    description: str | None = None,
) -> None:
    """Changes what is given. Raises BadRequest for an unknown gate, SecretFound for keys that would become public."""
    if gated is not None and gated not in Repository.Gate.values:
        raise BadRequest(f"{gated!r} is no gate. Use auto, manual, or nothing for none.")
    wanted = {"private": private, "gated": gated, "description": None if description is None else description[:500]}
    changed = {key: value for key, value in wanted.items() if value is not None and value != getattr(repository, key)}
    if not changed:
        return
    if changed.get("private") is False:
        require_publishable(repository)
    for key, value in changed.items():
        setattr(repository, key, value)
    repository.save(update_fields=[*changed, "updated_at"])
    catalog.changed(repository)
    audit.record(
        "repository.settings", by=by, subject=repository.prefixed_name, namespace=repository.namespace, **changed
    )


def create_tag(*, repository: Repository, name: str, rev: str) -> Ref:
    """A name that stays with the commit of `rev`. Raises BadName, NotFound, Conflict, OverQuota."""
    check_ref(name)
    commit = resolve(repository, rev)
    try:
        return _create_ref(commit, Ref.Kind.TAG, name)
    except IntegrityError as err:
        raise Conflict(f"{repository} has a tag {name!r} already. Tags stay; choose another name.") from err


def create_branch(*, repository: Repository, name: str, rev: str) -> Ref:
    """A branch that begins at the commit of `rev`. Raises BadName, NotFound, Conflict, OverQuota."""
    check_ref(name)
    commit = resolve(repository, rev)
    try:
        return _create_ref(commit, Ref.Kind.BRANCH, name)
    except IntegrityError as err:
        raise Conflict(f"{repository} has a branch {name!r} already. Commit to it, or choose another name.") from err


@transaction.atomic
def _create_ref(commit: Commit, kind: Ref.Kind, name: str) -> Ref:
    made = Ref.objects.create(repository=commit.repository, kind=kind, name=name, commit=commit)
    # It may be a pull request's. Whoever is over their quota may still name what is theirs.
    if quotas.take_over(commit.repository, [file.sha256 for file in files(commit)]):
        quotas.require_within(commit.repository.namespace)
    return made


def delete_ref(*, repository: Repository, kind: Ref.Kind, name: str) -> None:
    """Takes a branch or tag away; its commits stay and are found by their ids. Raises NotFound, Conflict for main."""
    if kind == Ref.Kind.BRANCH and name == MAIN:
        raise Conflict(f"{repository} needs its branch main. Delete the repository, or commit other files to main.")
    gone, _ = repository.refs.filter(kind=kind, name=name).delete()
    if not gone:
        raise NotFound(f"{repository} has no {kind.label.lower()} {name[:100]!r}. See its /refs for those it has.")


def resolve(repository: Repository, rev: str = MAIN) -> Commit:
    """The commit of a branch, a tag, `refs/pr/<n>`, or an oid of at least 7 digits. Raises NotFound."""
    name = rev.removeprefix("refs/heads/").removeprefix("refs/tags/")
    by_name = {ref.kind: ref.commit for ref in repository.refs.filter(name=name).select_related("commit")}
    for kind in (Ref.Kind.BRANCH, Ref.Kind.TAG, Ref.Kind.PULL):
        if kind in by_name and not (kind == Ref.Kind.BRANCH and rev.startswith("refs/tags/")):
            return by_name[kind]
    if _OID_PREFIX.match(rev):
        found = list(repository.commits.filter(oid__startswith=rev)[:2])
        if len(found) == 1:
            return found[0]
    raise NotFound(f"{repository} has no branch, tag or commit {rev[:100]!r}. See its /refs for those it has.")


def files(commit: Commit) -> list[FileEntry]:
    """The files of a commit with their blobs, by path."""
    return list(trees.read(commit.tree_id).values())


def file(commit: Commit, path: str) -> FileEntry:
    """One file of a commit. Raises NotFound."""
    found = trees.find(commit.tree_id, path)
    if not isinstance(found, FileEntry):
        raise NotFound(f"The commit {commit.oid[:12]} has no file {path[:200]!r}. See its tree for those it has.")
    return found


def read_file(commit: Commit, path: str, *, limit: int = 1 << 20) -> bytes:
    """The first `limit` bytes of a file. Raises NotFound."""
    with store().open(file(commit, path).sha256) as opened:
        return opened.read(limit)


def materialise(commit: Commit, folder: Path) -> Path:
    """Lays the files of a commit into `folder`, which must not exist. Hard links where the disk is the same.

    Raises what `servable` raises.
    """
    entries = files(commit)
    servable(commit, [entry.sha256 for entry in entries])
    folder.mkdir(parents=True)
    blobs = store()
    for each in entries:
        target = folder / each.path  # names were checked at commit (repos/names.py)
        target.parent.mkdir(parents=True, exist_ok=True)
        source = blobs.path(each.sha256)
        try:
            os.link(source, target)
        except OSError:  # another disk, or one without links
            shutil.copyfile(source, target)
    return folder
