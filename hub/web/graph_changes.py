"""What differs between two locks, in words beside the differences of files."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from composer.diff import Difference, diff
from composer.lock import FILE_NAME, Lock
from hub.accounts.access import Actor
from hub.repos.diffs import Pairs, withheld
from hub.repos.models import Repository
from hub.repos.storage import store
from hub.repos.trees import FileEntry
from hub.web.svg_marks import clean
from priors.errors import PriorhubError

MAX_LOCK_BYTES = 1 << 20
"""About 4,000 nodes: reading two such locks takes under a second."""
MAX_LINES = 200


@dataclass(frozen=True)
class Line:
    """One change: what happened to which node; of an attribute its name with both values; or the new name."""

    what: str
    node: str
    key: str = ""
    before: str = ""
    after: str = ""


@dataclass(frozen=True)
class GraphChanges:
    """The first changes, how many follow, and what they come to."""

    lines: tuple[Line, ...]
    more: int
    verdict: str


def graph_changes(actor: Actor, repository: Repository, pairs: Pairs) -> GraphChanges | None:
    """The changes of a composition's graph; None unless both sides have a lock that the actor may have, and reads."""
    before, after = pairs.get(FILE_NAME, (None, None))
    if repository.kind != Repository.Kind.COMPOSITION or before is None or after is None:
        return None
    if withheld(actor, repository, {FILE_NAME: (before, after)}):
        return None
    try:
        first, second = lock_of(before), lock_of(after)
    except (PriorhubError, UnicodeDecodeError):
        return None
    return changes_of(diff(first, second), first, second)


def changes_of(found: Difference, first: Lock, second: Lock) -> GraphChanges:
    """What a difference says, in words."""
    lines = list(_lines(found))
    return GraphChanges(tuple(lines[:MAX_LINES]), max(0, len(lines) - MAX_LINES), _verdict(found, first, second))


def lock_of(entry: FileEntry) -> Lock:
    """The lock in a file. Raises PriorhubError or UnicodeDecodeError for what is none, or larger than is read here."""
    with store().open(entry.sha256) as file:
        return Lock.from_json(file.read(MAX_LOCK_BYTES).decode())  # of a longer one the end is missing: no lock


def _lines(found: Difference) -> Iterator[Line]:
    yield from (Line("Added", clean(name)) for name in found.added)
    yield from (Line("Removed", clean(name)) for name in found.removed)
    yield from (Line("The node", clean(before), after=clean(after)) for before, after in found.renamed)
    for change in found.changed:
        for key, (before, after) in change.what.items():
            yield Line("Changed", clean(change.node), clean(key), _said(before), _said(after))


def _said(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, dict) and value and all(isinstance(one, str) for one in value.values()):  # wires by port
        return clean(", ".join(one if port.isdigit() else f"{port}: {one}" for port, one in value.items()), 120)
    return clean(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False), 120) or "nothing"


def _verdict(found: Difference, first: Lock, second: Lock) -> str:
    learned = "" if first.weights == second.weights else " Its learned parameters are others."
    if not found.same_structure:
        return f"It computes something else.{learned}"
    if found.same_model:
        return "It computes the same, with the same parameters."
    return f"The same graph.{learned}"
