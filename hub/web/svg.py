"""Plots as SVG text: pure functions, no Django, so that pages and the demo draw with the same code.

Every mark has a class, which the site's stylesheet colors for light and dark, and a fill of its own, so that a file
saved from here also stands alone. Text that comes from people passes `clean` and is escaped.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeGuard
from xml.sax.saxutils import escape, quoteattr

from hub.web.svg_graph import graph_svg
from hub.web.svg_marks import COLORS, FONT, INK, MUTED, RULE, clean, line, shorten, tag, text

__all__ = ["graph_svg", "interval_plot", "label_curve"]

_ROW = 42  # height of one row of the interval plot: a line of text, then the interval
_LEAST_SPAN = 0.02  # of an axis, also when all values are equal
_KINDS = {"recommended": "recommended", "best_single": "single", "none": "none"}
_SERIES = (("recommended", "recommended"), ("best_single", "best single prior"), ("none", "no prior"))


def interval_plot(rows: Iterable[Mapping[str, Any]], *, title: str = "", width: int = 460, percent: bool = True) -> str:
    """One line a row: the estimate as a dot on its interval, named above, valued at the right.

    rows     each with `name`, `kind` and `accuracy` (a report) or `expected` (a ranking), `low`, `high`; fractions when
             `percent`. Rows without an estimate are left out.
    return   "" when nothing is left to draw
    """
    marks = [mark for row in rows if (mark := _mark(row)) is not None]
    if not marks:
        return ""
    low = min(mark["low"] for mark in marks)
    high = max(mark["high"] for mark in marks)
    ticks = _ticks(low, high, (0.0, 1.0) if percent else None)
    left, right, top = 8.0, width - 8.0, 34.0 if title else 8.0
    bottom = top + _ROW * len(marks)

    def x(value: float) -> float:
        return left + 4 + (value - ticks[0]) / (ticks[-1] - ticks[0]) * (right - left - 8)

    parts = [text(left, 18, title, size=14, weight=600)] if title else []
    for tick in ticks:
        parts.append(line(x(tick), top, x(tick), bottom, RULE, "plot-grid"))
        anchor = "start" if tick == ticks[0] else "end" if tick == ticks[-1] else "middle"
        parts.append(text(x(tick), bottom + 16, _tick_text(tick, percent), size=11, fill=MUTED, anchor=anchor))
    for number, mark in enumerate(marks):
        y = top + _ROW * number
        parts.append(_interval_row(mark, y, x, left, right, percent))
    finding = "; ".join(_sentence(mark, percent) for mark in _worth_saying(marks))
    return _document(width, bottom + 24, finding, parts)


def label_curve(
    curve: Sequence[Mapping[str, Any]],
    saved: Mapping[str, Any] | None = None,
    *,
    title: str = "",
    width: int = 460,
    percent: bool = True,
    series: Sequence[tuple[str, str]] = _SERIES,
) -> str:
    """The score against labels a class, one line each for the recommended set, the best single prior and no prior.

    curve    rows with `labels` and scores `recommended`, `best_single`, `none` (any may be null), and perhaps
             `recommended_low`, `recommended_high` and so on: the interval of each, drawn as a bar behind its point
    series   which of these lines are drawn, and what they are called
    saved    `labels`, `single_needs`, `text`: drawn as the horizontal way from the one curve to the other
    return   "" with fewer than two points
    """
    points = sorted((row for row in curve if _number(row.get("labels"))), key=lambda row: float(row["labels"]))
    drawn = [each for key, _ in series for each in (key, f"{key}_low", f"{key}_high")]
    values = [float(row[key]) for row in points for key in drawn if _number(row.get(key))]
    if len(points) < 2 or not values:
        return ""
    ticks = _ticks(min(values), max(values), (0.0, 1.0) if percent else None)
    left, right, top, bottom = 40.0, width - 116.0, 40.0 if title else 14.0, 300.0
    first, last = math.log2(points[0]["labels"]), math.log2(points[-1]["labels"])

    def x(labels: float) -> float:
        return left + (math.log2(labels) - first) / (last - first) * (right - left)

    def y(value: float) -> float:
        return bottom - (value - ticks[0]) / (ticks[-1] - ticks[0]) * (bottom - top)

    parts = [text(8, 18, title, size=14, weight=600)] if title else []
    for tick in ticks:
        parts.append(line(left, y(tick), right, y(tick), RULE, "plot-grid"))
        parts.append(text(left - 6, y(tick) + 4, _tick_text(tick, percent), size=11, fill=MUTED, anchor="end"))
    for row in points:
        parts.append(text(x(row["labels"]), bottom + 18, f"{row['labels']:g}", size=11, fill=MUTED, anchor="middle"))
    parts.append(text(left, bottom + 36, "labels a class", size=11, fill=MUTED))
    parts.append(_saved_way(points, saved, x, y, right, (width - 8.0, bottom + 36)))

    ends: list[tuple[float, str, str]] = []
    for key, name in reversed(series):  # the recommended set is drawn last, on top
        known = [(x(row["labels"]), y(float(row[key]))) for row in points if _number(row.get(key))]
        for row in points:
            low, high = row.get(f"{key}_low"), row.get(f"{key}_high")
            if _number(low) and _number(high):
                at = x(row["labels"])
                parts.append(line(at, y(low), at, y(high), COLORS[_KINDS[key]], f"mark mark-{_KINDS[key]}", 5, 0.35))
        if known:
            parts.append(_polyline(known, key))
            ends.append((known[-1][1], key, name))
    parts.extend(_end_labels(ends, right + 10, bottom))
    finding = clean((saved or {}).get("text") or "") or _curve_finding(points[-1], percent)
    return _document(width, bottom + 46, finding, parts)


def _mark(row: Mapping[str, Any]) -> dict[str, Any] | None:
    value = row.get("accuracy", row.get("expected"))
    if not _number(value):
        return None
    low, high = (bound if _number(bound) else value for bound in (row.get("low"), row.get("high")))
    kind = row.get("kind") if row.get("kind") in COLORS else "set"
    return {"name": clean(row.get("name", "")), "kind": kind, "value": value, "low": low, "high": high}


def _interval_row(mark: dict[str, Any], y: float, x: Any, left: float, right: float, percent: bool) -> str:
    color, best = COLORS[mark["kind"]], mark["kind"] == "recommended"
    middle = y + 30
    low, high = _value(mark["low"], percent, bare=True), _value(mark["high"], percent, bare=True)
    value = f"{_value(mark['value'], percent)}  ({low} to {high})"
    room = int((right - left - 7 * len(value)) / 7)
    return "".join(
        (
            "<g>",
            text(left, y + 17, shorten(mark["name"], room), size=13, weight=600 if best else 400),
            text(right, y + 17, value, size=12, fill=INK if best else MUTED, anchor="end"),
            line(x(mark["low"]), middle, x(mark["high"]), middle, color, f"mark mark-{mark['kind']}", 5, 0.45),
            tag("circle", cx=x(mark["value"]), cy=middle, r=5.5, fill=color, class_=f"dot dot-{mark['kind']}"),
            "</g>",
        )
    )


def _saved_way(
    points: Sequence[Mapping[str, Any]],
    saved: Mapping[str, Any] | None,
    x: Any,
    y: Any,
    right: float,
    key: tuple[float, float],
) -> str:
    """The dotted way at the recommended score to the labels the best single needs; `key` is where its name goes."""
    labels = (saved or {}).get("labels")
    at = next((row for row in points if row["labels"] == labels and _number(row.get("recommended"))), None)
    if saved is None or at is None or labels is None:
        return ""
    needs, level = saved.get("single_needs"), y(float(at["recommended"]))
    end = min(x(max(float(needs), 1e-9)), right) if _number(needs) else right
    if end <= x(labels) + 6:
        return ""
    said = (
        f"{float(needs) - float(labels):.0f} labels a class saved"
        if _number(needs)
        else "the single prior never gets here"
    )
    color = COLORS["recommended"]
    return "".join(
        (
            _dotted(x(labels), end, level),
            tag("path", d=f"M{end - 6:.1f} {level - 4:.1f}l6 4l-6 4", fill="none", stroke=color, stroke_width=1.5,
                class_="mark mark-recommended"),
            # the key lies below the axis, where no curve can cross it
            _dotted(key[0] - 6.2 * len(said) - 30, key[0] - 6.2 * len(said) - 8, key[1] - 4),
            text(*key, said, size=11, weight=600, fill=color, anchor="end", class_="dot-recommended"),
        )
    )  # fmt: skip


def _dotted(start: float, end: float, y: float) -> str:
    return tag(
        "line", x1=start, y1=y, x2=end, y2=y, stroke=COLORS["recommended"], stroke_width=1.5, stroke_dasharray="2 4",
        stroke_linecap="round", class_="mark mark-recommended",
    )  # fmt: skip


def _polyline(points: Sequence[tuple[float, float]], key: str) -> str:
    kind = _KINDS[key]
    path = "M" + "L".join(f"{px:.1f} {py:.1f}" for px, py in points)
    shape = tag(
        "path", d=path, fill="none", stroke=COLORS[kind], stroke_width=3 if key == "recommended" else 2,
        stroke_linejoin="round", stroke_linecap="round", class_=f"mark mark-{kind}",
    )  # fmt: skip
    dots = (tag("circle", cx=px, cy=py, r=3.5, fill=COLORS[kind], class_=f"dot dot-{kind}") for px, py in points)
    return shape + "".join(dots)


def _end_labels(ends: list[tuple[float, str, str]], at: float, bottom: float) -> list[str]:
    """The lines' names at their right ends, pushed apart to at least one line of text each."""
    placed, previous = [], -math.inf
    for height, key, name in sorted(ends):
        previous = max(height, previous + 17)
        placed.append((previous, key, name))
    overflow = max(0.0, placed[-1][0] - bottom) if placed else 0.0
    return [
        text(
            at, height - overflow + 4, name, size=12, weight=600 if key == "recommended" else 400,
            fill=COLORS[_KINDS[key]], class_=f"dot-{_KINDS[key]}",
        )
        for height, key, name in placed
    ]  # fmt: skip


def _curve_finding(row: Mapping[str, Any], percent: bool) -> str:
    said = [f"{name} {_value(float(row[key]), percent)}" for key, name in _SERIES if _number(row.get(key))]
    return f"With {row['labels']:g} labels a class: " + ", ".join(said)


def _worth_saying(marks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What a listener needs first: the recommended row, the best other one, no prior at all."""
    best = max(marks, key=lambda mark: float(mark["value"]))
    chosen = [mark for mark in marks if mark["kind"] == "recommended"] or [best]
    others = [m for m in marks if m["kind"] in {"single", "taps"}]
    nothing = [m for m in marks if m["kind"] == "none"]
    said = chosen[:1] + sorted(others, key=lambda mark: -float(mark["value"]))[:1] + nothing[:1]
    return [mark for number, mark in enumerate(said) if mark not in said[:number]]


def _sentence(mark: dict[str, Any], percent: bool) -> str:
    low, high = _value(mark["low"], percent, bare=True), _value(mark["high"], percent, bare=True)
    return f"{mark['name']}: {_value(mark['value'], percent)} (95 % interval {low} to {high})"


def _number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _value(value: float, percent: bool, bare: bool = False) -> str:
    return f"{value * 100:.1f}{'' if bare else ' %'}" if percent else f"{value:.3f}"


def _tick_text(value: float, percent: bool) -> str:
    return f"{value * 100:.0f} %" if percent else f"{value:g}"


def _ticks(low: float, high: float, limits: tuple[float, float] | None) -> list[float]:
    """Three to eight round values that enclose [low, high]; inside `limits` where they are given."""
    if high - low < _LEAST_SPAN:
        low, high = low - _LEAST_SPAN / 2, high + _LEAST_SPAN / 2
    if limits:  # moved inside rather than cut, so that the span stays
        low, high = (low - max(0.0, high - limits[1]), min(high, limits[1]))
        low, high = (max(low, limits[0]), high + max(0.0, limits[0] - low))
    span = high - low
    raw = span / 5
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= raw)
    start, stop = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    ticks = [round(step * number, 10) for number in range(start, max(stop, start + 1) + 1)]
    return [tick for tick in ticks if not limits or limits[0] - 1e-9 <= tick <= limits[1] + 1e-9]


def _document(width: float, height: float, finding: str, parts: Iterable[str]) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="plot" role="img" aria-label={quoteattr(clean(finding, 400))}'
        f' viewBox="0 0 {width:g} {height:g}" width="{width:g}" height="{height:g}" font-family="{escape(FONT)}">'
        f'<rect class="plot-ground" width="100%" height="100%" fill="#ffffff"/>{"".join(parts)}</svg>'
    )
