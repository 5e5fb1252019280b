"""The typing rules behind `signatures`: what each function takes, and what it gives for a config. Pure Python."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from priors.errors import BadManifest, BadType
from priors.types import MAX_DIM, Axis, Dim, PortType

Config = Mapping[str, Any]

FEATURE_AXES = ("D", "C", "K", "F")
"""The axes along which a row of numbers may lie, for functions that take any."""


def row(in_type: PortType) -> PortType:
    """The rows of numbers that `in_type` can be made into: one feature axis beside B; anything longer is pooled."""
    if in_type.is_raw:
        raise BadType(f"{in_type} is raw, this function reads numbers. Put an encoder or a feature function before it.")
    axis = feature_axis(in_type)
    if in_type.axis_names == ("B", axis.name):
        return in_type.with_(dtype="f32", attrs={}).in_space(None)
    return features(axis.dim)


def feature_axis(in_type: PortType) -> Axis:
    found = next((axis for name in FEATURE_AXES if (axis := in_type.axis(name)) is not None), None)
    if found is None:
        raise BadType(f"{in_type} has no feature axis ({', '.join(FEATURE_AXES)}). Feed this function rows of numbers.")
    return found


def features(length: Dim) -> PortType:
    return PortType("vec", "feat", (Axis("B"), Axis("D", length)), "f32")


def pixels(config: Config) -> int:
    return checked(integer(config, "size", 16) ** 2 * (1 if config.get("gray", True) else 3), config)


def oriented_gradients(config: Config) -> int:
    """Blocks of 2 x 2 cells that overlap by one, each with 4 histograms."""
    blocks = integer(config, "size", 48) // integer(config, "cell", 8) - 1
    return checked(max(blocks, 0) ** 2 * 4 * integer(config, "orientations", 9), config)


def color_histogram(config: Config) -> int:
    bins = config.get("bins", [8, 4, 4])
    if not isinstance(bins, list | tuple) or not all(type(n) is int for n in bins):
        raise BadManifest(f"config 'bins' is {str(bins)[:60]}. Give three whole numbers: hues, saturations, values.")
    return checked(math.prod(bins), config)


def columns(config: Config, in_type: PortType) -> PortType:
    """Each column by itself: the same columns, without their units."""
    return row(in_type)


def block(config: Config, in_type: PortType) -> PortType:
    """All columns as one block of features."""
    return features(feature_axis(in_type).dim)


def standardized(config: Config, in_type: PortType) -> PortType:
    return (block if config.get("mode") == "block" else columns)(config, in_type)


def fourier(config: Config, in_type: PortType) -> PortType:
    feature_axis(in_type)
    return features(checked(2 * integer(config, "m", 64), config))


def integer(config: Config, key: str, default: int) -> int:
    value = config.get(key, default)
    if type(value) is not int or not 1 <= value <= MAX_DIM:
        raise BadManifest(f"config {key!r} is {value!r}. Give a whole number from 1 to {MAX_DIM:,}.")
    return value


def checked(length: int, config: Config) -> int:
    if not 1 <= length <= MAX_DIM:
        raise BadManifest(f"config {dict(config)} gives {length:,} features. Choose sizes that give 1 to {MAX_DIM:,}.")
    return length


def number(config: Config, key: str, default: float) -> float:
    """A positive number of the config."""
    value = config.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise BadManifest(f"config {key!r} is {value!r}. Give a positive number.")
    return value


Gives = Callable[[Config, PortType], PortType]


def a_row(length: Callable[[Config, int], int]) -> Gives:
    """Features of rows whose number follows from the config and the number of columns; free while that is free."""

    def gives(config: Config, in_type: PortType) -> PortType:
        columns = feature_axis(in_type).dim
        return features(checked(length(config, columns), config) if isinstance(columns, int) else None)

    return gives


def sized(length: Callable[[Config], int]) -> Gives:
    """Features of rows whose number follows from the config alone."""

    def gives(config: Config, in_type: PortType) -> PortType:
        feature_axis(in_type)
        return features(checked(length(config), config))

    return gives


def components(config: Config, columns: int) -> int:
    return min(integer(config, "k", 16), columns)


def monomials(config: Config, columns: int) -> int:
    degree = integer(config, "degree", 2)
    if config.get("interactions", False):
        return sum(math.comb(columns, d) for d in range(1, min(degree, 8) + 1))
    return math.comb(columns + min(degree, 8), min(degree, 8)) - 1


def bumps(config: Config, columns: int) -> int:
    return columns * (integer(config, "knots", 5) + integer(config, "degree", 3) - 1)


def waves(config: Config, columns: int) -> int:
    return columns * 2 * integer(config, "m", 8)


def harmonics(config: Config, columns: int) -> int:
    if columns != 3:
        raise BadType(f"directions have three columns x, y and z, not {columns}. Choose those three.")
    degree = config.get("degree", 4)
    if type(degree) is not int or not 0 <= degree <= 16:
        raise BadManifest(f"config 'degree' is {degree!r}. Give a whole number from 0 to 16.")
    return (degree + 1) ** 2
