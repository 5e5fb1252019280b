"""Axis expressions of `layout`: one axis made of several, several of one, and their order.

    "B,D,H,W -> B,S=H*W,D"     flatten: every place of a map is a slot
    "B,D=E:4*C -> B,E,C"       split: four experts with what is left as channels

The last axis of a product runs fastest, as in a row-major array. Needs no torch.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from priors.types import AXES, MAX_DIM


@dataclass(frozen=True)
class LayoutTerm:
    """One axis of a layout expression; `parts` are the (axis, length) it is made of or split into, if any."""

    name: str
    parts: tuple[tuple[str, int | None], ...] = ()


_TERM = re.compile(r"([A-Z])(?:=([A-Z](?::[0-9]{1,8})?(?:\*[A-Z](?::[0-9]{1,8})?)+))?")


def read_layout(expr: str) -> tuple[tuple[LayoutTerm, ...], tuple[LayoutTerm, ...]]:
    """The two sides of a layout expression. Raises ValueError saying what is wrong with it."""
    sides = [side.split(",") for side in "".join(expr.split()).split("->")]
    if len(sides) != 2:
        raise ValueError("write 'expr' as axes, '->' and axes, such as 'B,H,W,D -> B,S=H*W,D'")
    left, right = ([_layout_term(term) for term in side] for side in sides)
    for term in right:
        if any(length is not None for _, length in term.parts):
            raise ValueError(f"a length stands in what {term.name} is made of: lengths are for splitting, on the left")
    for term in left:
        if sum(length is None for _, length in term.parts) > 1:
            raise ValueError(f"the parts of {term.name} need lengths, all but one")
    atoms = [[n for term in side for n in ([n for n, _ in term.parts] or [term.name])] for side in (left, right)]
    if sorted(atoms[0]) != sorted(atoms[1]) or len(set(atoms[0])) != len(atoms[0]):
        raise ValueError("both sides of 'expr' name the same axes, each once")
    names = [term.name for term in right]
    if len(set(names)) != len(names):
        raise ValueError("an axis appears twice on the right of 'expr'")
    return tuple(left), tuple(right)


def _layout_term(text: str) -> LayoutTerm:
    found = _TERM.fullmatch(text)
    if found is None:
        raise ValueError(f"{text[:30]!r} is no axis. Write D, S=H*W, or on the left D=E:4*C")
    parts = []
    for part in found[2].split("*") if found[2] else []:
        name, _, length = part.partition(":")
        parts.append((name, int(length) if length else None))
    for name in (found[1], *(name for name, _ in parts)):
        if name not in AXES:
            raise ValueError(f"axis {name} is not known; axes are {', '.join(AXES)}")
    if any(length is not None and not 1 <= length <= MAX_DIM for _, length in parts):
        raise ValueError(f"lengths go from 1 to {MAX_DIM:,}")
    return LayoutTerm(found[1], tuple(parts))
