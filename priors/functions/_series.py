"""What the functions of series share: one cell of a table as numbers over time."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from priors.errors import BadTable

F64 = NDArray[np.float64]

MAX_STEPS = 10_000_000
"""Numbers of one series, all channels together: 80 MB."""


def read_series(value: Any, row: int) -> F64:
    """A series as (T, C) float64: an array (T,) or (T, C), or a list of channels, each a list of numbers.

    Raises BadTable naming the row for what is empty, ragged, too long or not finite.
    """
    try:
        if isinstance(value, str):
            value = json.loads(value)
        if isinstance(value, np.ndarray):
            found = value.astype(np.float64)
            found = found[:, None] if found.ndim == 1 else found
        else:
            channels = value if value and isinstance(value[0], Sequence | np.ndarray) else [value]
            found = np.stack([np.asarray(one, np.float64) for one in channels], axis=-1)
    except (TypeError, ValueError) as error:
        raise BadTable(
            f"series {row} is not numbers over time ({str(error)[:80]}). Give a list of numbers, or one a channel."
        ) from error
    if found.ndim != 2 or found.size == 0 or found.size > MAX_STEPS:
        raise BadTable(
            f"series {row} has shape {found.shape}. Give (T,) or (T, C) of 1 to {MAX_STEPS:,} numbers in all."
        )
    bad = np.argwhere(~np.isfinite(found))
    if len(bad):
        step, channel = bad[0].tolist()
        raise BadTable(
            f"series {row}: step {step} of channel {channel} is {found[step, channel]}. Fill in what is missing."
        )
    return found
