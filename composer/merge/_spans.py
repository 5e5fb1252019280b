"""Methods whose result is a weighted sum of the inputs, with weights that depend on lengths and angles.

Lengths and angles between all inputs are in the matrix of their products, which one pass gathers in double; the rest is
arithmetic on a few numbers, and a second pass adds up. So nothing as large as a tensor is held.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from composer.errors import BadGraph
from composer.merge.group import Group, Method, Parameter, Reader
from kernels.merge import Raw, combine, gram

_EPS = 1e-8
_PARALLEL = 0.9995
"""Beyond this cosine slerp is linear, as in mergekit: the sine it divides by is small."""


def linear(group: Group) -> Iterator[memoryview]:
    """sum w_i x_i / sum w_i; without `normalize` not divided. Wortsman et al. 2022, arXiv:2203.05482."""
    weights = [own["weight"] for _, own in group.everything]
    divisor = _single(sum(_single(w) for w in weights)) if group.shared["normalize"] else 1.0
    if divisor == 0:
        raise BadGraph(f"{group.name}: the weights add up to 0. Change one, or write normalize: false.")
    return _sum(group, [reader for reader, _ in group.everything], weights, divisor, fused=True)


def slerp(group: Group) -> Iterator[memoryview]:
    """sin((1-t)θ)/sin θ · base + sin(tθ)/sin θ · x, θ the angle between both; linear where they are (anti)parallel."""
    base, other, t = group.required_base(), group.others[0], group.shared["t"]
    products = _products(group, [base, other], None)
    lengths = [n if n > _EPS else 1.0 for n in np.sqrt(np.diag(products))]
    cosine = min(1.0, max(-1.0, products[0, 1] / (lengths[0] * lengths[1])))
    return _sum(group, [base, other], _on_arc(t, cosine, abs(cosine) > _PARALLEL))


def nuslerp(group: Group) -> Iterator[memoryview]:
    """slerp of two inputs by relative weights, around the base where there is one; linear only where parallel."""
    if group.shared["nuslerp_row_wise"] or not group.shared["nuslerp_flatten"]:
        raise BadGraph("nuslerp works on whole tensors here. Remove nuslerp_row_wise and nuslerp_flatten.")
    one, other = (own["weight"] for own in group.each)
    t = 0.5 if abs(one + other) < 1e-6 else other / (one + other)
    products = _products(group, group.others, group.base)
    lengths = np.maximum(np.sqrt(np.diag(products)), 1e-7)
    cosine = min(1.0, max(-1.0, products[0, 1] / (lengths[0] * lengths[1])))
    return _around(group, _on_arc(t, cosine, 1 - cosine**2 <= _EPS**2))


def multislerp(group: Group) -> Iterator[memoryview]:
    """The weighted mean of directions, at the weighted mean of lengths, around the base where there is one.

    mergekit goes on with a step in the tangent space at that mean, which is 0 there: the mean of the tangents at a
    normalised mean of directions is that mean less itself.
    """
    weights = np.array([own["weight"] for own in group.each])
    if len(weights) == 1:
        return _sum(group, group.others, [1.0])
    if group.shared["normalize_weights"]:
        weights = weights / weights.sum()
    eps = group.shared["eps"]
    products = _products(group, group.others, group.base)
    lengths = np.sqrt(np.diag(products))
    units = weights / (lengths + eps)
    mean = math.sqrt(max(0.0, units @ products @ units))
    if mean < eps:
        if len(weights) == 2:
            return _around(group, list(weights))
        raise BadGraph(f"{group.name}: the weighted directions cancel out. Change the weights, or merge with linear.")
    return _around(group, list(units / mean * (lengths @ weights)))


def karcher(group: Group) -> Iterator[memoryview]:
    """The mean on the sphere: the direction whose angles to all inputs' directions are least in the square, iterated.

    Directions stay combinations of the inputs, so the iteration runs on their coefficients.
    """
    tolerance, turns = group.shared["tol"], group.shared["max_iter"]
    readers = [reader for reader, _ in group.everything]
    if len(readers) == 1:
        return _sum(group, readers, [1.0])
    products = _products(group, readers, None)
    lengths = np.sqrt(np.diag(products))
    used = lengths > tolerance
    if not used.any():
        return _sum(group, readers, [0.0] * len(readers))
    inverse = np.where(used, 1 / np.where(used, lengths, 1), 0)
    cosines = products * np.outer(inverse, inverse)
    share = used / used.sum()
    mean = share.copy()  # in units of the inputs' directions
    size = _length(mean, cosines)
    mean = mean / size if size >= tolerance else np.eye(len(readers))[int(np.argmax(used))]
    for _ in range(turns):
        dots = np.clip(cosines @ mean, -1, 1)
        angles = np.arccos(dots)
        moves = np.where((angles >= tolerance) & used, share * angles / np.maximum(np.sin(angles), 1e-300), 0)
        tangent = moves - (moves @ dots) * mean
        step = _length(tangent, cosines)
        if step < tolerance:
            break
        mean = math.cos(step) * mean + math.sin(step) * tangent / step
        mean = mean / max(_length(mean, cosines), tolerance)
    return _sum(group, readers, list(mean * inverse * lengths.mean()))


def model_stock(group: Group) -> Iterator[memoryview]:
    """t · mean + (1 - t) · base, t from the angle between the inputs' ways from the base. arXiv:2403.19522, eq. 7."""
    if group.shared["filter_wise"]:
        raise BadGraph("model_stock works on whole tensors here. Remove filter_wise.")
    count = len(group.others)
    products = _products(group, group.others, group.required_base())
    lengths = np.sqrt(np.diag(products))
    pairs = [(i, j) for i in range(count) for j in range(i + 1, count)]
    found = [products[i, j] / max(lengths[i] * lengths[j], 1e-6) for i, j in pairs]
    cosine = float(np.mean(np.clip(found, -1, 1)))
    below = 1 + (count - 1) * cosine
    t = 0.0 if abs(below) < 1e-6 else count * cosine / below
    return _around(group, [t / count] * count)


def passthrough(group: Group) -> Iterator[memoryview]:
    """The one input, times `scale`."""
    [(reader, own)] = group.everything
    return _sum(group, [reader], [own["scale"]])


def _on_arc(t: float, cosine: float, straight: bool) -> list[float]:
    if straight:
        return [1 - t, t]
    angle = math.acos(cosine)
    return [math.sin((1 - t) * angle) / math.sin(angle), math.sin(t * angle) / math.sin(angle)]


def _products(group: Group, readers: Sequence[Reader], base: Reader | None) -> NDArray[np.float64]:
    """The products of all pairs, of their differences to the base where one is given."""
    sums = np.zeros((len(readers), len(readers)))
    for first, count in group.ranges():
        blocks = [reader.block(first, count) for reader in readers]
        beside = None if base is None else base.block(first, count)
        group.checked(partial(gram, blocks, beside, sums))
    return sums + np.triu(sums, 1).T


def _around(group: Group, coefficients: list[float]) -> Iterator[memoryview]:
    """base + sum c_i (x_i - base), as one weighted sum; without a base the sum of c_i x_i."""
    if group.base is None:
        return _sum(group, group.others, coefficients)
    return _sum(group, [*group.others, group.base], [*coefficients, 1 - sum(coefficients)])


def _sum(
    group: Group, readers: Sequence[Reader], coefficients: Sequence[float], divisor: float = 1.0, *, fused: bool = False
) -> Iterator[memoryview]:
    def fill(first: int, count: int, out: Raw) -> None:
        combine([reader.block(first, count) for reader in readers], coefficients, divisor, out, fused=fused)

    return group.write(fill)


def _length(coefficients: NDArray[np.float64], products: NDArray[np.float64]) -> float:
    return math.sqrt(max(0.0, float(coefficients @ products @ coefficients)))


def _single(x: float) -> float:
    return float(np.float32(x))


_WEIGHT = Parameter("other", float)
METHODS = {
    "linear": Method(
        linear,
        {"weight": Parameter("input", float), "normalize": Parameter("shared", bool, True)},
        "ignored",
    ),
    "slerp": Method(slerp, {"t": Parameter("shared", float)}, "required", 1, 1),
    "nuslerp": Method(
        nuslerp,
        {
            "weight": _WEIGHT,
            "nuslerp_row_wise": Parameter("shared", bool, False),
            "nuslerp_flatten": Parameter("shared", bool, True),
        },
        "optional",
        2,
        2,
    ),
    "multislerp": Method(
        multislerp,
        {
            "weight": _WEIGHT,
            "normalize_weights": Parameter("shared", bool, True),
            "eps": Parameter("shared", float, 1e-8),
        },
        "optional",
    ),
    "karcher": Method(
        karcher, {"max_iter": Parameter("shared", int, 10), "tol": Parameter("shared", float, 1e-5)}, "ignored"
    ),
    "model_stock": Method(model_stock, {"filter_wise": Parameter("shared", bool, False)}, "required", 2),
    "passthrough": Method(passthrough, {"scale": Parameter("input", float, 1.0)}, "ignored", 1, 1),
}
