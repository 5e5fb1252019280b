"""A pack file of commits with their folders and files, written as it is read (git, Documentation/gitformat-pack).

Files that are pointers for git are sent as pointers. Memory holds the ids of what is sent, never its bytes.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from hub.errors import TooLarge
from hub.repos import lfs
from hub.repos.commits import commit_body
from hub.repos.git.selection import Selected
from hub.repos.gitobjects import Entry, folder_body
from hub.repos.models import Commit, TreeEntry
from hub.repos.storage import chunks_of, store

MAX_PLAIN_BYTES = 100 * 1024 * 1024
"""git holds a file in memory: a larger one without a pointer is not given to it."""
_BATCH = 400
_MAX_KNOWN = 32
_COMMIT, _TREE, _BLOB = 1, 2, 3
_Item = TypeVar("_Item")


@dataclass(frozen=True)
class File:
    """A file to send: whole, or as a pointer."""

    sha256: str
    size: int
    lfs: bool


@dataclass(frozen=True)
class Contents:
    """Ids of everything in a pack."""

    commits: list[int]
    folders: list[str]
    files: list[File]

    def __len__(self) -> int:
        return len(self.commits) + len(self.folders) + len(self.files)


def contents(selected: Selected) -> Contents:
    """What the client lacks of the selected commits. Raises TooLarge for a plain file that git could not hold."""
    folders: dict[str, None] = {}
    files: dict[File, None] = {}
    known_folders: dict[str, None] = {}
    known_files: dict[File, None] = {}
    # Not knowing all of it costs a few objects twice, so the newest are enough.
    _collect(_trees_of(selected.has[:_MAX_KNOWN]), known_folders, known_files, {}, {})
    _collect(_trees_of(selected.commits), folders, files, known_folders, known_files)
    if large := next((file for file in files if not file.lfs and file.size > MAX_PLAIN_BYTES), None):
        raise TooLarge(
            f"A file of {large.size} bytes is stored without Git LFS. Get this repository with `hf download`."
        )
    return Contents(selected.commits, list(folders), list(files))


def pack(what: Contents) -> Iterator[bytes]:
    """The pack, in pieces."""
    digest = hashlib.sha1(usedforsecurity=False)
    for piece in _pieces(what):
        digest.update(piece)
        yield piece
    yield digest.digest()


def _pieces(what: Contents) -> Iterator[bytes]:
    yield b"PACK" + (2).to_bytes(4, "big") + len(what).to_bytes(4, "big")
    for body in _commits(what.commits):
        yield _whole(_COMMIT, body)
    for body in _folders(what.folders):
        yield _whole(_TREE, body)
    for file in what.files:
        if file.lfs:
            yield _whole(_BLOB, lfs.pointer(file.sha256, file.size))
            continue
        yield _head(_BLOB, file.size)
        squeeze = zlib.compressobj(1)
        with store().open(file.sha256) as opened:
            for chunk in chunks_of(opened):
                yield squeeze.compress(chunk)
        yield squeeze.flush()


def _whole(kind: int, body: bytes) -> bytes:
    return _head(kind, len(body)) + zlib.compress(body, 1)


def _head(kind: int, size: int) -> bytes:
    """Type and size: four bits of it, then seven a byte, each byte but the last marked."""
    byte, size = (kind << 4) | (size & 15), size >> 4
    made = bytearray()
    while size:
        made.append(byte | 0x80)
        byte, size = size & 0x7F, size >> 7
    made.append(byte)
    return bytes(made)


def _commits(pks: list[int]) -> Iterator[bytes]:
    for some in _batches(pks):
        rows = Commit.objects.filter(pk__in=some).values_list(
            "tree", "parent__oid", "merged__oid", "author_name", "created_at", "message"
        )
        for tree, parent, merged, author, at, message in rows:
            yield commit_body(tree, [oid for oid in (parent, merged) if oid], author, at, message)


def _folders(oids: list[str]) -> Iterator[bytes]:
    for some in _batches(oids):
        entries: dict[str, list[Entry]] = {oid: [] for oid in some}
        for tree, name, file, git_oid, subtree in _entries(some):
            if file is None:
                entries[tree].append(Entry(name, subtree, is_folder=True))
            else:
                entries[tree].append(Entry(name, lfs.pointer_oid(file.sha256, file.size) if file.lfs else git_oid))
        yield from (folder_body(each) for each in entries.values())


def _collect(
    trees: Iterable[str],
    folders: dict[str, None],
    files: dict[File, None],
    without_folders: dict[str, None],
    without_files: dict[File, None],
) -> None:
    """Everything below `trees` but for what is in `without_…`, into `folders` and `files`."""
    level = {oid: None for oid in trees if oid not in without_folders}
    while level:
        folders |= level
        below: dict[str, None] = {}
        for some in _batches(list(level)):
            for _, _, file, _, subtree in _entries(some):
                if file is not None:
                    if file not in without_files:
                        files[file] = None
                elif subtree not in folders and subtree not in without_folders:
                    below[subtree] = None
        level = below


def _entries(trees: list[str]) -> Iterator[tuple[str, str, File | None, str, str]]:
    """(folder, name, file, its id in git, or the subfolder) of every entry."""
    rows = TreeEntry.objects.filter(tree__in=trees)
    fields = rows.values_list("tree", "name", "lfs", "blob", "blob__size", "blob__git_oid", "subtree")
    for tree, name, is_lfs, blob, size, git_oid, subtree in fields:
        yield tree, name, File(blob, size, is_lfs) if blob else None, git_oid or "", subtree or ""


def _trees_of(pks: list[int]) -> dict[str, None]:
    found: dict[str, None] = {}
    for some in _batches(pks):
        found |= dict.fromkeys(Commit.objects.filter(pk__in=some).values_list("tree", flat=True))
    return found


def _batches(items: list[_Item]) -> Iterator[list[_Item]]:
    return (items[start : start + _BATCH] for start in range(0, len(items), _BATCH))
