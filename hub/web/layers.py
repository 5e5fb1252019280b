"""Where the boxes of a layered drawing go: each below everything it reads, with few crossings. Knows no SVG.

The layered method of Sugiyama, Tagawa & Toda (1981), "Methods for Visual Understanding of Hierarchical System
Structures": layers by the longest way from a source, bends where an edge passes a layer, and an order within each layer
by the mean position of the neighbours (the barycenter heuristic), swept down and up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

Point = tuple[float, float]

MAX_BENDS = 4_000
"""A drawing with more would show only lines."""

_SWEEPS = 4


@dataclass(frozen=True)
class Sizes:
    """Of boxes, of the ways past them, and of the room between."""

    width: float
    height: float
    bend: float
    gap_x: float
    gap_y: float
    margin: float


@dataclass(frozen=True)
class Layout:
    """`places`: the middle of each box's upper edge. `ways`: for each edge that was drawn, the places it passes."""

    places: dict[str, Point]
    ways: tuple[tuple[Point, ...], ...]
    width: float
    height: float


def layered(names: Sequence[str], edges: Sequence[tuple[str, str]], sizes: Sizes) -> Layout | None:
    """The layout of `names`, which `edges` (source, target) connect; None when it has too many bends to be of use.

    An edge of a cycle, which no lock has but a file of a stranger may, is left out where it would lead upwards.
    """
    depth = _depths(names, edges)
    down = [(source, target) for source, target in edges if depth[source] < depth[target]]
    if sum(depth[target] - depth[source] - 1 for source, target in down) > MAX_BENDS:
        return None
    layers: list[list[str]] = [[] for _ in range(max(depth.values(), default=-1) + 1)]
    for name in names:
        layers[depth[name]].append(name)
    ways = []
    for number, (source, target) in enumerate(down):
        bends = [f" {number}.{at}" for at in range(depth[source] + 1, depth[target])]
        for at, bend in enumerate(bends, start=depth[source] + 1):
            layers[at].append(bend)  # a space begins no node's name
        ways.append([source, *bends, target])
    _order(layers, ways)
    places, width = _places(layers, sizes)
    height = len(layers) * (sizes.height + sizes.gap_y) + 2 * sizes.margin
    drawn = tuple(tuple(places[stop] for stop in way) for way in ways)
    return Layout({name: places[name] for name in names}, drawn, width, height)


def _depths(names: Sequence[str], edges: Sequence[tuple[str, str]]) -> dict[str, int]:
    """The longest way from a source to each; what lies on a cycle stays where its other sources put it."""
    depth = dict.fromkeys(names, 0)
    after: dict[str, list[str]] = {name: [] for name in names}
    waiting = dict.fromkeys(names, 0)
    for source, target in edges:
        after[source].append(target)
        waiting[target] += 1
    ready = [name for name in names if not waiting[name]]
    for name in ready:  # grows while it is walked
        for target in after[name]:
            depth[target] = max(depth[target], depth[name] + 1)
            waiting[target] -= 1
            if not waiting[target]:
                ready.append(target)
    return depth


def _order(layers: list[list[str]], ways: list[list[str]]) -> None:
    above: dict[str, list[str]] = {}
    below: dict[str, list[str]] = {}
    for way in ways:
        for upper, lower in pairwise(way):
            above.setdefault(lower, []).append(upper)
            below.setdefault(upper, []).append(lower)
    for sweep in range(_SWEEPS):
        rows, near = (layers, above) if sweep % 2 == 0 else (layers[::-1], below)
        for still, moved in pairwise(rows):
            place = {name: number / max(1, len(still) - 1) for number, name in enumerate(still)}
            own = {name: number / max(1, len(moved) - 1) for number, name in enumerate(moved)}
            # a bend has less weight than a box at the same mean, so that boxes stay in the middle
            moved.sort(key=lambda name: (_mean([place[n] for n in near.get(name, ())], own[name]), name[0] == " "))


def _mean(values: list[float], otherwise: float) -> float:
    return sum(values) / len(values) if values else otherwise


def _places(layers: list[list[str]], sizes: Sizes) -> tuple[dict[str, Point], float]:
    """Layers are centered above each other."""
    widths = {name: sizes.bend if name[0] == " " else sizes.width for layer in layers for name in layer}
    rows = [sum(widths[name] + sizes.gap_x for name in layer) - sizes.gap_x for layer in layers]
    total = max(rows, default=0.0) + 2 * sizes.margin
    places = {}
    for number, (layer, row) in enumerate(zip(layers, rows, strict=True)):
        x = (total - row) / 2
        for name in layer:
            places[name] = (x + widths[name] / 2, sizes.margin + number * (sizes.height + sizes.gap_y))
            x += widths[name] + sizes.gap_x
    return places, total
