"""Reports and rankings, as JSON in the database, prepared for tables and plots. Pure: dicts in, rows out.

What is read here was written by the composer of this hub, perhaps of an older version: a missing field is shown as
unknown, never guessed and never an error.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hub.web.svg import interval_plot, label_curve
from hub.web.templatetags.show import metric, short_seconds

KINDS = {
    "none": "no prior",
    "single": "single prior",
    "taps": "taps of one prior",
    "adapted": "adapted prior",
    "all": "everything",
    "recommended": "recommended",
    "set": "set of priors",
}
_SHOWN_SINGLES = 8


@dataclass(frozen=True)
class Measured:
    """One row of a table: what it is, its score with its interval, and what it cost."""

    name: str
    kind: str
    kind_name: str
    priors: tuple[str, ...]
    value: float | None
    low: float | None
    high: float | None
    seconds: float | None
    why: str = ""
    best: bool = False


@dataclass(frozen=True)
class ReportView:
    """A benchmark's report on a page."""

    metric: str
    labels_per_class: int | None
    draws: int | None
    rows: tuple[Measured, ...]
    curve: tuple[dict[str, Any], ...]
    saved: str
    notes: tuple[str, ...]
    gain: float | None
    recommended: Measured | None
    single: Measured | None
    intervals_svg: str
    curve_svg: str


@dataclass(frozen=True)
class RankingView:
    """A ranking on a page: the headline, and its choices from best to worst."""

    answer: str
    why: str
    rows: int | None
    metric: str
    best: Measured | None
    choices: tuple[Measured, ...]
    more: int
    warnings: tuple[str, ...]
    intervals_svg: str


def report_view(report: Mapping[str, Any]) -> ReportView:
    """The rows by accuracy, best first; the plots; the difference to the best single prior."""
    name = str(report.get("metric") or "accuracy")
    percent = name == "accuracy"
    rows = [_measured(row, "accuracy") for row in report.get("rows") or []]
    rows.sort(key=lambda row: -(row.value if row.value is not None else -1e9))
    recommended = next((row for row in rows if row.kind == "recommended"), None)
    single = next((row for row in rows if row.kind == "single"), None)
    known = recommended and single and recommended.value is not None and single.value is not None
    saved = report.get("labels_saved") or {}
    curve = tuple(dict(row) for row in report.get("curve") or [])
    return ReportView(
        metric=name,
        labels_per_class=report.get("labels_per_class"),
        draws=report.get("draws"),
        rows=tuple(rows),
        curve=curve,
        saved=str(saved.get("text") or ""),
        notes=_texts(report.get("notes")),
        gain=recommended.value - single.value if known else None,  # type: ignore[union-attr, operator]
        recommended=recommended,
        single=single,
        intervals_svg=interval_plot(_by_value(report.get("rows") or [], "accuracy"), percent=percent),
        curve_svg=label_curve(curve, saved, percent=percent),
    )


def ranking_view(ranking: Mapping[str, Any]) -> RankingView:
    """Sets and singles together: the recommended one, then the others from best to worst, the baseline among them."""
    best = ranking.get("best") or None
    choices = [*(ranking.get("sets") or []), *(ranking.get("singles") or [])]
    baseline = ranking.get("baseline")
    if isinstance(baseline, Mapping) and baseline.get("expected") is not None:
        choices.append({"name": "no prior", "kind": "none", **baseline})
    named = best.get("name") if best else None
    choices = sorted(_by_value(choices, "expected"), key=lambda choice: choice.get("name") != named)
    shown = [choice for number, choice in enumerate(choices) if number < _SHOWN_SINGLES or choice.get("kind") == "none"]
    percent = ranking.get("metric", "accuracy") == "accuracy"
    drawn = [{**choice, "kind": "recommended"} if choice.get("name") == named else choice for choice in shown]
    return RankingView(
        answer=str(ranking.get("answer", "")),
        why=str(ranking.get("why", "")),
        rows=ranking.get("rows"),
        metric=str(ranking.get("metric", "accuracy")),
        best=_measured(best, "expected", best=True) if best else None,
        choices=tuple(_measured(choice, "expected", best=choice.get("name") == named) for choice in shown),
        more=len(choices) - len(shown),
        warnings=_texts(ranking.get("warnings")),
        intervals_svg=interval_plot(drawn, percent=percent),
    )


def short_report(report: Mapping[str, Any], rows: int = 4) -> str:
    """A small interval plot for a card: no prior, the best single, everything, the recommended set."""
    chosen: dict[str, Mapping[str, Any]] = {}
    for row in _by_value(report.get("rows") or [], "accuracy"):
        if row.get("kind") in {"none", "single", "all", "recommended"}:
            chosen.setdefault(str(row["kind"]), row)
    percent = (report.get("metric") or "accuracy") == "accuracy"
    return interval_plot(list(chosen.values())[:rows], width=380, percent=percent)


def find_ranking(report: object) -> Mapping[str, Any] | None:
    """The ranking a fit worked from, where its report keeps one."""
    if isinstance(report, Mapping):
        ranking = report.get("ranking")
        if isinstance(ranking, Mapping) and (ranking.get("singles") or ranking.get("sets")):
            return ranking
    return None


def facts_of(report: object) -> list[tuple[str, str]]:
    """What a fit's report says besides its ranking, for a list of facts: name and text."""
    if not isinstance(report, Mapping):
        return []
    name, facts = str(report.get("metric") or "accuracy"), []
    if report.get("expected") is not None:
        expected, low, high = (metric(report.get(key), name) for key in ("expected", "low", "high"))
        facts.append((f"Expected {name}", f"{expected} ({low} to {high})"))
    for key, title in (("rows", "Labelled rows"), ("seed", "Seed"), ("penalty", "Penalty"), ("steps", "Fit steps")):
        value = report.get(key)
        if isinstance(value, int | float):
            facts.append((title, f"{value:,}" if isinstance(value, int) else f"{value:.3g}"))
    seconds = report.get("seconds")
    if isinstance(seconds, Mapping):
        facts.append(("Time", ", ".join(f"{key} {short_seconds(value)}" for key, value in seconds.items())))
    return facts


def _texts(values: object) -> tuple[str, ...]:
    return tuple(str(value) for value in values) if isinstance(values, list) else ()


def _by_value(rows: list[Any], key: str) -> list[Any]:
    known = [row for row in rows if isinstance(row, Mapping)]
    return sorted(known, key=lambda row: -(row[key] if isinstance(row.get(key), int | float) else -1e9))


def _measured(row: Mapping[str, Any], key: str, *, best: bool = False) -> Measured:
    kind = str(row.get("kind", ""))
    named = row.get("priors") or [member.get("ref", "") for member in row.get("members") or []]
    return Measured(
        name=str(row.get("name", "")),
        kind=kind,
        kind_name=KINDS.get(kind, kind),
        priors=tuple(str(ref) for ref in named),
        value=row.get(key),
        low=row.get("low"),
        high=row.get("high"),
        seconds=row.get("seconds"),
        why=str(row.get("why") or ""),
        best=best or kind == "recommended",
    )
