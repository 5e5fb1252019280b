"""What a part of a composition reads, for every row: values of one size, and sequences beside their masks.

examples = Examples(lowered, values)                       # values by slot, as `frozen_values` gives them
examples.through(lowered.part(examples.slots, ["y"]))      # (n, ...) for all rows, in batches that fit the cache
for rows in examples.pieces(rows, positions): part(*examples.take(rows))
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from composer._lower_batches import Padded
from priors.load import BATCH_POSITIONS, BATCH_ROWS

if TYPE_CHECKING:
    from composer.lower import Lowered

Rows = NDArray[np.int64]


class Examples:
    """Values by slot, one row an example. A sequence is padded to the longest; `take` cuts it to what its rows show.

    slots    in the order of `take`
    lengths  (n,) how many places of its sequences each row shows, at least 1; 1 where there are none
    """

    def __init__(self, lowered: Lowered, values: Mapping[str, Tensor]) -> None:
        self.slots = tuple(values)
        self._tensors = tuple(values.values())
        self._masks: dict[int, list[tuple[int, int]]] = {}  # a mask -> what is cut with it, and along which axis
        for name, (axis, mask) in lowered.masks.items():
            t = lowered.lock.node(name).type
            if name in values and mask in values and t is not None:
                cut = self._masks.setdefault(self.slots.index(mask), [])
                cut.append((self.slots.index(name), t.axis_names.index(axis)))
        self._ends = {at: _ends(self._tensors[at]) for at in self._masks}
        self.lengths: Rows = np.maximum(sum(self._ends.values(), np.zeros(len(self), np.int64)), 1)
        encoded = {step.node for step in lowered.host} & set(self.slots)
        self._positions = BATCH_POSITIONS if self._masks else BATCH_ROWS if encoded else len(self)

    def __len__(self) -> int:
        return len(self._tensors[0]) if self._tensors else 0

    @property
    def longest(self) -> int:
        """The row with the longest sequences."""
        return int(self.lengths.argmax())

    @property
    def are_sequences(self) -> bool:
        """Whether rows differ in size."""
        return bool(self._masks)

    def take(self, rows: Rows) -> tuple[Tensor, ...]:
        """The values of these rows, sequences no longer than the longest of them."""
        index = torch.from_numpy(rows)
        found = [tensor[index] for tensor in self._tensors]
        for mask, cut in self._masks.items():
            end = max(int(self._ends[mask][rows].max(initial=0)), 1)
            found[mask] = found[mask][:, :end]
            for at, axis in cut:
                found[at] = found[at].narrow(axis, 0, end)
        return tuple(found)

    def pieces(self, rows: Rows, positions: int) -> Iterator[Rows]:
        """The rows in groups of similar length, each of so many places at most, padding included, or of one row."""
        if not self._masks:
            for start in range(0, len(rows), max(positions, 1)):
                yield rows[start : start + max(positions, 1)]
            return
        ordered = rows[np.argsort(self.lengths[rows], kind="stable")]
        start = 0
        for stop in range(1, len(ordered) + 1):
            if stop == len(ordered) or (stop + 1 - start) * self.lengths[ordered[stop]] > positions:
                yield ordered[start:stop]
                start = stop

    @torch.no_grad()
    def through(self, part: nn.Module, rows: Rows | None = None) -> tuple[Tensor, ...]:
        """What `part` makes of these rows (all), without gradients: a tensor for each of its outputs."""
        if rows is None and self._positions >= len(self) and not self._masks:
            return tuple(part(*self._tensors))
        rows = np.arange(len(self)) if rows is None else rows
        place = np.empty(len(self), np.int64)
        place[rows] = np.arange(len(rows))
        found: list[Padded] = []
        for piece in self.pieces(rows, self._positions):
            made = part(*self.take(piece))
            found = found or [Padded(len(rows)) for _ in made]
            for one, value in zip(found, made, strict=True):
                one.put(place[piece], value)
        return tuple(one.tensor() for one in found)


def computed(lowered: Lowered, values: Mapping[str, Tensor], node: str) -> Tensor:
    """The value of a node for all rows, from others."""
    if node in values:
        return values[node]
    examples = Examples(lowered, values)
    return examples.through(lowered.part(examples.slots, [node]))[0]


def _ends(mask: Tensor) -> Rows:
    """(n,) how many places of a mask (n, T) there are up to the last that is seen."""
    places = torch.arange(1, mask.shape[1] + 1)
    return np.asarray((places * mask).amax(1).numpy() if mask.shape[1] else np.zeros(len(mask)), dtype=np.int64)
