"""Ids that git itself would give: blobs, trees and commits under SHA-1. Pure; checked against git in the tests."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime


def blob_header(size: int) -> bytes:
    """What git hashes before a file's bytes."""
    return b"blob %d\0" % size


def blob_oid(data: bytes) -> str:
    """The id of a file's content."""
    return _oid(blob_header(len(data)) + data)


def tree_oid(files: Mapping[str, str]) -> str:
    """The id of a folder tree, from blob ids by path (`a/b.txt`). Every file has mode 100644."""
    folders: dict[str, dict[str, str]] = {}
    entries: list[tuple[bytes, bytes]] = []  # (sort key, entry)
    for path, oid in files.items():
        head, slash, rest = path.partition("/")
        if slash:
            folders.setdefault(head, {})[rest] = oid
        else:
            entries.append((head.encode(), b"100644 %b\0%b" % (head.encode(), bytes.fromhex(oid))))
    for name, inside in folders.items():
        entry = b"40000 %b\0%b" % (name.encode(), bytes.fromhex(tree_oid(inside)))
        entries.append((name.encode() + b"/", entry))  # git sorts a folder as if its name ended in a slash
    body = b"".join(entry for _, entry in sorted(entries))
    return _oid(b"tree %d\0" % len(body) + body)


@dataclass(frozen=True)
class Signature:
    """Who and when, as a commit carries it. `at` is cut to whole seconds and written in UTC."""

    name: str
    email: str
    at: datetime

    def __str__(self) -> str:
        return f"{self.name} <{self.email}> {int(self.at.timestamp())} +0000"


def commit_oid(*, tree: str, parent: str | None, by: Signature, message: str) -> str:
    """The id of a commit whose author is also its committer."""
    lines = [f"tree {tree}", *([f"parent {parent}"] if parent else []), f"author {by}", f"committer {by}", "", message]
    body = "\n".join(lines).encode()
    return _oid(b"commit %d\0" % len(body) + body)


def _oid(data: bytes) -> str:
    return hashlib.sha1(data, usedforsecurity=False).hexdigest()
