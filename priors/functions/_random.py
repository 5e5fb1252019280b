"""Random numbers that are the same on every machine and in every version: PCG64's bits, turned into numbers here.

numpy promises the bits of a bit generator for ever, but not what its distributions make of them.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

F64 = NDArray[np.float64]


def uniform(seed: int, *shape: int) -> F64:
    """Numbers in (0, 1): the middles of the 2^53 intervals that the top 53 bits name."""
    bits = np.random.PCG64(seed).random_raw(int(np.prod(shape)))
    return (((bits >> np.uint64(11)) + 0.5) / 2**53).reshape(shape)


def normal(seed: int, *shape: int) -> F64:
    """Standard normal numbers: the quantiles of `uniform`."""
    return np.asarray(ndtri(uniform(seed, *shape)), np.float64)


def order(seed: int, count: int) -> NDArray[np.int64]:
    """A permutation of range(count): the ranks of as many uniform numbers."""
    return np.argsort(uniform(seed, count), kind="stable").astype(np.int64)
