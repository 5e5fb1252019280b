"""Whether a row has a value at all, of columns that are texts, images, recordings or series."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from priors.functions._config import FunctionConfig, read_config
from priors.functions.absent import is_missing
from priors.registry import function


@function("present")
class Present:
    """1 for a row with a value, 0 for one without: None, NaN, a text of white space.

    It stands before the features of the column in a `block_norm` with `gaps`, which leaves out what is missing. An
    input that is read by it may have gaps; any other is refused where it has some.
    """

    host: ClassVar[bool] = True
    fitted: ClassVar[bool] = False
    sees_gaps: ClassVar[bool] = True
    input_type: ClassVar[str] = "text.raw[B]:str"
    output_type: ClassVar[str] = "vec.feat[B,D:1]:f32"

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.config = read_config(FunctionConfig, config, "present")

    def extract(self, values: Sequence[Any]) -> NDArray[np.float32]:
        """Values of any kind -> (n, 1) float32."""
        return np.array([[not is_missing(value)] for value in values], np.float32).reshape(len(values), 1)
