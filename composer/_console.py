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
    """A ranking for people: the answer, why, and the first choices."""
    rows = [
        (c["name"], c["kind"], c["expected"], f"[{c['low']:.3f}, {c['high']:.3f}]", c["why"])
        for c in [*ranking["sets"][:5], *ranking["singles"][:10]]
    ]
    head = {"set": "A set is worth it", "one": "One prior is enough", "none": "No prior helps"}[ranking["answer"]]
    shown = table(("choice", "kind", "expected", "interval", "why"), rows)
    warned = "".join(f"! {printable(str(warning))}\n" for warning in ranking.get("warnings") or [])
    return f"{head}: {printable(str(ranking['why']))}\n{warned}\n{shown}"


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
