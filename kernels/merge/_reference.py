"""Merging weights in NumPy: the definition, and what runs where there is no C compiler."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from kernels.merge import Dtype, Raw, Sparse

Floats = NDArray[np.float32]
MAGNITUDE = np.uint32(0x7FFFFFFF)


def to_float(block: Raw) -> Floats:
    """The values as float32, exactly."""
    if block.dtype == "F32":
        return block.values
    if block.dtype == "F16":
        return block.values.view(np.float16).astype(np.float32)
    return (block.values.astype(np.uint32) << 16).view(np.float32)


def from_float(x: Floats, dtype: Dtype) -> NDArray[Any]:
    """The nearest values of `dtype`, ties to even."""
    if dtype == "F32":
        return x
    if dtype == "F16":
        with np.errstate(over="ignore"):  # becomes infinity, which the caller refuses
            return x.astype(np.float16).view(np.uint16)
    u = x.view(np.uint32)
    return ((u + 0x7FFF + ((u >> 16) & 1)) >> 16).astype(np.uint16)


def rounded(x: Floats, dtype: Dtype) -> Floats:
    """x as `dtype` holds it, in float32."""
    from kernels.merge import Raw

    return to_float(Raw(from_float(x, dtype), dtype))


def gram(inputs: Sequence[Raw], base: Raw | None, sums: NDArray[np.float64]) -> int:
    x = np.stack([to_float(block).astype(np.float64) for block in inputs])
    zero = 0 if base is None else to_float(base).astype(np.float64)
    sums += np.triu((x - zero) @ (x - zero).T)
    return int(not (np.isfinite(x).all() and np.isfinite(zero).all()))


def combine(inputs: Sequence[Raw], coefficients: Sequence[float], divisor: float, out: Raw, fused: bool) -> int:
    total = np.zeros(out.values.size, np.float32)
    status = 0
    with np.errstate(over="ignore", invalid="ignore"):
        for block, c in zip(inputs, coefficients, strict=True):
            x = to_float(block)
            status |= int(not np.isfinite(x).all())
            # The product of two float32 is exact in float64; the sum is rounded twice, which shows once in 10^8.
            total = (np.float64(np.float32(c)) * x + total).astype(np.float32) if fused else total + np.float32(c) * x
        return status | _write(total / np.float32(divisor), out)


def histogram(x: Raw, base: Raw | None, work: Dtype, table: NDArray[np.uint32], prefix: int | None) -> int:
    d, odd = _delta(x, None if base is None else to_float(base), work)
    sizes = d.view(np.uint32) & MAGNITUDE
    places = sizes >> 15 if prefix is None else sizes[sizes >> 15 == prefix] & 0x7FFF
    table[0] += np.bincount(places, minlength=table.shape[1]).astype(np.uint32)
    return odd


def norms(x: Raw, base: Raw, work: Dtype, sparse: Sparse, first: int) -> tuple[int, float, float]:
    d, odd = _delta(x, to_float(base), work)
    before = float(np.abs(d).sum(dtype=np.float64))
    return odd, before, float(np.abs(thinned(d, sparse, first)).sum(dtype=np.float64))


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
    b = to_float(base)
    found, status = [], 0
    with np.errstate(over="ignore", invalid="ignore"):
        for block, rule in zip(inputs, sparse, strict=True):
            d, odd = _delta(block, b, work)
            status |= odd
            d = rounded(thinned(d, rule, first) * np.float32(rule.scale), work)
            found.append(rounded(d * np.float32(rule.weight), work))
        total = np.zeros_like(b)
        for d in found:
            total += d
        share = np.full_like(b, divisor)
        if consensus:
            elected, total, share = total >= 0, np.zeros_like(b), np.zeros_like(b)
            for d, rule in zip(found, sparse, strict=True):
                agrees = np.where(elected, d > 0, d < 0)
                total += np.where(agrees, d, np.float32(0))
                share += np.where(agrees, np.float32(rule.weight), np.float32(0))
            share = rounded(share, work)
            share[share == 0] = 1
        mixed = rounded(total, work)
        if normalize:
            mixed = rounded(mixed / share, work)
        mixed = rounded(mixed * np.float32(lambda_), work)
        return status | _write(rounded(b + mixed, work), out)


def draws(count: int, first: int, key: int) -> NDArray[np.uint32]:
    """A hash of each element's place, 32 bits: lowbias32 of Chris Wellons, keyed before and between its two rounds."""
    index = np.arange(first, first + count, dtype=np.uint64)
    x = index.astype(np.uint32) ^ np.uint32(key & 0xFFFFFFFF)
    key_b = np.uint32(key >> 32) ^ (index >> np.uint64(32)).astype(np.uint32)
    for turn in range(2):
        x ^= x >> 16
        x *= np.uint32(0x7FEB352D)
        x ^= x >> 15
        x *= np.uint32(0x846CA68B)
        x ^= x >> 16
        if turn == 0:
            x += key_b
    return x


def _delta(x: Raw, base: Floats | None, work: Dtype) -> tuple[Floats, int]:
    value = to_float(x)
    odd = int(not (np.isfinite(value).all() and (base is None or np.isfinite(base).all())))
    with np.errstate(over="ignore", invalid="ignore"):
        return rounded(value if base is None else value - base, work), odd


def thinned(d: Floats, rule: Sparse, first: int) -> Floats:
    match rule.mode:
        case "all":
            return d
        case "none":
            return np.zeros_like(d)
        case "bytes":
            assert rule.bytes is not None  # noqa: S101 - the mode says so
            keep = rule.bytes[: d.size] != 0
        case "random":
            keep = draws(d.size, first, rule.key) < rule.limit
        case "window":
            keep = _window(d.view(np.uint32) & MAGNITUDE, rule)
    return np.where(keep, d, np.float32(0))


def _window(sizes: NDArray[np.uint32], rule: Sparse) -> NDArray[np.bool_]:
    keep: NDArray[np.bool_] = (sizes > rule.low) & (sizes < rule.high)
    at_low, at_high = sizes == rule.low, sizes == rule.high
    place = np.cumsum(at_low) - 1 + rule.seen_low
    low = (place >= rule.low_from) & (place < rule.low_to)
    if rule.low == rule.high:
        keep = at_low & low & (place < rule.high_to)
        rule.seen_low += int(at_low.sum())
        return keep
    place_high = np.cumsum(at_high) - 1 + rule.seen_high
    rule.seen_low += int(at_low.sum())
    rule.seen_high += int(at_high.sum())
    keep |= (at_low & low) | (at_high & (place_high < rule.high_to))
    return keep


def _write(x: Floats, out: Raw) -> int:
    out.values[:] = from_float(np.ascontiguousarray(x, np.float32), out.dtype)
    return 0 if np.isfinite(to_float(out)).all() else 2
