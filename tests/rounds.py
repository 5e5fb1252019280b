"""How often tests of races, kills and random draws repeat: a few times in the suite, fully under `make soak`.

SOAK            set: the full number
SOAK_PROGRESS   a file that learns which round each test is in, so that who runs it knows which one failed
SOAK_BEGIN      the round to begin with, so that one that failed does not keep the ones behind it from running
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Rounds:
    """The numbers of the rounds, from `begin` up to `end`."""

    begin: int
    end: int

    def __len__(self) -> int:
        return self.end - self.begin

    def __iter__(self) -> Iterator[int]:
        for number in range(self.begin, self.end):
            _tell(number, self.end)
            yield number


def rounds(few: int, many: int) -> Rounds:
    """`few` rounds, or `many` where SOAK is set."""
    if not os.environ.get("SOAK"):
        return Rounds(0, few)
    return Rounds(min(int(os.environ.get("SOAK_BEGIN", "0")), many), many)


def _tell(number: int, end: int) -> None:
    """One line: which round of how many which test begins."""
    if place := os.environ.get("SOAK_PROGRESS"):
        test = os.environ.get("PYTEST_CURRENT_TEST", "").rpartition(" (")[0]
        with Path(place).open("a", encoding="utf-8") as file:
            file.write(json.dumps({"test": test, "round": number, "of": end}) + "\n")
