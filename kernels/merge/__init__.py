"""Merging weights, a block of a tensor at a time: sums of products, weighted sums, and thinned differences.

Blocks are NumPy arrays of raw values, because files hold bf16 and NumPy does not: `Raw(values, dtype)` with uint16 for
BF16 and F16, float32 for F32. Nothing here needs torch. One thread; equal calls give equal bits on every processor
(`gram` and `norms` only as long as the backend is the same: the reference sums in another order).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kernels._dispatch import choose
from kernels.errors import NotFinite, ShapeMismatch
from kernels.merge import _cpu, _reference

__all__ = [
    *("DTYPES", "MOST", "Dtype", "Raw", "Sparse", "combine", "deltas", "gram", "histogram", "norms"),
    *("ranks", "rolls", "thinned", "values"),
]

Dtype = Literal["BF16", "F16", "F32"]
DTYPES: tuple[Dtype, ...] = ("BF16", "F16", "F32")
MOST = 64
"""Most inputs of one call."""


class Raw(NamedTuple):
    """Values as a file holds them: uint16 for BF16 and F16, float32 for F32; one axis, adjacent."""

    values: NDArray[Any]
    dtype: Dtype


@dataclass
class Sparse:
    """Which elements of one input's delta are kept, and what they are multiplied with.

    mode     all | none | window | random | bytes
    scale    factor of what is kept (rescaling), then weight: the input's
    low, high
             window: bits of float32 magnitudes; what lies strictly between is kept, and of the elements that are equal
             to a bound, in order of the tensor, the `low_from`-th to before the `low_to`-th at `low` and those before
             the `high_to`-th at `high`. Where both are one value, both conditions hold.
    key, limit
             random: an element is kept when its draw, a hash of its place in the tensor, is less than `limit` of 2^32
    bytes    bytes: kept where not 0, one for each element of the block
    seen_low, seen_high
             how many of the bound's equals earlier blocks had; `deltas` and `norms` count on
    """

    mode: Literal["all", "none", "window", "random", "bytes"] = "all"
    scale: float = 1.0
    weight: float = 1.0
    low: int = 0
    high: int = 1 << 31
    low_from: int = 0
    low_to: int = 0
    high_to: int = 0
    key: int = 0
    limit: int = 0
    bytes: NDArray[np.uint8] | None = None
    seen_low: int = 0
    seen_high: int = 0


def gram(inputs: Sequence[Raw], base: Raw | None, sums: NDArray[np.float64]) -> None:
    """sums[i, j] += <x_i - base, x_j - base> for i <= j, in float64. sums is (K, K)."""
    _check(inputs, base)
    _finite(_backend().gram(inputs, base, sums), inputs)


def combine(
    inputs: Sequence[Raw], coefficients: Sequence[float], divisor: float, out: Raw, *, fused: bool = False
) -> None:
    """out = (((0 + c_0 x_0) + c_1 x_1) + …) / divisor, in float32, rounded once to the dtype of `out`.

    fused   each product is added without being rounded first, as torch's addcmul has it
    """
    _check(inputs, out)
    _finite(_backend().combine(inputs, coefficients, divisor, out, fused), inputs)


def histogram(x: Raw, base: Raw | None, work: Dtype, table: NDArray[np.uint32], prefix: int | None = None) -> None:
    """Count the magnitudes of x - base, rounded to `work`, into `table` (4, 65536), whose rows are to be added up.

    By the upper 16 of the 31 bits of a float32 magnitude; with a prefix those that have these upper bits, by the
    lower 15. So two passes give any order statistic exactly, and one does for bf16.
    """
    _check([x], base)
    _finite(_backend().histogram(x, base, work, table, prefix), [x])


def norms(x: Raw, base: Raw, work: Dtype, sparse: Sparse, first: int) -> tuple[float, float]:
    """The sums of |x - base| and of what `sparse` keeps of it, in float64, before its scale and weight."""
    _check([x], base)
    status, before, after = _backend().norms(x, base, work, sparse, first)
    _finite(status, [x])
    return before, after


def deltas(
    inputs: Sequence[Raw],
    base: Raw,
    work: Dtype,
    sparse: Sequence[Sparse],
    out: Raw,
    first: int,
    *,
    consensus: bool,
    normalize: bool,
    lambda_: float = 1.0,
    divisor: float = 1.0,
) -> None:
    """out = base + lambda * sum over i of weight_i * scale_i * keep_i(x_i - base), every step rounded to `work`.

    consensus   only deltas of the sign of their sum are added (0 counts as +): TIES
    normalize   divide by the weights of what was added (by 1 where that is 0); without consensus by `divisor`
    first       the place of the block's first element in its tensor
    """
    _check([*inputs, out], base)
    if len(sparse) != len(inputs):
        raise ShapeMismatch(f"{len(inputs)} inputs come with {len(sparse)} rules of what is kept. Give one for each.")
    _finite(_backend().deltas(inputs, base, work, sparse, out, first, consensus, normalize, lambda_, divisor), inputs)


def values(x: Raw) -> NDArray[np.float32]:
    """The values as float32, exactly; for F32 the same memory."""
    return _reference.to_float(x)


def ranks(x: Raw, base: Raw, work: Dtype, row: int) -> NDArray[np.int64]:
    """The rank of each |x - base| within its row of `row` elements, 0 for the smallest; equals in their order."""
    _check([x], base)
    sizes = np.abs(_reference.rounded(values(x) - values(base), work)).reshape(-1, row)
    order = np.argsort(sizes, axis=1, kind="stable")
    found = np.empty(order.shape, np.int64)
    np.put_along_axis(found, order, np.arange(row)[None, :], axis=1)
    return found.reshape(-1)


def rolls(count: int, first: int, key: int) -> NDArray[np.uint32]:
    """The draws of `Sparse("random")` for the elements from `first` on, 32 bits each."""
    return _reference.draws(count, first, key)


def thinned(x: NDArray[np.float32], sparse: Sparse, first: int) -> NDArray[np.float32]:
    """x with 0 for what `sparse` does not keep; counts its ties on."""
    return _reference.thinned(x, sparse, first)


def _backend() -> Any:
    return {"cpu": _cpu, "reference": _reference}[choose("merge", {"cpu": _cpu.refusal})]


def _check(inputs: Sequence[Raw], beside: Raw | None) -> None:
    blocks = [*inputs, *([] if beside is None else [beside])]
    if not inputs or len(inputs) > MOST:
        raise ShapeMismatch(f"{len(inputs)} inputs; give 1 to {MOST}.")
    size = blocks[0].values.size
    for block in blocks:
        wanted = np.float32 if block.dtype == "F32" else np.uint16
        if block.values.ndim != 1 or block.values.size != size or block.values.dtype != wanted:
            found = f"{block.dtype} values are {block.values.dtype} of shape {block.values.shape}"
            raise ShapeMismatch(f"{found}. Give one axis of {size} elements of {np.dtype(wanted)}, as all blocks have.")
        if not block.values.flags.c_contiguous:
            raise ShapeMismatch("the elements of a block must be adjacent. Copy it.")


def _finite(status: int, inputs: Sequence[Raw]) -> None:
    """1: an input holds NaN or infinity; 2: the result does not fit its dtype."""
    if status & 1:
        raise NotFinite("an input holds NaN or infinity")
    if status & 2:
        raise NotFinite("the result is beyond the largest number of its dtype")
