"""Cut rows into batches that waste little on padding and stay in the processor's cache."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from composer._lower_host import HostStep
from priors.load import BATCH_POSITIONS, BATCH_ROWS, ENCODED_AT_ONCE, ENCODED_AT_ONCE_OTHERWISE


def batches(
    host: Sequence[HostStep], columns: Mapping[str, Sequence[Any]], count: int
) -> Iterator[tuple[list[int], tuple[Tensor, ...]]]:
    """(which rows, the tensors of all steps' inputs for them), every row once.

    Rows are encoded some tens or hundreds at a time, sorted by the length of their texts, and then cut by their real
    lengths: a batch holds rows of similar length and each of its inputs ends where the longest of its rows does.
    """
    texts = [columns[source] for source in sorted({step.source for step in host if step.modality == "text"})]
    order = sorted(range(count), key=lambda i: sum(len(str(column[i])) for column in texts))
    at_once = min((ENCODED_AT_ONCE.get(step.modality, ENCODED_AT_ONCE_OTHERWISE) for step in host), default=1)
    for start in range(0, count, at_once):
        rows = order[start : start + at_once]
        encoded = [step.encode([columns[step.source][i] for i in rows]) for step in host]
        for at in _similar(_lengths(encoded, len(rows))):
            yield [rows[i] for i in at], tuple(tensor for made in encoded for tensor in _cut(made, at))


def _lengths(encoded: list[tuple[Tensor, ...]], count: int) -> list[int]:
    """How long each row is, over all inputs that have a mask; 0 for all where nothing has one."""
    lengths = [0] * count
    for mask in (made[1] for made in encoded if len(made) == 2):
        lengths = [length + seen for length, seen in zip(lengths, mask.sum(1).tolist(), strict=True)]
    return lengths


def _similar(lengths: list[int]) -> Iterator[list[int]]:
    """Row numbers, shortest first, in groups of BATCH_POSITIONS positions at most, BATCH_ROWS rows without lengths."""
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    group: list[int] = []
    for row in order:
        full = (len(group) + 1) * lengths[row] > BATCH_POSITIONS if lengths[row] else len(group) == BATCH_ROWS
        if group and full:
            yield group
            group = []
        group.append(row)
    if group:
        yield group


def _cut(made: tuple[Tensor, ...], at: list[int]) -> tuple[Tensor, ...]:
    """These rows of one step's tensors; a masked value and its mask end where the longest row does."""
    if len(made) == 1:
        return (made[0][at],)
    value, mask = made
    longest = max(int(mask[at].sum(1).max()), 1)
    return value[at, :longest], mask[at, :longest]


class Padded:
    """One value for `count` rows, put together from batches; longer ones make room, and what no batch fills is zero."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._found: Tensor | None = None

    def put(self, rows: Sequence[int] | NDArray[np.int64], value: Tensor) -> None:
        """The rows `rows` are `value`, in its order."""
        held = self._found
        shape = value.shape[1:] if held is None else torch.Size(map(max, value.shape[1:], held.shape[1:]))
        if held is None or held.shape[1:] != shape:
            self._found = value.new_zeros((self._count, *shape))
            if held is not None:
                self._found[_corner(held.shape)] = held
            held = self._found
        if held is not None:
            held[:, *_corner(value.shape[1:])][torch.as_tensor(rows)] = value

    def tensor(self) -> Tensor:
        """All rows; none at all before the first batch."""
        return torch.empty(0) if self._found is None else self._found


def _corner(shape: Sequence[int]) -> tuple[slice, ...]:
    return tuple(slice(0, size) for size in shape)
