"""How kernels lie to each other and in themselves: alignment (CKA) and effective rank.

Centered kernel alignment with a linear kernel is 1 when one value is a rotated and scaled copy of the other and 0 when
they have nothing in common (Kornblith et al. 2019); the unbiased estimate of HSIC keeps many features on few rows from
looking alike (Song et al. 2012). Effective rank is the exponential of the entropy of the spectrum (Roy and Vetterli
2007).
"""

from __future__ import annotations

import numpy as np

from composer.rank.probe import Array


def cka(first: Array, second: Array) -> float:
    """Linear CKA of two centered Gram matrices (n, n), unbiased, cut to [0, 1]; 0 when either has no variance, or for
    fewer than four rows."""
    if len(first) < 4:
        return 0.0
    mutual, own, other = _hsic(first, second), _hsic(first, first), _hsic(second, second)
    if own <= 0 or other <= 0:
        return 0.0
    return float(np.clip(mutual / np.sqrt(own * other), 0.0, 1.0))


def _hsic(first: Array, second: Array) -> float:
    """The unbiased estimate times a constant; n >= 4 rows."""
    n = len(first)
    k, m = first - np.diag(np.diag(first)), second - np.diag(np.diag(second))
    rows, others = k.sum(axis=0), m.sum(axis=0)
    trace, sums = float((k * m).sum()), float(rows.sum() * others.sum()) / ((n - 1) * (n - 2))
    return trace + sums - 2 * float(rows @ others) / (n - 2)


def effective_rank(kernel: Array) -> float:
    """Of the spectrum of a centered Gram matrix: 1 when all rows lie on a line, 0 when all are the same."""
    spectrum = np.maximum(np.linalg.eigvalsh(kernel), 0.0)
    total = spectrum.sum()
    if total <= 0:
        return 0.0
    parts = spectrum[spectrum > total * 1e-12] / total
    return float(np.exp(-(parts * np.log(parts)).sum()))
