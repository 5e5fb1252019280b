"""Pulled files on this machine: bytes by their hash, commits as folders of links to them.

    <root>/blobs/<sha256>                      read-only; in place only after its hash was computed from disk
    <root>/snapshots/<ns>/<name>/<commit>/…    hard links (copies where the disk has none), renamed into place complete
    <root>/refs/<ns>/<name>/<rev>              the commit a revision last meant, for work without the hub
    <root>/trees/<ns>/<name>/<commit>.json     the files a commit has, so that a snapshot is checked without the hub too
    <root>/manifests/<hash>.json               prior.json by content, so that listing a catalogue twice asks once
    <root>/history/<hash of the hub>.json      what a hub measured, with its ETag
    <root>/tmp/                                what is being written; `<sha256>.part` with `.done` is a large blob that
                                               the next pull goes on with; leftovers of killed processes go after a day

Any number of processes may share a root. Whatever is written goes to tmp/, is fsynced and renamed, so a reader sees the
whole thing or nothing; a lock a blob only keeps two processes from fetching the same bytes twice, and the kernel drops
it with the process that held it. A root that cannot be written to serves what it holds. `PRIORHUB_CACHE` moves the root
from `~/.cache/priorhub`.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from priors.client._draft import Draft
from priors.client.paths import TYPES, folder_of, safe_commit, safe_path, safe_paths, safe_sha256
from priors.client.records import Tree
from priors.errors import HubError, HubUnreachable, StorageFull, UserError

STALE_SECONDS = 24 * 3600.0
_READ_ONLY = 0o444


@dataclass(frozen=True)
class Audit:
    """What re-hashing the cache found: how much is here, and which of it is not what it was."""

    blobs: int
    snapshots: int
    size_bytes: int
    damaged: tuple[str, ...]


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
        """Whether the blob is here, no link, and its bytes still have this size and hash."""
        return _is_file_with(self.blob(sha256), size, sha256)

    def add(self, sha256: str, size: int, fill: Callable[[Draft], None], *, keep: bool = False) -> Path:
        """The blob's path, after `fill(draft)` wrote its bytes if they were not here.

        keep  what arrived before this process died, or could not go on, is there for the next one

        The bytes are hashed from the disk before they are placed; others than promised raise HubError and are removed.
        """
        place = self.blob(sha256)
        if self.has(sha256, size):
            return place
        with self._only_one(sha256) as alone:
            if self.has(sha256, size):
                return place
            with self._draft(sha256, size, kept=keep and alone) as draft:
                fill(draft)
                found = file_sha256(draft.path)
                if found != sha256 and draft.resumed:  # a power cut loses bytes that were noted as arrived
                    draft.begin_again()
                    fill(draft)
                    found = file_sha256(draft.path)
                if found != sha256:
                    raise HubError(
                        f"what arrived has sha256 {found[:12]}, promised was {sha256[:12]} with {size:,} bytes. "
                        "Nothing was kept; try again, and tell the hub's operator if it persists."
                    )
                _place(draft.path, place, mode=_READ_ONLY)
        return place

    # ---- commits

    def snapshot(self, repo: str, tree: Tree) -> Path:
        """The folder of this commit, made from blobs that are all here; an incomplete or altered one is made anew."""
        safe_paths(file.path for file in tree.files)
        place = folder_of(self.root / "snapshots", repo) / safe_commit(tree.commit)
        if not _is_intact(place, tree):
            try:
                fresh = Path(tempfile.mkdtemp(dir=self._folder("tmp"), prefix="tree."))
            except OSError as error:
                raise _translated(error, place) from error
            try:
                for file in tree.files:
                    _link(self.blob(file.sha256), fresh / file.path)
                fresh.chmod(0o755)
                self._swap(fresh, place, tree)
            finally:
                shutil.rmtree(fresh, ignore_errors=True)
        return place

    def remember(self, repo: str, rev: str, tree: Tree) -> None:
        """Notes what `rev` meant and which files that has, so that both can be found again without the hub."""
        content = {"commit": tree.commit, "files": [vars(file) for file in tree.files]}
        with suppress(OSError, HubError, StorageFull):  # a note less: online nobody needs it
            self._note(self._tree_note(repo, tree.commit), json.dumps(content, sort_keys=True).encode())
            self._note(folder_of(self.root / "refs", repo) / safe_path(rev), safe_commit(tree.commit).encode())

    def recall(self, repo: str, rev: str) -> Path | None:
        """The folder of the commit `rev` last meant, every file checked; None when it was never pulled.

        Raises HubError where its bytes are no longer what they were.
        """
        note = folder_of(self.root / "refs", repo) / safe_path(rev)
        commit = note.read_text(encoding="utf-8") if note.is_file() else rev
        try:
            tree = Tree.read(json.loads(self._tree_note(repo, commit).read_bytes()))
        except (OSError, ValueError, HubError):
            return None
        place = folder_of(self.root / "snapshots", repo) / safe_commit(commit)
        if _is_intact(place, tree):
            return place
        if all(self.has(file.sha256, file.size) for file in tree.files):
            return self.snapshot(repo, tree)
        raise HubError(f"{repo} at {rev} is damaged in the cache at {self.root}, and the hub is away. Pull it again.")

    def snapshots(self) -> Iterator[tuple[str, Path]]:
        """Every pulled commit as (namespace/name or datasets/namespace/name, folder)."""
        root = self.root / "snapshots"
        typed = [folder for prefix in TYPES for folder in root.glob(f"{prefix}/*/*/*")]
        bare = [folder for folder in root.glob("*/*/*") if folder.parent.parent.name not in TYPES]
        for folder in sorted(bare + typed):
            if folder.is_dir():
                yield folder.parent.relative_to(root).as_posix(), folder

    # ---- manifests

    def manifest(self, key: str) -> bytes | None:
        """prior.json noted under `key` (hex), None when it is not here."""
        try:
            return (self.root / "manifests" / f"{safe_sha256(key)}.json").read_bytes()
        except FileNotFoundError:
            return None

    def keep_manifest(self, key: str, content: bytes) -> None:
        self._write(self.root / "manifests" / f"{safe_sha256(key)}.json", content)

    # ---- history

    def history(self, key: str) -> bytes | None:
        """What was noted of the hub under `key` (hex), None when it is not here."""
        try:
            return (self.root / "history" / f"{safe_sha256(key)}.json").read_bytes()
        except FileNotFoundError:
            return None

    def keep_history(self, key: str, content: bytes) -> None:
        self._write(self.root / "history" / f"{safe_sha256(key)}.json", content)

    # ---- looking after

    def audit(self) -> Audit:
        """Hashes every blob and compares every snapshot with what its commit had. Changes nothing."""
        blobs = snapshots = size = 0
        damaged = []
        for path in sorted((self.root / "blobs").glob("*")):
            blobs, size = blobs + 1, size + path.lstat().st_size
            if not _is_file_with(path, path.lstat().st_size, path.name):
                damaged.append(f"blobs/{path.name}")
        for repo, folder in self.snapshots():
            snapshots += 1
            try:
                tree = Tree.read(json.loads(self._tree_note(repo, folder.name).read_bytes()))
            except (OSError, ValueError, HubError):
                damaged.append(f"snapshots/{repo}/{folder.name} (its list of files is missing)")
                continue
            damaged += [
                f"snapshots/{repo}/{folder.name}/{file.path}"
                for file in tree.files
                if not _is_file_with(folder / file.path, file.size, file.sha256)
            ]
        return Audit(blobs, snapshots, size, tuple(damaged))

    # ---- writing

    def _tree_note(self, repo: str, commit: str) -> Path:
        return folder_of(self.root / "trees", repo) / f"{safe_path(commit)}.json"

    def _note(self, place: Path, content: bytes) -> None:
        if not place.is_file() or place.read_bytes() != content:
            self._write(place, content)

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

    @contextmanager
    def _draft(self, sha256: str, size: int, *, kept: bool) -> Iterator[Draft]:
        """A draft that is gone afterwards, unless it is `kept` and the hub or the disk was what failed."""
        if not kept:
            with self._fresh_file() as fresh:
                yield (draft := Draft(fresh, size))
                draft.close()
            return
        tmp = self._folder("tmp")
        self._sweep(tmp)
        path = tmp / f"{sha256}.part"
        try:
            draft = Draft(path, size, kept=True)
        except OSError as error:
            raise _translated(error, path) from error
        try:
            yield draft
        except HubUnreachable:
            raise
        except OSError as error:
            raise _translated(error, path) from error
        except UserError:
            draft.forget()
            raise
        else:
            draft.forget()
        finally:
            draft.close()

    def _sweep(self, tmp: Path) -> None:
        horizon = time.time() - STALE_SECONDS
        for left in tmp.iterdir():
            with suppress(FileNotFoundError):  # another process sweeps too
                if left.stat().st_mtime < horizon:
                    shutil.rmtree(left, ignore_errors=True) if left.is_dir() else left.unlink()

    @contextmanager
    def _only_one(self, sha256: str) -> Iterator[bool]:
        """Holds the blob's lock; whether it does. Without locks two processes may both fetch: slower, still correct."""
        try:
            import fcntl  # POSIX only
        except ImportError:
            yield False
            return
        path = self._folder("locks") / sha256
        try:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise _translated(error, path) from error
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX)
                alone = True
            except OSError:  # network file systems have none
                alone = False
            yield alone
        finally:
            os.close(handle)  # drops the lock

    def _swap(self, fresh: Path, place: Path, tree: Tree) -> None:
        """Puts a complete folder in place. Another process's complete one stays; a damaged one is moved out first."""
        place.parent.mkdir(parents=True, exist_ok=True)
        for _ in range(10):
            try:
                fresh.rename(place)
                return
            except OSError as error:
                if error.errno not in _TAKEN:  # by its number: what is in the way may be gone by now
                    raise _translated(error, place) from error
            if _is_intact(place, tree):
                return
            out = Path(tempfile.mkdtemp(dir=self._folder("tmp"), prefix="out."))
            with suppress(FileNotFoundError):  # another process moved it out, or put its own complete one in
                place.rename(out / "old")
            shutil.rmtree(out, ignore_errors=True)
        raise HubError(f"{place} keeps changing under this process. Wait for the others, then try again.")


_TAKEN = {errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR, errno.EISDIR}


def file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _is_intact(place: Path, tree: Tree) -> bool:
    """Every file of the commit is there with its bytes."""
    if not place.is_dir() or place.is_symlink():
        return False
    return all(_is_file_with(place / file.path, file.size, file.sha256) for file in tree.files)


def _is_file_with(path: Path, size: int, sha256: str) -> bool:
    """Whether a plain file with these bytes is there. Links are not followed: a link is not what was put there."""
    try:
        found = path.lstat()
        return stat.S_ISREG(found.st_mode) and found.st_size == size and file_sha256(path) == sha256
    except (FileNotFoundError, NotADirectoryError):
        return False


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
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return StorageFull(f"the disk of {path.parent} is full. Free some, or move the cache with PRIORHUB_CACHE.")
    return HubError(f"{path} cannot be written: {error.strerror or error}. Check its rights, or set PRIORHUB_CACHE.")
