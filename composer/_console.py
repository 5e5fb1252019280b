"""What the command line prints: results on stdout as text or JSON, progress on stderr while somebody is watching."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

Report = Callable[..., None]
"""report(step, of, message, **metrics): what long work calls as it goes."""


def emit(result: Mapping[str, Any] | Sequence[Any], text: str, *, as_json: bool) -> None:
    """Prints the result: JSON on one document for programs, the text for people."""
    sys.stdout.write((json.dumps(result, indent=1, ensure_ascii=False) if as_json else text.rstrip("\n")) + "\n")


def table(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Columns padded to their widest cell; numbers to the right. Control characters in cells are shown, not obeyed."""
    cells = [[_shown(cell) for cell in row] for row in (headers, *rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(headers))]
    right = [bool(rows) and all(isinstance(row[i], (int, float)) for row in rows) for i in range(len(headers))]
    return "\n".join(
        "  ".join(cell.rjust(w) if r else cell.ljust(w) for cell, w, r in zip(row, widths, right, strict=True)).rstrip()
        for row in cells
    )


def printable(text: str) -> str:
    """The text with control and invisible characters as \\x1b: what comes from a hub must not drive the terminal."""
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)


@contextmanager
def progress() -> Iterator[Report]:
    """A `report` that draws a bar on stderr when that is a terminal, and does nothing otherwise."""
    if not sys.stderr.isatty():
        yield lambda step, of=0, message="", **metrics: None
        return
    from rich.console import Console  # 0.1 s to import, wanted only with somebody watching
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        shown = bar.add_task("", total=None)

        def report(step: int, of: int = 0, message: str = "", **metrics: Any) -> None:
            bar.update(shown, completed=step, total=of or None, description=printable(message)[:60].replace("[", r"\["))

        yield report


def ranking_text(ranking: dict[str, Any]) -> str:
    """A ranking for people: the answer, why, the first choices, and what speaks for them."""
    rows = [
        (c["name"], c["kind"], c["expected"], f"[{c['low']:.3f}, {c['high']:.3f}]", c["why"])
        for c in [*ranking["sets"][:5], *ranking["singles"][:10]]
    ]
    head = {"set": "A set is worth it", "one": "One prior is enough", "none": "No prior helps"}[ranking["answer"]]
    parts = [f"{head}: {printable(str(ranking['why']))}"]
    parts += [f"! {printable(str(warning))}" for warning in ranking.get("warnings") or []]
    parts += ["", table(("choice", "kind", "expected", "interval", "why"), rows)]
    passed = ", ".join(f"{one['name']} ({one['expected']:.3f} on {one['rows']})" for one in ranking.get("passed") or [])
    parts += ["", f"Left out after a part of the rows: {printable(passed)}"] if passed else []
    return "\n".join([*parts, *_explained(ranking.get("explained") or {}), *_prospects(ranking.get("prospects") or [])])


def _agreeing(near: Mapping[str, Any]) -> str:
    return "" if near["agreement"] is None else f" (agreement {near['agreement']:.2f})"


def _prospects(ways: Sequence[Mapping[str, Any]]) -> list[str]:
    """What adapting may bring and cost; nothing where staying frozen is all there is."""
    if len(ways) < 2:
        return []
    rows = [
        (
            way["name"],
            way["kind"],
            way["expected"],
            f"{way['gain']:+.3f} [{way['gain_low']:+.3f}, {way['gain_high']:+.3f}]",
            "" if way["over_adapted"] is None else f"{way['over_adapted']:+.3f}",
            f"{way['seconds']:.0f} s, {way['memory_mb']:.0f} MB{'' if way['within'] else ', beyond the limits'}",
        )
        for way in ways[:8]
    ]
    return ["", table(("going on as", "kind", "predicted", "over frozen", "over adapted alone", "cost"), rows)]


def _explained(explained: Mapping[str, Any]) -> list[str]:
    """The lines that say why."""
    lines = []
    if terms := explained.get("parts"):
        lines += ["", "Expected score: " + printable(", ".join(f"{t['value']:+.3f} {t['what']}" for t in terms))]
    if credits := explained.get("credits"):
        rows = [
            (c["name"], f"{c['weight']:.0%}", f"{c['drop']:+.3f}", f"[{c['low']:+.3f}, {c['high']:+.3f}]", c["overlap"])
            for c in credits
        ]
        lines += ["", table(("without this prior", "weight", "the score falls", "interval", "overlap"), rows)]
    if stands := explained.get("stands"):
        places = [
            (s["name"], s["standing"], s["sd"], ", ".join(f"{value:+.2f} {term}" for term, value in s["terms"].items()))
            for s in stands[:10]
        ]
        lines += ["", table(("by the past and the rows", "stands at", "give or take", "of which"), places)]
    if nearest := explained.get("nearest"):
        shown = "; ".join(f"{n['task']}{_agreeing(n)}, best there: {n['best']}" for n in nearest)
        lines += ["", f"Most like these past tasks: {printable(shown)}"]
    if verdict := explained.get("learned"):
        lines += [printable(str(verdict)).replace("l", "L", 1)]
    if said := explained.get("would_change"):
        lines += ["", printable(str(said))]
    if following := explained.get("next"):
        lines += ["Worth evaluating next: " + printable("; ".join(f"{n['name']} ({n['why']})" for n in following))]
    return lines


def benchmark_text(result: dict[str, Any]) -> str:
    """A benchmark for people: a row for every way, and the labels saved."""
    rows = [
        (row["name"], row["kind"], row["accuracy"], f"[{row['low']:.3f}, {row['high']:.3f}]", row["seconds"])
        for row in result["rows"]
    ]
    saved = (result.get("labels_saved") or {}).get("text", "")
    return table(("what", "kind", "accuracy", "interval", "seconds"), rows) + (f"\n{printable(saved)}" if saved else "")


def report_text(report: Any) -> str:
    """A fit's report for people: the facts that fit on a line."""
    if not isinstance(report, dict):
        return str(report)
    lines = [
        f"{name}: {value:.4g}" if isinstance(value, float) else f"{name}: {value}"
        for name, value in report.items()
        if name != "calibration"
    ]
    if calibration := report.get("calibration"):
        shown = {
            name: f"{one['before']:.3f} raw, {one['after']:.3f} calibrated"
            for name, one in calibration.items()
            if name != "rows"
        }
        lines += [f"{name} of probabilities: {text}" for name, text in shown.items()]
    return printable("\n".join(line for line in lines if len(line) < 200))


def _shown(cell: object) -> str:
    if isinstance(cell, float):
        return f"{cell:.3f}"
    if isinstance(cell, int) and not isinstance(cell, bool):
        return f"{cell:,}"
    return printable(str(cell)).replace("\n", " ")


def preview_text(preview: dict[str, Any]) -> str:
    """What `check --data` found: values, what pairs have in common as bars, adapters, warnings."""
    values = [(v["node"], v["features"], f"{v['effective_rank']:.1f}", f"{v['length']:.3g}") for v in preview["values"]]
    lines = [f"On {preview['rows']} rows:", table(("frozen value", "features", "directions", "length"), values)]
    overlaps = [(o["first"], o["second"], f"{o['cka']:.2f}", "█" * round(20 * o["cka"])) for o in preview["overlaps"]]
    if overlaps:
        lines += ["", table(("in common", "", "CKA", ""), overlaps)]
    adapters = [(a["node"], a["op"], a["cost"], a["parameters"]) for a in preview["adapters"]]
    if adapters:
        lines += ["", table(("adapter", "op", "cost", "parameters"), adapters)]
    lines += ["", *(f"! {warning}" for warning in preview["warnings"])] if preview["warnings"] else []
    return "\n".join(lines)
