"""A composition drawn: data flows from top to bottom, one box a node, the type of its value on the line that leaves it.

Boxes of priors that the visitor may see are links. A drawing is a group and no picture to a screen reader, so that its
links can be reached; the table beside it (templates/repos/_graph.html) says everything that it shows.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any
from xml.sax.saxutils import quoteattr

from hub.web.layers import Layout, Point, Sizes, layered
from hub.web.steps import Step, steps_of
from hub.web.svg_marks import FONT, INK, MUTED, shorten, tag, text

MAX_INLINE = 80
"""Boxes that a page shows among other things."""
MAX_DRAWN = 400
"""Boxes on a page of their own; beyond it the table is the better picture."""

_SIZES = Sizes(width=190.0, height=46.0, bend=12.0, gap_x=20.0, gap_y=42.0, margin=10.0)
_TYPE_X, _TYPE_CHAR = 7.0, 6.6
"""Where a type begins beside its line, and how wide its letters are at most."""
_FILLS = {
    "input": "#e8eef6",
    "net": "#e2f1ee",
    "fn": "#e2f1ee",
    "concat": "#f6eddd",
    "sum": "#f6eddd",
    "gate": "#f6eddd",
    "head": "#0b6e5f",
}
_MARKS = {"added": "+", "removed": "−", "changed": "≠", "renamed": "~", "wrong": "!"}
"""Beside the name of a box that is not as in the other revision, or stands in the way; its second line has the word."""


def graph_svg(document: Mapping[str, Any]) -> str:
    """The drawing of a lock, or of a graph as people write it."""
    return drawing(steps_of(document))


def drawing(steps: Sequence[Step], *, links: Collection[str] = (), most: int = MAX_INLINE) -> str:
    """The steps and their wires; weights appear as the name of their prior in the box that runs them.

    links   priors (`namespace/name`) whose pages the visitor may see
    return  "" for nothing to draw, for more boxes than `most`, and for so many wires that it would show only lines
    """
    drawn = {step.name: step for step in steps if step.mark or not step.is_weights}
    if not 0 < len(drawn) <= most:
        return ""
    edges = [(source, step.name) for step in drawn.values() for source in step.reads if source in drawn]
    gone = {(source, step.name) for step in drawn.values() for source in step.read_once if source in drawn}
    gone |= {edge for edge in edges if drawn[edge[1]].mark == "removed"}
    layout = layered(list(drawn), list(dict.fromkeys([*edges, *sorted(gone)])), _SIZES)
    if layout is None:
        return ""
    told = [layout.places[name][0] + _TYPE_X + _TYPE_CHAR * len(_type_of(step)) for name, step in drawn.items()]
    layout = replace(layout, width=max(layout.width, max(told) + _SIZES.margin))  # the last box's type needs room, too
    priors = sorted({step.label.partition(" · ")[0] for step in drawn.values() if step.op in {"net", "fn"}})
    finding = f"{len(drawn)} steps from data to prediction, using {', '.join(priors) or 'no prior'}"
    at = {layout.places[name]: name for name in drawn}
    parts = [_edge(way, (at[way[0]], at[way[-1]]) in gone) for way in layout.ways]
    parts += [_box(step, layout.places[name], step.repo in links) for name, step in drawn.items()]
    return _framed(shorten(finding, 400), layout, "".join(parts))


def _framed(finding: str, layout: Layout, content: str) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="plot graph" role="group" aria-label={quoteattr(finding)}'
        f' viewBox="0 0 {layout.width:g} {layout.height:g}" width="{layout.width:g}" height="{layout.height:g}"'
        f' font-family="{FONT}"><rect class="plot-ground" width="100%" height="100%" fill="#ffffff"/>{content}</svg>'
    )


def _edge(stops: tuple[Point, ...], gone: bool) -> str:
    """From the lower edge of the first box to the upper edge of the last, straight down beside the boxes between."""
    height = _SIZES.height
    x, y = stops[0][0], stops[0][1] + height
    path = f"M{x:.0f} {y:.0f}"
    for number, (to_x, to_y) in enumerate(stops[1:], start=2):
        bend, last = (to_y - y) / 2, number == len(stops)
        path += f"C{x:.0f} {y + bend:.0f} {to_x:.0f} {to_y - bend:.0f} {to_x:.0f} {to_y - 2 * last:.0f}"
        x, y = to_x, to_y
        if not last:
            y += height
            path += f"V{y:.0f}"
    arrow = f"M{x - 4:.0f} {y - 7:.0f}L{x:.0f} {y - 2:.0f}L{x + 4:.0f} {y - 7:.0f}"
    return tag("path", d=path + arrow, fill="none", stroke="#8d9892", class_="graph-edge",
               stroke_dasharray="2 4" if gone else None)  # fmt: skip


def _box(step: Step, place: Point, linked: bool) -> str:
    x, y = place[0] - _SIZES.width / 2, place[1]
    on_dark = step.op == "head" and step.mark != "removed"
    fill = "#ffffff" if step.mark == "removed" else _FILLS.get(step.op, "#f3f5f2")
    known = step.op if step.op in _FILLS else "other"
    said = ", ".join(word for word in (step.mark, step.op, step.state, "inserted" if step.inserted else "") if word)
    content = (
        tag("title", _escaped(f"{step.name}: {said}{', gives ' + step.gives if step.gives else ''}"))
        + tag(
            "rect", x=x, y=y, width=_SIZES.width, height=_SIZES.height, rx=8, fill=fill,
            stroke="#0b6e5f" if step.op in {"net", "fn", "head"} else "#aab4ae",
            stroke_width=2.4 if step.state == "trained" or step.mark else None,
            stroke_dasharray="2 4" if step.mark == "removed" else "4 3" if step.inserted else None,
            class_=f"graph-box graph-{known}{' graph-is-' + step.mark if step.mark else ''}",
        )
        + (text(x + _SIZES.width - 10, y + 20, _MARKS[step.mark], size=16, weight=700, anchor="end",
                fill="#ffffff" if on_dark else INK, class_="graph-on-dark" if on_dark else "") if step.mark else "")
        + text(x + 12, y + 19, shorten(step.label, 21 if step.mark else 24), size=12.5, weight=600,
               fill="#ffffff" if on_dark else INK, class_="graph-on-dark" if on_dark else "")
        + text(x + 12, y + 36, shorten(said, 30), size=10.5, fill="#d6ebe6" if on_dark else MUTED,
               class_="graph-on-dark" if on_dark else "")
        + text(place[0] + _TYPE_X, y + _SIZES.height + 14, _type_of(step), size=10.5, fill=MUTED,
               class_="plot-muted graph-type")
    )  # fmt: skip
    return tag("a", content, href=f"/{step.repo}") if linked else tag("g", content)


def _escaped(said: str) -> str:
    return said.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _type_of(step: Step) -> str:
    """The type without its space and attributes, which the tooltip and the table have."""
    return shorten(step.gives.split("@")[0].split("{")[0], 28)
