"""What became of the priors that a lock names: here byte for byte, changed on this disk, newer or gone at the hub."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from composer.errors import BadLock
from composer.lock import FILE_NAME, Lock
from priors.client.cache import file_sha256
from priors.errors import BadManifest, HubUnreachable, NotFound, UnknownPrior, UserError
from priors.manifest import FILE_NAME as FILE_NAME_OF_PRIOR
from priors.manifest import PriorRef, parse_manifest, read_manifest

if TYPE_CHECKING:
    from priors.client import HubLibrary  # httpx: the web process shows differences of locks and asks no hub

State = Literal["same", "newer", "unknown", "gone", "held", "damaged", "missing"]
BROKEN: frozenset[State] = frozenset({"gone", "held", "damaged", "missing"})
"""What a lock cannot be rebuilt with, or should not be used with any more."""


@dataclass(frozen=True)
class Finding:
    """One prior of a lock. `folder` is where its files lie on this machine, None when they do not."""

    ref: str
    state: State
    detail: str
    folder: str | None = None


def read_lock(path: Path) -> Lock:
    """The lock in a file, or in the folder of a composition. Raises BadLock."""
    path = path / FILE_NAME if path.is_dir() else path
    try:
        return Lock.from_json(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise BadLock(f"{path} cannot be read as a lock: {error}. Give a {FILE_NAME}.") from error


def pull_locked(lock: Lock, library: HubLibrary) -> list[Finding]:
    """Brings every prior of the lock here, at the content it names, every file hashed. Raises for the first that fails.

    Raises UnknownPrior, HubError, and BadLock when a file is not what the prior's manifest promises.
    """
    found = []
    for ref in _refs(lock):
        folder = library.directory(ref)
        if bad := _differing(folder):
            raise BadLock(f"{ref}: {bad} in {folder} is not what the lock was made with. Pull {ref.repo} again.")
        found.append(Finding(str(ref), "same", "pulled", str(folder)))
    return found


def audit(lock: Lock, library: HubLibrary) -> list[Finding]:
    """What became of each prior. Fetches no weights: what is not here is only asked for by name."""
    return [_audited(ref, library) for ref in _refs(lock)]


def _audited(ref: PriorRef, library: HubLibrary) -> Finding:
    here = library.kept(ref)
    folder = str(here) if here else None
    if here is not None and (bad := _differing(here)):
        return Finding(str(ref), "damaged", f"{bad} changed on this disk: pull it again", folder)
    if library.hub is None:
        state: State = "same" if here else "missing"
        return Finding(str(ref), state, "not compared with a hub" if here else "not on this machine", folder)
    try:
        newest = parse_manifest(library.hub.manifest(ref.repo)).identity()
        library.hub.read(ref.repo, FILE_NAME_OF_PRIOR, library.revision(ref.repo, ref))  # refused where it is held back
    except HubUnreachable as error:
        return Finding(str(ref), "unknown" if here else "missing", str(error), folder)
    except (NotFound, UnknownPrior):
        return Finding(str(ref), "gone", "the hub no longer has it, or not for you", folder)
    except BadManifest as error:
        return Finding(str(ref), "newer", f"the hub's is for a newer priorhub: {error}", folder)
    except UserError as error:
        return Finding(str(ref), "held", str(error), folder)
    if ref.matches(newest):
        return Finding(str(ref), "same", "the newest there is", folder)
    return Finding(str(ref), "newer", f"the hub has {newest[:19]} now", folder)


def _refs(lock: Lock) -> Iterable[PriorRef]:
    return [ref for _, ref in sorted({str(ref): ref for ref in lock.priors.values()}.items())]


def _differing(folder: Path) -> str | None:
    """The first file that is not what the manifest promises."""
    try:
        manifest = read_manifest(folder)
    except (BadManifest, UnknownPrior):
        return "prior.json"
    for name, promised in manifest.files.items():
        path = folder / name
        if path.is_symlink() or not path.is_file() or file_sha256(path) != promised.sha256:
            return name
    return None
