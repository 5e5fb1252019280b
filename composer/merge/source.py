"""Where weights come from: named tensors of known shape, read a block at a time.

`Checkpoint` is files; `Derived` is what other weights become, so that merges of merges need no file in between.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from priors.errors import BadWeights, UnknownPrior
from priors.weights import MAX_HEADER, WEIGHTS, check_header

BYTES = {
    "BOOL": 1, "U8": 1, "I8": 1, "F8_E5M2": 1, "F8_E4M3": 1, "I16": 2, "U16": 2, "F16": 2, "BF16": 2,
    "I32": 4, "U32": 4, "F32": 4, "I64": 8, "U64": 8, "F64": 8,
}  # fmt: skip
INDEX = f"{WEIGHTS}.index.json"
MAX_FILES = 1_000
MAX_CONFIG = 1 << 20


@dataclass(frozen=True)
class Info:
    """What a header says of a tensor."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """The number of elements."""
        return math.prod(self.shape)

    @property
    def item(self) -> int:
        """Bytes of one element."""
        return BYTES[self.dtype]

    @property
    def bytes(self) -> int:
        return self.size * self.item

    def __str__(self) -> str:
        return f"{list(self.shape)} {self.dtype}"


class Source(Protocol):
    """Named tensors. `label` is what messages call them."""

    @property
    def label(self) -> str: ...

    @property
    def tensors(self) -> Mapping[str, Info]: ...

    def read(self, name: str, first: int, into: memoryview) -> None:
        """Fills `into` with the bytes of a tensor from element `first` on. Raises BadWeights."""


@dataclass(frozen=True)
class Output:
    """A tensor that is made when asked for: `blocks()` gives its bytes in order, each block valid until the next."""

    info: Info
    blocks: Callable[[], Iterator[memoryview]]


class Derived:
    """Outputs as a source. Holds the one tensor that was read last."""

    def __init__(self, label: str, outputs: Mapping[str, Output]) -> None:
        self.label = label
        self.outputs = outputs
        self.tensors: Mapping[str, Info] = {name: output.info for name, output in outputs.items()}
        self._held: tuple[str, bytearray] | None = None

    def read(self, name: str, first: int, into: memoryview) -> None:
        if self._held is None or self._held[0] != name:
            self._held = None
            made = bytearray(self.tensors[name].bytes)
            at = 0
            for block in self.outputs[name].blocks():
                made[at : at + len(block)] = block
                at += len(block)
            self._held = (name, made)
        at = first * self.tensors[name].item
        into[:] = self._held[1][at : at + len(into)]


class Checkpoint:
    """The safetensors files of a folder, or one file; every header is checked before anything else is read.

    A folder has model.safetensors, or an index with shards, or files that are its only safetensors. `directory` is the
    folder, `config` its config.json. Raises BadWeights for what `priors.weights.check_header` refuses, for an index
    that does not fit its shards, and for a name in two files.
    """

    def __init__(self, path: Path | str) -> None:
        path = Path(path)
        self.label = str(path)
        self.directory = path if path.is_dir() else path.parent
        self.files = tuple(_files(path))
        found: dict[str, tuple[int, int]] = {}
        tensors: dict[str, Info] = {}
        digest = hashlib.sha256()
        self._open: list[int] = []
        for number, file in enumerate(self.files):
            header = check_header(file)
            for name, info in header.tensors.items():
                if name in tensors:
                    raise BadWeights(f"{self.label}: tensor {name} is in two files. Keep one of them.")
                tensors[name] = Info(info.dtype, info.shape)
                found[name] = (number, header.data_start + info.begin)
            digest.update(f"{file.name}\0{file.stat().st_size}\0{header}".encode())
        self.tensors: Mapping[str, Info] = tensors
        self._at = found
        self.header_digest = f"sha256:{digest.hexdigest()}"
        self.config = _json(self.directory / "config.json")

    def read(self, name: str, first: int, into: memoryview) -> None:
        number, at = self._at[name]
        at += first * self.tensors[name].item
        done = 0
        while done < len(into):
            got = os.preadv(self._descriptor(number), [into[done:]], at + done)
            if not got:
                raise BadWeights(f"{self.files[number]} ends within tensor {name}: it was changed. Fetch it again.")
            done += got

    def _descriptor(self, number: int) -> int:
        if not self._open:
            self._open = [-1] * len(self.files)
        if self._open[number] < 0:
            self._open[number] = descriptor = os.open(self.files[number], os.O_RDONLY | os.O_CLOEXEC)
            if hasattr(os, "posix_fadvise"):
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_SEQUENTIAL)
        return self._open[number]

    def close(self) -> None:
        """Closes the files. They are opened again when something is read."""
        opened, self._open = self._open, []
        for descriptor in opened:
            if descriptor >= 0:
                with suppress(OSError):
                    os.close(descriptor)

    def __del__(self) -> None:
        if getattr(self, "_open", None):
            self.close()


def copied(source: Source, name: str) -> Output:
    """A tensor as it is."""
    info = source.tensors[name]

    def blocks() -> Iterator[memoryview]:
        step = max(1, (1 << 18) // info.item)
        buffer = memoryview(bytearray(step * info.item))
        for first in range(0, info.size, step):
            block = buffer[: min(step, info.size - first) * info.item]
            source.read(name, first, block)
            yield block

    return Output(info, blocks)


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise UnknownPrior(f"{path} is neither a folder nor a safetensors file. Give the path of a checkpoint.")
    if (path / INDEX).is_file():
        return _indexed(path)
    whole = path / WEIGHTS
    found = [whole] if whole.is_file() else sorted(path.glob("*.safetensors"))
    if not found:
        raise BadWeights(f"{path} holds no safetensors file. Convert its weights first.")
    if len(found) > MAX_FILES:
        raise BadWeights(f"{path} holds {len(found):,} safetensors files, the limit is {MAX_FILES:,}. Join them.")
    return found


def _indexed(path: Path) -> list[Path]:
    named = _json(path / INDEX, MAX_HEADER).get("weight_map")
    if not isinstance(named, dict) or not all(isinstance(name, str) for name in named.values()):
        raise BadWeights(f"{path / INDEX} has no weight_map of tensor names to files. Write the index again.")
    names = sorted(set(named.values()))
    if not names or len(names) > MAX_FILES:
        raise BadWeights(f"{path / INDEX} names {len(names):,} files; 1 to {MAX_FILES:,} are possible.")
    for name in names:
        if "/" in name or "\\" in name or not name.endswith(".safetensors") or not (path / name).is_file():
            raise BadWeights(f"{path / INDEX} names {name[:80]!r}, which is not a safetensors file beside it.")
    held = {tensor: name for name in names for tensor in check_header(path / name).tensors}
    wrong = next((tensor for tensor, name in named.items() if held.get(tensor) != name), None)
    if wrong is not None:
        raise BadWeights(f"{path / INDEX} says tensor {wrong[:80]!r} is in {named[wrong][:80]}; it is not there.")
    return [path / name for name in names]


def _json(path: Path, most: int = MAX_CONFIG) -> dict[str, Any]:
    """The object in a file, empty without one. Raises BadWeights."""
    try:
        with path.open("rb") as file:
            text = file.read(most + 1)
    except FileNotFoundError:
        return {}
    try:
        found = json.loads(text) if len(text) <= most else None
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise BadWeights(f"{path} is not a JSON object of at most {most:,} bytes. Correct it.")
    return found
