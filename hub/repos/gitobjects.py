"""Ids that git itself would give: blobs, trees and commits under SHA-1. Pure; checked against git in the tests."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime


def blob_header(size: int) -> bytes:
    """What git hashes before a file's bytes."""
    return b"blob %d\0" % size


def blob_oid(data: bytes) -> str:
    """The id of a file's content."""
    return _oid(blob_header(len(data)) + data)


@dataclass(frozen=True)
class Entry:
    """One name in a folder: a file (mode 100644) or another folder."""

    name: str
    oid: str
    is_folder: bool = False


def folder_body(entries: Iterable[Entry]) -> bytes:
    """A folder as git stores it. Git sorts a folder as if its name ended in a slash."""
    ordered = sorted(entries, key=lambda entry: entry.name.encode() + (b"/" if entry.is_folder else b""))
    return b"".join(
        b"%b %b\0%b" % (b"40000" if entry.is_folder else b"100644", entry.name.encode(), bytes.fromhex(entry.oid))
        for entry in ordered
    )


def folder_oid(entries: Iterable[Entry]) -> str:
    """The id of a folder with these entries."""
    body = folder_body(entries)
    return _oid(b"tree %d\0" % len(body) + body)


@dataclass(frozen=True)
class Signature:
    """Who and when, as a commit carries it. `at` is cut to whole seconds and written in UTC."""

    name: str
    email: str
    at: datetime

    def __str__(self) -> str:
        return f"{self.name} <{self.email}> {int(self.at.timestamp())} +0000"


def commit_body(*, tree: str, parents: Sequence[str], by: Signature, message: str) -> bytes:
    """A commit as git stores it; its author is also its committer."""
    lines = [
        f"tree {tree}",
        *(f"parent {parent}" for parent in parents),
        f"author {by}",
        f"committer {by}",
        "",
        message,
    ]
    return "\n".join(lines).encode()


def commit_oid(*, tree: str, parents: Sequence[str], by: Signature, message: str) -> str:
    """The id of that commit."""
    body = commit_body(tree=tree, parents=parents, by=by, message=message)
    return _oid(b"commit %d\0" % len(body) + body)


def _oid(data: bytes) -> str:
    return hashlib.sha1(data, usedforsecurity=False).hexdigest()
