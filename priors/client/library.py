"""HubLibrary: a hub's catalogue as a library of priors, with files fetched when they are needed."""

from __future__ import annotations

import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from priors.client._transfer import Report
from priors.client.cache import Cache
from priors.client.hub import Hub
from priors.client.records import Listing
from priors.errors import (
    BadManifest,
    HubError,
    HubUnreachable,
    NotAllowed,
    NotFound,
    UnknownArchitecture,
    UnknownFunction,
    UnknownPrior,
)
from priors.library import Entry, find
from priors.manifest import FILE_NAME, PriorManifest, PriorRef, parse_manifest, read_manifest

logger = logging.getLogger(__name__)
MAX_COMMITS = 50  # how far back a prior that a lock names is looked for once its main branch has moved on


class HubLibrary:
    """The priors of `hub`, pulled into `cache` (the hub's own by default). `hub=None` works from the cache alone.

    The catalogue is asked for once; `refresh()` asks again. Priors this version cannot read (a newer architecture, say)
    are left out with a warning in the log, and those whose files are gated or held back too, as one of them would end
    all work on the others. Safe to share between threads.

    withheld  the names of the latter
    """

    def __init__(
        self, hub: Hub | None = None, cache: Cache | str | Path | None = None, *, report: Report | None = None
    ) -> None:
        if cache is None and hub is not None:
            cache = hub.cache
        self.hub = hub
        self.cache = cache if isinstance(cache, Cache) else Cache(cache)
        self._report = report
        self.withheld: frozenset[str] = frozenset()
        self._entries: list[Entry] | None = None
        self._lock = threading.Lock()

    def entries(self) -> list[Entry]:
        """Every prior of the catalogue, ordered by name. When the hub is away: every prior in the cache."""
        with self._lock:
            if self._entries is None:
                self._entries = self._listed()
            return list(self._entries)

    def refresh(self) -> None:
        """Forgets the catalogue, so that `entries` asks the hub again."""
        with self._lock:
            self._entries = None

    def directory(self, ref: PriorRef | str) -> Path:
        """A folder with the prior's files, fetched if needed and checked. Raises UnknownPrior; HubError when away."""
        ref = PriorRef.parse(ref)
        if ref.sha256 is not None and (place := self.kept(ref)):
            return place
        if self.hub is None:
            raise UnknownPrior(f"{ref} is not in the cache at {self.cache.root}. Name a hub to fetch it from.")
        entry = None
        try:
            entry = find(self, ref)
        except UnknownPrior:
            if ref.sha256 is None or ref.namespace is None:
                raise
        repo = entry.ref.repo if entry else ref.repo
        wanted = entry.ref if entry else ref
        folder = self.hub.pull(repo, self.revision(repo, wanted), report=self._report)
        if entry is not None and not (folder / FILE_NAME).exists():
            # A plain model: the hub derived its manifest, and the repository was not changed for it.
            (folder / FILE_NAME).write_text(entry.manifest.to_json(), encoding="utf-8")
        return folder

    def composition(self, ref: PriorRef) -> Path:
        """The folder of a composition's newest commit, fetched if needed. Raises UnknownPrior; HubError when away."""
        if self.hub is None or ref.namespace is None:
            raise UnknownPrior(f"composition {ref.repo!r} is not in the cache. Name a hub, and its namespace.")
        try:
            folder = self.hub.pull(ref.repo, report=self._report)
        except NotFound as error:
            raise UnknownPrior(f"no composition is called {ref.repo!r}. List them with `priorhub search`.") from error
        if not (folder / "composition.json").is_file():
            raise UnknownPrior(f"{ref.repo} is no composition. Load a prior or a repository with composition.json.")
        return folder

    def kept(self, ref: PriorRef) -> Path | None:
        """A pulled commit with this content, whatever it is called; its weights are verified when they are loaded."""
        for repo, folder in self.cache.snapshots():
            if not (folder / FILE_NAME).is_file():
                continue
            try:
                manifest = read_manifest(folder)
            except (BadManifest, UnknownArchitecture, UnknownFunction):
                continue  # said once, when the catalogue was read
            if ref.matches(manifest.identity()) and all((folder / name).is_file() for name in manifest.files):
                logger.debug("prior from the cache", extra={"ref": str(ref), "repo": repo})
                return folder
        return None

    def revision(self, repo: str, ref: PriorRef) -> str:
        """main while it still is the prior asked for, else the newest commit that was. Raises UnknownPrior."""
        if self.hub is None or ref.sha256 is None:
            return "main"
        if ref.matches(parse_manifest(self.hub.manifest(repo)).identity()):
            return "main"
        for commit in self.hub.commits(repo)[:MAX_COMMITS]:
            oid = str(commit.get("oid"))
            try:
                manifest = parse_manifest(self.hub.manifest(repo, oid))
            except (HubError, BadManifest, UnknownArchitecture, UnknownFunction) as error:
                logger.debug("commit passed over", extra={"repo": repo, "oid": oid, "cause": str(error)})
                continue
            if ref.matches(manifest.identity()):
                return oid
        raise UnknownPrior(
            f"{repo} no longer has {ref.identity} among its last {MAX_COMMITS} commits. Use a newer lock."
        )

    def _listed(self) -> list[Entry]:
        if self.hub is None:
            return self._kept()
        try:
            listings = self.hub.search()
        except HubUnreachable:
            kept = self._kept()
            if not kept:
                raise
            logger.warning("hub away, using the cache", extra={"hub": self.hub.url, "priors": len(kept)})
            return kept
        self.withheld = frozenset(listing.repo for listing in listings if not listing.open)
        with ThreadPoolExecutor(4) as pool:
            entries = pool.map(self._entry, [listing for listing in listings if listing.open])
            found = [entry for entry in entries if entry is not None]
        return sorted(found, key=lambda entry: entry.ref.repo)

    def _entry(self, listing: Listing) -> Entry | None:
        try:
            ref = PriorRef.parse(listing.ref)
            return Entry(ref, self._manifest(listing.repo, ref), listing.created_at)
        except (BadManifest, UnknownArchitecture, UnknownFunction, NotAllowed, NotFound) as error:
            logger.warning("prior left out", extra={"repo": listing.repo, "cause": str(error)})
            return None

    def _manifest(self, repo: str, ref: PriorRef) -> PriorManifest:
        """The manifest with the identity in `ref`: what the listing promises is not taken on trust."""
        if ref.sha256 is None or self.hub is None:
            raise BadManifest(f"the hub lists {repo} without its content hash. Is its version the client's?")
        kept = self.cache.manifest(ref.sha256)
        if kept is not None:
            manifest = parse_manifest(kept)
            if ref.matches(manifest.identity()):
                return manifest
        manifest = parse_manifest(self.hub.manifest(repo))
        if not ref.matches(manifest.identity()):
            raise BadManifest(f"the hub lists {ref} but its manifest is {manifest.identity()}. Ask its operator.")
        self.cache.keep_manifest(ref.sha256, manifest.to_json().encode())
        return manifest

    def _kept(self) -> list[Entry]:
        found: dict[str, Entry] = {}
        for repo, folder in self.cache.snapshots():
            if (folder / FILE_NAME).is_file():
                try:
                    manifest = read_manifest(folder)
                except (BadManifest, UnknownArchitecture, UnknownFunction) as error:
                    logger.warning("prior left out", extra={"repo": repo, "cause": str(error)})
                    continue
                ref = PriorRef.parse(repo).pinned(manifest.identity())
                found[str(ref)] = Entry(ref, manifest)
        return [found[key] for key in sorted(found)]
