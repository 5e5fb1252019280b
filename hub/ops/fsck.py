"""Reading everything back: does the disk still hold what the database promises?"""

from __future__ import annotations

from collections.abc import Callable

from hub.accounts import audit
from hub.catalog import services as catalog
from hub.repos import gitobjects, trees
from hub.repos.commits import MAIN, commit_oid, tip
from hub.repos.models import Blob, Commit, Repository, Tree
from hub.repos.storage import store
from hub.xet.check import check_chunks


def fsck(report: Callable[[str], None]) -> int:
    """Reads everything and reports each broken promise: bytes, trees, commits, refs, catalogue. How many there were."""
    problems = 0

    def broken(what: str) -> None:
        nonlocal problems
        problems += 1
        report(what)

    blobs = store()
    for blob in Blob.objects.iterator():
        if not blobs.verify(blob.sha256):
            broken(f"blob {blob.sha256}: its bytes are missing or changed")
    for folder in Tree.objects.iterator():
        if gitobjects.folder_oid(trees.entries_of(folder.oid)) != folder.oid:
            broken(f"folder {folder.oid}: its entries do not hash to its id")
    check_chunks(broken)
    for commit in Commit.objects.select_related("repository__namespace", "parent", "merged").iterator(chunk_size=200):
        parents = [each.oid for each in (commit.parent, commit.merged) if each is not None]
        if commit_oid(commit.tree_id, parents, commit.author_name, commit.created_at, commit.message) != commit.oid:
            broken(f"{commit.repository} commit {commit.oid[:12]}: its fields do not hash to its id")
    for repository in Repository.objects.select_related("namespace", "head"):
        if repository.head != tip(repository, MAIN):
            broken(f"{repository}: its head is not the tip of main")
        if not catalog.is_current(repository):
            broken(f"{repository}: its catalogue row is not of its head")
    for what in audit.broken_links():
        broken(what)
    return problems
