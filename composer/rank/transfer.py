"""Other scores that are published for choosing what to transfer from, beside evidence and leave-one-out: LEEP, its form
for features (N-LEEP), nearest neighbours, and the Brier score of a probe."""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray

from composer.rank.probe import CUT, Array, Probe, Targets, sets_score

NEIGHBOURS = 5

COMPONENTS = 5
"""Parts of the Gaussian mixture of N-LEEP for each class, as Li et al. 2021 chose."""

ROWS_A_COMPONENT = 4
"""A part of fewer rows is fitted to these rows alone, and knows their labels by heart."""

VARIANCE, MOST_DIRECTIONS = 0.8, 64
"""Of N-LEEP's principal components: the part of the variance that is kept (Li et al. 2021), and the most of them."""


def leep(sources: Array, targets: Targets) -> float:
    """The mean log likelihood of the labels, read off from what a model says of its own classes (Nguyen et al. 2020).

    sources  (n, S) probabilities of the model's own classes

    At most 0. For several labels a row it is the mean over the labels. Raises ValueError for numbers to predict.
    """
    if targets.is_number:
        raise ValueError("LEEP is about classes or labels, not about numbers")
    if targets.sets:
        each = [np.eye(2)[(column > CUT).astype(np.int64)] for column in targets.matrix.T]
    else:
        each = [targets.matrix]
    found = []
    for marks in each:
        joint = marks.T @ sources / len(sources)  # (C, S)
        given = joint / np.maximum(joint.sum(axis=0, keepdims=True), np.finfo(np.float64).tiny)
        likely = ((sources @ given.T) * marks).sum(axis=1)
        found.append(float(np.log(np.maximum(likely, np.finfo(np.float64).tiny)).mean()))
    return float(np.mean(found))


def nleep(features: NDArray[np.floating], targets: Targets, seed: int = 0) -> float:
    """LEEP of a Gaussian mixture over the principal components of features (n, d) (Li et al. 2021, N-LEEP).

    The mixture is fitted on the rows that it is judged by: with few rows a part it flatters every model alike.
    Deterministic. Raises ValueError for numbers to predict.
    """
    # 0.4 s to import, wanted by nobody else here.
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture

    if targets.is_number:
        raise ValueError("LEEP is about classes or labels, not about numbers")
    block = np.asarray(features, dtype=np.float64)
    block = block - block.mean(axis=0)
    left, lengths, _ = np.linalg.svd(block, full_matrices=False)
    total = float(np.square(lengths).sum())
    if total <= 0:
        return leep(np.ones((len(block), 1)), targets)
    kept = int(np.searchsorted(np.cumsum(np.square(lengths)) / total, VARIANCE)) + 1
    kept = min(kept, MOST_DIRECTIONS, len(lengths))
    reduced = left[:, :kept] * lengths[:kept]
    classes = 2 if targets.sets else targets.matrix.shape[1]
    parts = max(min(COMPONENTS * classes, len(block) // ROWS_A_COMPONENT), 1)
    mixture = GaussianMixture(
        parts, covariance_type="diag", reg_covar=1e-4 * total / len(block) / kept, init_params="k-means++",
        max_iter=50, random_state=seed,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # 50 steps are near enough for a score
        mixture.fit(reduced)
    return leep(np.asarray(mixture.predict_proba(reduced)), targets)


def nearest(kernel: Array, targets: Targets, neighbours: int = NEIGHBOURS) -> float:
    """Leave-one-out score of the nearest rows by cosine, from a centered Gram matrix (n, n): accuracy, the score
    of sets of labels, or R².

    Rows of one group are no neighbours of each other. Of classes with equally many votes the nearer counts.
    """
    n = len(kernel)
    lengths = np.sqrt(np.maximum(np.diag(kernel), 0.0))
    lengths = np.where(lengths > 0, lengths, 1.0)
    near = kernel / np.outer(lengths, lengths)
    groups = np.arange(n) if targets.groups is None else targets.groups
    near[groups[:, None] == groups[None, :]] = -np.inf
    count = min(neighbours, n - 1)
    order = np.argsort(-near, axis=1, kind="stable")[:, :count]  # (n, k)
    known = np.isfinite(np.take_along_axis(near, order, axis=1))
    votes = known * (1.0 + 1e-3 / (1.0 + np.arange(count)))  # (n, k)
    said = np.einsum("nk,nkc->nc", votes, targets.matrix[order]) / np.maximum(votes.sum(axis=1), 1e-9)[:, None]
    if targets.sets:
        return sets_score(targets, said)
    if targets.labels is None:
        return 1.0 - float(np.square(said[:, 0] - targets.matrix[:, 0]).mean())
    return float((said.argmax(axis=1) == targets.labels).mean())


def brier(found: Probe) -> float | None:
    """The Brier score of a probe's leave-one-out probabilities: the mean over rows of their squared distance to what
    was right, summed over classes or labels; None for a number."""
    targets = found.targets
    if targets.is_number:
        return None
    if targets.sets:
        said = 1.0 / (1.0 + np.exp(-found.sharpness * (found.scores - CUT)))
    else:
        logits = found.sharpness * (found.scores - found.scores.max(axis=1, keepdims=True))
        said = np.exp(logits)
        said /= said.sum(axis=1, keepdims=True)
    return float(np.square(said - targets.matrix).sum(axis=1).mean())
