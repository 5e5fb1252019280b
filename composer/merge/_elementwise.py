"""Methods that decide element by element, in NumPy: nearswap, RAM, SCE. They work in float32 and round once."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np
from numpy.typing import NDArray

from composer.merge.group import Group, Method, Parameter, Reader
from kernels.errors import NotFinite
from kernels.merge import Raw, Sparse, combine, histogram, thinned, values

Floats = NDArray[np.float32]


def nearswap(group: Group) -> Iterator[memoryview]:
    """base moved towards x by at most t: t / |x - base| of the way, all of it where they are nearer than t."""
    base, other, t = group.required_base(), group.others[0], np.float32(group.shared["t"])

    def fill(first: int, count: int, out: Raw) -> None:
        a, b = _read(group, base, first, count), _read(group, other, first, count)
        share = np.clip(t / np.maximum(np.abs(a - b), np.float32(1e-6)), 0, 1)
        _put(share * b + (1 - share) * a, out)

    return group.write(fill)


def ram(group: Group) -> Iterator[memoryview]:
    """Changes that one input alone made are taken whole, those of several are averaged. arXiv:2601.13572."""
    epsilon = np.float32(group.shared["epsilon"])

    def fill(first: int, count: int, out: Raw) -> None:
        base, changes = _changes(group, first, count)
        changed = np.abs(changes) > epsilon
        _put(base + (changes * changed).sum(0) / np.maximum(changed.sum(0), 1), out)

    return group.write(fill)


def sce(group: Group) -> Iterator[memoryview]:
    """Select the elements that vary most between inputs, Calculate a weight an input, Erase minority signs.

    Ties in variance: the elements that come first are selected. Wan et al. 2024, arXiv:2408.07990.
    """
    top = group.shared["select_topk"]
    rule = _selected(group, top) if 0 < top < 1 else Sparse("all" if top >= 1 else "none")
    squares = np.zeros(len(group.others))
    counted = Sparse(**vars(rule))
    for first, count in group.ranges():
        _, changes = _changes(group, first, count)
        squares += np.square(_select(changes, counted, first), dtype=np.float64).sum(1)
    weights = squares / group.info.size
    total = weights.sum()
    share = (np.full(len(weights), 1 / len(weights)) if total < 1e-6 else weights / total).astype(np.float32)[:, None]

    def fill(first: int, count: int, out: Raw) -> None:
        base, changes = _changes(group, first, count)
        changes = _select(changes, rule, first)
        agree = np.sign(changes) == np.where(changes.sum(0) >= 0, 1, -1)
        weighed = share * agree
        _put(base + (changes * weighed).sum(0) / np.maximum(weighed.sum(0), np.float32(1e-6)), out)

    return group.write(fill)


def _selected(group: Group, top: float) -> Sparse:
    """The window of variances: of those that are not 0 the share `top` of the largest."""

    def tables(prefix: int | None) -> NDArray[np.int64]:
        table = np.zeros((4, 1 << 16), np.uint32)
        for first, count in group.ranges():
            _, changes = _changes(group, first, count)
            varied = Raw(_variance(changes), "F32")
            group.checked(partial(histogram, varied, None, "F32", table, prefix))
        counted: NDArray[np.int64] = table.sum(0, dtype=np.int64)
        return counted

    upper = tables(None)
    lowest = tables(0)[0]  # exact zeros
    kept = int((group.info.size - lowest) * top)
    if kept == 0:
        return Sparse("none")
    rank = group.info.size - kept
    prefix = int(np.searchsorted(np.cumsum(upper), rank, side="right"))
    below = int(upper[:prefix].sum())
    lower = tables(prefix)
    last = int(np.searchsorted(np.cumsum(lower), rank - below, side="right"))
    below += int(lower[:last].sum())
    return Sparse("window", low=prefix << 15 | last, low_to=below + int(lower[last]) - rank)


def _select(changes: Floats, rule: Sparse, first: int) -> Floats:
    if rule.mode == "all":
        return changes
    varied = np.ones(changes.shape[1], np.float32) if rule.mode == "none" else _variance(changes)
    kept = thinned(varied, rule, first) != 0
    return np.where(kept, changes, np.float32(0))


def _variance(changes: Floats) -> Floats:
    found: Floats = np.var(changes, axis=0, dtype=np.float64).astype(np.float32)
    return found


def _changes(group: Group, first: int, count: int) -> tuple[Floats, Floats]:
    """The base's block, and (inputs, count) of what each changed."""
    base = _read(group, group.required_base(), first, count)
    return base, np.stack([_read(group, reader, first, count) - base for reader in group.others])


def _read(group: Group, reader: Reader, first: int, count: int) -> Floats:
    def finite() -> Floats:
        found = values(reader.block(first, count))
        if not np.isfinite(found).all():
            raise NotFinite("an input holds NaN or infinity")
        return found

    return group.checked(finite)


def _put(x: NDArray[np.floating], out: Raw) -> None:
    combine([Raw(np.ascontiguousarray(x, np.float32), "F32")], [1.0], 1.0, out)


METHODS = {
    "nearswap": Method(nearswap, {"t": Parameter("shared", float)}, "required", 1, 1),
    "ram": Method(ram, {"epsilon": Parameter("shared", float, 1e-5)}, "required"),
    "sce": Method(
        sce,
        {"select_topk": Parameter("shared", float, 1.0), "int8_mask": Parameter("shared", bool, False)},
        "required",
    ),
}
