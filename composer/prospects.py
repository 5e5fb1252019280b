"""How far to adapt: what to expect of going on from frozen priors, before anything is trained.

    frozen     the recommended set as it is
    adapted    one network adapted to the rows, alone
    set        the frozen set with one adapted member
    ensemble   two adapted networks
    branches   one adapted network a column

Predictions rest on what was measured (MEASURED, BESIDE) or, where a history has runs of adapted priors, on that: the
part of what a network gets wrong that adapting it takes away, with its spread over tasks. Every combination is also
held against the best adapted network alone, which takes most of the gain. `fit(adapt="auto")` then decides by
cross-validation on the rows themselves; here is only what trying would cost and may bring.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from composer.assemble import NARROW, Offer, Unit, tap_width
from composer.choices import Choice, Limits, Prospect
from composer.costs import Costs
from composer.rank.history import History
from composer.rank.probe import NORMAL_95, Array, Probe, Targets, probe, score_gap

How = Literal["lora", "full"]

MEASURED: Mapping[str, Mapping[How, tuple[tuple[float, float], ...]]] = {
    "text": {
        "full": ((0.686, 0.708), (0.771, 0.801), (0.837, 0.897), (0.749, 0.764), (0.713, 0.749)),
        "lora": ((0.708, 0.764), (0.668, 0.660), (0.764, 0.776)),
    },
    "image": {"full": ((0.656, 0.691), (0.858, 0.917), (0.950, 1.000), (0.852, 1.000))},
    "audio": {"full": ((0.519, 0.523), (0.833, 0.800), (0.834, 0.832), (0.514, 0.514), (0.750, 0.777), (0.968, 0.966))},
}
"""(frozen, adapted) accuracy at 16 labels a class, a pair a task. text: MiniLM, the mean of its middle taps and its
adapted last layer; full is means of three draws of movie, amazon, tweets, topics and editorials, lora three draws of
editorials (docs/adapting.md). image and audio: EfficientNet-Lite0 and the GE2E encoder on tasks of the starter history,
one or two draws each, mixed with the frozen layers as cross-validation says (docs/history.md)."""

BESIDE = (
    *(0.005, 0.0, -0.012, -0.005, 0.006, 0.003, -0.007, -0.004, 0.002),
    *(0.024, 0.0, 0.0, 0.0),
    *(-0.012, -0.031, -0.014, -0.002, 0.0, 0.0, 0.0),
)
"""What a set with an adapted member scored above the better of the frozen set and the adapted network alone: on nine
tasks and draws of text (docs/adapting.md), four tasks of images and seven of sounds (docs/history.md). On average
nothing."""

ELSEWHERE = 2.0
"""How much wider the interval is where nothing was measured: for other ways and modalities, numbers, several labels."""

ENSEMBLE_SPREAD = 0.03
"""What a second adapted network may add or take, in points as parts of 1. Not measured."""

NETWORKS = 3
"""Networks for which adapting is weighed: those that score best frozen."""

STEPS = 16
SECONDS_A_STEP = 0.5e-9
"""Seconds of processor for one row, one step and one parameter, lora or full, comparison included. Predicts 21.8 and
11.6 s for MiniLM on 112 and 56 short texts, where 18.2 and 9.7 s were measured, 21.0 for lora on 112; elsewhere not
measured."""

OVERHEAD_SECONDS = 1.5
MOST_ROWS = 1_000
"""As many rows as adapting learns from (composer.adapt)."""

BYTES_A_PARAMETER: Mapping[How, float] = {"full": 20.0, "lora": 19.0}
"""What adapting needs beside what the process had. For MiniLM on 112 texts 0.70 and 0.69 GB were measured, and 0.73 and
0.71 are predicted: lora saves gradients and moments, which are little beside the values of the layers."""

BYTES_A_ROW = 0.11
"""What a row's values take while training, a parameter of the network: of MiniLM's upper three layers at 32 tokens,
counted. All rows go through together."""


@dataclass(frozen=True)
class Gain:
    """The part of what a network gets wrong that adapting takes away: its mean over tasks and its spread for one more,
    NORMAL_95 of which hold 95 %; and where it comes from, in words."""

    mean: float
    spread: float
    source: str


def prospects(
    best: Choice,
    chosen: Probe,
    offered: Offer,
    kernels: Mapping[str, Array],
    targets: Targets,
    costs: Costs,
    *,
    labelled: int,
    history: History | None = None,
) -> tuple[Prospect, ...]:
    """What could be fitted from here, the most promising first; `kernels` are those of the units, `chosen` the probe of
    the recommended choice `best`. Alone the frozen one where no network can be adapted."""
    stay = Prospect(
        best.name, "frozen", "", best.expected, best.low, best.high, 0.0, 0.0, 0.0, None, 0.0, 0.0, True,
        "as it is: features are there, the head is a closed form",
    )  # fmt: skip
    limits = costs.limits
    networks = [unit for unit in offered.units if _adaptable(unit, offered)]
    scored = sorted(((probe(kernels[unit.name], targets), unit) for unit in networks), key=lambda one: -one[0].score)
    singles: list[tuple[Prospect, Unit]] = []
    for found, unit in scored[:NETWORKS]:
        for how in ("full", "lora"):
            singles.append((_adapted(unit, how, found, chosen, offered, limits, labelled, history), unit))
    if not singles:
        return (stay,)
    lead, unit = max(singles, key=lambda one: one[0].expected)
    stay = replace(stay, over_adapted=round(stay.expected - lead.expected, 4))
    frozen = [its.name for its in offered.units if not {m.candidate for m in best.members}.isdisjoint(its.candidates)]
    combined = [_fitting(_beside(stay, lead, limits), [*frozen, unit.name], costs)]
    others = [(one, its) for one, its in singles if its is not unit and one.how == lead.how]
    if others:
        other, second = max(others, key=lambda one: one[0].expected)
        combined.append(_fitting(_ensemble(lead, other, limits), [unit.name, second.name], costs))
    columns = {its.candidates[0].column for _, its in singles}
    if len(columns) > 1:
        each = [
            max((s for s in singles if s[1].candidates[0].column == c), key=lambda s: s[0].expected) for c in columns
        ]
        combined.append(_fitting(_branches(stay, lead, [p for p, _ in each], limits), [u.name for _, u in each], costs))
    return tuple(sorted([stay, *(one for one, _ in singles), *combined], key=lambda one: -one.expected))


def _fitting(way: Prospect, names: Sequence[str], costs: Costs) -> Prospect:
    """The same, beyond the limits where running these units together is."""
    return replace(way, within=way.within and costs.allow(names))


def gain_of(how: How, modality: str, targets: Targets, history: History | None) -> Gain:
    """What adapting takes away, from the history where it has three tasks or more of the modality, else as measured."""
    seen = [] if history is None else _in_history(history, modality)
    if len(seen) >= 3:
        return Gain(float(np.mean(seen)), _spread(seen), f"{len(seen)} tasks of the history")
    there = MEASURED.get(modality, MEASURED["text"])
    parts = falls(there.get(how, there["full"]))
    on = {"text": "texts", "image": "images", "audio": "sounds"}
    if modality in MEASURED and how in there and targets.labels is not None:
        return Gain(float(np.mean(parts)), _spread(parts), f"{len(parts)} measurements on {on[modality]}")
    what = "" if how in there else ", in full"
    known = f"measured on classes of {on.get(modality, 'texts')} only{what}"
    return Gain(float(np.mean(parts)), ELSEWHERE * _spread(parts), known)


def falls(measured: Sequence[tuple[float, float]]) -> list[float]:
    """The part of what was wrong that is gone, of pairs (frozen, adapted)."""
    return [(after - before) / (1 - before) for before, after in measured]


def _spread(parts: Sequence[float]) -> float:
    """Such that one more observation lies with 95 % within NORMAL_95 times it of the mean: its standard deviation, and
    more of it the fewer observations told it (Student's t)."""
    from scipy.special import stdtrit

    unsure = float(stdtrit(len(parts) - 1, 0.975)) / NORMAL_95
    return float(np.std(parts, ddof=1) * np.sqrt(1 + 1 / len(parts))) * unsure


def _in_history(history: History, modality: str) -> list[float]:
    """Relative falls of the error of priors that were run frozen and adapted on the same task, a mean a task."""
    frozen: dict[str, list[int]] = {}
    adapted: list[tuple[int, str]] = []
    for i, prior in enumerate(history.priors):
        base, is_adapted, _ = prior.name.partition("@adapted")
        if is_adapted:
            adapted.append((i, base))
        else:
            frozen.setdefault(prior.name.partition("#")[0], []).append(i)
    found = []
    for j, task in enumerate(history.tasks):
        if task.modality != modality or task.metric not in ("accuracy", "macro_f1", "map", "r2"):
            continue
        falls = []
        for i, base in adapted:
            known = [score for at in frozen.get(base, ()) if np.isfinite(score := history.scores[at, j])]
            after = history.scores[i, j]
            if known and np.isfinite(after) and max(known) < 1:
                falls.append((after - max(known)) / (1 - max(known)))
        if falls:
            found.append(float(np.mean(falls)))
    return found


def _adaptable(unit: Unit, offered: Offer) -> bool:
    """As composer.adapt can: a network of text, images or audio with a wide tap."""
    manifest = offered.manifests[unit.candidates[0]]
    wide = tap_width(manifest, manifest.default_tap) > NARROW
    return manifest.kind == "network" and manifest.modality in ("text", "image", "audio") and wide


def _adapted(
    unit: Unit, how: How, found: Probe, chosen: Probe, offered: Offer, limits: Limits, labelled: int,
    history: History | None,
) -> Prospect:  # fmt: skip
    manifest = offered.manifests[unit.candidates[0]]
    gain = gain_of(how, manifest.modality, found.targets, history)
    wrong = max(1 - found.score, 0.0)
    over, error = score_gap(found, chosen)
    own = _finite(found.error)
    expected = found.score + gain.mean * wrong
    rows = min(labelled, MOST_ROWS)
    parameters = manifest.parameters or manifest.size_bytes / 4
    seconds = OVERHEAD_SECONDS + SECONDS_A_STEP * STEPS * rows * parameters
    memory = (BYTES_A_PARAMETER[how] + BYTES_A_ROW * rows) * parameters / 1e6
    half = NORMAL_95 * gain.spread * wrong
    return _prospect(
        f"{unit.name.partition(' (')[0]}{_column(unit, offered)}, {how}",
        "adapted", how, expected, float(np.hypot(half, NORMAL_95 * own)),
        over + gain.mean * wrong, float(np.hypot(half, NORMAL_95 * _finite(error))), None, seconds, memory, limits,
        f"adapting takes away {gain.mean:.0%} of what it gets wrong, by {gain.source}",
    )  # fmt: skip


def _beside(stay: Prospect, lead: Prospect, limits: Limits) -> Prospect:
    mean, spread = float(np.mean(BESIDE)), _spread(BESIDE)
    better = max(stay.expected, lead.expected)
    half = float(np.hypot(_half(lead) if lead.expected > stay.expected else 0.0, NORMAL_95 * spread))
    over_half = float(np.hypot((lead.gain_high - lead.gain_low) / 2 * (lead.gain > 0), NORMAL_95 * spread))
    return _prospect(
        f"{stay.name} + adapted {lead.name}", "set", lead.how, better + mean,
        max(half, _half(stay)), max(lead.gain, 0.0) + mean, over_half, better + mean - lead.expected,
        lead.seconds, lead.memory_mb, limits,
        "the better of the frozen set and the adapted network: together they were not better, on 20 tasks",
    )  # fmt: skip


def _ensemble(lead: Prospect, other: Prospect, limits: Limits) -> Prospect:
    half = float(np.hypot(_half(lead), ENSEMBLE_SPREAD))
    over_half = float(np.hypot((lead.gain_high - lead.gain_low) / 2, ENSEMBLE_SPREAD))
    return _prospect(
        f"{lead.name} + {other.name}", "ensemble", lead.how, lead.expected, half, lead.gain, over_half, 0.0,
        lead.seconds + other.seconds, max(lead.memory_mb, other.memory_mb), limits,
        "the first adapted network takes most of the gain; what a second adds was not measured",
    )  # fmt: skip


def _branches(stay: Prospect, lead: Prospect, each: Sequence[Prospect], limits: Limits) -> Prospect:
    part = float(np.mean(falls(MEASURED["text"]["full"]))) / 2
    wrong = max(1 - stay.expected, 0.0)
    half = float(np.hypot(_half(stay), NORMAL_95 * ELSEWHERE * part * wrong))
    return _prospect(
        " + ".join(one.name for one in each), "branches", lead.how, stay.expected + part * wrong, half, part * wrong,
        NORMAL_95 * ELSEWHERE * part * wrong, stay.expected + part * wrong - lead.expected,
        sum(one.seconds for one in each), max(one.memory_mb for one in each), limits,
        "columns know different things, which adapting one network cannot replace; adapted branches were not measured",
    )  # fmt: skip


def _prospect(
    name: str, kind: Literal["adapted", "set", "ensemble", "branches"], how: str, expected: float, half: float,
    gain: float, gain_half: float, over: float | None, seconds: float, memory: float, limits: Limits, why: str,
) -> Prospect:  # fmt: skip
    expected = min(expected, 1.0)
    return Prospect(
        name, kind, how, round(expected, 4), round(expected - half, 4), round(min(expected + half, 1.0), 4),
        round(gain, 4), round(gain - gain_half, 4), round(gain + gain_half, 4),
        None if over is None else round(over, 4), round(seconds, 1), round(memory, 1),
        (limits.minutes is None or seconds <= 60 * limits.minutes)
        and (limits.memory_mb is None or memory <= limits.memory_mb),
        why,
    )  # fmt: skip


def _column(unit: Unit, offered: Offer) -> str:
    return unit.candidates[0].place if offered.several_columns else ""


def _half(one: Prospect) -> float:
    """Half the width of its interval, on the side that is not cut off at 1, or at 0."""
    return max(one.high - one.expected, one.expected - one.low)


def _finite(error: float) -> float:
    return error if np.isfinite(error) else 1.0
