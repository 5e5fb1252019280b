"""Merging weights through `_cpu.c`: blocks of bf16, f16 and f32."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from kernels import _build

if TYPE_CHECKING:
    from kernels.merge import Dtype, Raw, Sparse

SOURCE = Path(__file__).with_name("_cpu.c")

_DTYPES = {"BF16": 0, "F16": 1, "F32": 2}
_MODES = {"all": 0, "none": 1, "window": 2, "random": 3, "bytes": 4}


class _Sparse(ctypes.Structure):
    _fields_ = (
        ("mode", ctypes.c_int32),
        ("scale", ctypes.c_float),
        ("weight", ctypes.c_float),
        *((name, ctypes.c_uint32) for name in ("low", "high", "key_a", "key_b", "limit")),
        *((name, ctypes.c_int64) for name in ("low_from", "low_to", "high_to", "seen_low", "seen_high")),
        ("bytes", ctypes.c_void_p),
    )


def refusal() -> str | None:
    """Why this backend cannot run here, or None when it can. The first call compiles the kernel."""
    return _build.refusal(SOURCE, exact=True)


def gram(inputs: Sequence[Raw], base: Raw | None, sums: NDArray[np.float64]) -> int:
    """See `kernels.merge`; the status says whether a value is not finite."""
    data, dtypes = _inputs(inputs)
    return int(
        _kernel().merge_gram(len(inputs), data, dtypes, *_one(base), inputs[0].values.size, _pointer(sums)),
    )


def combine(inputs: Sequence[Raw], coefficients: Sequence[float], divisor: float, out: Raw, fused: bool) -> int:
    """See `kernels.merge`."""
    data, dtypes = _inputs(inputs)
    factors = (ctypes.c_float * len(inputs))(*coefficients)
    return int(_kernel().merge_combine(len(inputs), data, dtypes, factors, divisor, fused, *_one(out), out.values.size))


def histogram(x: Raw, base: Raw | None, work: Dtype, table: NDArray[np.uint32], prefix: int | None) -> int:
    """See `kernels.merge`."""
    upper = -1 if prefix is None else prefix
    size = x.values.size
    return int(_kernel().merge_histogram(*_one(x), *_one(base), _DTYPES[work], size, upper, _pointer(table)))


def norms(x: Raw, base: Raw, work: Dtype, sparse: Sparse, first: int) -> tuple[int, float, float]:
    """See `kernels.merge`."""
    rule = (_Sparse * 1)(_structure(sparse))
    sums = (ctypes.c_double * 2)()
    status = _kernel().merge_norms(*_one(x), *_one(base), _DTYPES[work], rule, first, x.values.size, sums)
    sparse.seen_low, sparse.seen_high = rule[0].seen_low, rule[0].seen_high
    return int(status), sums[0], sums[1]


def deltas(
    inputs: Sequence[Raw],
    base: Raw,
    work: Dtype,
    sparse: Sequence[Sparse],
    out: Raw,
    first: int,
    consensus: bool,
    normalize: bool,
    lambda_: float,
    divisor: float,
) -> int:
    """See `kernels.merge`."""
    data, dtypes = _inputs(inputs)
    rules = (_Sparse * len(sparse))(*(_structure(rule) for rule in sparse))
    status = _kernel().merge_deltas(
        len(inputs), data, dtypes, *_one(base), _DTYPES[work], rules, consensus, normalize, lambda_, divisor,
        *_one(out), first, out.values.size,
    )  # fmt: skip
    for rule, counted in zip(sparse, rules, strict=True):
        rule.seen_low, rule.seen_high = counted.seen_low, counted.seen_high
    return int(status)


@cache
def _kernel() -> ctypes.CDLL:
    """The compiled functions with their argument types."""
    lib = _build.functions(SOURCE, exact=True)
    pointer, whole, size, real = _build.POINTER, _build.NUMBER, _build.SIZE, _build.REAL
    one: list[Any] = [pointer, whole]  # data, dtype
    lib.merge_gram.argtypes = [whole, pointer, pointer, *one, size, pointer]
    lib.merge_combine.argtypes = [whole, pointer, pointer, pointer, real, whole, *one, size]
    lib.merge_histogram.argtypes = [*one, *one, whole, size, whole, pointer]
    lib.merge_norms.argtypes = [*one, *one, whole, pointer, size, size, pointer]
    lib.merge_deltas.argtypes = [
        *[whole, pointer, pointer, *one, whole, pointer, whole, whole, real, real, *one, size, size]
    ]
    for name in ("merge_gram", "merge_combine", "merge_histogram", "merge_norms", "merge_deltas"):
        getattr(lib, name).restype = whole
    return lib


def _inputs(inputs: Sequence[Raw]) -> tuple[Any, Any]:
    count = len(inputs)
    data = (ctypes.c_void_p * count)(*(_pointer(block.values) for block in inputs))
    return data, (ctypes.c_int32 * count)(*(_DTYPES[block.dtype] for block in inputs))


def _one(block: Raw | None) -> tuple[int | None, int]:
    return (None, 0) if block is None else (_pointer(block.values), _DTYPES[block.dtype])


def _pointer(values: NDArray[Any]) -> int:
    return values.ctypes.data


def _structure(rule: Sparse) -> _Sparse:
    return _Sparse(
        mode=_MODES[rule.mode], scale=rule.scale, weight=rule.weight, low=rule.low, high=rule.high,
        key_a=rule.key & 0xFFFFFFFF, key_b=rule.key >> 32, limit=rule.limit,
        low_from=rule.low_from, low_to=rule.low_to, high_to=rule.high_to,
        seen_low=rule.seen_low, seen_high=rule.seen_high,
        bytes=None if rule.bytes is None else _pointer(rule.bytes),
    )  # fmt: skip
