"""Pulled files on this machine: bytes by their hash, commits as folders of links to them.

    <root>/blobs/<sha256>                      read-only; in place only after its hash was computed from disk
    <root>/snapshots/<ns>/<name>/<commit>/…    hard links (copies where the disk has none), renamed into place complete
    <root>/refs/<ns>/<name>/<rev>              the commit a revision last meant, for work without the hub
    <root>/manifests/<hash>.json               prior.json by content, so that listing a catalogue twice asks once
    <root>/tmp/                                what is being written; leftovers of killed processes go after a day

Any number of processes may share a root. Whatever is written goes to tmp/, is fsynced and renamed, so a reader sees the
whole thing or nothing; a lock a blob only keeps two processes from fetching the same bytes twice, and the kernel drops
it with the process that held it. `PRIORHUB_CACHE` moves the root from `~/.cache/priorhub`.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from priors.client.paths import safe_commit, safe_path, safe_paths, safe_sha256, split_repo
from priors.client.records import Tree
from priors.errors import HubError, StorageFull, UserError

STALE_SECONDS = 24 * 3600.0
_READ_ONLY = 0o444


class Cache:
    """The cache below `root` (default: PRIORHUB_CACHE, else `~/.cache/priorhub`). Creates it on first write."""

    def __init__(self, root: str | Path | None = None) -> None:
        named = root or os.environ.get("PRIORHUB_CACHE")
        self.root = Path(named).expanduser() if named else Path.home() / ".cache" / "priorhub"

    # ---- blobs

    def blob(self, sha256: str) -> Path:
        """Where a blob is or will be."""
        return self.root / "blobs" / safe_sha256(sha256)

    def has(self, sha256: str, size: int) -> bool:
        """Whether the blob is here and its bytes still have this size and hash. A damaged one is removed."""
        path = self.blob(sha256)
        try:
            intact = path.stat().st_size == size and file_sha256(path) == sha256
        except FileNotFoundError:
            return False
        if not intact:
            path.unlink(missing_ok=True)
        return intact

    def add(self, sha256: str, size: int, fill: Callable[[Path], None]) -> Path:
        """The blob's path, after `fill(path)` wrote its bytes if they were not here.

        The bytes are hashed from the disk before they are placed; others than promised raise HubError and are removed.
        """
        place = self.blob(sha256)
        with self._only_one(sha256):
            if self.has(sha256, size):
                return place
            with self._fresh_file() as fresh:
                fill(fresh)
                found_size, found = fresh.stat().st_size, file_sha256(fresh)
                if (found_size, found) != (size, sha256):
                    raise HubError(
                        f"what arrived has {found_size:,} bytes and sha256 {found[:12]}, promised were {size:,} and "
                        f"{sha256[:12]}. Nothing was kept; try again, and tell the hub's operator if it persists."
                    )
                _place(fresh, place, mode=_READ_ONLY)
        return place

    # ---- commits

    def snapshot(self, repo: str, tree: Tree) -> Path:
        """The folder of this commit, made from blobs that are all here; an incomplete or altered one is made anew."""
        namespace, name = split_repo(repo)
        safe_paths(file.path for file in tree.files)
        place = self.root / "snapshots" / namespace / name / safe_commit(tree.commit)
        if not _is_intact(place, tree):
            fresh = Path(tempfile.mkdtemp(dir=self._folder("tmp"), prefix="tree."))
            try:
                for file in tree.files:
                    _link(self.blob(file.sha256), fresh / file.path)
                fresh.chmod(0o755)
                self._swap(fresh, place, tree)
            finally:
                shutil.rmtree(fresh, ignore_errors=True)
        return place

    def remember(self, repo: str, rev: str, commit: str) -> None:
        """Notes what `rev` meant, so that it can be found again without the hub."""
        namespace, name = split_repo(repo)
        place = self.root / "refs" / namespace / name / safe_path(rev)
        with suppress(OSError):  # branches `a` and `a/b` cannot both be files; online neither is needed
            self._write(place, safe_commit(commit).encode())

    def recall(self, repo: str, rev: str) -> Path | None:
        """The folder of the commit `rev` last meant, None when it was never pulled."""
        namespace, name = split_repo(repo)
        note = self.root / "refs" / namespace / name / safe_path(rev)
        commit = note.read_text(encoding="utf-8") if note.is_file() else rev
        place = self.root / "snapshots" / namespace / name / safe_path(commit)
        return place if place.is_dir() else None

    def snapshots(self) -> Iterator[tuple[str, Path]]:
        """Every pulled commit as (namespace/name, folder)."""
        for folder in sorted((self.root / "snapshots").glob("*/*/*")):
            if folder.is_dir():
                yield f"{folder.parent.parent.name}/{folder.parent.name}", folder

    # ---- manifests

    def manifest(self, key: str) -> bytes | None:
        """prior.json noted under `key` (hex), None when it is not here."""
        try:
            return (self.root / "manifests" / f"{safe_sha256(key)}.json").read_bytes()
        except FileNotFoundError:
            return None

    def keep_manifest(self, key: str, content: bytes) -> None:
        self._write(self.root / "manifests" / f"{safe_sha256(key)}.json", content)

    # ---- writing

    def _folder(self, name: str) -> Path:
        path = self.root / name
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _translated(error, path) from error
        return path

    def _write(self, place: Path, content: bytes) -> None:
        with self._fresh_file() as fresh:
            fresh.write_bytes(content)
            _place(fresh, place, mode=0o644)

    @contextmanager
    def _fresh_file(self) -> Iterator[Path]:
        """A new file in tmp/ that is gone afterwards unless it was renamed. A full disk is a StorageFull."""
        tmp = self._folder("tmp")
        self._sweep(tmp)
        try:
            handle, name = tempfile.mkstemp(dir=tmp, prefix="blob.")
            os.close(handle)
        except OSError as error:
            raise _translated(error, tmp) from error
        try:
            yield Path(name)
        except OSError as error:
            raise _translated(error, Path(name)) from error
        finally:
            Path(name).unlink(missing_ok=True)

    def _sweep(self, tmp: Path) -> None:
        horizon = time.time() - STALE_SECONDS
        for left in tmp.iterdir():
            with suppress(FileNotFoundError):  # another process sweeps too
                if left.stat().st_mtime < horizon:
                    shutil.rmtree(left, ignore_errors=True) if left.is_dir() else left.unlink()

    @contextmanager
    def _only_one(self, sha256: str) -> Iterator[None]:
        """Holds the blob's lock. Where there are no locks two processes may both fetch: slower, still correct."""
        try:
            import fcntl  # POSIX only
        except ImportError:
            yield
            return
        with (self._folder("locks") / sha256).open("w") as lock:
            with suppress(OSError):
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield  # closing the file drops the lock

    def _swap(self, fresh: Path, place: Path, tree: Tree) -> None:
        """Puts a complete folder in place. Another process's complete one stays; a damaged one is moved out first."""
        place.parent.mkdir(parents=True, exist_ok=True)
        for _ in range(10):
            try:
                fresh.rename(place)
                return
            except OSError as error:
                if not place.exists():
                    raise _translated(error, place) from error
            if _is_intact(place, tree):
                return
            out = Path(tempfile.mkdtemp(dir=self._folder("tmp"), prefix="out."))
            with suppress(FileNotFoundError):  # another process moved it out, or put its own complete one in
                place.rename(out / "old")
            shutil.rmtree(out, ignore_errors=True)
        raise HubError(f"{place} keeps changing under this process. Wait for the others, then try again.")


def file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _is_intact(place: Path, tree: Tree) -> bool:
    """Every file of the commit is there with its bytes. Links are not followed: a link is not what was put there."""
    if not place.is_dir():
        return False
    for file in tree.files:
        path = place / file.path
        if path.is_symlink() or not path.is_file() or path.stat().st_size != file.size:
            return False
        if file_sha256(path) != file.sha256:
            return False
    return True


def _link(blob: Path, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        path.hardlink_to(blob)
    except OSError:
        shutil.copyfile(blob, path)


def _place(fresh: Path, place: Path, *, mode: int) -> None:
    with fresh.open("rb") as file:
        os.fsync(file.fileno())
    fresh.chmod(mode)
    place.parent.mkdir(parents=True, exist_ok=True)
    fresh.replace(place)


def _translated(error: OSError, path: Path) -> UserError:
    import errno

    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return StorageFull(f"the disk of {path.parent} is full. Free some, or move the cache with PRIORHUB_CACHE.")
    return HubError(f"{path} cannot be written: {error.strerror or error}. Check its rights, or set PRIORHUB_CACHE.")
