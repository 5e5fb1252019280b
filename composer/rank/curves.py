"""Label curves, and how many labels a prior is worth.

    with_prior = {4: (.61, .58, .66), 16: (.75, .74, .77)}      # labels a class -> score of each draw
    without = {4: (.52, .50, .53), 16: (.58, .60, .59), 64: (.70, .72, .69), 256: (.80, .81, .79)}
    worth(with_prior, without, 16).needs                          # about 120: labels a class without the prior

The curve without a prior is read between its points on a logarithmic axis, after it was made to rise: more labels do
not make a model worse on average, so where a measured curve falls its points are pooled (isotonic regression; Barlow,
Bartholomew, Bremner & Brunk 1972). Outside of what was measured nothing is extrapolated: the answer is then "more
than" the most labels that were tried, or "at most" the fewest.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from composer.rank.history import ALL_LABELS, Outcome, TaskCard

Array = NDArray[np.float64]
Scores = Mapping[int, Sequence[float]]
"""Labels a class (rows in all, for a regression) -> the score of every draw, in the order of the draws."""

RESAMPLED = 2_000
"""Bootstrap samples of the draws."""

COVER = 0.9
"""What the intervals hold."""

WIDER = (3.838, 1.775, 1.431, 1.296, 1.225, 1.181, 1.152, 1.131, 1.114, 1.102)
"""Quantiles of Student's t that hold COVER, for 1 to 10 degrees of freedom, as parts of the normal one. Without them
intervals that should hold 90 % held 62, 71 and 82 % of the means that 2, 3 and 5 normal draws came from, with them 89,
88 and 89 %."""

EQUAL = 1e-9
"""Scores so near are the same: pooled means are sums in another order."""


@dataclass(frozen=True)
class Point:
    """The mean score of `draws` draws of `labels` labels a class, with its interval (the same number where one draw
    says nothing about the spread)."""

    labels: int
    score: float
    low: float
    high: float
    draws: int


@dataclass(frozen=True)
class Worth:
    """How many labels a class a model without a prior needs for what one with it reaches with `labels`.

    needs       None where the curve without a prior does not tell: see `least` and `most`
    low, high   the interval of `needs`; None where it goes beyond what was measured on that side
    least, most the fewest and the most labels a class that were tried without a prior
    beyond      "above": even `most` labels do not reach it; "below": `least` already do; "": neither
    """

    labels: int
    score: float
    needs: float | None
    low: float | None
    high: float | None
    least: int
    most: int
    beyond: str = ""

    def to_dict(self) -> dict[str, Any]:
        """The values as JSON, with `text`."""
        return {**asdict(self), "text": self.text()}

    def text(self, name: str = "this prior", unit: str = "labels a class") -> str:
        """One sentence for people: what the labels are worth, and how sure that is."""
        what = f"{self.labels} {unit} with {name}"
        if self.beyond == "above":
            known = f" (at least {self.low:.0f})" if self.low is not None else ""
            return f"{what} are worth more than {self.most} without a prior{known}."
        if self.beyond == "below":
            return f"{what} are worth at most {self.least} without a prior."
        low = f"at most {self.least}" if self.low is None else f"{self.low:.0f}"
        high = f"more than {self.most}" if self.high is None else f"{self.high:.0f}"
        return f"{what} are worth {self.needs:.0f} without a prior ({low} to {high})."


@dataclass(frozen=True)
class LabelCurves:
    """What stands on a prior's page about one task: both curves, and what the labels of each point are worth."""

    task: str
    prior: str
    metric: str
    with_prior: tuple[Point, ...]
    without: tuple[Point, ...]
    worth: tuple[Worth, ...]

    def to_dict(self) -> dict[str, Any]:
        """The curves as JSON values."""
        return {**asdict(self), "worth": [one.to_dict() for one in self.worth]}


def label_curves(
    task: str, prior: str, metric: str, with_prior: Scores, without: Scores, *, seed: int = 0
) -> LabelCurves:
    """Both curves and the worth of every number of labels that was measured with the prior."""
    return LabelCurves(
        task=task,
        prior=prior,
        metric=metric,
        with_prior=points(with_prior, seed=seed),
        without=points(without, seed=seed),
        worth=tuple(worth(with_prior, without, labels, seed=seed) for labels in sorted(with_prior)),
    )


def curves_of(outcomes: Iterable[Outcome], task: TaskCard, candidate: str) -> LabelCurves | None:
    """The curves of one candidate (`namespace/name#tap`) alone on a task, out of a history; None where the history has
    nothing of it there, or nothing without a prior. Runs with all labels are in neither curve: how many those were
    differs from task to task."""
    alone: dict[int, dict[int, float]] = {}
    bare: dict[int, dict[int, float]] = {}
    for one in outcomes:
        if one.task != task.name or one.labels == ALL_LABELS:
            continue
        if one.members == (candidate,):
            alone.setdefault(one.labels, {})[one.draw] = one.score
        elif one.arm == "no_prior":
            bare.setdefault(one.labels, {})[one.draw] = one.score
    if not alone or not bare:
        return None
    return label_curves(task.name, candidate, task.metric, _in_order(alone), _in_order(bare))


def _in_order(by_draw: Mapping[int, Mapping[int, float]]) -> dict[int, list[float]]:
    return {labels: [score for _, score in sorted(found.items())] for labels, found in by_draw.items()}


def points(scores: Scores, *, seed: int = 0) -> tuple[Point, ...]:
    """The curve's points with bootstrap intervals over the draws, fewest labels first."""
    resampled = _resampled(scores, seed)
    found = []
    for labels in sorted(scores):
        low, high = _interval(resampled[labels])
        found.append(Point(labels, float(np.mean(scores[labels])), float(low), float(high), len(scores[labels])))
    return tuple(found)


def worth(with_prior: Scores, without: Scores, labels: int, *, seed: int = 0) -> Worth:
    """What `labels` labels a class with a prior are worth without one.

    The interval is that of a bootstrap over the draws, the same draws on both sides where both have as many. Raises
    ValueError where nothing was measured without a prior, or nothing with `labels` labels with it.
    """
    if not without or labels not in with_prior:
        raise ValueError(f"nothing was measured at {labels} labels with the prior, or at any number without one")
    counts = np.array(sorted(without), dtype=np.float64)
    curve = np.array([np.mean(without[int(count)]) for count in counts])
    goal = float(np.mean(with_prior[labels]))
    needs = float(_crossing(counts, _rising(curve[None]), np.array([goal]))[0])
    resampled, goals = _resampled(without, seed), _resampled({labels: with_prior[labels]}, seed)[labels]
    curves = np.stack([resampled[int(count)] for count in counts], axis=1)
    low, high = _interval(_crossing(counts, _rising(curves), goals))
    return Worth(
        labels=labels,
        score=round(goal, 4),
        needs=_known(needs),
        low=_known(low),
        high=_known(high),
        least=int(counts[0]),
        most=int(counts[-1]),
        beyond="above" if needs == np.inf else "below" if needs == -np.inf else "",
    )


def _known(value: float) -> float | None:
    return round(float(value), 1) if np.isfinite(value) else None


def _interval(values: Array) -> tuple[float, float]:
    """The middle COVER of `values`, infinite ones among them: a value that was seen, never a mixture of two."""
    ends = np.quantile(values, [(1 - COVER) / 2, (1 + COVER) / 2], method="inverted_cdf")
    return float(ends[0]), float(ends[1])


def _resampled(scores: Scores, seed: int) -> dict[int, Array]:
    """Bootstrap means (RESAMPLED,) at each number of labels.

    Draws that stand in one place of every list are drawn together. Means of n values spread less than they should, by
    the root of (n - 1) / n, and of a spread that so few draws tell nobody is sure: deviations are made up for both.
    """
    uniform = np.random.default_rng(seed).random((RESAMPLED, max(len(found) for found in scores.values())))
    means: dict[int, Array] = {}
    for labels, found in scores.items():
        values, n = np.asarray(found, dtype=np.float64), len(found)
        picked = values[(uniform[:, :n] * n).astype(np.int64)].mean(axis=1)
        means[labels] = values.mean() + (picked - values.mean()) * np.sqrt(n / max(n - 1, 1)) * _wider(n - 1)
    return means


def _wider(freedom: int) -> float:
    """How much wider an interval is because the spread was estimated."""
    if freedom <= len(WIDER):
        return WIDER[max(freedom, 1) - 1]
    return 1 + 0.926 / freedom + 0.864 / freedom**2  # Fisher and Cornish 1960, to 0.05 %


def _rising(curves: Array) -> Array:
    """The least-squares curves (B, P) that never fall: the largest, over where a run may start, of the smallest mean of
    runs to each end."""
    count = curves.shape[1]
    sums = np.concatenate([np.zeros((len(curves), 1)), curves.cumsum(axis=1)], axis=1)
    found = np.empty_like(curves)
    for at in range(count):
        starts = [
            np.min([(sums[:, end + 1] - sums[:, start]) / (end + 1 - start) for end in range(at, count)], axis=0)
            for start in range(at + 1)
        ]
        found[:, at] = np.max(starts, axis=0)
    return found


def _crossing(counts: Array, curves: Array, goals: Array) -> Array:
    """(B,) the number of labels at which each rising curve (B, P) first reaches its goal; infinite outside of it."""
    reached = curves >= goals[:, None] - EQUAL
    after = reached.argmax(axis=1)
    before = np.maximum(after - 1, 0)
    rows = np.arange(len(curves))
    rise = curves[rows, after] - curves[rows, before]
    part = np.where(rise > EQUAL, (goals - curves[rows, before]) / np.where(rise > EQUAL, rise, 1.0), 1.0)
    between = counts[before] * (counts[after] / counts[before]) ** part
    found = np.where(reached[:, 0], np.where(curves[:, 0] > goals + EQUAL, -np.inf, counts[0]), between)
    return np.asarray(np.where(reached.any(axis=1), found, np.inf))
