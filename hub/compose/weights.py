"""Which tensors of two safetensors files differ: by their headers, and by their bytes where both files are small."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from typing import BinaryIO, Literal

from priors.weights import Header, TensorInfo, check_header

MAX_READ = 16 << 20
"""Of larger files only the headers are read while a page waits."""
_BLOCK = 1 << 20

What = Literal["added", "removed", "shape", "type", "values"]


@dataclass(frozen=True)
class TensorChange:
    """One tensor that is not the same. `before` and `after`: its type and shape, or the beginning of its SHA-256."""

    name: str
    what: What
    before: str
    after: str


@dataclass(frozen=True)
class WeightChanges:
    """`same`: tensors whose bytes are equal. `unread`: of equal form, in files too large to be read here."""

    changes: tuple[TensorChange, ...]
    same: int
    unread: int


def weight_changes(before: BinaryIO, after: BinaryIO) -> WeightChanges:
    """What differs, by name. Holds a block at a time. Raises BadWeights for a file that is no safetensors file."""
    sizes = [file.seek(0, os.SEEK_END) for file in (before, after)]
    first, second = check_header(before), check_header(after)
    changes: list[TensorChange] = []
    same = unread = 0
    for name in sorted(first.tensors.keys() | second.tensors.keys()):
        mine, theirs = first.tensors.get(name), second.tensors.get(name)
        if mine is None or theirs is None:
            changes.append(TensorChange(name, "added" if mine is None else "removed", _form(mine), _form(theirs)))
        elif (mine.shape, mine.dtype) != (theirs.shape, theirs.dtype):
            what: What = "shape" if mine.shape != theirs.shape else "type"
            changes.append(TensorChange(name, what, _form(mine), _form(theirs)))
        elif max(sizes) > MAX_READ:
            unread += 1
        else:
            hashes = _hash(before, first, mine), _hash(after, second, theirs)
            if hashes[0] == hashes[1]:
                same += 1
            else:
                changes.append(TensorChange(name, "values", hashes[0][:12], hashes[1][:12]))
    return WeightChanges(tuple(changes), same, unread)


def _form(info: TensorInfo | None) -> str:
    return "" if info is None else f"{info.dtype} {list(info.shape)}"


def _hash(file: BinaryIO, header: Header, info: TensorInfo) -> str:
    found = hashlib.sha256()
    file.seek(header.data_start + info.begin)
    left = info.end - info.begin
    while left and (block := file.read(min(left, _BLOCK))):
        found.update(block)
        left -= len(block)
    return found.hexdigest()
