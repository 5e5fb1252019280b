"""What a run of a history may be: a prior or a set, or what every verified result has beside it."""

from __future__ import annotations

from typing import Literal

Arm = Literal["single", "taps", "set", "adapted", "no_prior", "random_weights", "shuffled", "everything"]

PLACEBOS: frozenset[Arm] = frozenset({"no_prior", "random_weights", "shuffled", "everything"})
"""Arms that no recommendation is about."""
