"""Methods that add up what inputs changed of a base, thinned before: task arithmetic, TIES, DARE, DELLA, breadcrumbs.

Every step is rounded to the working dtype, as mergekit does, so that equal recipes give equal weights. Magnitudes that
decide are exact order statistics. The tie rule: of equal magnitudes those that come first in the tensor rank higher
when the largest are kept (TIES), and lower when sorted upwards (breadcrumbs, DELLA), as a stable sort has it; mergekit
leaves it to a sort that is not stable. Draws are a hash of seed, tensor, input and place, not mergekit's generator.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from composer.errors import BadGraph
from composer.merge.group import BLOCK, MAX_ROW, Group, Method, Parameter, Reader
from kernels.merge import Dtype, Raw, Sparse, combine, deltas, histogram, norms, ranks, rolls

Thin = Callable[[Group, int], Sparse]
_NO_END = 1 << 62


def _merge(group: Group, *, thin: Thin | None, consensus: bool) -> Iterator[memoryview]:
    base, shared = group.required_base(), group.shared
    if not group.others:
        return group.write(lambda first, count, out: combine([base.block(first, count)], [1.0], 1.0, out))
    rules = []
    for place, own in enumerate(group.each):
        rule = thin(group, place) if thin else Sparse()
        if shared["rescale"] and rule.mode in ("window", "random", "bytes"):
            rule = replace(rule, scale=_scale(group, place, rule))
        rules.append(replace(rule, weight=_in(own["weight"], group.work)))
    divisor = _in(sum(rule.weight for rule in rules), group.work)
    row = _row(group) if any(rule.mode == "bytes" for rule in rules) else 0

    def fill(first: int, count: int, out: Raw) -> None:
        below = base.block(first, count)
        blocks = [reader.block(first, count) for reader in group.others]
        for place, rule in enumerate(rules):
            if rule.mode == "bytes":
                rule.bytes = _kept_by_rank(group, place, blocks[place], below, first, row)
        deltas(
            blocks, below, group.work, rules, out, first,
            consensus=consensus, normalize=shared["normalize"], lambda_=shared["lambda"],
            divisor=1.0 if abs(divisor) < 1e-8 else divisor,
        )  # fmt: skip

    return group.write(fill, _step(row))


def _largest(group: Group, place: int) -> Sparse:
    """TIES: the share `density` of largest magnitude, at least one element. Yadav et al. 2023, arXiv:2306.01708."""
    density, size = group.each[place]["density"], group.info.size
    if density >= 1 or density <= 0:
        return Sparse("all" if density >= 1 else "none")
    kept = max(1, int(density * size))
    low, below = _magnitude(group, group.others[place], size - kept)
    equal = below + _count(group, group.others[place], low) - (size - kept)  # how many of the equals are to stay
    return Sparse("window", low=low, low_to=equal)


def _without_outliers(group: Group, place: int) -> Sparse:
    """Breadcrumbs: without the share `gamma` of largest, and of smallest what leaves `density`. arXiv:2312.06795."""
    density, gamma, size = group.each[place]["density"], group.each[place]["gamma"], group.info.size
    if density >= 1:
        return Sparse()
    kept = int(density * size)
    from_rank = max(0, size - kept - int(gamma * size))
    if kept <= 0:
        return Sparse("none")
    low, below = _magnitude(group, group.others[place], from_rank)
    high, under = _magnitude(group, group.others[place], from_rank + kept - 1)
    return Sparse(
        "window", low=low, low_from=from_rank - below, low_to=_NO_END, high=high, high_to=from_rank + kept - under
    )


def _at_random(group: Group, place: int) -> Sparse:
    """DARE: each element with probability `density`. Yu et al. 2023, arXiv:2311.03099."""
    density = group.each[place]["density"]
    if density >= 1:
        return Sparse()
    return Sparse("random", key=group.key(place), limit=max(0, min(2**32 - 1, round(density * 2**32))))


def _by_rank(group: Group, place: int) -> Sparse:
    """DELLA: with a probability that rises with the rank in its row, density ± epsilon. arXiv:2406.11617."""
    density, epsilon = group.each[place]["density"], group.each[place]["epsilon"]
    if density >= 1 or density <= 0:
        return Sparse("all" if density >= 1 else "none")
    if density + epsilon >= 1 or density - epsilon <= 0:
        raise BadGraph(f"{group.name}: density {density:g} ± epsilon {epsilon:g} leaves 0 to 1. Make epsilon smaller.")
    return Sparse("bytes", bytes=np.empty(0, np.uint8))


def _kept_by_rank(group: Group, place: int, x: Raw, base: Raw, first: int, row: int) -> NDArray[np.uint8]:
    density, epsilon = group.each[place]["density"], group.each[place]["epsilon"]
    ordered = ranks(x, base, group.work, row)
    chance = (density - epsilon) + ordered / (row - 1) * 2 * epsilon if row > 1 else np.full(ordered.shape, density)
    return (rolls(ordered.size, first, group.key(place)) < chance * 2**32).astype(np.uint8)


def _scale(group: Group, place: int, rule: Sparse) -> float:
    """What makes the sum of magnitudes after thinning what it was before; 1 where one of them is almost 0."""
    base, reader = group.required_base(), group.others[place]
    row = _row(group) if rule.mode == "bytes" else 0
    counted, before, after = replace(rule), 0.0, 0.0
    for first, count in group.ranges(_step(row)):
        x, below = reader.block(first, count), base.block(first, count)
        if rule.mode == "bytes":
            counted.bytes = _kept_by_rank(group, place, x, below, first, row)
        added = group.checked(partial(norms, x, below, group.work, counted, first))
        before, after = before + added[0], after + added[1]
    before, after = _in(before, group.work), _in(after, group.work)
    return 1.0 if before < 1e-7 or after < 1e-7 else _in(before / after, group.work)


def _row(group: Group) -> int:
    """Elements of a row: what one entry of the first axis holds, or the whole of a vector."""
    shape = group.info.shape
    row = group.info.size // shape[0] if len(shape) > 1 else group.info.size
    if row > MAX_ROW:
        raise BadGraph(f"{group.name} has rows of {row:,} elements, ranked are at most {MAX_ROW:,}. Use dare or ties.")
    return row


def _step(row: int) -> int:
    return max(1, BLOCK // row) * row if row else BLOCK


def _magnitude(group: Group, reader: Reader, rank: int) -> tuple[int, int]:
    """The bits of the magnitude at a rank counted upwards from 0, and how many magnitudes are smaller."""
    table = _tables(group, reader, None)
    upper = int(np.searchsorted(np.cumsum(table), rank, side="right"))
    below = int(table[:upper].sum())
    if group.work == "BF16":  # has no bits below those of the table
        return upper << 15, below
    table = _tables(group, reader, upper)
    lower = int(np.searchsorted(np.cumsum(table), rank - below, side="right"))
    return upper << 15 | lower, below + int(table[:lower].sum())


def _count(group: Group, reader: Reader, magnitude: int) -> int:
    """How many elements have exactly these bits of magnitude."""
    if group.work == "BF16":
        return int(_tables(group, reader, None)[magnitude >> 15])
    return int(_tables(group, reader, magnitude >> 15)[magnitude & 0x7FFF])


def _tables(group: Group, reader: Reader, prefix: int | None) -> NDArray[np.int64]:
    """The histogram of |x - base|, of all upper bits or within some; counted once an input."""
    held = getattr(reader, "histograms", {})
    if prefix not in held:
        table = np.zeros((4, 1 << 16), np.uint32)
        total = np.zeros(1 << 16, np.int64)
        base = group.required_base()
        for number, (first, count) in enumerate(group.ranges()):
            group.checked(
                partial(histogram, reader.block(first, count), base.block(first, count), group.work, table, prefix)
            )
            if number % 4_096 == 4_095:  # long before 32 bits are full
                total += table.sum(0, dtype=np.int64)
                table[:] = 0
        held = {**held, prefix: total + table.sum(0, dtype=np.int64)}
        reader.histograms = held  # type: ignore[attr-defined]
    found: NDArray[np.int64] = held[prefix]
    return found


def _in(x: float, work: Dtype) -> float:
    """x as the working dtype holds it."""
    given, out = (
        Raw(np.array([x], np.float32), "F32"),
        Raw(np.empty(1, np.float32 if work == "F32" else np.uint16), work),
    )
    combine([given], [1.0], 1.0, out)
    back = Raw(np.empty(1, np.float32), "F32")
    combine([out], [1.0], 1.0, back)
    return float(back.values[0])


def _method(thin: Thin | None, *, consensus: bool, normalize: bool, rescale: bool, **own: float) -> Method:
    parameters = {
        "weight": Parameter("other", float),
        "density": Parameter("other", float, 1.0),
        "normalize": Parameter("shared", bool, normalize),
        "rescale": Parameter("shared", bool, rescale),
        "lambda": Parameter("shared", float, 1.0),
        "int8_mask": Parameter("shared", bool, False),  # of mergekit; changes its memory and no result
        **{name: Parameter("other", float, default) for name, default in own.items()},
    }
    return Method(partial(_merge, thin=thin, consensus=consensus), parameters, "required", 0)


METHODS = {
    "task_arithmetic": _method(None, consensus=False, normalize=False, rescale=False),
    "ties": _method(_largest, consensus=True, normalize=True, rescale=False),
    "dare_linear": _method(_at_random, consensus=False, normalize=False, rescale=True),
    "dare_ties": _method(_at_random, consensus=True, normalize=False, rescale=True),
    "breadcrumbs": _method(_without_outliers, consensus=False, normalize=False, rescale=False, gamma=0.01),
    "breadcrumbs_ties": _method(_without_outliers, consensus=True, normalize=False, rescale=False, gamma=0.01),
    "della": _method(_by_rank, consensus=True, normalize=True, rescale=True, epsilon=0.15),
    "della_linear": _method(_by_rank, consensus=False, normalize=False, rescale=True, epsilon=0.15),
}
METHODS["dare"] = METHODS["dare_linear"]
