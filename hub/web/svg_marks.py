"""What the plots are made of: colors, text cleaning, and one function a mark."""

from __future__ import annotations

import math
import unicodedata
from xml.sax.saxutils import escape, quoteattr

INK, MUTED, RULE = "#1b2420", "#5c6a63", "#e3e7e2"
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif"
COLORS = {
    "recommended": "#0b6e5f",
    "set": "#0b6e5f",
    "single": "#2f6db5",
    "taps": "#2f6db5",
    "adapted": "#7a4fb5",
    "all": "#99590c",
    "none": "#6a766f",
}
"""Contrast on white is at least 4.5:1 each, since lines' names are written in the line's color."""


def clean(value: object, limit: int = 120) -> str:
    """`value` as one line without control, format or bidirectional characters, at most `limit` long."""
    kept = (" " if char in "\t\r\n" else char for char in str(value))
    return shorten("".join(char for char in kept if unicodedata.category(char)[0] != "C"), limit)


def shorten(value: str, room: int) -> str:
    """`value` cut to `room` characters, the cut shown as an ellipsis."""
    return value if len(value) <= room else value[: max(room - 1, 1)].rstrip() + "…"


def tag(name: str, content: str = "", /, **attributes: object) -> str:
    """An element; `stroke_width` is written stroke-width and `class_` class. `content` is markup."""
    written = "".join(
        f" {key.rstrip('_').replace('_', '-')}={quoteattr(_short(value))}"
        for key, value in attributes.items()
        if value not in (None, "")
    )
    return f"<{name}{written}>{content}</{name}>" if content else f"<{name}{written}/>"


def text(
    x: float,
    y: float,
    content: str,
    *,
    size: float = 13,
    weight: int = 400,
    fill: str = INK,
    anchor: str = "",
    class_: str = "",
) -> str:
    """A line of text, cleaned and escaped. Ink and gray follow the page's colors by class."""
    shade = class_ or {INK: "plot-ink", MUTED: "plot-muted"}.get(fill, "")
    return tag(
        "text", escape(clean(content)) or " ", x=x, y=y, font_size=size, font_weight=weight if weight != 400 else None,
        fill=fill, text_anchor=anchor, class_=shade,
    )  # fmt: skip


def line(
    x1: float,
    y1: float,
    x2: float,
    y2: float,
    stroke: str,
    class_: str,
    width: float = 1,
    opacity: float | None = None,
) -> str:
    """A straight stroke, with round ends when it is a mark rather than a rule."""
    return tag(
        "line", x1=x1, y1=y1, x2=x2, y2=y2, stroke=stroke, stroke_width=width, stroke_opacity=opacity,
        stroke_linecap="round" if width > 2 else None, class_=class_,
    )  # fmt: skip


def _short(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.2f}".rstrip("0").rstrip(".") if math.isfinite(value) else "0"
    return str(value)
