"""A composition drawn from its lock: data flows from top to bottom, one box a node, its type underneath its name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any
from xml.sax.saxutils import quoteattr

from hub.web.svg_marks import FONT, MUTED, clean, shorten, tag, text

_BOX, _BEND, _HEIGHT, _GAP_X, _GAP_Y, _MARGIN = 184.0, 12.0, 46.0, 18.0, 30.0, 10.0
_MAX_NODES = 80  # more would neither be read nor stay under 30 KB
_FILLS = {
    "input": "#e8eef6",
    "net": "#e2f1ee",
    "fn": "#e2f1ee",
    "concat": "#f6eddd",
    "sum": "#f6eddd",
    "gate": "#f6eddd",
    "head": "#0b6e5f",
}


def graph_svg(lock: Mapping[str, Any]) -> str:
    """The lock's nodes and edges; `load` nodes appear as the name of the prior in the box that runs it.

    Nodes inserted by the checker have a dashed border. Returns "" for a lock without nodes. Each box carries its full
    type as a tooltip; boxes show it shortened.
    """
    nodes = {str(name): _flat(node) for name, node in _nodes(lock).items() if isinstance(node, Mapping)}
    drawn = {name: node for name, node in nodes.items() if node.get("op") != "load"}
    if not drawn:
        return ""
    if len(drawn) > _MAX_NODES:
        drawn = dict(list(drawn.items())[:_MAX_NODES])
    edges = [(source, name) for name, node in drawn.items() for source in _sources(node) if source in drawn]
    layers, ways = _layers(list(drawn), edges)
    places, width = _places(layers)
    height = len(layers) * (_HEIGHT + _GAP_Y) - _GAP_Y + 2 * _MARGIN
    parts = [_edge([places[stop] for stop in way]) for way in ways]
    parts += [_box(name, node, nodes, places[name]) for name, node in drawn.items()]
    priors = sorted({said for node in nodes.values() if (said := _prior_name(node.get("prior")))})
    finding = f"{len(drawn)} steps from data to prediction, using {', '.join(priors) or 'no prior'}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="plot graph" role="img" aria-label={quoteattr(finding)}'
        f' viewBox="0 0 {width:g} {height:g}" width="{width:g}" height="{height:g}" font-family="{FONT}">'
        f'<rect class="plot-ground" width="100%" height="100%" fill="#ffffff"/>{"".join(parts)}</svg>'
    )


def _nodes(lock: Mapping[str, Any]) -> Mapping[str, Any]:
    nodes = lock.get("nodes")
    return nodes if isinstance(nodes, Mapping) else {}


def _flat(node: Mapping[str, Any]) -> dict[str, Any]:
    """A lock keeps attributes apart, a composition as people write it does not: both can be drawn."""
    attrs = node.get("attrs")
    return {**(attrs if isinstance(attrs, Mapping) else {}), **node}


def _sources(node: Mapping[str, Any]) -> list[str]:
    wired = node.get("in") or []
    values = wired.values() if isinstance(wired, Mapping) else wired if isinstance(wired, Sequence) else []
    return [str(value).split(".")[0] if isinstance(value, str) else "" for value in values]


def _layers(names: list[str], edges: list[tuple[str, str]]) -> tuple[list[list[str]], list[list[str]]]:
    """Nodes by their longest way from an input, and the edges as ways through the layers.

    An edge over several layers passes a bend in each, so that it goes around boxes; a bend is a name with a space in
    front. Each layer is ordered by the mean position of its sources (the barycenter heuristic: Sugiyama, Tagawa & Toda
    1981, Methods for Visual Understanding of Hierarchical System Structures).
    """
    depth = dict.fromkeys(names, 0)
    for _ in names:  # relaxation: also ends on a cyclic graph, which a lock never is but a hostile file may be
        moved = False
        for source, target in edges:
            if depth[target] <= depth[source] < len(names):
                depth[target], moved = depth[source] + 1, True
        if not moved:
            break
    layers: list[list[str]] = [[name for name in names if depth[name] == at] for at in range(max(depth.values()) + 1)]
    ways = []
    for number, (source, target) in enumerate(edges):
        bends = [(f" {number}.{at}", at) for at in range(depth[source] + 1, depth[target])]
        for bend, at in bends:
            layers[at].append(bend)
        ways.append([source, *(bend for bend, _ in bends), target])
    sources: dict[str, list[str]] = {}
    for way in ways:
        for above, below in pairwise(way):
            sources.setdefault(below, []).append(above)
    for above_layer, layer in pairwise(layers):
        order = {name: number for number, name in enumerate(above_layer)}
        # a bend has less weight than a box at the same mean, so that boxes stay in the middle
        layer.sort(key=lambda name: (_mean([order[s] for s in sources.get(name, []) if s in order]), name[0] == " "))
    return [layer for layer in layers if layer], ways


def _mean(values: list[int]) -> float:
    return sum(values) / len(values) if values else 0.0


def _places(layers: list[list[str]]) -> tuple[dict[str, tuple[float, float]], float]:
    """The middle of each box's upper edge, and the width of the drawing; layers are centered."""
    widths = {name: _BEND if name[0] == " " else _BOX for layer in layers for name in layer}
    rows = [sum(widths[name] + _GAP_X for name in layer) - _GAP_X for layer in layers]
    total = max(rows) + 2 * _MARGIN
    places = {}
    for number, (layer, row) in enumerate(zip(layers, rows, strict=True)):
        x = (total - row) / 2
        for name in layer:
            places[name] = (x + widths[name] / 2, _MARGIN + number * (_HEIGHT + _GAP_Y))
            x += widths[name] + _GAP_X
    return places, total


def _edge(stops: list[tuple[float, float]]) -> str:
    """From the lower edge of the first box to the upper edge of the last, straight down beside the boxes between."""
    x, y = stops[0][0], stops[0][1] + _HEIGHT
    path = f"M{x:.1f} {y:.1f}"
    for number, (to_x, to_y) in enumerate(stops[1:], start=2):
        bend, last = (to_y - y) / 2, number == len(stops)
        path += f"C{x:.1f} {y + bend:.1f} {to_x:.1f} {to_y - bend:.1f} {to_x:.1f} {to_y - 2 * last:.1f}"
        x, y = to_x, to_y
        if not last:
            y += _HEIGHT
            path += f"V{y:.1f}"
    arrow = f"M{x - 4:.1f} {y - 7:.1f}L{x:.1f} {y - 2:.1f}L{x + 4:.1f} {y - 7:.1f}"
    return tag(
        "path",
        d=path + arrow,
        fill="none",
        stroke="#8d9892",
        stroke_width=1.5,
        stroke_linecap="round",
        class_="graph-edge",
    )


def _box(name: str, node: Mapping[str, Any], nodes: Mapping[str, Any], place: tuple[float, float]) -> str:
    op = clean(node.get("op", "?"), 20)
    x, y = place[0] - _BOX / 2, place[1]
    on_dark = op == "head"
    known = op if op in _FILLS else "other"
    kind = clean(node.get("type", ""), 200)
    return tag(
        "g",
        tag("title", _title(name, op, kind))
        + tag(
            "rect", x=x, y=y, width=_BOX, height=_HEIGHT, rx=8, fill=_FILLS.get(op, "#f3f5f2"),
            stroke="#0b6e5f" if op in {"net", "fn", "head"} else "#aab4ae", stroke_width=1.2,
            stroke_dasharray="4 3" if _inserted(name, node) else None, class_=f"graph-box graph-{known}",
        )
        + text(x + 12, y + 19, shorten(_label(op, node, nodes), 23), size=12.5, weight=600,
               fill="#ffffff" if on_dark else "#1b2420", class_="graph-on-dark" if on_dark else "plot-ink")
        + text(x + 12, y + 36, shorten(_bare_type(kind), 25), size=10.5, fill="#d6ebe6" if on_dark else MUTED,
               class_="graph-on-dark" if on_dark else "plot-muted"),
    )  # fmt: skip


def _title(name: str, op: str, kind: str) -> str:
    said = f"{clean(name)} ({op}) gives {kind}" if kind else f"{clean(name)} ({op})"
    return said.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _label(op: str, node: Mapping[str, Any], nodes: Mapping[str, Any]) -> str:
    if op in {"net", "fn"}:
        prior = _prior_name(_prior_behind(node, nodes) or node.get("fn")) or op
        return f"{prior} · {clean(node['tap'], 30)}" if node.get("tap") not in (None, "out") else prior
    if op == "head":
        labels = node.get("labels")
        return (
            f"head · {len(labels)} classes" if isinstance(labels, Sequence) and not isinstance(labels, str) else "head"
        )
    detail = next((clean(node[key], 24) for key in ("kind", "fn", "encoder") if isinstance(node.get(key), str)), "")
    return f"{op} · {detail}" if detail else op


def _prior_behind(node: Mapping[str, Any], nodes: Mapping[str, Any], steps: int = 8) -> object:
    """The reference on the node itself or on the first `load` its weights come from, through merges and deltas."""
    if node.get("prior"):
        return node["prior"]
    weights = [nodes[s] for s in _sources(node) if s in nodes and nodes[s].get("op") in {"load", "delta", "merge"}]
    return next((ref for each in weights if steps and (ref := _prior_behind(each, nodes, steps - 1))), None)


def _prior_name(ref: object) -> str:
    """`all-minilm-l6-v2` of `prior://priorhub/all-minilm-l6-v2@sha256:…`; plain names stay."""
    return clean(str(ref).split("@")[0].rsplit("/", 1)[-1], 40) if isinstance(ref, str) else ""


def _bare_type(kind: str) -> str:
    """The type without its space and attributes, which the tooltip has."""
    return kind.split("@")[0].split("{")[0]


def _inserted(name: str, node: Mapping[str, Any]) -> bool:
    return bool(node.get("auto")) or "~" in name
