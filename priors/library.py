"""Where priors are found: a list of entries, and for each a folder with its files. Needs no torch.

`LocalLibrary` is a folder on this machine; `priors.client.HubLibrary` lists a hub and fetches what is asked for.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Protocol

from priors.errors import BadManifest, NotAllowed, UnknownArchitecture, UnknownFunction, UnknownPrior
from priors.manifest import FILE_NAME, PriorManifest, PriorRef, read_manifest

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Entry:
    """One prior of a library: its full reference, its manifest, and when it was first there (ISO), as far as that is
    known."""

    ref: PriorRef
    manifest: PriorManifest
    since: str = ""


class Library(Protocol):
    """What `recommend`, `fit` and lowering need of a place with priors."""

    def entries(self) -> list[Entry]:
        """Every prior there is, ordered by namespace and name."""

    def directory(self, ref: PriorRef) -> Path:
        """A folder with the files of `ref`, fetched if needed. Raises UnknownPrior."""


class LocalLibrary:
    """The priors in `root/<namespace>/<name>/`, each a folder with a prior.json."""

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root)
        self._read: dict[Path, tuple[tuple[int, int], Entry]] = {}

    def entries(self) -> list[Entry]:
        """Every readable prior. A folder whose manifest is not valid is left out, with a warning in the log."""
        found = []
        for path in sorted(self.root.glob(f"*/*/{FILE_NAME}")):
            try:
                found.append(self._entry(path))
            except (BadManifest, UnknownArchitecture, UnknownFunction) as err:
                logger.warning("prior left out", extra={"path": str(path), "cause": str(err)})
        return found

    def directory(self, ref: PriorRef) -> Path:
        """The folder of `ref`. Raises UnknownPrior when there is none, or its content is not the one asked for."""
        entry = find(self, ref)
        return self.root / str(entry.ref.namespace) / entry.ref.name

    def composition(self, ref: PriorRef) -> Path:
        """The folder of the composition that `ref` names, wherever it says composition.json. Raises UnknownPrior."""
        places = sorted(self.root.glob(f"{ref.namespace or '*'}/{ref.name}/composition.json"))
        if len(places) != 1:
            cause = "is in several namespaces" if places else "is not here"
            raise UnknownPrior(f"composition {ref.repo!r} {cause}. Name one of this library.")
        return places[0].parent

    def _entry(self, path: Path) -> Entry:
        stat = path.stat()
        stamp = (stat.st_mtime_ns, stat.st_size)
        known = self._read.get(path)
        if known is None or known[0] != stamp:
            manifest = read_manifest(path.parent)
            ref = PriorRef.parse(f"{path.parent.parent.name}/{path.parent.name}").pinned(manifest.identity())
            known = self._read[path] = (stamp, Entry(ref, manifest))
        return known[1]


def find(library: Library, ref: PriorRef | str) -> Entry:
    """The entry `ref` names: by content where a hash is given, otherwise by name. Raises UnknownPrior with near names.

    A content hash may be found under another name (a renamed or copied prior is the same prior); the name asked for is
    preferred. A name without namespace must be unique. Raises NotAllowed for a name that is there, but not for us.
    """
    ref = PriorRef.parse(ref)
    entries = library.entries()
    named = [
        entry
        for entry in entries
        if entry.ref.name == ref.name and (ref.namespace is None or entry.ref.namespace == ref.namespace)
    ]
    if ref.sha256 is not None:
        same = [entry for entry in (*named, *entries) if ref.matches(f"sha256:{entry.ref.sha256}")]
        if same:
            return same[0]
        if named:
            raise UnknownPrior(f"{ref.repo} here is {named[0].ref.identity}, not {ref.identity}. Pull that version.")
    elif len(named) == 1:
        return named[0]
    elif named:
        raise UnknownPrior(f"{ref.name!r} is in several namespaces. Say which: {', '.join(e.ref.repo for e in named)}.")
    if ref.repo in getattr(library, "withheld", ()):
        raise NotAllowed(f"the files of {ref.repo} are gated, or held back. Its page says which, and how to ask.")
    repos = [entry.ref.repo for entry in entries]
    near = get_close_matches(ref.repo, repos, n=3, cutoff=0.4)
    hint = (
        f"Nearest: {', '.join(near)}."
        if near
        else f"The library has {len(repos)} priors; list them with `priorhub search`."
    )
    raise UnknownPrior(f"no prior is called {ref.repo!r}. {hint}")


def resolver(library: Library) -> Callable[[PriorRef], PriorManifest]:
    """The manifest a reference names, as `composer.check.check` asks for it.

    A version that the library no longer lists is fetched by its hash, so an old lock stays readable.
    """

    def resolve(ref: PriorRef) -> PriorManifest:
        try:
            return find(library, ref).manifest
        except UnknownPrior:
            if ref.sha256 is None:
                raise
            return read_manifest(library.directory(ref))

    return resolve
