"""Where content allows a cut: a gear hash over the last 64 bytes, as hf-xet computes it.

hf-xet rolls the hash byte by byte, h = (h << 1) + table[byte] in 64 bits, and cuts where its upper 16 bits are zero.
The shift drops a byte after 64 steps, so the hash is the sum over k < 64 of table[byte k back] << k: numpy builds it
for all positions at once from windows of 1, 2, 4, ... 64 bytes, each of which is two of the size before.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from priors.chunks._gear import TABLE

_WINDOW = 64
_CUT_BELOW = np.uint64(1 << 48)  # one position in 65,536
_BLOCK = 32 * 1024  # its 256 KiB of hashes and as much of work space stay in the second-level cache


class Finder:
    """Finds the marks of a stream; keeps the 63 bytes that the next piece's first windows reach back to."""

    def __init__(self) -> None:
        self._before = b""
        self._hash = np.empty(_BLOCK + _WINDOW - 1, dtype=np.uint64)
        self._work = np.empty_like(self._hash)

    def marks(self, piece: bytes) -> list[int]:
        """Positions in `piece` after which the content allows a cut."""
        before = len(self._before)
        data = np.frombuffer(self._before + piece, dtype=np.uint8)
        found: list[int] = []
        for at in range(before, len(data), _BLOCK):
            reach = max(at - (_WINDOW - 1), 0)
            hashes = self._hashes(data[reach : at + _BLOCK])[at - reach :]
            found += (np.flatnonzero(hashes < _CUT_BELOW) + (at - before + 1)).tolist()
        self._before = data[-(_WINDOW - 1) :].tobytes()
        return found

    def _hashes(self, data: NDArray[np.uint8]) -> NDArray[np.uint64]:
        """(n,) the hash after each byte; in the first 63, of the bytes there are."""
        size = len(data)
        hashes, work = self._hash[:size], self._work[:size]
        np.take(TABLE, data, out=hashes, mode="clip")  # any other mode than "raise": that one works in a copy
        for half in (1, 2, 4, 8, 16, 32):
            if half < size:
                np.left_shift(hashes[:-half], np.uint64(half), out=work[half:])
                np.add(hashes[half:], work[half:], out=hashes[half:])
        return hashes
