"""How a composition was fitted, for its page: what was adapted and why, how blocks are joined, how sure it is. Pure.

Read from a report and a lock that may be a stranger's or of another version: what is missing is left out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hub.web.steps import Step, steps_of
from hub.web.svg_marks import clean
from hub.web.templatetags.show import metric, short_seconds

KINDS = {"lora": "LoRA", "dora": "DoRA", "ia3": "IA3", "bias": "biases only", "full": "all weights"}
_JOINS = {
    "gate": "weighed by a gate",
    "sum": "added",
    "concat": "side by side",
    "attend": "joined by attention",
    "route": "one chosen a row",
}
_COMPARED = {"frozen": "Nothing adapted", "adapted": "The adapted network alone", "chosen": "What was chosen"}
_MOST = 20


@dataclass(frozen=True)
class Branch:
    """One network that was changed, as its graph has it. `repo` is the prior's, "" where the graph names none."""

    repo: str
    how: str
    node: str


@dataclass(frozen=True)
class Adaptation:
    """What was adapted. `compared`: (what, score with its interval, loss)."""

    chosen: str
    why: str
    prior: str
    branches: tuple[Branch, ...]
    facts: tuple[tuple[str, str], ...]
    compared: tuple[tuple[str, str, str], ...]


def adaptation_of(report: object, document: Mapping[str, Any]) -> Adaptation | None:
    """What the report says of adapting, and the deltas and trained networks of the graph; None for neither."""
    said = report.get("adaptation") if isinstance(report, Mapping) else None
    said = said if isinstance(said, Mapping) else {}
    branches = _branches(document)
    if not said and not branches:
        return None
    chosen = clean(said.get("chosen", ""), 40)
    prior = clean(said.get("prior", ""), 300).removeprefix("prior://").partition("@")[0]
    name = report.get("metric") if isinstance(report, Mapping) else ""
    return Adaptation(
        chosen=KINDS.get(chosen, chosen),
        why=clean(said.get("why", ""), 400),
        prior=prior,
        branches=branches,
        facts=tuple(_facts(said, report)),
        compared=tuple(_compared(said.get("scores"), clean(name or "accuracy", 40))),
    )


def _branches(document: Mapping[str, Any]) -> tuple[Branch, ...]:
    nodes = document.get("nodes")
    found = []
    for step in steps_of(document)[:1_000]:
        node = nodes.get(step.name) if isinstance(nodes, Mapping) else None
        attrs = node.get("attrs", node) if isinstance(node, Mapping) else {}
        if isinstance(attrs, Mapping) and (how := _how(step, attrs)):
            found.append(Branch(step.repo, how, step.name))
    return tuple(found[:_MOST])


def _how(step: Step, attrs: Mapping[str, Any]) -> str:
    if step.op == "delta":
        kind = clean(attrs.get("kind", ""), 20)
        rank = f", rank {attrs['r']}" if isinstance(attrs.get("r"), int) else ""
        targets = attrs.get("targets")
        where = ", ".join(clean(one, 60) for one in targets[:4]) if isinstance(targets, list) else ""
        more = f" and {len(targets) - 4} more" if isinstance(targets, list) and len(targets) > 4 else ""
        return f"{KINDS.get(kind, kind)}{rank}" + (f", on {where}{more}" if where else "")
    train = attrs.get("train", "frozen")
    if step.op != "net" or train in ("frozen", "delta"):
        return ""
    if isinstance(train, Mapping) and isinstance(train.get("last"), int):
        return f"its last {train['last']} layers trained"
    return "trained whole"


def _facts(said: Mapping[str, Any], report: object) -> list[tuple[str, str]]:
    recipe = said.get("recipe")
    recipe = recipe if isinstance(recipe, Mapping) else {}
    found = [(title, _number(recipe[key])) for key, title in _RECIPE.items() if _is_number(recipe.get(key))]
    if _is_number(said.get("part")):
        found.append(("Share of the score", f"{said['part']:.0%}"))
    if isinstance(said.get("supported"), bool):
        found.append(("Clearly better", "yes" if said["supported"] else "no, within what chance gives"))
    seconds = report.get("seconds") if isinstance(report, Mapping) else None
    if said and isinstance(seconds, Mapping) and all(_is_number(seconds.get(key)) for key in ("features", "fit")):
        found.append(("Time of the whole fit", short_seconds(seconds["features"] + seconds["fit"])))
    return found


_RECIPE = {"r": "Rank", "steps": "Steps", "lr": "Learning rate", "temperature": "Temperature"}


def _compared(scores: object, name: str) -> list[tuple[str, str, str]]:
    rows = []
    for key, title in _COMPARED.items():
        row = scores.get(key) if isinstance(scores, Mapping) else None
        if isinstance(row, Mapping) and all(_is_number(row.get(one)) for one in ("score", "low", "high")):
            score, low, high = (metric(row[one], name) for one in ("score", "low", "high"))
            loss = f"{row['loss']:.3f}" if _is_number(row.get("loss")) else ""
            rows.append((title, f"{score} ({low} to {high})", loss))
    return rows


def calibration_of(report: object) -> tuple[tuple[str, str, str], ...]:
    """(what, before, after) of a fit that kept its calibration."""
    found = report.get("calibration") if isinstance(report, Mapping) else None
    rows = []
    for key, title in (("log_loss", "Log loss"), ("ece", "Calibration error")):
        pair = found.get(key) if isinstance(found, Mapping) else None
        if isinstance(pair, Mapping) and _is_number(pair.get("before")) and _is_number(pair.get("after")):
            rows.append((title, f"{pair['before']:.3f}", f"{pair['after']:.3f}"))
    return tuple(rows)


def joins_of(document: Mapping[str, Any]) -> tuple[tuple[str, str, Sequence[str], str], ...]:
    """(node, how, what it reads, trained or not) of every node that joins several values."""
    joined = [step for step in steps_of(document) if step.op in _JOINS and len(step.reads) > 1]
    return tuple((step.name, _JOINS[step.op], step.reads[:_MOST], step.state) for step in joined[:_MOST])


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _number(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.3g}"
