"""Priors of a library that would stand between two nodes that do not fit: what an error names beside its cause."""

from __future__ import annotations

from collections.abc import Sequence

from composer._checker import Allowed, Alternatives
from composer.adapters import MAX_STEPS, Edge, next_repair
from composer.errors import PortMismatch
from priors.library import Library
from priors.types import PortType

MOST = 3
"""Names in one error."""


def alternatives(library: Library) -> Alternatives:
    """(what is there, what is wanted, which adapters may be put in) -> names of priors that read the one and give the
    other, those that need the fewest adapters first. The library is listed when the first error asks."""

    def fitting(gives: PortType, wants: PortType, allowed: Allowed) -> Sequence[str]:
        found = []
        for entry in library.entries():
            if len(entry.manifest.inputs) != 1:
                continue
            [port] = entry.manifest.inputs.values()
            before = steps(gives, port, allowed)
            after = [count for tap in entry.manifest.taps.values() if (count := steps(tap, wants, allowed)) is not None]
            if before is not None and after:
                found.append((before + min(after), entry.manifest.parameters, entry.ref.repo))
        return [repo for _, _, repo in sorted(found)[:MOST]]

    return fitting


def steps(gives: PortType, wants: PortType, allowed: Allowed = lambda repair: True) -> int | None:
    """How many adapters make `wants` of `gives`, None where none do that may be put in."""
    for count in range(MAX_STEPS):
        try:
            repair = next_repair(Edge("it", "there", gives, wants))
        except PortMismatch:
            return None
        if repair is None:
            return count
        if not allowed(repair):
            return None
        gives = repair.gives
    return None
