"""Where a prior without history likely stands, from the standings of those with: what cards say.

Two ways, kernel ridge regression on cards and extremely randomized trees, each judged with whole families left out,
because the next new prior is of no family that was seen. They are averaged by how they did. Both are linear in the
standings, so the result is one map that goes for every task at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from composer.rank.kriging import weights_of
from composer.rank.likeness import Metadata
from composer.rank.probe import Array

Rows = NDArray[np.int64]

PENALTIES = (0.1, 0.3, 1.0)
"""Noise of what cards say of a standing, in units of its variance."""

WEIGHTS = (0.0, 0.5, 1.0, 2.0)
"""What one way to be alike may count against the others."""

ROUNDS = 2
FOLDS = 5

MANY = 500
"""With more priors than this all kernels count the same: every try inverts a matrix of them."""

TREES, PART, LEAF = 40, 0.4, 2
"""Trees, the part of columns that each split chooses from, and the fewest priors in a leaf."""

GROVE = 40
"""Priors without which no trees are grown."""


MOST_LEARNED = 1_500
"""With more priors in the history, cards are learned from those with most results alone: the work grows with the cube
of their number, and memory with the square."""

AT_ONCE = 2_000
"""Priors that kernels are computed of at a time."""


@dataclass(frozen=True)
class Inherited:
    """A linear map of values (P, ...) of the priors with history, applied to some of them less the mean of all.

    rows      (S,) those that it learns from
    operator  (N, S) to the priors without history
    left_out  (P, S) to those with history themselves, each from the other families alone
    """

    rows: Rows
    operator: Array
    left_out: Array

    def __call__(self, values: Array, *, left_out: bool = False) -> Array:
        center = values.mean(axis=0)
        return np.asarray((self.left_out if left_out else self.operator) @ (values[self.rows] - center) + center)


def inherit(
    cards: Metadata, known: int, values: Array, families: Sequence[str], counts: Rows | None = None
) -> Inherited:
    """The map that predicts values best.

    cards     of the priors with history, the first `known`, and then of those without
    values    (P,) the general standing of those with, by which ways are judged
    families  of those with
    counts    (P,) results of each, by which it is said who is learned from where there are more than MOST_LEARNED
    """
    rows = np.arange(known)
    if known > MOST_LEARNED:
        rows = np.sort(np.argsort(np.zeros(known) if counts is None else -counts, kind="stable")[:MOST_LEARNED])
    groups = folds_of(families)
    wanted = values - values.mean()
    ways = [_by_kernels(cards, known, rows, wanted[rows], groups)]
    if known >= GROVE and int(groups.max()) and (cards.numbers.shape[1] or cards.tags.shape[1]):
        table = np.concatenate([cards.table(), cards.missing], axis=1)
        ways.append(_by_trees(table[:known], table[known:], rows, wanted[rows], groups))
    parts = weights_of(np.stack([-np.square(left_out @ wanted[rows] - wanted) for _, left_out in ways]))
    return Inherited(
        rows,
        np.asarray(sum(part * operator for part, (operator, _) in zip(parts, ways, strict=True))),
        np.asarray(sum(part * left_out for part, (_, left_out) in zip(parts, ways, strict=True))),
    )


def _by_kernels(
    cards: Metadata, known: int, rows: Rows, wanted: Array, every: NDArray[np.int64]
) -> tuple[Array, Array]:
    """Kernel ridge regression; weights of the kernels and the penalty are found one after the other, by the squared
    error on families left out. `every` (P,) are the folds of all priors with history, wanted (S,) of `rows`."""
    old: Rows | slice = slice(0, known) if len(rows) == known else rows
    kernels, groups = cards.kernels(old, old), every[rows]
    weights, penalty = dict.fromkeys(kernels, 1.0), 0.3

    def loss(weights: Mapping[str, float], penalty: float) -> float:
        if not any(weights.values()):
            return float("inf")
        return float(np.square(_without(_inverse(kernels, weights, penalty)[0], wanted, groups)).mean())

    best = loss(weights, penalty) if known <= MANY else 0.0
    for _ in range(ROUNDS if known <= MANY else 0):
        before = best
        for name in kernels:
            for weight in WEIGHTS:
                if (found := loss({**weights, name: weight}, penalty)) < best:
                    best, weights = found, {**weights, name: weight}
        for step in PENALTIES:
            if (found := loss(weights, step)) < best:
                best, penalty = found, step
        if best == before:
            break
    inverse, scale = _inverse(kernels, weights, penalty)

    def mapped(asked: Rows, onto: Array, some: Rows) -> Array:
        """(A, S') the map to the priors asked about from some of those learned from, whose inverse is `onto`."""
        found = np.zeros((len(asked), len(some)))
        for start in range(0, len(asked), AT_ONCE):
            part = asked[start : start + AT_ONCE]
            across = cards.kernels(part, rows[some])
            kernel = np.asarray(sum(weight * across[name] for name, weight in weights.items()))
            found[start : start + AT_ONCE] = kernel / scale @ onto
        return found

    left_out = np.zeros((known, len(rows)))
    others = np.setdiff1d(np.arange(known), rows)
    for group in range(int(every.max()) + 1):
        at = np.flatnonzero(groups == group)
        if len(at):
            left_out[rows[at]] = -np.linalg.solve(inverse[np.ix_(at, at)], inverse[at])
            left_out[np.ix_(rows[at], at)] = 0.0  # what is left: the prediction from all others
        asked, rest = others[every[others] == group], np.flatnonzero(groups != group)
        if len(asked) and len(rest):
            own = {name: kernel[np.ix_(rest, rest)] for name, kernel in kernels.items()}
            left_out[np.ix_(asked, rest)] = mapped(asked, _inverse(own, weights, penalty, scale)[0], rest)
    return mapped(np.arange(known, len(cards.words)), inverse, np.arange(len(rows))), left_out


def _inverse(
    kernels: Mapping[str, Array], weights: Mapping[str, float], penalty: float, scale: float = 0.0
) -> tuple[Array, float]:
    """The inverse of the weighted kernel of mean 1 on its diagonal plus the penalty, and what the mean was or is given
    to be."""
    kernel = np.asarray(sum(weight * kernels[name] for name, weight in weights.items() if weight))
    scale = scale or float(np.diag(kernel).mean()) or 1.0
    return np.asarray(np.linalg.inv(kernel / scale + penalty * np.eye(len(kernel)))), scale


def _without(inverse: Array, wanted: Array, groups: NDArray[np.int64]) -> Array:
    """(P,) how far each is from what is predicted of it with its group left out."""
    solved = inverse @ wanted
    gaps = np.empty(len(wanted))
    for group in range(int(groups.max()) + 1):
        at = np.flatnonzero(groups == group)
        gaps[at] = np.linalg.solve(inverse[np.ix_(at, at)], solved[at])
    return gaps


def _by_trees(old: Array, new: Array, rows: Rows, wanted: Array, groups: NDArray[np.int64]) -> tuple[Array, Array]:
    """The mean over trees of those in whose leaf a prior falls."""
    left_out = np.zeros((len(old), len(rows)))
    for group in np.unique(groups):
        out, rest = np.flatnonzero(groups == group), np.flatnonzero(groups[rows] != group)
        if not len(rest):
            continue
        left_out[np.ix_(out, rest)] = _leaves(old[rows[rest]], wanted[rest], old[out]) - 1 / len(rest)
    return _leaves(old[rows], wanted, new), left_out


def _leaves(seen: Array, wanted: Array, asked: Array) -> Array:
    """(A, S) the weights of those seen in what trees grown on them predict of those asked about."""
    from sklearn.ensemble import ExtraTreesRegressor  # a second to import, for large histories only

    found = np.zeros((len(asked), len(seen)))
    if not len(asked):
        return found
    trees = ExtraTreesRegressor(TREES, max_features=PART, min_samples_leaf=LEAF, random_state=0)
    trees.fit(seen, wanted - wanted.mean())
    for a, b in zip(trees.apply(asked).T, trees.apply(seen).T, strict=True):
        same = a[:, None] == b[None, :]
        found += same / same.sum(axis=1, keepdims=True)
    return found / TREES


def folds_of(families: Sequence[str], count: int = FOLDS) -> NDArray[np.int64]:
    """(P,) the fold of each; families stay whole, the largest are dealt first, each to the smallest fold.

    Where there are fewer than two families each prior is dealt by itself.
    """
    names, numbers, sizes = np.unique(np.asarray(families), return_inverse=True, return_counts=True)
    if len(names) < 2:
        return np.arange(len(families), dtype=np.int64) % min(count, max(len(families), 1))
    filled = np.zeros(min(count, len(names)), dtype=np.int64)
    fold = np.zeros(len(names), dtype=np.int64)
    for i in np.argsort(-sizes, kind="stable"):
        fold[i] = int(filled.argmin())
        filled[fold[i]] += sizes[i]
    return np.asarray(fold[numbers])
