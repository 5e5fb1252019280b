"""Files that arrive in numbered parts, each by a request of its own; the last request puts them together.

Parts lie among the drafts of the store under names that say whose upload they are of, so one that was interrupted goes
on where it was, and `sweep` removes those that nobody completed.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from hub.accounts.models import User
from hub.errors import HashMismatch
from hub.repos.blobs import put_blob
from hub.repos.models import Blob, Repository
from hub.repos.objects import draft, objects, storage_full
from hub.repos.storage import chunks_of

PART_BYTES = 32 * 1024 * 1024


@dataclass(frozen=True)
class Upload:
    """A file on its way into a repository: who sends what."""

    user: User
    repository: Repository
    sha256: str
    size: int

    @property
    def parts(self) -> int:
        """How many parts there are; the last one may be shorter."""
        return -(-self.size // PART_BYTES)

    def part_size(self, number: int) -> int:
        """Bytes of part `number`, counted from 1."""
        return min(PART_BYTES, self.size - (number - 1) * PART_BYTES)

    def _path(self, number: int) -> Path:
        name = f"{self.user.pk}:{self.repository.pk}:{self.sha256}:{self.size}"
        return objects().drafts / f"{hashlib.sha256(name.encode()).hexdigest()[:40]}-{number}"


def put_part(upload: Upload, number: int, chunks: Iterable[bytes]) -> str:
    """Keeps one part, over an earlier one, and gives its hash. Raises HashMismatch for a wrong length, StorageFull."""
    hasher, size, wanted = hashlib.sha256(), 0, upload.part_size(number)
    fresh = draft(objects()).with_name(uuid.uuid4().hex)
    try:
        with storage_full(), fresh.open("xb") as file:
            for chunk in chunks:
                size += len(chunk)
                if size > wanted:
                    break
                hasher.update(chunk)
                file.write(chunk)
        if size != wanted:
            raise HashMismatch(f"Part {number} has {size} bytes or more, not the {wanted} announced. Send it again.")
        fresh.replace(upload._path(number))
    finally:
        fresh.unlink(missing_ok=True)
    return hasher.hexdigest()


def complete(upload: Upload) -> Blob:
    """Stores the file that the parts make. Raises HashMismatch, naming what is missing; the parts stay then."""
    missing = [
        number
        for number in range(1, upload.parts + 1)
        if not upload._path(number).is_file() or upload._path(number).stat().st_size != upload.part_size(number)
    ]
    if missing:
        known = Blob.objects.usable_by(upload.user).filter(pk=upload.sha256).first()
        if known is not None:
            return known  # it was completed before, and the answer was lost
        raise HashMismatch(f"Part {missing[0]} of {upload.parts} is missing. Send it, then complete the upload again.")
    blob = put_blob(_read(upload), by=upload.user, expect=upload.sha256)
    for number in range(1, upload.parts + 1):
        upload._path(number).unlink(missing_ok=True)
    return blob


def _read(upload: Upload) -> Iterator[bytes]:
    for number in range(1, upload.parts + 1):
        with upload._path(number).open("rb") as file:
            yield from chunks_of(file)
