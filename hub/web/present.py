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
WAYS = {
    "frozen": "frozen",
    "adapted": "one network adapted",
    "set": "set with an adapted member",
    "ensemble": "two adapted networks",
    "branches": "an adapted network a column",
}
_SHOWN_SINGLES = 8
_SHOWN_PASSED = 40


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
class Worth:
    """What one prior of a set is worth on the labelled rows, as texts."""

    name: str
    weight: str
    drop: str
    interval: str
    overlap: str


@dataclass(frozen=True)
class Way:
    """A way to go on from a ranking, as texts; over: the predicted gain over the best adapted network alone."""

    name: str
    kind: str
    expected: str
    gain: str
    over: str
    cost: str
    why: str
    within: bool


@dataclass(frozen=True)
class RankingView:
    """A ranking on a page: the headline, its choices from best to worst, and what speaks for them."""

    answer: str
    why: str
    rows: int | None
    metric: str
    best: Measured | None
    choices: tuple[Measured, ...]
    more: int
    warnings: tuple[str, ...]
    intervals_svg: str
    terms: tuple[tuple[str, str], ...] = ()
    worths: tuple[Worth, ...] = ()
    nearest: tuple[tuple[str, str, str], ...] = ()
    stands: tuple[tuple[str, str, str, str], ...] = ()
    learned: str = ""
    would_change: str = ""
    following: tuple[tuple[str, str], ...] = ()
    passed: tuple[tuple[str, str, str], ...] = ()
    ways: tuple[Way, ...] = ()


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
    name = str(ranking.get("metric", "accuracy"))
    percent = name == "accuracy"
    drawn = [{**choice, "kind": "recommended"} if choice.get("name") == named else choice for choice in shown]
    return RankingView(
        answer=str(ranking.get("answer", "")),
        why=str(ranking.get("why", "")),
        rows=ranking.get("rows"),
        metric=name,
        best=_measured(best, "expected", best=True) if best else None,
        choices=tuple(_measured(choice, "expected", best=choice.get("name") == named) for choice in shown),
        more=len(choices) - len(shown),
        warnings=_texts(ranking.get("warnings")),
        intervals_svg=interval_plot(drawn, percent=percent),
        passed=tuple(
            (str(one.get("name", "")), _shown(one.get("rows"), ",.0f"), metric(one.get("expected"), name))
            for one in _dicts(ranking.get("passed"))[:_SHOWN_PASSED]
        ),
        ways=_ways(ranking.get("prospects"), name),
        **_explained(ranking.get("explained"), name),
    )


def _ways(prospects: object, name: str) -> tuple[Way, ...]:
    """What adapting may bring; nothing where staying frozen is all there is."""
    ways = _dicts(prospects)[:_SHOWN_SINGLES]
    if len(ways) < 2:
        return ()
    return tuple(
        Way(
            str(one.get("name", "")),
            WAYS.get(str(one.get("kind")), str(one.get("kind", ""))),
            f"{metric(one.get('expected'), name)} ({metric(one.get('low'), name)} to {metric(one.get('high'), name)})",
            f"{_signed(one.get('gain'), name)} ({_signed(one.get('gain_low'), name)} to "
            f"{_signed(one.get('gain_high'), name)})",
            "" if one.get("over_adapted") is None else _signed(one["over_adapted"], name),
            f"{short_seconds(one.get('seconds'))}, {_shown(one.get('memory_mb'), ',.0f')} MB",
            str(one.get("why", "")),
            one.get("within") is not False,
        )
        for one in ways
    )


def _explained(explained: object, name: str) -> dict[str, Any]:
    """What speaks for a ranking, in the words of its metric."""
    held = explained if isinstance(explained, Mapping) else {}
    return {
        "terms": tuple(
            (str(one.get("what", "")), _signed(one.get("value"), name)) for one in _dicts(held.get("parts"))
        ),
        "worths": tuple(
            Worth(
                str(one.get("name", "")),
                _shown(one.get("weight"), ".0%"),
                _signed(one.get("drop"), name),
                f"{_signed(one.get('low'), name)} to {_signed(one.get('high'), name)}",
                _shown(one.get("overlap"), ".2f"),
            )
            for one in _dicts(held.get("credits"))
        ),
        "nearest": tuple(
            (
                str(one.get("task", "")),
                "" if one.get("agreement") is None else _shown(one["agreement"], ".2f"),
                str(one.get("best", "")),
            )
            for one in _dicts(held.get("nearest"))
        ),
        "stands": tuple(
            (
                str(one.get("name", "")),
                _shown(one.get("standing"), "+.2f"),
                _shown(one.get("sd"), ".2f"),
                _terms(one.get("terms")),
            )
            for one in _dicts(held.get("stands"))[:_SHOWN_SINGLES]
        ),
        "learned": str(held.get("learned") or ""),
        "would_change": str(held.get("would_change") or ""),
        "following": tuple((str(one.get("name", "")), str(one.get("why", ""))) for one in _dicts(held.get("next"))),
    }


def _terms(terms: object) -> str:
    held = terms if isinstance(terms, Mapping) else {}
    return ", ".join(f"{_shown(value, '+.2f')} {term}" for term, value in held.items())


def _dicts(values: object) -> list[Mapping[str, Any]]:
    return [value for value in values if isinstance(value, Mapping)] if isinstance(values, list) else []


def _signed(value: object, name: str) -> str:
    """A difference of scores: +3.1 points, or +0.031 where the metric is no part of a whole."""
    if name == "accuracy" and isinstance(value, int | float):
        return f"{100 * value:+.1f} points"
    return _shown(value, "+.3f")


def _shown(value: object, how: str) -> str:
    return format(value, how) if isinstance(value, int | float) else "unknown"


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
