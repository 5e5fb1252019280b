"""Files as chunks that content cuts, with the hashes hf-xet gives them: what uploads, downloads and the store share.

Two files that have a stretch in common have its chunks in common, wherever it lies in them, so only new chunks travel
and only new chunks are stored. numpy and blake3 only: the client is as light with it as without.
"""

from __future__ import annotations

from priors.chunks._cut import MAX_CHUNK, MIN_CHUNK, TARGET_CHUNK, Chunk, cut
from priors.chunks._hashes import chunk_hash, file_hash, from_hex, range_hash, to_hex, xorb_hash

__all__ = [
    "MAX_CHUNK",
    "MIN_CHUNK",
    "TARGET_CHUNK",
    "Chunk",
    "chunk_hash",
    "cut",
    "file_hash",
    "from_hex",
    "range_hash",
    "to_hex",
    "xorb_hash",
]
