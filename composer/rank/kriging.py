"""What priors would score on a task nobody ran, from what they scored on others: kriging over tasks.

The covariance of two tasks' standings is k(t, u) = 1 + a · subject(t, u) + b · letters(t, u): what priors have in
general, by subject and by name. That of two priors is 1 on the diagonal plus what their cards share, smoothed or not;
together they are a Kronecker product (Bonilla, Chai and Williams 2007, "Multi-task Gaussian process prediction"),
solved by two eigendecompositions. Every task has its own noise: how badly the others predict it. Tasks that nothing
predicts tell nothing of others either; with one noise for all, weighted tau was .003 to .007 lower on three open
tables.

No hyperparameter is set by hand. All combinations of a small grid are fitted, the standing of every task is predicted
with the task left out (in closed form), and the combinations are averaged by how they did.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from composer.rank.probe import Array

SHARES = ((0.0, 0.0), (0.4, 0.4), (1.0, 1.0), (1.0, 0.0), (0.0, 1.0))
"""How much subject and letters count against what is general: (a, b)."""

NOISES = (1.0, 3.0)
"""Mean noise of a task's standings, in units of their general variance."""

SMOOTHS = (0.0, 1.0)
"""How much priors with like cards share, in units of what each has for itself (OWN)."""

OWN = 0.3
LEAST = 0.02
"""Combinations with a smaller part of the weight are left out."""

FILLS = 3
"""Rounds of filling what is missing by what is predicted for it."""

APART = 5
"""Parts that the tasks of a history with gaps are left out in. Leaving out one task in closed form would not leave it
out: what is missing elsewhere was filled by it. On made-up histories of which a tenth to a half is known, intervals
that should hold 90 % of a new task's standings held 75 to 89 % so."""

FULL = 0.9
"""The part of a history that must be known for its few gaps to make no difference."""

DOUBT = 5.0
"""A combination that is z standard errors under the best, paired by task, counts exp(-z² / (2 · DOUBT)). Most
differences are noise: with 1 the average was up to .02 below that of equal parts, on the open tables."""


_Key = tuple[str, float, float, float, float]
"""scale, a, b, strength of noise, smooth"""


@dataclass(frozen=True)
class Surface:
    """The mean standing of every prior on any task: `general + subject @ s + letters @ l`, where s and l (T,) say how
    like the history's tasks the new one is.

    general (P,), subject (P, T), letters (P, T)
    left_out   (P, T) what the same would have said of each task of the history without it, in a history of many
               gaps without it and others
    agreement  mean correlation of `left_out` with the standings
    weights    combination -> part, for who wants to know what was found
    """

    general: Array
    subject: Array
    letters: Array
    left_out: Array
    agreement: float
    weights: Mapping[_Key, float]

    def __call__(self, subject: Array, letters: Array) -> Array:
        return self.general + self.subject @ subject + self.letters @ letters


def krige(
    standings: Mapping[str, Array],
    subject: Array,
    letters: Array,
    *,
    weighed: Array,
    alike: Array | None = None,
    sources: NDArray[np.int64] | None = None,
    start: Callable[[NDArray[np.int64]], Array] | None = None,
) -> Surface:
    """The surface through standings (P, T), several scales of the same scores; NaN where unknown.

    subject, letters  (T, T) how alike the tasks are
    weighed           (P, T) the standings that predictions are scaled by
    alike             (P, P) how alike the priors' cards are
    sources           (T,) numbers of what the tasks' rows were cut from: tasks of one source are left out together
    start             numbers of tasks -> (P,) where each prior stands by these, as far as nothing else is known; 0
                      unless given
    """
    known = np.isfinite(weighed)
    count, tasks = weighed.shape

    def fitted(scale: str, a: float, b: float, at: NDArray[np.int64]) -> tuple[Array, Array, Array]:
        """What is filled in of these tasks, their covariance and their noise."""
        covariance = 1.0 + a * subject[np.ix_(at, at)] + b * letters[np.ix_(at, at)]
        filled = _filled(standings[scale][:, at], covariance, np.zeros(count) if start is None else start(at))
        return filled, covariance, _noise(filled, covariance)

    every = np.arange(tasks)
    sources = every if sources is None else sources
    shared = [at for number in np.unique(sources) if len(at := np.flatnonzero(sources == number)) > 1]
    bases = [_Basis.of(alike, smooth) for smooth in SMOOTHS if alike is not None or smooth == 0]
    fits: list[_Fit] = []
    for scale, (a, b) in product(standings, SHARES):
        filled, covariance, noise = fitted(scale, a, b, every)
        for strength, basis in product(NOISES, bases):
            coefficients, left_out = _solve(filled, covariance, strength * noise, basis, shared)
            fits.append(_Fit((scale, a, b, strength, basis.smooth), coefficients, left_out))

    def apart(key: _Key) -> Array:
        """(P, T) what a combination says of tasks that it did not see, a part of them at a time."""
        scale, a, b, strength, smooth = key
        basis = next(one for one in bases if one.smooth == smooth)
        found = np.zeros((count, tasks))
        for part in range(min(APART, int(sources.max()) + 1)):
            out, at = every[sources % APART == part], every[sources % APART != part]
            filled, covariance, noise = fitted(scale, a, b, at)
            coefficients, _ = _solve(filled, covariance, strength * noise, basis, [])
            found[:, out] = coefficients @ (1.0 + a * subject[np.ix_(at, out)] + b * letters[np.ix_(at, out)])
        return found

    judge = _Judge(weighed, known)
    weights = weights_of(np.array([judge(fit.left_out) for fit in fits]))
    kept = [i for i in np.argsort(-weights) if weights[i] >= LEAST * weights.max()]
    parts = weights[kept] / weights[kept].sum()
    general, by_subject, by_letters = np.zeros(count), np.zeros((count, tasks)), np.zeros((count, tasks))
    left_out = np.zeros((count, tasks))
    for i, part in zip(kept, parts, strict=True):
        fit = fits[i]
        size = float(part) / (float(fit.left_out.std(axis=0).mean()) or 1.0)
        general += size * fit.coefficients.sum(axis=1)
        by_subject += size * fit.key[1] * fit.coefficients
        by_letters += size * fit.key[2] * fit.coefficients
        left_out += size * (fit.left_out if known.mean() >= FULL else apart(fit.key))
    # The least squares slope: what is predicted is as large as it is right.
    slope = float((left_out * np.where(known, weighed, 0.0))[known].sum() / (np.square(left_out[known]).sum() or 1.0))
    slope = max(slope, 0.0)
    return Surface(
        slope * general,
        slope * by_subject,
        slope * by_letters,
        slope * left_out,
        float(_correlations(left_out, weighed, known).mean()),
        {fits[i].key: float(part) for i, part in zip(kept, parts, strict=True)},
    )


@dataclass(frozen=True)
class _Fit:
    key: _Key
    coefficients: Array
    left_out: Array


@dataclass(frozen=True)
class _Basis:
    """Eigenvectors and values of the priors' covariance; `vectors` is None for the identity."""

    smooth: float
    vectors: Array | None
    values: Array

    @classmethod
    def of(cls, alike: Array | None, smooth: float) -> _Basis:
        if alike is None or smooth == 0:
            return cls(0.0, None, np.ones(1))
        covariance = OWN * np.eye(len(alike)) + smooth * alike
        values, vectors = np.linalg.eigh(covariance / np.diag(covariance).mean())
        return cls(smooth, vectors, np.maximum(values, 1e-9))


def _solve(
    values: Array, covariance: Array, noise: Array, basis: _Basis, shared: Sequence[NDArray[np.int64]]
) -> tuple[Array, Array]:
    """(P, T) coefficients, whose product with a new task's covariances is its prediction, and what is said of each task
    with it left out, and with it those that it shares a source with."""
    root = 1.0 / np.sqrt(noise)
    eigen, vectors = np.linalg.eigh(covariance * root[:, None] * root[None, :])
    turned = values if basis.vectors is None else basis.vectors.T @ values
    gains = 1.0 / (basis.values[:, None] * np.maximum(eigen, 0.0)[None, :] + 1.0)  # (P or 1, T)
    solved = ((turned * root) @ vectors * gains) @ vectors.T
    alone = gains @ np.square(vectors).T  # the diagonal of the inverse, in each direction
    left_out = turned - solved / alone / root
    for at in shared:
        inverse = np.einsum("st,pt,ut->psu", vectors[at], gains, vectors[at])
        left_out[:, at] = turned[:, at] - np.linalg.solve(inverse, solved[:, at, None])[..., 0] / root[at]
    coefficients = basis.values[:, None] * solved * root
    if basis.vectors is not None:
        left_out, coefficients = basis.vectors @ left_out, basis.vectors @ coefficients
    return coefficients, left_out


def _noise(values: Array, covariance: Array) -> Array:
    """(T,) how badly each task is predicted from the others, of mean 1."""
    inverse = np.linalg.inv(covariance + np.eye(len(covariance)))
    gaps = np.square((values @ inverse) / np.diag(inverse)).mean(axis=0)
    return np.asarray(np.maximum(gaps / max(float(gaps.mean()), 1e-12), 0.05))


def _filled(values: Array, covariance: Array, start: Array) -> Array:
    """What is missing as it is predicted from the rest of the prior's row."""
    known = np.isfinite(values)
    if known.all():
        return values
    filled = np.where(known, values, start[:, None])
    smooth = np.linalg.solve(covariance + np.eye(len(covariance)), covariance)
    for _ in range(FILLS):
        filled = np.where(known, values, start[:, None] + (filled - start[:, None]) @ smooth)
    return filled


class _Judge:
    """How well predictions order the priors of each task: the mean of two rank correlations, of which one weighs the
    first places most."""

    def __init__(self, standings: Array, known: Array) -> None:
        self.known = known
        self.all, self.first = self._scales(np.where(known, standings, np.inf))

    def __call__(self, predicted: Array) -> Array:
        """(T,) of predictions (P, T)."""
        everywhere, first = self._scales(np.where(self.known, predicted, np.inf))
        return np.asarray(
            _correlations(everywhere, self.all, self.known) + _correlations(first, self.first, self.known)
        )

    def _scales(self, values: Array) -> tuple[Array, Array]:
        order = np.argsort(np.argsort(values, axis=0, kind="stable"), axis=0, kind="stable") + 0.5
        part = np.minimum(order / np.maximum(self.known.sum(axis=0), 1), 1 - 1e-9)
        return part, -np.log1p(-part)


def _correlations(predicted: Array, standings: Array, known: Array) -> Array:
    """(T,) over the priors known on each task; 0 where either does not vary."""
    count = np.maximum(known.sum(axis=0), 1)
    a, b = np.where(known, predicted, 0.0), np.where(known, standings, 0.0)
    a, b = np.where(known, a - a.sum(axis=0) / count, 0.0), np.where(known, b - b.sum(axis=0) / count, 0.0)
    sizes = np.sqrt(np.square(a).sum(axis=0) * np.square(b).sum(axis=0))
    return np.asarray((a * b).sum(axis=0) / np.where(sizes > 1e-12, sizes, np.inf))


def weights_of(agreements: Array) -> Array:
    """Parts of combinations, which sum to 1, by their agreements (combinations, cases)."""
    best = agreements[int(agreements.mean(axis=1).argmax())]
    gaps = best - agreements
    errors = gaps.std(axis=1) / np.sqrt(max(gaps.shape[1] - 1, 1)) + 1e-4
    found = np.exp(-np.square(gaps.mean(axis=1) / errors) / (2 * DOUBT))
    return np.asarray(found / found.sum())
