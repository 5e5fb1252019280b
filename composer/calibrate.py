"""Scores to probabilities: the temperature, and for sets of labels an offset a label, chosen on leave-one-out scores.

Least-squares scores lie near 0 and 1 and are no probabilities. A temperature makes them such (Guo et al. 2017,
arXiv:1706.04599). Of labels that may come together each also gets an offset, as rare ones are shrunk to 0 (Platt 1999).
What is reported is cross-fitted: each half of the rows is judged with what the other half chose.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from composer.rank.probe import CUT, Array, Probe, Targets, macro_f1

SPAN = (-2.0, 6.0)
"""ln(sharpness) that is searched: from flatter than any score to a step."""

BINS = 10
"""Bins of equal count that the calibration error is measured in."""

THRESHOLDS: Array = np.linspace(0.1, 0.6, 26)
"""Probabilities compared as the one from which a row is said to have a label."""

OFFSET_SPREAD = 2.0
"""How far an offset usually lies from 0, in logits: a label with two rows must not get an infinite one."""

_GOLDEN = (np.sqrt(5.0) - 1) / 2


@dataclass(frozen=True)
class Calibration:
    """How scores (n, K) are read: probabilities are softmax(scores / temperature), or for sets of labels
    sigmoid((scores - CUT + offsets) / temperature), and a label is said from `threshold` on."""

    temperature: float
    offsets: Array
    threshold: float = CUT

    def probabilities(self, scores: Array, targets: Targets) -> Array:
        """(n, K) for scores of the same head."""
        if targets.sets:
            return np.asarray(1 / (1 + np.exp(-(scores - CUT + self.offsets) / self.temperature)))
        logits = (scores - scores.max(axis=1, keepdims=True)) / self.temperature
        found = np.exp(logits)
        return np.asarray(found / found.sum(axis=1, keepdims=True))


def calibrate(found: Probe) -> Calibration:
    """The calibration that is most probable for the leave-one-out scores of `found`, which predicts classes or sets."""
    return _calibrate(found.scores, found.targets)


def reliability(found: Probe) -> dict[str, Any]:
    """{"log_loss", "ece"}, each {"before", "after"}: without and with calibration, on rows it was not chosen on."""
    targets = found.targets
    plain = Calibration(1.0, np.zeros(found.scores.shape[1]))
    before = plain.probabilities(found.scores, targets)
    halves = _halves(targets)
    after = np.empty_like(before)
    for half in (False, True):
        chosen, judged = np.flatnonzero(halves != half), np.flatnonzero(halves == half)
        after[judged] = _calibrate(found.scores[chosen], targets.take(chosen)).probabilities(
            found.scores[judged], targets
        )
    both = {"before": before, "after": after}
    return {
        "log_loss": {name: round(float(_log_losses(p, targets).mean()), 4) for name, p in both.items()},
        "ece": {name: round(calibration_error(p, targets), 4) for name, p in both.items()},
        "rows": len(targets),
    }


def calibration_error(probabilities: Array, targets: Targets) -> float:
    """The mean gap between how sure a model is and how often it is right, over BINS bins of equal count."""
    if targets.sets:
        sure, right = probabilities.ravel(), targets.matrix.ravel()
    else:
        sure = probabilities.max(axis=1)
        right = (probabilities.argmax(axis=1) == targets.labels).astype(np.float64)
    bins = np.array_split(np.argsort(sure, kind="stable"), min(BINS, len(sure)))
    return float(sum(len(rows) * abs(sure[rows].mean() - right[rows].mean()) for rows in bins) / len(sure))


def _calibrate(scores: Array, targets: Targets) -> Calibration:
    none = np.zeros(scores.shape[1])
    if not targets.sets:
        cost = _class_cost(scores, targets)
        return Calibration(float(np.exp(-_lowest(cost))), none)
    offsets = none

    def cost_at(log_sharpness: float) -> float:
        read = Calibration(float(np.exp(-log_sharpness)), offsets)
        return float(_log_losses(read.probabilities(scores, targets), targets).mean())

    sharpness = 1.0
    for _ in range(3):  # each is convex in itself; measured: the third round moves neither
        sharpness = float(np.exp(_lowest(cost_at)))
        offsets = np.array([_offset(scores[:, k], targets.matrix[:, k], sharpness) for k in range(len(none))])
    read = Calibration(1 / sharpness, offsets)
    chances = read.probabilities(scores, targets)
    f1 = np.array([macro_f1(targets.matrix, chances > cut) for cut in THRESHOLDS])
    # F1 over thresholds is flat and jagged: the middle of what is as good as the best, within one row's worth
    good = THRESHOLDS[f1 >= f1.max() - 1 / max(len(targets), 1)]
    return Calibration(1 / sharpness, offsets, float(np.median(good)))


def _class_cost(scores: Array, targets: Targets) -> Callable[[float], float]:
    gaps = scores - scores.max(axis=1, keepdims=True)
    right = gaps[np.arange(len(scores)), targets.labels]

    def cost(log_sharpness: float) -> float:
        sharpness = float(np.exp(log_sharpness))
        return targets.mean_of(np.log(np.exp(gaps * sharpness).sum(axis=1)) - right * sharpness)

    return cost


def _offset(scores: Array, truth: Array, sharpness: float) -> float:
    """The offset, in units of the scores, of one label: Newton's method on a logistic loss in one variable."""
    logits, found = (scores - CUT) * sharpness, 0.0
    for _ in range(20):
        chance = 1 / (1 + np.exp(-(logits + found)))
        slope = (chance - truth).sum() + found / OFFSET_SPREAD**2
        step = slope / ((chance * (1 - chance)).sum() + 1 / OFFSET_SPREAD**2)
        found -= float(np.clip(step, -1.0, 1.0))
        if abs(step) < 1e-9:
            break
    return found / sharpness


def _lowest(cost: Callable[[float], float]) -> float:
    """The argument of least cost in SPAN, by golden section: the cost has one valley."""
    low, high = SPAN
    a, b = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
    at_a, at_b = cost(a), cost(b)
    while high - low > 1e-3:
        if at_a <= at_b:
            high, b, at_b = b, a, at_a
            a = high - _GOLDEN * (high - low)
            at_a = cost(a)
        else:
            low, a, at_a = a, b, at_b
            b = low + _GOLDEN * (high - low)
            at_b = cost(b)
    return (low + high) / 2


def _log_losses(probabilities: Array, targets: Targets) -> Array:
    safe = np.clip(probabilities, 1e-12, 1 - 1e-12)
    if targets.sets:
        return np.asarray(-np.where(targets.matrix > CUT, np.log(safe), np.log(1 - safe)).mean(axis=1))
    return np.asarray(-np.log(safe[np.arange(len(safe)), targets.labels]))


def _halves(targets: Targets) -> NDArray[np.bool_]:
    """(n,) which half a row is in; groups stay whole, classes in turn."""
    groups = np.arange(len(targets)) if targets.groups is None else targets.groups
    names, first, numbers = np.unique(groups, return_index=True, return_inverse=True)
    order = np.random.default_rng(0).permutation(len(names))
    if targets.labels is not None:
        order = order[np.argsort(targets.labels[first][order], kind="stable")]
    half = np.empty(len(names), dtype=bool)
    half[order] = np.arange(len(names)) % 2 == 1
    return np.asarray(half[numbers])
