"""Which names could be taken for another. Pure: it compares names, the callers say which are known."""

from __future__ import annotations

import re
from collections.abc import Iterable

# What fonts draw alike: after Unicode's confusables (UTS 39), its ASCII rows, and the pairs of security.md.
_PAIRS = (("rn", "m"), ("vv", "w"), ("cl", "d"))
_SINGLE = str.maketrans({"0": "o", "1": "l", "i": "l", "|": "l", "5": "s", "-": "", "_": "", ".": ""})
_SHORT = 5  # one letter apart is no resemblance among shorter names: ann, anna


def skeleton(name: str) -> str:
    """The name as a hasty reader sees it; equal skeletons are look-alikes."""
    name = name.lower()
    for pair, single in _PAIRS:
        name = name.replace(pair, single)
    return name.translate(_SINGLE)


def resembled(name: str, known: Iterable[str], well_known: Iterable[str] = ()) -> str | None:
    """The name that `name` could be taken for: a look-alike of a known one, or one letter from a well-known one."""
    mine, lower = skeleton(name), name.lower()
    for other in known:
        if other.lower() != lower and skeleton(other) == mine:
            return other
    for other in well_known:
        if other.lower() != lower and len(other) >= _SHORT and _one_slip_apart(lower, other.lower()):
            return other
    return None


def _one_slip_apart(one: str, other: str) -> bool:
    """One letter more, less, other, or two neighbours swapped. Numbers count in series: lab1 and lab2 are two labs."""
    if re.sub(r"\d+", "", one) == re.sub(r"\d+", "", other):
        return False
    if abs(len(one) - len(other)) > 1:
        return False
    start = 0
    while start < min(len(one), len(other)) and one[start] == other[start]:
        start += 1
    a, b = one[start:], other[start:]
    swapped = len(a) > 1 and len(a) == len(b) and a[0] == b[1] and a[1] == b[0] and a[2:] == b[2:]
    return a[1:] == b[1:] or a[1:] == b or a == b[1:] or swapped
