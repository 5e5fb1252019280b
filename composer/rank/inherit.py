"""Where a prior without history likely stands, from the standings of those with: kernel ridge regression on cards.

Judged with whole families left out, because the next new prior is of no family that was seen. All mixtures of kernels
and all penalties are averaged by how they did; the result is one linear map, so that it goes for every task at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from composer.rank.kriging import weights_of
from composer.rank.probe import Array

PENALTIES = (0.1, 0.3, 1.0)
"""Noise of what cards say of a standing, in units of its variance."""

LEAST = 0.02
FOLDS = 5

MANY = 500
"""With more priors than this only all kernels together are tried: every try inverts a matrix of them."""


@dataclass(frozen=True)
class Inherited:
    """A linear map of values (P, ...) of the priors with history, applied to them less their mean.

    operator  (N, P) to the priors without history
    left_out  (P, P) to those with history themselves, each from the other families alone
    """

    operator: Array
    left_out: Array

    def __call__(self, values: Array, *, left_out: bool = False) -> Array:
        center = values.mean(axis=0)
        return np.asarray((self.left_out if left_out else self.operator) @ (values - center) + center)


def inherit(
    kernels: Mapping[str, Array], across: Mapping[str, Array], values: Array, families: Sequence[str]
) -> Inherited:
    """The map that predicts values best.

    kernels   name -> (P, P) among the priors with history
    across    name -> (N, P) from those without to them
    values    (P,) the general standing, by which mixtures are judged
    families  of the priors with history
    """
    groups = folds_of(families)
    wanted = values - values.mean()
    count = len(values)
    fitted: list[tuple[tuple[str, ...], float, Array, Array]] = []
    mixtures = [tuple(kernels)] if count > MANY else _mixtures(tuple(kernels))
    for names, penalty in product(mixtures, PENALTIES):
        kernel = np.asarray(sum(kernels[name] for name in names))
        scale = float(np.diag(kernel).mean()) or 1.0
        inverse = np.linalg.inv(kernel / scale + penalty * np.eye(count))
        without = np.zeros((count, count))
        for group in range(int(groups.max()) + 1):
            at = np.flatnonzero(groups == group)
            without[at] = -np.linalg.solve(inverse[np.ix_(at, at)], inverse[at])
            without[np.ix_(at, at)] = 0.0  # what is left: the prediction from all others
        fitted.append((names, scale, np.asarray(inverse), without))
    losses = np.stack([np.square(without @ wanted - wanted) for _, _, _, without in fitted])
    parts = weights_of(-losses)
    operator, left_out = np.zeros((len(next(iter(across.values()))), count)), np.zeros((count, count))
    for part, (names, scale, inverse, without) in zip(parts, fitted, strict=True):
        if part >= LEAST * parts.max():
            operator += float(part) * np.asarray(sum(across[name] for name in names)) / scale @ inverse
            left_out += float(part) * without
    return Inherited(operator, left_out)


def folds_of(families: Sequence[str], count: int = FOLDS) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
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


def _mixtures(names: Sequence[str]) -> list[tuple[str, ...]]:
    """Each kernel alone, each pair, and all together."""
    pairs = [(a, b) for i, a in enumerate(names) for b in names[i + 1 :]]
    return list(dict.fromkeys([*((name,) for name in names), *pairs, tuple(names)]))
