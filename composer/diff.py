"""What differs between two compositions: in the graph, by content and not by name, and in the learned parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import inf
from pathlib import Path
from typing import Any

from composer.audit import read_lock
from composer.check import TypedNode
from composer.lock import WEIGHTS_FILE, Lock
from priors.weights import check_header, check_sha256


@dataclass(frozen=True)
class Change:
    """One node that both have in the same place, but not alike. `what` maps an attribute to (before, after)."""

    node: str
    what: Mapping[str, tuple[Any, Any]]


@dataclass(frozen=True)
class Drift:
    """A learned tensor that both have. `relative`: the norm of the difference over the norm of the first."""

    tensor: str
    relative: float
    largest: float


@dataclass(frozen=True)
class Difference:
    """`removed`, `added`: nodes that only one side has. `renamed`: the same content under another name."""

    same_structure: bool
    same_model: bool
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    renamed: tuple[tuple[str, str], ...] = ()
    changed: tuple[Change, ...] = ()
    weights: tuple[Drift, ...] = ()
    only_first: tuple[str, ...] = ()
    only_second: tuple[str, ...] = ()

    @property
    def nothing(self) -> bool:
        """Whether both are the same, down to prices and parameters."""
        return self == Difference(True, True)


def diff(first: Lock, second: Lock) -> Difference:
    """What differs between two locks. Learned parameters are compared by `diff_weights`."""
    mine, theirs = {node.name: node for node in first.nodes}, {node.name: node for node in second.nodes}
    changed = []
    for name in mine.keys() & theirs.keys():
        if what := _changes(mine[name], theirs[name]):
            changed.append(Change(name, what))
    gone = [node for node in first.nodes if node.name not in theirs]
    new = [node for node in second.nodes if node.name not in mine]
    renamed = []
    waiting: dict[str, list[str]] = {}
    for node in reversed(new):
        waiting.setdefault(node.hash, []).append(node.name)
    for node in gone:
        if same := waiting.get(node.hash):
            renamed.append((node.name, same.pop()))
    called = {name for pair in renamed for name in pair}
    order = {node.name: number for number, node in enumerate(first.nodes)}
    return Difference(
        first.structure == second.structure,
        first.model == second.model,
        tuple(node.name for node in new if node.name not in called),
        tuple(node.name for node in gone if node.name not in called),
        tuple(renamed),
        tuple(sorted(changed, key=lambda change: order[change.node])),
    )


def _changes(before: TypedNode, after: TypedNode) -> dict[str, tuple[Any, Any]]:
    """What was changed in the node itself; a node that only reads something else that changed shows its inputs."""
    what: dict[str, tuple[Any, Any]] = {}
    if before.op != after.op:
        what["op"] = (before.op, after.op)
    if before.shown_type != after.shown_type:
        what["type"] = (before.shown_type, after.shown_type)
    if before.inputs != after.inputs:
        what["in"] = (dict(before.inputs), dict(after.inputs))
    for key in {**before.attrs, **after.attrs}:
        if before.attrs.get(key) != after.attrs.get(key):
            what[key] = (before.attrs.get(key), after.attrs.get(key))
    return what


def diff_folders(first: Path, second: Path, read: Callable[[Path], Lock] = read_lock) -> Difference:
    """What differs between two saved compositions or locks, or whatever else `read` knows; learned tensors included.

    Raises BadLock, and BadWeights where a file is not the one that its lock names.
    """
    locks = read(first), read(second)
    found = diff(*locks)
    files = first / WEIGHTS_FILE, second / WEIGHTS_FILE
    for lock, file in zip(locks, files, strict=True):
        if lock.weights is not None and file.is_file():
            check_sha256(file, lock.weights)
    if not all(file.is_file() for file in files) or found.same_model:
        return found
    drifts, only_first, only_second = diff_weights(*files)
    return replace(found, weights=drifts, only_first=only_first, only_second=only_second)


def diff_weights(first: Path, second: Path) -> tuple[tuple[Drift, ...], tuple[str, ...], tuple[str, ...]]:
    """Tensors of two safetensors files that differ, and the names that only one has. Holds one pair at a time.

    Tensors of different shapes differ entirely: relative and largest are infinite. Raises BadWeights.
    """
    from safetensors import safe_open

    mine, theirs = check_header(first).tensors, check_header(second).tensors
    found = []
    with safe_open(first, "pt") as before, safe_open(second, "pt") as after:
        for name in sorted(mine.keys() & theirs.keys()):
            if mine[name].shape != theirs[name].shape:
                found.append(Drift(name, inf, inf))
                continue
            a, b = before.get_tensor(name).double(), after.get_tensor(name).double()
            if not a.equal(b):
                apart = a - b
                found.append(Drift(name, float(apart.norm() / (a.norm() or 1.0)), float(apart.abs().max())))
    return tuple(found), tuple(sorted(mine.keys() - theirs.keys())), tuple(sorted(theirs.keys() - mine.keys()))
