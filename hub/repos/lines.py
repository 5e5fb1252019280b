"""Which lines two texts share. Pure.

Myers' algorithm (Myers 1986, "An O(ND) difference algorithm", section 4) with a limit on the number of differences: the
library's difflib takes minutes on texts that were made to be slow. Beyond the limit, everything in the middle differs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

MAX_DIFFERENCES = 500
"""250,000 steps at most, a tenth of a second."""
_AROUND = 3


@dataclass(frozen=True)
class Line:
    """A line with its number in the old and the new text; 0 where it is not."""

    sign: Literal[" ", "+", "-"]
    text: str
    old: int
    new: int


@dataclass(frozen=True)
class Hunk:
    """Lines that changed, with three unchanged ones before and after."""

    lines: tuple[Line, ...]

    @property
    def header(self) -> str:
        """`@@ -1,4 +1,5 @@`, as patch reads it."""
        return f"@@ -{self._range('old')} +{self._range('new')} @@"

    def _range(self, side: Literal["old", "new"]) -> str:
        numbers = [getattr(line, side) for line in self.lines if getattr(line, side)]
        if not numbers:  # patch counts an empty range from the line before it
            other = "new" if side == "old" else "old"
            return f"{max(0, getattr(self.lines[0], other) - 1)},0"
        return f"{numbers[0]}" if len(numbers) == 1 else f"{numbers[0]},{len(numbers)}"


def hunks(old: Sequence[str], new: Sequence[str]) -> list[Hunk]:
    """How the lines of `old` become those of `new`, in pieces around each change."""
    lines = _numbered(old, new, _matches(old, new))
    changes = [index for index, line in enumerate(lines) if line.sign != " "]
    found: list[Hunk] = []
    start = end = -1
    for index in changes:
        if start >= 0 and index - _AROUND <= end:
            end = index + _AROUND + 1
            continue
        if start >= 0:
            found.append(Hunk(tuple(lines[start:end])))
        start, end = max(0, index - _AROUND), index + _AROUND + 1
    return [*found, Hunk(tuple(lines[start:end]))] if changes else []


def _matches(old: Sequence[str], new: Sequence[str]) -> list[tuple[int, int]]:
    """Pairs of indices of lines that stay, ascending."""
    head = 0
    while head < min(len(old), len(new)) and old[head] == new[head]:
        head += 1
    tail = 0
    while tail < min(len(old), len(new)) - head and old[-1 - tail] == new[-1 - tail]:
        tail += 1
    inside = _myers(old[head : len(old) - tail], new[head : len(new) - tail])
    return [
        *((index, index) for index in range(head)),
        *((head + x, head + y) for x, y in inside),
        *((len(old) - back, len(new) - back) for back in range(tail, 0, -1)),
    ]


def _myers(old: Sequence[str], new: Sequence[str]) -> list[tuple[int, int]]:
    if not old or not new:
        return []
    furthest = {1: 0}  # diagonal x - y -> the furthest x reached on it
    steps: list[dict[int, int]] = []
    for differences in range(min(len(old) + len(new), MAX_DIFFERENCES) + 1):
        steps.append(furthest.copy())
        for diagonal in range(-differences, differences + 1, 2):
            down = diagonal == -differences or (
                diagonal != differences and furthest[diagonal - 1] < furthest[diagonal + 1]
            )
            x = furthest[diagonal + 1] if down else furthest[diagonal - 1] + 1
            while x < len(old) and 0 <= x - diagonal < len(new) and old[x] == new[x - diagonal]:
                x += 1
            furthest[diagonal] = x
            if x >= len(old) and x - diagonal >= len(new):
                return _back(steps, len(old), len(new))
    return []


def _back(steps: list[dict[int, int]], x: int, y: int) -> list[tuple[int, int]]:
    """The shared lines on the way that `steps` found to the end, by walking it back."""
    pairs = []
    for differences in range(len(steps) - 1, -1, -1):
        furthest, diagonal = steps[differences], x - y
        down = diagonal == -differences or (diagonal != differences and furthest[diagonal - 1] < furthest[diagonal + 1])
        before = diagonal + 1 if down else diagonal - 1
        start_x = furthest[before]
        start_y = start_x - before
        while x > start_x and y > start_y and x > 0 and y > 0:
            x, y = x - 1, y - 1
            pairs.append((x, y))
        x, y = start_x, start_y
    return pairs[::-1]


def _numbered(old: Sequence[str], new: Sequence[str], pairs: list[tuple[int, int]]) -> list[Line]:
    lines: list[Line] = []
    x = y = 0
    for next_x, next_y in [*pairs, (len(old), len(new))]:
        lines += [Line("-", old[index], index + 1, 0) for index in range(x, next_x)]
        lines += [Line("+", new[index], 0, index + 1) for index in range(y, next_y)]
        if next_x < len(old) and next_y < len(new):
            lines.append(Line(" ", old[next_x], next_x + 1, next_y + 1))
        x, y = next_x + 1, next_y + 1
    return lines
