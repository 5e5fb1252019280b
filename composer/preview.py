"""What to expect of a composition before anything is trained: how its frozen parts lie to each other on given rows.

    found = preview(graph, task)
    found.values      each frozen value: features, effective rank, length of its rows
    found.overlaps    how much two of them say the same (CKA), most first
    found.adapters    what was put in between, its parameters and what it costs
    found.warnings    in words: parts that repeat each other, that drown others, or that hardly vary

composer/rank/alignment.py says what CKA and effective rank are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from composer.adapters import cost_of
from composer.blocks import frozen_values
from composer.cache import FeatureCache
from composer.check import TypedNode, check
from composer.choices import Cancelled, Report, never, silent
from composer.graph import Graph
from composer.lock import Lock
from composer.lower import lower
from composer.nested import resolver
from composer.rank.alignment import cka, effective_rank
from priors.errors import BadTask
from priors.library import Library

if TYPE_CHECKING:
    from priors.tasks import Task

Array = NDArray[np.float64]

ROWS = 512
"""So many rows at most are looked at, evenly spread: alignment of thousands costs minutes and says the same."""

SAME = 0.95
LOUDER = 10.0
FLAT = 1.5

_MIXES = ("concat", "sum", "gate", "attend", "route")
_EVENS_OUT = ("block_norm", "standardize", "whiten", "quantile", "pca")


@dataclass(frozen=True)
class Value:
    """A frozen value. `length`: the median length of its rows; `effective_rank`: directions that it really uses."""

    node: str
    features: int
    effective_rank: float
    length: float


@dataclass(frozen=True)
class Overlap:
    """How much two values say the same: 1 for copies up to rotation and scale, about 0 for unrelated ones."""

    first: str
    second: str
    cka: float


@dataclass(frozen=True)
class Adapter:
    """An adapter that `check` put in. `cost`: lossless, trainable or lossy."""

    node: str
    op: str
    cost: str
    parameters: int


@dataclass(frozen=True)
class Preview:
    rows: int
    values: tuple[Value, ...]
    overlaps: tuple[Overlap, ...]
    adapters: tuple[Adapter, ...]
    warnings: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """It all in plain values."""
        return asdict(self)


def preview(
    graph: Graph,
    task: Task,
    library: Library,
    *,
    cache: FeatureCache | Path | str | None = None,
    report: Report = silent,
    cancelled: Cancelled = never,
) -> Preview:
    """Computes the frozen values of `graph` on rows of `task`, through the cache, and compares them. Labels are unread.

    Raises BadTask for fewer than 4 rows, and what `check` and computing features raise.
    """
    task = _some_rows(task)
    lock = Lock.of(check(graph, resolver(library)))
    lock = replace(lock, frontier=tuple(dict.fromkeys(name for end in lock.frontier for name in _before(end, lock))))
    lowered = lower(lock, library)
    frozen = frozen_values(lowered, task, FeatureCache.of(cache), report=report, cancelled=cancelled)
    floats = {name: value for name, value in frozen.items() if value.dtype.is_floating_point}
    blocks = {name: np.asarray(value.reshape(len(value), -1).double()) for name, value in floats.items()}
    kernels = {name: _gram(block) for name, block in blocks.items()}
    values = tuple(
        Value(name, block.shape[1], effective_rank(kernels[name]), float(np.median(np.linalg.norm(block, axis=1))))
        for name, block in blocks.items()
    )
    overlaps = sorted(
        (Overlap(a, b, cka(kernels[a], kernels[b])) for a, b in combinations(blocks, 2)), key=lambda o: -o.cka
    )
    adapters = tuple(
        Adapter(node.name, node.op, cost_of(node.op, node.attrs, strict=lock.strict), _parameters(node, lock))
        for node in lock.nodes
        if node.auto
    )
    warnings = (*_repeated(overlaps), *_drowned(lock, values), *_flat(values, len(task)))
    return Preview(len(task), values, tuple(overlaps), adapters, warnings)


def _before(name: str, lock: Lock) -> list[str]:
    """A frozen value, or where it is a mixture the values that were mixed."""
    node = lock.node(name)
    if node.op not in _MIXES:
        return [name]
    return [found for source in node.sources for found in _before(source, lock)]


def _some_rows(task: Task) -> Task:
    if len(task) < 4:
        raise BadTask(f"{task.name} has {len(task)} rows. A preview wants 4 at least.")
    if len(task) <= ROWS:
        return task
    return task.subset(np.linspace(0, len(task) - 1, ROWS).astype(np.int64))


def _gram(block: Array) -> Array:
    """The Gram matrix of rows (n, d), centered."""
    centered = block - block.mean(axis=0)
    return np.asarray(centered @ centered.T)


def _parameters(node: TypedNode, lock: Lock) -> int:
    """Numbers that an inserted adapter has to learn."""
    if node.op != "proj":
        return 0
    width = lock.node(node.sources[0]).type
    wide = width.dim("D") if width is not None else None
    return node.attrs["d_out"] * (wide + 1) if isinstance(wide, int) else 0


def _repeated(overlaps: Sequence[Overlap]) -> Iterable[str]:
    for found in overlaps:
        if found.cka >= SAME:
            yield (
                f"{found.first} and {found.second} say nearly the same on these rows (CKA {found.cka:.2f}). "
                "Leave one out, or take another tap."
            )


def _flat(values: Sequence[Value], rows: int) -> Iterable[str]:
    for value in values:
        if value.effective_rank < FLAT and value.features > 1:
            yield (
                f"{value.node} hardly varies on these rows: {value.effective_rank:.1f} directions of "
                f"{min(value.features, rows - 1)} possible. It will add little."
            )


def _drowned(lock: Lock, values: Sequence[Value]) -> Iterable[str]:
    """Values that meet in one node without having been brought to one length, one far longer than another."""
    lengths = {value.node: value.length for value in values}
    for node in lock.nodes:
        if node.op not in _MIXES:
            continue
        meeting = {name: lengths[name] for source in node.sources for name in _bare(source, lock, lengths)}
        positive = {name: length for name, length in meeting.items() if length > 0}
        if len(positive) < 2:
            continue
        loud, quiet = max(positive, key=positive.__getitem__), min(positive, key=positive.__getitem__)
        if positive[loud] > LOUDER * positive[quiet]:
            times = positive[loud] / positive[quiet]
            yield (
                f"in {node.name} ({node.op}) rows of {loud} are {times:.0f} times as long as those of {quiet}, which "
                "will hardly count. Put a block_norm before each."
            )


def _bare(name: str, lock: Lock, known: Mapping[str, float]) -> list[str]:
    """The frozen values that reach a node with the length they had."""
    if name in known:
        return [name]
    node = lock.node(name)
    if node.op in (*_MIXES, "proj", "head") or (node.op == "fn" and node.attrs["fn"] in _EVENS_OUT):
        return []
    return [found for source in node.sources for found in _bare(source, lock, known)]
