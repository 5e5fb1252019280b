"""Cells that are missing: which ones are, and what stands for them where a function or an encoder must be given some
value. What is made of a stand-in counts for nothing: `block_norm` with `gaps` leaves it out."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

SILENCE = 16_000
"""Samples that stand for a missing recording: a second at the rate most speech networks read."""


def is_missing(value: Any) -> bool:
    """None, NaN (what tables of other libraries hold where a text or a path is missing), a blank text."""
    if isinstance(value, str):
        return not value.strip()
    return value is None or (isinstance(value, float) and value != value)


def filled(values: Sequence[Any], modality: str, *, channels: int = 1) -> Sequence[Any]:
    """The values, with something of no content for each that is missing; blank texts stay as they are."""
    if modality == "tab" or not any(map(is_missing, values)):
        return values
    nothing: Any = ""
    match modality:
        case "image":
            nothing = np.zeros((8, 8, 3), np.uint8)
        case "audio":
            nothing = np.zeros(SILENCE, np.float32)
        case "series":
            nothing = np.zeros((1, channels))
    kept = str if modality == "text" else ()
    return [nothing if is_missing(value) and not isinstance(value, kept) else value for value in values]


def extract(function: Any, values: Sequence[Any]) -> NDArray[Any]:
    """What a function of raw values makes of them, given a stand-in for each that is missing; `present` sees those."""
    if getattr(function, "sees_gaps", False):
        return np.asarray(function.extract(values))
    modality = function.input_type.partition(".")[0]
    return np.asarray(function.extract(filled(values, modality, channels=getattr(function.config, "channels", 1))))
