"""Typing of what reads images and series as tensors, and of groups that act on them. Pure Python."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from priors.errors import BadManifest, BadType
from priors.functions._ports import Config, checked, feature_axis, features, integer, row
from priors.types import Axis, PortType

SERIES, IMAGE = "series.num", "image.pixels"
_AXES = {SERIES: ("B", "T", "C"), IMAGE: ("B", "C", "H", "W")}
_MAKERS = {"series": "series_grid", "image": "image_grid"}

TURNS = ("flip_h", "flip_v", "turn_180", "turn_90", "dihedral", "parts", "reverse")
"""Groups: mirror left-right, top-bottom, half turns, quarter turns, those with mirrors; equal parts in any order (rows
of features); time backwards (series)."""

ORDERS = {"flip_h": 2, "flip_v": 2, "turn_180": 2, "turn_90": 4, "dihedral": 8, "reverse": 2}
MAX_PARTS = 6
"""Parts whose orders are all gone through: 720 for six."""


def takes_grid(*kinds: str) -> Callable[[PortType], PortType]:
    """What must arrive at a function of images, series or both; rows of features too where `vec.feat` is named."""

    def takes(in_type: PortType) -> PortType:
        if in_type.is_raw:
            maker = _MAKERS.get(in_type.modality, "an encoder")
            raise BadType(f"{in_type} is raw, this function reads tensors. Put {{op: fn, fn: {maker}}} before it.")
        if in_type.kind in kinds and in_type.kind in _AXES:
            axes = tuple(Axis(name, in_type.dim(name)) for name in _AXES[in_type.kind])
            return PortType(in_type.modality, in_type.level, axes, "f32")
        if "vec.feat" in kinds:
            return row(in_type)
        raise BadType(f"{in_type} is none of {', '.join(kinds)}. Feed this function one of these.")

    return takes


def shape(in_type: PortType) -> tuple[int, ...]:
    """The lengths of all axes but the batch. Raises BadType when one is not fixed."""
    found = [axis.dim for axis in in_type.axes[1:]]
    if not all(isinstance(dim, int) for dim in found):
        raise BadType(f"{in_type} has lengths that are not fixed. Give every axis but B a length.")
    return tuple(int(str(dim)) for dim in found)


def image_grid(config: Config, in_type: PortType) -> PortType:
    size = integer(config, "size", 32)
    axes = (Axis("B"), Axis("C", 1 if config.get("gray", True) else 3), Axis("H", size), Axis("W", size))
    return PortType("image", "pixels", axes, "f32")


def series_grid(config: Config, in_type: PortType) -> PortType:
    axes = (Axis("B"), Axis("T", integer(config, "length", 128)), Axis("C", integer(config, "channels", 1)))
    return PortType("series", "num", axes, "f32")


def dct(config: Config, in_type: PortType) -> PortType:
    keep = integer(config, "keep", 8)
    lengths = shape(in_type)
    if in_type.kind == IMAGE:
        channels, height, width = lengths
        return features(checked(channels * min(keep, height) * min(keep, width), config))
    if in_type.kind == SERIES:
        return features(checked(min(keep, lengths[0]) * lengths[1], config))
    return features(checked(min(keep, lengths[0]), config))


def scattering(config: Config, in_type: PortType) -> PortType:
    scales, angles = integer(config, "scales", 3), integer(config, "angles", 6)
    second, step = config.get("order", 2) == 2, 2 ** min(scales, 20)
    lengths = shape(in_type)
    image = in_type.kind == IMAGE
    channels, sides = (lengths[0], lengths[1:]) if image else (lengths[1], lengths[:1])
    if any(side < step for side in sides):
        raise BadType(f"{in_type} is shorter than 2^{scales}, the largest scale. Lower 'scales'.")
    each = angles if image else 1
    paths = 1 + scales * each + (each * each * scales * (scales - 1) // 2 if second else 0)
    return features(checked(channels * paths * math.prod(-(-side // step) for side in sides), config))


STATISTICS = 24
"""Numbers a channel that `series_statistics` gives."""


def series_statistics(config: Config, in_type: PortType) -> PortType:
    length, channels = shape(in_type)
    if length < 2:
        raise BadType(f"{in_type} has one moment, series have at least two. Feed it longer ones.")
    return features(checked(STATISTICS * channels, config))


KERNELS = 84
"""Kernels of length 9 with three weights of 2 and six of -1: the ways to choose three places of nine."""


def rocket(config: Config, in_type: PortType) -> PortType:
    length, _ = shape(in_type)
    if length < 9:
        raise BadType(f"{in_type} is shorter than the kernels, which have 9 places. Use series_statistics instead.")
    wanted = integer(config, "features", 2_520)
    return features(checked(max(1, wanted // KERNELS) * KERNELS, config))


def group_average(config: Config, in_type: PortType) -> PortType:
    check_group(config, in_type)
    inner = config.get("inner")
    if inner is None:
        return _as_it_was(in_type)
    function, inner_config = inner_of(config)
    from priors.functions.signatures import find_signature

    signature = find_signature(function)
    if signature.host or signature.fitted or signature.trained(inner_config) or function == "group_average":
        raise BadManifest(
            f"function 'group_average': inner {function!r} reads raw values, learns, or is an average itself. Use a "
            "tensor function that learns nothing."
        )
    if signature.takes(in_type).axis_names != in_type.axis_names:
        raise BadType(f"{function!r} does not read {in_type}. Choose an inner function of it.")
    return signature.gives(inner_config, _as_it_was(in_type))


def canonicalize(config: Config, in_type: PortType) -> PortType:
    check_group(config, in_type, most=MAX_SORTED)
    return _as_it_was(in_type)


MAX_SORTED = 65_536
"""Parts that are sorted rather than gone through."""


def inner_of(config: Config) -> tuple[str, dict[str, Any]]:
    """The inner function's id and config. Raises BadManifest."""
    inner = config.get("inner")
    if not isinstance(inner, Mapping) or not isinstance(inner.get("fn"), str) or set(inner) - {"fn", "config"}:
        raise BadManifest("function 'group_average': config 'inner' is not {fn: <id>, config: {...}}. Write it so.")
    given = inner.get("config") or {}
    if not isinstance(given, Mapping):
        raise BadManifest("function 'group_average': inner 'config' is not a mapping. Write {key: value}.")
    return inner["fn"], dict(given)


def check_group(config: Config, in_type: PortType, most: int = MAX_PARTS) -> None:
    """Raises BadType or BadManifest unless the group acts on values of this type."""
    group, lengths = config.get("group", "parts"), shape(in_type)
    if group not in TURNS:
        raise BadManifest(f"config 'group' is {str(group)[:40]!r}. Use one of {', '.join(TURNS)}.")
    kind = {"parts": "rows of features", "reverse": SERIES}.get(str(group), IMAGE)
    here = in_type.kind if in_type.kind in _AXES else "rows of features"
    if here != kind:
        raise BadType(f"group {group!r} acts on {kind}, not on {in_type}. Choose a group that acts on it.")
    if group in ("turn_90", "dihedral") and lengths[-1] != lengths[-2]:
        raise BadType(f"{in_type} is not square, a quarter turn changes its shape. Use a square image or turn_180.")
    if group == "parts":
        parts = config.get("parts", 2)
        if type(parts) is not int or not 2 <= parts <= most or lengths[0] % parts:
            raise BadManifest(
                f"config 'parts' is {parts!r} of {lengths[0]} columns. Give a divisor of them from 2 to {most:,}."
            )


def _as_it_was(in_type: PortType) -> PortType:
    if in_type.kind in _AXES:
        return PortType(in_type.modality, in_type.level, in_type.axes, "f32")
    return features(feature_axis(in_type).dim)
