"""Which tensors are layers, by their names: `encoder.layer.3.output.dense.weight` is layer 3 of `encoder.layer.`.

A stack is a prefix followed by whole numbers from 0 without a gap. The depth of a tensor is its layer's place in its
stack, 0 for the first and 1 for the last; a single layer has 1. What is in no stack has depth 0.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from composer.errors import BadGraph

_LAYER = re.compile(r"(.*?)(?:^|(?<=\.))(\d{1,6})\.(.+)")
_AFTER = ("norm", "head", "ln_f", "pooler", "classifier", "score", "cls", "predictions")
CONFIG_KEYS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers", "encoder_layers")


@dataclass(frozen=True)
class Stacks:
    """The stacks among tensor names: prefix with its dot -> number of layers."""

    sizes: Mapping[str, int]
    names: tuple[str, ...]

    @classmethod
    def of(cls, names: Iterable[str]) -> Stacks:
        seen: dict[str, set[int]] = defaultdict(set)
        names = tuple(names)
        for name in names:
            if match := _LAYER.fullmatch(name):
                seen[match[1]].add(int(match[2]))
        sizes = {stack: len(found) for stack, found in seen.items() if found == set(range(len(found)))}
        return cls(sizes, names)

    def place(self, name: str) -> tuple[str, int, str] | None:
        """(stack, layer, rest) of a tensor, or None outside of every stack."""
        match = _LAYER.fullmatch(name)
        return None if match is None or match[1] not in self.sizes else (match[1], int(match[2]), match[3])

    def depth(self, name: str) -> float:
        """0 to 1, see above."""
        place = self.place(name)
        if place is None:
            return 0.0
        return depth_of(place[1], self.sizes[place[0]])

    @cached_property
    def main(self) -> str:
        """The stack with most tensors, which slices are cut from. Raises BadGraph when there is none."""
        counts = Counter(place[0] for name in self.names if (place := self.place(name)))
        if not counts:
            raise BadGraph(
                "no tensor is called <prefix>.0.…, <prefix>.1.…: there are no layers to slice. Merge it whole."
            )
        return counts.most_common(1)[0][0]


def depth_of(layer: int, count: int) -> float:
    return layer / (count - 1) if count > 1 else 1.0


def comes_after(name: str) -> bool:
    """Whether a tensor outside the layers works on what they give: a head or a last norm, not an embedding."""
    return "embed" not in name.lower() and any(word in name.lower() for word in _AFTER)
