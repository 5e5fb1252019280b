"""The feature cache: what frozen priors say about a column, computed once and shared by everybody who asks again.

root/<node hash>/<data hash>.npy      one array (n, D) float32; named by what it is, so it is never out of date
root/<node hash>/<data hash>.npz      the same of some rows: `rows` (m,) ascending, `values` (m, D), until all are known
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import logging
import os
import time
import uuid
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from tokenize import TokenError
from typing import IO, Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from priors.errors import BadTable, UserError

Features = NDArray[np.float32]
Compute = Callable[[Sequence[str]], Mapping[str, Features]]
Rows = NDArray[np.int64]
ComputeRows = Callable[[Sequence[str], Rows], Mapping[str, Features]]

logger = logging.getLogger(__name__)
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, None})
"""None: what numpy raises when fewer bytes were written than it asked for."""
DEFAULT_BYTES = 4 << 30
_UNITS = {"": 0, "K": 10, "M": 20, "G": 30, "T": 40}

STALE_SECONDS = 24 * 3600
"""A file still being written after so long was left by a process that was killed."""


class FeatureCache:
    """Arrays on disk by (node, data). Safe beside other processes and kill -9; what was not read for longest leaves
    when it grows too large.

    max_bytes  how large; what PRIORHUB_FEATURES_MAX says (bytes, or 500M, 20G), else 4 GiB
    """

    def __init__(self, root: Path | str, *, max_bytes: int | None = None) -> None:
        self.root = Path(root)
        self.max_bytes = _limit() if max_bytes is None else max_bytes

    @classmethod
    def of(cls, given: FeatureCache | Path | str | None) -> FeatureCache:
        """The cache given, or the one in that folder, or the user's in PRIORHUB_CACHE (~/.cache/priorhub)."""
        if isinstance(given, FeatureCache):
            return given
        home = os.environ.get("PRIORHUB_CACHE") or Path.home() / ".cache" / "priorhub"
        return cls(given if given is not None else Path(home) / "features")

    def get(self, nodes: Sequence[str], data: str, compute: Compute) -> dict[str, Features]:
        """{node: (n, D)} for every node hash, on the data with hash `data`; `compute` is asked for what is missing,
        all at once.

        Two processes that want the same thing at once: one computes, the other waits for it. Arrays may be read-only
        maps of their files.
        """
        wanted = dict.fromkeys(nodes)
        found = self._known(wanted, data)
        if len(found) < len(wanted):
            with self._locked(data):
                found |= self._known([node for node in wanted if node not in found], data)  # somebody may be first
                missing = [node for node in wanted if node not in found]
                for node, array in (compute(missing) if missing else {}).items():
                    self._write(node, data, array)
                    found[node] = array
            self._evict()
        return found

    def get_rows(
        self, nodes: Sequence[str], data: str, rows: Rows, count: int, compute: ComputeRows
    ) -> dict[str, Features]:
        """{node: (m, ...)} for the `rows` (m,), ascending, of data that has `count`; `compute` is asked for what is
        missing, at once for all nodes that lack the same rows.

        No row of a node is computed twice: parts are kept, and joined to the whole when it is complete.
        """
        wanted = dict.fromkeys(nodes)
        held = {node: self._part(node, data, count) for node in wanted}
        if any(_lacks(part, rows).size for part in held.values()):
            with self._locked(data):
                held = {node: self._part(node, data, count) for node in wanted}  # somebody may be first
                lacking: dict[bytes, list[str]] = {}
                for node, part in held.items():
                    lacks = _lacks(part, rows)
                    if lacks.size:
                        lacking.setdefault(lacks.tobytes(), []).append(node)
                for key, some in lacking.items():
                    lacks = np.frombuffer(key, dtype=np.int64)
                    for node, values in compute(some, lacks).items():
                        held[node] = self._join(node, data, held[node], (lacks, values), count)
            self._evict()
        return {
            node: values if len(known) == len(rows) else values[np.searchsorted(known, rows)]
            for node, (known, values) in held.items()
        }

    def _part(self, node: str, data: str, count: int) -> tuple[Rows, Features]:
        """The rows that are known, and their values."""
        whole = self._read(node, data)
        if whole is not None:
            return np.arange(count), whole
        path = self._path(node, data).with_suffix(".npz")
        try:
            with np.load(path, allow_pickle=False) as file:
                rows, values = file["rows"], file["values"]
            if len(rows) != len(values):
                raise ValueError("cut short")
        except FileNotFoundError:
            return _NONE
        except (ValueError, EOFError, KeyError, SyntaxError, TokenError, OSError, BadZipFile, zlib.error):
            path.unlink(missing_ok=True)
            return _NONE
        with suppress(OSError):
            os.utime(path)
        return rows, values

    def _join(
        self, node: str, data: str, known: tuple[Rows, Features], fresh: tuple[Rows, Features], count: int
    ) -> tuple[Rows, Features]:
        """Both parts in one, on disk."""
        rows = np.concatenate([known[0], fresh[0]])
        values = np.concatenate([known[1], fresh[1]]) if len(known[0]) else np.asarray(fresh[1], dtype=np.float32)
        order = np.argsort(rows)
        rows, values = rows[order], values[order]
        part = self._path(node, data).with_suffix(".npz")
        if len(rows) == count:
            self._write(node, data, values)
            part.unlink(missing_ok=True)
        else:
            self._place(part, lambda file: np.savez(file, rows=rows, values=values))
        return rows, values

    def _known(self, nodes: Iterable[str], data: str) -> dict[str, Features]:
        return {node: array for node in nodes if (array := self._read(node, data)) is not None}

    def _path(self, node: str, data: str) -> Path:
        return self.root / node[:64] / f"{data[:64]}.npy"

    def _read(self, node: str, data: str) -> Features | None:
        path = self._path(node, data)
        try:
            array: Features = np.load(path, mmap_mode="r", allow_pickle=False)
        except FileNotFoundError:
            return None
        except (ValueError, EOFError, SyntaxError, TokenError, OSError):
            # Empty, cut short or not what we write, down to numpy's parser of headers: a disk gone wrong.
            path.unlink(missing_ok=True)
            return None
        with suppress(OSError):  # evicted a moment ago, or a cache that may only be read
            os.utime(path)  # the oldest leave first, by when they were last read
        return array

    def _write(self, node: str, data: str, array: Features) -> None:
        plain = np.ascontiguousarray(array, dtype=np.float32)
        self._place(self._path(node, data), lambda file: np.save(file, plain, allow_pickle=False))

    def _place(self, path: Path, write: Callable[[IO[bytes]], None]) -> None:
        """The file appears whole or not at all; where the disk is full, what would be in it is computed again."""
        temporary = path.with_name(f".{uuid.uuid4().hex}.tmp")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                with temporary.open("wb") as file:
                    write(file)
                temporary.replace(path)
            finally:
                temporary.unlink(missing_ok=True)
        except OSError as error:
            if error.errno not in _FULL:
                raise
            logger.warning("features not kept: the disk is full", extra={"path": str(path)})

    @contextmanager
    def _locked(self, data: str) -> Iterator[None]:
        """One computation a data set at a time; the lock goes with its process, however that ends."""
        locks = self.root / "locks"
        locks.mkdir(parents=True, exist_ok=True)
        with (locks / f"{data[:2]}.lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _evict(self) -> None:
        """Removes what was not read for longest until `max_bytes` hold the rest."""
        files = []
        for path in self.root.glob("*/*"):
            with suppress(FileNotFoundError):
                stat = path.stat()
                if path.suffix in (".npy", ".npz"):
                    files.append((stat.st_mtime_ns, stat.st_size, path))
                elif path.suffix == ".tmp" and time.time() - stat.st_mtime > STALE_SECONDS:
                    path.unlink()
        excess = sum(size for _, size, _ in files) - self.max_bytes
        for _, size, path in sorted(files):
            if excess <= 0:
                return
            path.unlink(missing_ok=True)  # readers keep their map until they close it
            excess -= size


_NONE: tuple[Rows, Features] = (np.empty(0, dtype=np.int64), np.empty((0, 0), dtype=np.float32))


def _lacks(part: tuple[Rows, Features], rows: Rows) -> Rows:
    return np.setdiff1d(rows, part[0], assume_unique=True)


def _limit() -> int:
    said = os.environ.get("PRIORHUB_FEATURES_MAX", "").strip()
    if not said:
        return DEFAULT_BYTES
    number, unit = (said[:-1], said[-1].upper()) if said[-1].upper() in _UNITS else (said, "")
    if not number.isdecimal():
        raise UserError(f"PRIORHUB_FEATURES_MAX is {said!r}. Give a number of bytes, or one like 500M or 20G.")
    return int(number) << _UNITS[unit]


def data_hash(columns: Mapping[str, Sequence[Any]]) -> str:
    """sha256 in hex over the values of columns: numbers and strings by value, files by their bytes.

    Raises BadTable for a file that cannot be read.
    """
    digest = hashlib.sha256()
    for name in sorted(columns):
        values = columns[name]
        digest.update(f"column {len(values)}\n".encode())
        if isinstance(values, np.ndarray):
            digest.update(f"{values.dtype} {values.shape}\n".encode())
            digest.update(np.ascontiguousarray(values).tobytes())
            continue
        for value in values:
            is_file = isinstance(value, Path)
            content = _file_digest(value) if is_file else _content(value)
            digest.update((b"f" if is_file else b"v") + len(content).to_bytes(8, "little") + content)
    return digest.hexdigest()


def _content(value: Any) -> bytes:
    if isinstance(value, np.ndarray):  # a series; printed, a long one is cut short
        return f"{value.dtype} {value.shape} ".encode() + np.ascontiguousarray(value).tobytes()
    return str(value).encode("utf-8", "surrogatepass")


def _file_digest(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError as error:
        raise BadTable(f"{path} cannot be read ({error.strerror}). Put the file back, or drop its row.") from error
