"""Tables between upload and the choice of their target: files of one user, forgotten after a day.

They are not repositories yet, because a task needs a target; nothing refers to them but their owner's next request.
"""

from __future__ import annotations

import re
import shutil
import time
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePath

from hub.home import home
from priors.errors import NotFound

KEEP_S = 24 * 3600
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


@dataclass(frozen=True)
class Upload:
    """One table of one user."""

    id: uuid.UUID
    path: Path

    @property
    def name(self) -> str:
        """The file's name as it was sent, made safe."""
        return self.path.name


def keep(*, owner_id: int, name: str, chunks: Iterable[bytes]) -> Upload:
    """Stores a table for its owner's next request, and forgets older ones."""
    forget_old()
    number = uuid.uuid4()
    folder = _folder(owner_id) / str(number)
    folder.mkdir(parents=True)
    path = folder / safe_name(name)
    with path.open("wb") as file:
        for chunk in chunks:
            file.write(chunk)
    return Upload(number, path)


def find(*, owner_id: int, number: uuid.UUID) -> Upload:
    """The owner's upload. Raises NotFound."""
    path = next(iter((_folder(owner_id) / str(number)).glob("*")), None)
    if path is None:
        raise NotFound("This upload is gone: they are kept for a day. Choose the file again.")
    return Upload(number, path)


def forget(upload: Upload) -> None:
    """Removes it from the disk."""
    shutil.rmtree(upload.path.parent, ignore_errors=True)


def forget_old(*, keep_s: float = KEEP_S) -> int:
    """Removes uploads nobody came back to; how many."""
    before = time.time() - keep_s
    old = [folder for folder in (home() / "uploads").glob("*/*") if folder.stat().st_mtime < before]
    for folder in old:
        shutil.rmtree(folder, ignore_errors=True)
    return len(old)


def safe_name(name: str) -> str:
    """A file name of letters, digits and . _ - that keeps its ending."""
    path = PurePath(name.replace("\\", "/").rsplit("/", 1)[-1])
    stem = _UNSAFE.sub("-", path.stem).strip("-._")[:60] or "table"
    return stem + (path.suffix.lower() if path.suffix.lower() in {".csv", ".tsv"} else ".csv")


def _folder(owner_id: int) -> Path:
    return home() / "uploads" / str(owner_id)
