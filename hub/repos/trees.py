"""Folders of files as rows, named as git names them, so that what two commits share is stored once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from django.db import transaction
from django.db.models import Exists, OuterRef, QuerySet

from hub.repos import gitobjects, lfs
from hub.repos.models import Blob, Commit, Tree, TreeEntry

_BATCH = 500


@dataclass(frozen=True)
class FileEntry:
    """A file of a commit."""

    path: str
    blob: Blob
    lfs: bool = False

    @property
    def oid(self) -> str:
        """The id of what git holds: the bytes, or the pointer to them."""
        return lfs.pointer_oid(self.blob.sha256, self.blob.size) if self.lfs else self.blob.git_oid

    @property
    def sha256(self) -> str:
        """The hash of the bytes."""
        return self.blob.sha256

    @property
    def size(self) -> int:
        """Of the bytes, not of a pointer."""
        return self.blob.size


@dataclass(frozen=True)
class FolderEntry:
    """A folder of a commit."""

    path: str
    oid: str


def read(tree_oid: str) -> dict[str, FileEntry]:
    """Every file below a folder by its path; one query a level of depth."""
    files, folders = _walk(tree_oid, recursive=True)
    del folders
    return dict(sorted(files.items()))


def listing(tree_oid: str, *, below: str = "", recursive: bool = False) -> list[FileEntry | FolderEntry]:
    """Files and folders of a folder by path; `below` is its own path, which stands before theirs."""
    files, folders = _walk(tree_oid, recursive=recursive)
    prefix = f"{below}/" if below else ""
    found: list[FileEntry | FolderEntry] = [
        FileEntry(prefix + path, file.blob, file.lfs) for path, file in files.items()
    ]
    found += [FolderEntry(prefix + path, oid) for path, oid in folders.items()]
    return sorted(found, key=lambda entry: entry.path)


def find(tree_oid: str, path: str) -> FileEntry | FolderEntry | None:
    """What lies at `path`; one query a segment. The empty path is the folder itself."""
    oid, segments = tree_oid, path.split("/") if path else []
    for number, segment in enumerate(segments):
        row = TreeEntry.objects.select_related("blob").filter(tree=oid, name=segment).first()
        if row is None:
            return None
        if row.blob is not None:
            return FileEntry(path, row.blob, row.lfs) if number == len(segments) - 1 else None
        oid = str(row.subtree_id)
    return FolderEntry(path, oid)


def changed(before: str | None, after: str | None) -> dict[str, tuple[FileEntry | None, FileEntry | None]]:
    """Files by path that are not the same in two folders, as they are in each; None is an empty folder.

    Folders with the same id are not read: the cost is that of the difference, in two queries a level of depth.
    """
    found: dict[str, tuple[FileEntry | None, FileEntry | None]] = {}
    level = [("", before, after)] if before != after else []
    while level:
        rows = _rows({oid for _, old, new in level for oid in (old, new) if oid is not None})
        below = []
        for prefix, old, new in level:
            was, now = rows.get(old or "", {}), rows.get(new or "", {})
            for name in was.keys() | now.keys():
                path, one, other = prefix + name, was.get(name), now.get(name)
                folders = _subtree(one), _subtree(other)
                files = _file(path, one), _file(path, other)
                if folders[0] != folders[1]:
                    below.append((f"{path}/", *folders))
                if files[0] != files[1]:
                    found[path] = files
        level = below
    return dict(sorted(found.items()))


def find_all(tree_oid: str, paths: Iterable[str]) -> dict[str, FileEntry | FolderEntry]:
    """What lies at those of `paths` where something does; one query a level of depth, however many paths."""
    found: dict[str, FileEntry | FolderEntry] = {}
    folders = {"": tree_oid}  # of the level at hand, by path
    wanted = {path: path.split("/") for path in paths if path}
    depth = 0
    while wanted:
        names = {parts[depth] for parts in wanted.values()}
        rows = TreeEntry.objects.select_related("blob").filter(tree__in=set(folders.values()), name__in=names)
        entries = {(row.tree_id, row.name): row for row in rows}
        below: dict[str, str] = {}
        for path, parts in list(wanted.items()):
            folder = folders.get("/".join(parts[:depth]))
            row = entries.get((folder, parts[depth])) if folder is not None else None
            is_last = len(parts) == depth + 1
            if row is None or (row.blob is not None and not is_last):
                del wanted[path]
            elif row.blob is not None:
                found[path] = FileEntry(path, row.blob, row.lfs)
                del wanted[path]
            elif is_last:
                found[path] = FolderEntry(path, str(row.subtree_id))
                del wanted[path]
            else:
                below["/".join(parts[: depth + 1])] = str(row.subtree_id)
        folders, depth = below, depth + 1
    return found


def write(files: Mapping[str, FileEntry]) -> str:
    """Stores the folders of these files and gives the id of the topmost. Call it inside the commit's transaction."""
    folders: dict[str, list[TreeEntry]] = {}
    top = _build(files, folders)
    existing = set()
    oids = sorted(folders)
    for start in range(0, len(oids), _BATCH):
        # Locked, so that `drop_unused` cannot remove one before this commit refers to it.
        rows = Tree.objects.select_for_update(no_key=True).filter(oid__in=oids[start : start + _BATCH]).order_by("oid")
        existing |= set(rows.values_list("oid", flat=True))
    new = [oid for oid in oids if oid not in existing]
    Tree.objects.bulk_create([Tree(oid) for oid in new], batch_size=_BATCH, ignore_conflicts=True)
    entries = [entry for oid in new for entry in folders[oid]]
    TreeEntry.objects.bulk_create(entries, batch_size=_BATCH, ignore_conflicts=True)
    return top


def oid_of(files: Mapping[str, FileEntry]) -> str:
    """The id `write` would give."""
    return _build(files, {})


def entries_of(tree_oid: str) -> list[gitobjects.Entry]:
    """A folder's entries as git hashes them."""
    return [_git_entry(row) for row in TreeEntry.objects.select_related("blob").filter(tree=tree_oid)]


def drop_unused(oids: Iterable[str] | None = None) -> int:
    """Removes folders that neither a commit nor a folder refers to, of `oids` (all when None), and so on below them."""
    removed, asked = 0, None if oids is None else set(oids)
    while asked is None or asked:
        found = set(_unused().values_list("pk", flat=True)) if asked is None else asked
        asked = set()
        for batch in _batches(found):
            gone, below = _drop(batch)
            removed += gone
            asked |= below
    return removed


def _batches(oids: set[str]) -> list[list[str]]:
    ordered = sorted(oids)
    return [ordered[start : start + _BATCH] for start in range(0, len(ordered), _BATCH)]


def _unused() -> QuerySet[Tree]:
    by_commit, by_folder = Commit.objects.filter(tree=OuterRef("pk")), TreeEntry.objects.filter(subtree=OuterRef("pk"))
    return Tree.objects.filter(~(Exists(by_commit) | Exists(by_folder)))


@transaction.atomic
def _drop(oids: list[str]) -> tuple[int, set[str]]:
    """Removes those that nothing refers to: how many, and the folders that were in them."""
    # Locked first and looked at then: a commit that wrote one of them holds it until it refers to it (see `write`).
    list(Tree.objects.select_for_update().filter(pk__in=oids).order_by("oid"))
    found = list(_unused().filter(pk__in=oids).values_list("pk", flat=True))
    entries = TreeEntry.objects.filter(tree__in=found)
    below = set(entries.filter(subtree__isnull=False).values_list("subtree", flat=True))
    entries.delete()
    Tree.objects.filter(pk__in=found).delete()
    return len(found), below


def _rows(oids: set[str]) -> dict[str, dict[str, TreeEntry]]:
    """The entries of folders by name."""
    found: dict[str, dict[str, TreeEntry]] = {oid: {} for oid in oids}
    for batch in _batches(oids):
        for row in TreeEntry.objects.select_related("blob").filter(tree__in=batch):
            found[row.tree_id][row.name] = row
    return found


def _subtree(row: TreeEntry | None) -> str | None:
    return str(row.subtree_id) if row is not None and row.subtree_id else None


def _file(path: str, row: TreeEntry | None) -> FileEntry | None:
    return FileEntry(path, row.blob, row.lfs) if row is not None and row.blob is not None else None


def _walk(tree_oid: str, *, recursive: bool) -> tuple[dict[str, FileEntry], dict[str, str]]:
    files: dict[str, FileEntry] = {}
    folders: dict[str, str] = {}
    level: dict[str, list[str]] = {tree_oid: [""]}  # the same folder may stand at several paths
    while level:
        below: defaultdict[str, list[str]] = defaultdict(list)
        oids = list(level)
        for start in range(0, len(oids), _BATCH):
            for row in TreeEntry.objects.select_related("blob").filter(tree__in=oids[start : start + _BATCH]):
                for prefix in level[row.tree_id]:
                    path = prefix + row.name
                    if row.blob is not None:
                        files[path] = FileEntry(path, row.blob, row.lfs)
                    else:
                        folders[path] = str(row.subtree_id)
                        below[str(row.subtree_id)].append(f"{path}/")
        level = dict(below) if recursive else {}
    return files, folders


def _build(files: Mapping[str, FileEntry], made: dict[str, list[TreeEntry]]) -> str:
    """The oid of the folder of `files`; its rows and those of folders below go into `made`."""
    inside: defaultdict[str, dict[str, FileEntry]] = defaultdict(dict)
    entries: list[gitobjects.Entry] = []
    rows: list[TreeEntry] = []
    for path, file in files.items():
        head, slash, rest = path.partition("/")
        if slash:
            inside[head][rest] = file
        else:
            rows.append(TreeEntry(name=head, blob=file.blob, lfs=file.lfs))
            entries.append(gitobjects.Entry(head, file.oid))
    for name, below in inside.items():
        oid = _build(below, made)
        rows.append(TreeEntry(name=name, subtree_id=oid))
        entries.append(gitobjects.Entry(name, oid, is_folder=True))
    tree = gitobjects.folder_oid(entries)
    for row in rows:
        row.tree_id = tree
    made[tree] = rows
    return tree


def _git_entry(row: TreeEntry) -> gitobjects.Entry:
    if row.blob is None:
        return gitobjects.Entry(row.name, str(row.subtree_id), is_folder=True)
    return gitobjects.Entry(row.name, FileEntry(row.name, row.blob, row.lfs).oid)
