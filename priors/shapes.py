"""The shapes of a network's taps, found by running it on meta tensors: from its config alone, without weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from priors.errors import BadManifest
from priors.manifest import PriorManifest
from priors.registry import find_architecture
from priors.types import PortType, parse

Shape = tuple[int | str | None, ...]
"""A length an axis: a number, or the letter of the input's axis that it is as long as; None for any other."""

_SIZES = ({"B": 2, "T": 5}, {"B": 3, "T": 7})
"""Two runs: what stays the same is fixed, what changes follows an axis of the input."""


def tap_shapes(architecture: str, config: Mapping[str, Any]) -> dict[str, Shape]:
    """Tap -> its shape. Raises UnknownArchitecture, and BadManifest for a config that is not of the architecture."""
    family = find_architecture(architecture)(dict(config))
    taps = tuple(family.taps())
    with torch.device("meta"):
        module = family.build(taps).eval()
    one, two = (module(*_inputs(family.inputs(), sizes)) for sizes in _SIZES)
    return {tap: _shape(a, b) for tap, a, b in zip(taps, one, two, strict=True)}


def promised_shape(port: PortType) -> Shape:
    """The same as a manifest's port type states it."""
    return tuple(
        axis.dim if isinstance(axis.dim, int) else axis.name if axis.dim is None else None for axis in port.axes
    )


def check_taps_given(manifest: PriorManifest) -> None:
    """Raises BadManifest where a network's declared tap is not what its config gives on meta tensors."""
    found = tap_shapes(manifest.definition.id, manifest.definition.config)
    for tap, port in manifest.taps.items():
        if found.get(tap) != promised_shape(port):
            raise BadManifest(
                f"prior {manifest.name!r}: tap {tap!r} is declared {port}, its network gives "
                f"{found.get(tap, 'no such tap')}. Correct prior.json."
            )


def _inputs(ports: Mapping[str, str], sizes: Mapping[str, int]) -> list[Tensor]:
    made = []
    for text in ports.values():
        port = parse(text)
        shape = [axis.dim if isinstance(axis.dim, int) else sizes[axis.name] for axis in port.axes]
        made.append(torch.zeros(shape, dtype=torch.int64 if port.dtype == "i64" else torch.float32, device="meta"))
        if port.attr("mask"):
            made.append(torch.ones(shape[:2], dtype=torch.bool, device="meta"))
    return made


def _shape(one: Tensor, two: Tensor) -> Shape:
    found: list[int | str | None] = []
    for a, b in zip(one.shape, two.shape, strict=True):
        follows = [name for name in _SIZES[0] if (a, b) == tuple(sizes[name] for sizes in _SIZES)]
        found.append(int(a) if a == b else next(iter(follows), None))
    return tuple(found)
