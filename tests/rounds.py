"""How often tests of races, kills and random draws repeat: a few times in the suite, fully under `make soak`."""

from __future__ import annotations

import os


def rounds(few: int, many: int) -> range:
    """`few` rounds, or `many` where SOAK is set."""
    return range(many if os.environ.get("SOAK") else few)
