"""Finite groups that act on tensors: mirrored and turned images, reversed series, parts of rows in any order."""

from collections.abc import Callable, Sequence
from itertools import permutations

import torch
from torch import Tensor

Move = Callable[[Tensor], Tensor]


def moves(group: str, parts: int = 1) -> list[Move]:
    """Every element of a group as a function of (B, …), the identity first; of `parts`, all their orders."""
    match group:
        case "reverse":
            return [_same, _flip(1)]
        case "flip_h":
            return [_same, _flip(3)]
        case "flip_v":
            return [_same, _flip(2)]
        case "turn_180":
            return [_same, _turn(2)]
        case "turn_90":
            return [_same, *(_turn(k) for k in (1, 2, 3))]
        case "dihedral":
            turns = [_same, *(_turn(k) for k in (1, 2, 3))]
            return [*turns, *(_then(_flip(3), turn) for turn in turns)]
        case _:
            return [_same if list(one) == sorted(one) else _order(one) for one in permutations(range(parts))]


def _same(x: Tensor) -> Tensor:
    return x


def _flip(axis: int) -> Move:
    return lambda x: x.flip(axis)


def _turn(quarters: int) -> Move:
    return lambda x: torch.rot90(x, quarters, (2, 3))


def _then(first: Move, second: Move) -> Move:
    return lambda x: second(first(x))


def _order(order: Sequence[int]) -> Move:
    def moved(x: Tensor) -> Tensor:
        return torch.cat([x.chunk(len(order), 1)[k] for k in order], 1)

    return moved
