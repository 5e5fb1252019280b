"""Heads that are fitted as if rows lacked a column now and then: dropout of whole columns.

Of a head over blocks side by side it has a closed form (`with_dropout`). The expectation of the squared error over rows
that lack one of their C columns with probability RATE is again a problem of least squares (van der Maaten et al. 2013,
"Learning with marginalized corrupted features"), in which products of features of one column count RATE / C more than
products of features of two. So nothing is drawn and nothing repeated. What two columns say alike is then said by both,
and to lose one is not to lose it.

Where something trained stands between blocks and head, such as a gate or attention, the head is fitted on every row
whole and without each of its columns (`with_copies`), and how long to train is judged by such rows too. What stands
between is trained on whole rows: measured on digits beside sentences, 16 labels a class, attention that was trained on
rows without a column was right on 96.1 % of whole ones instead of 99.6, and a gate on 93.1 instead of 98.7.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from composer.check import TypedNode
from composer.lock import Lock
from composer.rank.head import Ridge
from composer.rank.probe import Array, Targets

if TYPE_CHECKING:
    from composer.lower import Lowered

RATE = 0.5
"""How often a row lacks a column. Measured at 16 labels a class, 5 draws, against 0: digits beside sentences 99.7 and
99.4 with both, 70.9 and 66.3 without the digit, 97.4 and 96.9 without the sentence (heads fitted on the other column
alone: 74.2 and 98.1); films 31.2 and 30.8 whole, 23.6 and 22.9 without numbers, 27.6 and 27.8 without the title. 0.1
and 0.25 lie between. Ratings of films from title, distributor, numbers, 64 and 256 rows, R² times 100: 17.8 and 17.6,
29.7 and 29.9 whole; -5.7 and -6.0, 0.6 and 0.1 without numbers; 18.2 and 18.0, 28.6 twice without the title: beyond
two standard errors are, with 256 rows, what whole rows lose and rows without numbers gain. Five labels of the same
films, mean average precision: 53.4 and 53.3, 60.3 twice whole; 39.6 and 39.4, 48.2 and 47.7 without numbers; 53.0 and
52.8, 56.1 twice without the title."""


MOST_UNKNOWNS = 6_000
"""Beyond so many the head stays as it is: the system takes their square in memory and their cube in time, and rows of
twenty columns of text have ten times as many."""

MOST_STRETCH = 4.0
"""A weight is made at most so much longer or shorter; where the two heads say so different things it means nothing."""


def columns_of(lock: Lock, source: str) -> NDArray[np.int64] | None:
    """(D,) the number of the input that each feature of `source` comes from, where that is several blocks with gaps
    from several inputs; None elsewhere."""
    nodes = {node.name: node for node in lock.nodes}
    joined = nodes[source]
    if joined.op != "concat":
        return None
    inputs: dict[frozenset[str], int] = {}
    found: list[int] = []
    for name in joined.sources:
        block = nodes[name]
        width = block.type.dim("D") if block.type is not None else None
        if not _may_be_missing(block) or not isinstance(width, int):
            return None
        found += [inputs.setdefault(_inputs(name, nodes), len(inputs))] * width
    return np.array(found) if len(inputs) > 1 else None


def _may_be_missing(node: TypedNode) -> bool:
    return node.attrs.get("fn") == "block_norm" and bool(node.attrs["config"].get("gaps"))


@dataclass(frozen=True)
class Losable:
    """The blocks with gaps that some nodes are made of, by the inputs they come from: two or more columns."""

    columns: tuple[tuple[nn.Module, ...], ...]

    @classmethod
    def of(cls, lowered: Lowered, ends: Sequence[str]) -> Losable | None:
        """None where what `ends` are made of has fewer columns that may be missing."""
        nodes = {node.name: node for node in lowered.lock.nodes}
        made_of, open_ = set[str](), list(ends)
        while open_:
            if (name := open_.pop()) not in made_of:
                made_of.add(name)
                open_ += nodes[name].sources
        found: dict[frozenset[str], list[nn.Module]] = {}
        for name, node in nodes.items():  # in the order of the lock
            if name in made_of and _may_be_missing(node):
                found.setdefault(_inputs(name, nodes), []).append(lowered.learned[name])
        return cls(tuple(map(tuple, found.values()))) if len(found) > 1 else None

    @contextmanager
    def lost(self, number: int) -> Iterator[None]:
        """Within it all rows lack the column of this number: its blocks give zeros, as for a missing cell."""
        hooks = [module.register_forward_hook(_zeros) for module in self.columns[number]]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()


def _zeros(_: nn.Module, given: tuple[Tensor, ...], made: Tensor) -> Tensor:
    return torch.zeros_like(made)


def _inputs(name: str, nodes: Mapping[str, TypedNode]) -> frozenset[str]:
    """The input nodes that a node reads in the end."""
    node = nodes[name]
    return frozenset([name]) if node.op == "input" else frozenset().union(*(_inputs(s, nodes) for s in node.sources))


def with_dropout(
    made: Ridge,
    features: NDArray[np.floating],
    targets: Targets,
    columns: NDArray[np.int64],
    *,
    mixed: bool = False,
) -> Ridge:
    """The head `made` of features (n, D) again, with dropout of columns at RATE and the same penalty.

    mixed  whether its scores are added to those of another head

    What it expects of whole rows is what `made` does. For one of several classes its probe's scores are stretched as
    much as the head's are against those of `made`, so that probabilities stay calibrated. A number, and each of several
    labels, is compared with a fixed value, and what is mixed with another head's scores: there the weight is made so
    long that whole rows score as high as with `made`. O(min(n * C, D)³), or `made` itself beyond MOST_UNKNOWNS.
    """
    block = np.asarray(features, dtype=np.float64)
    plain = block - block.mean(axis=0)
    n, width = block.shape
    absolute = made.probe.penalty * (float(np.square(plain).sum()) / n or 1.0)
    mean, intercept = (np.average(part, axis=0, weights=targets.weights) for part in (block, targets.matrix))
    x, y = block - mean, targets.matrix - intercept
    if targets.weights is not None:
        root = np.sqrt(targets.weights)[:, None]
        x, y = x * root, y * root
    count = int(columns.max()) + 1
    if min(n * (count + 1), width) > MOST_UNKNOWNS:
        return made
    alone = RATE / count  # how often a column stands alone, beside
    both = 1.0 - 2.0 * alone  # whole rows
    weight: Array
    if n * (count + 1) <= width:
        weight = _dual(x, y, columns, absolute, both, alone)
    else:
        seen = np.where(columns[:, None] == columns, both + alone, both)
        right = (both + alone) * (x.T @ y)
        weight = np.asarray(np.linalg.solve((x.T @ x) * seen + absolute * np.eye(width), right).T, dtype=np.float64)
    return _as_long(made, weight, x, mean, intercept, mixed or targets.labels is None)


def with_copies(
    made: Ridge, whole: NDArray[np.floating], lost: Sequence[NDArray[np.floating]], targets: Targets, *, mixed: bool
) -> Ridge:
    """The same of features that are not blocks side by side: `whole` (n, D), and `lost` as they are without each
    column. Every row counts 1 - RATE whole and the rest without one column or another."""
    n, width = whole.shape
    if min(n * (len(lost) + 1), width) > MOST_UNKNOWNS:
        return made
    features, wanted = np.asarray(whole, dtype=np.float64), targets.matrix
    plain = features - features.mean(axis=0)
    absolute = made.probe.penalty * (float(np.square(plain).sum()) / n or 1.0)
    mean, intercept = (np.average(part, axis=0, weights=targets.weights) for part in (features, wanted))
    root = np.ones((n, 1)) if targets.weights is None else np.sqrt(targets.weights)[:, None]
    parts = [(features, 1.0 - RATE), *((without, RATE / len(lost)) for without in lost)]
    x = np.vstack([part**0.5 * root * (found - mean) for found, part in parts])
    y = np.vstack([part**0.5 * root * (wanted - intercept) for _, part in parts])
    weight: Array
    if len(x) <= width:
        weight = np.linalg.solve(x @ x.T + absolute * np.eye(len(x)), y).T @ x
    else:
        weight = np.asarray(np.linalg.solve(x.T @ x + absolute * np.eye(width), x.T @ y).T, dtype=np.float64)
    return _as_long(made, weight, root * (features - mean), mean, intercept, mixed or targets.labels is None)


def _as_long(made: Ridge, weight: Array, x: Array, mean: Array, intercept: Array, fixed: bool) -> Ridge:
    """A head with this weight, of whole rows x (n, D) about `mean`: as sure of them as `made`, by its length where what
    it says is compared with something `fixed`, else by the probe's scores."""
    before, after = x @ made.weight.T, x @ weight.T
    if fixed:
        along = (before * after).sum(axis=0) / np.maximum(np.square(before).sum(axis=0), 1e-30)
        weight = weight / np.clip(along, 1 / MOST_STRETCH, MOST_STRETCH)[:, None]
        return Ridge(weight, intercept - weight @ mean, made.probe)
    stretch = float((before * after).sum() / (np.square(before).sum() or 1.0)) or 1.0
    scores = intercept + stretch * (made.probe.scores - intercept)
    return Ridge(weight, intercept - weight @ mean, replace(made.probe, scores=scores))


def _dual(
    x: Array, y: Array, columns: NDArray[np.int64], absolute: float, both: float, alone: float
) -> NDArray[np.float64]:
    """The same weight (K, D) from the rows: whole ones with weight `both`, those of one column with weight `alone`."""
    n, count = len(x), int(columns.max()) + 1
    parts = [x * (columns == c) for c in range(count)]
    grams = [part @ part.T for part in parts]
    system = np.zeros((n * (count + 1),) * 2)
    system[:n, :n] = both * np.sum(grams, axis=0)
    for c, gram in enumerate(grams, start=1):
        here = slice(c * n, (c + 1) * n)
        system[here, here] = alone * gram
        system[:n, here] = (both * alone) ** 0.5 * gram
        system[here, :n] = system[:n, here]
    wanted = np.vstack([both**0.5 * y, *[alone**0.5 * y] * count])
    dual = np.linalg.solve(system + absolute * np.eye(len(system)), wanted).reshape(count + 1, n, -1)
    return np.asarray(sum(part.T @ (both**0.5 * dual[0] + alone**0.5 * dual[c + 1]) for c, part in enumerate(parts)).T)
