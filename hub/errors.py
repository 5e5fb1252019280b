"""Refusals that only a hub can utter; the rest of the tree is priors/errors.py."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import ClassVar

from priors.errors import AppError, Conflict, NotAllowed, UserError

_NOT_IN_HEADERS = re.compile("[^ -~\xa0-\xff]")


def header_text(message: str) -> str:
    """A message as one line that a header may hold: latin-1 without control characters, which servers refuse."""
    return _NOT_IN_HEADERS.sub("?", " ".join(message.split()))[:1000]


class BadName(UserError):
    """The name of a repository, file, branch or tag is not one this hub accepts."""

    code: ClassVar[str] = "bad-name"


class FileRefused(UserError):
    """A file's content may not be published in a repository of this kind."""

    code: ClassVar[str] = "file-refused"


class BlobMissing(UserError):
    """A commit names bytes that were not uploaded."""

    code: ClassVar[str] = "blob-missing"


class HashMismatch(UserError):
    """The bytes that arrived are not those that were announced."""

    code: ClassVar[str] = "hash-mismatch"


class BadSpec(UserError):
    """A job's spec is incomplete or names what is not there."""

    code: ClassVar[str] = "bad-spec"


class Quarantined(UserError):
    """A moderator took the files out of reach."""

    code: ClassVar[str] = "quarantined"
    status: ClassVar[int] = 403


class Yanked(UserError):
    """The owner took the revision back."""

    code: ClassVar[str] = "yanked"
    status: ClassVar[int] = 410


class ScanHeld(UserError):
    """A scan found what may not leave the hub."""

    code: ClassVar[str] = "scan-held"
    status: ClassVar[int] = 403


class SecretFound(UserError):
    """A commit holds a token or key that would be public with it."""

    code: ClassVar[str] = "secret-found"
    revoke: Callable[[], None] | None = None
    """Revokes a token of ours that was found, once more: a transaction that this error ends takes that back."""


class BadRequest(UserError):
    """The request itself is malformed."""

    code: ClassVar[str] = "bad-request"
    status: ClassVar[int] = 400


class Gated(NotAllowed):
    """The files of a gated repository, asked for by somebody without a grant."""

    code: ClassVar[str] = "gated"


class Moved(UserError):
    """The repository has another name now. Answered as a redirect that keeps method and body."""

    code: ClassVar[str] = "moved"
    status: ClassVar[int] = 307

    def __init__(self, old: str, new: str) -> None:
        super().__init__(f"{old} is called {new} now. Use that name.")
        self.old, self.new = old, new

    def location(self, address: str) -> str:
        """`address`, relative to the host, with the new name in place of the old."""
        return address.replace(f"/{self.old}", f"/{self.new}", 1)


class LengthRequired(UserError):
    """An upload came without a Content-Length."""

    code: ClassVar[str] = "length-required"
    status: ClassVar[int] = 411


class ParentMoved(Conflict):
    """The branch is not where the commit expected it."""

    code: ClassVar[str] = "parent-moved"
    status: ClassVar[int] = 412


class TooLarge(UserError):
    """More bytes than this hub takes."""

    code: ClassVar[str] = "too-large"
    status: ClassVar[int] = 413


class OverQuota(UserError):
    """The namespace may not store so much."""

    code: ClassVar[str] = "over-quota"
    status: ClassVar[int] = 413


class TooManyRequests(UserError):
    """A rate limit is used up. `headers` say until when."""

    code: ClassVar[str] = "too-many-requests"
    status: ClassVar[int] = 429

    def __init__(self, message: str, *, headers: Mapping[str, str]) -> None:
        super().__init__(message)
        self.headers = dict(headers)


class RangeNotSatisfiable(UserError):
    """The requested bytes lie behind the end of the file."""

    code: ClassVar[str] = "range-not-satisfiable"
    status: ClassVar[int] = 416


class TooManyWatchers(UserError):
    """All seats for watching jobs are taken."""

    code: ClassVar[str] = "too-many-watchers"
    status: ClassVar[int] = 503


class StillChecking(UserError):
    """A file that arrived is not yet checked."""

    code: ClassVar[str] = "still-checking"
    status: ClassVar[int] = 503


class CheckFailed(UserError):
    """The hub could not check what arrived, by a fault of its own. No 5xx: clients would only ask again."""

    code: ClassVar[str] = "check-failed"
    status: ClassVar[int] = 422


class StorageDown(UserError):
    """The bucket cannot be reached, or refuses the hub."""

    code: ClassVar[str] = "storage-down"
    status: ClassVar[int] = 503


class BlobLost(AppError):
    """A blob with a row in the database has no, or other, bytes on disk."""

    code: ClassVar[str] = "blob-lost"
