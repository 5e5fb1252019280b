"""Leave one task out on the starter history: the ranker's choice against the best set and against plain ways to choose.

Plain ways that use other tasks never see one of the same source: problems of one source share rows. Scores are points
of a hundred (accuracy, or R²), means over draws; intervals are bootstraps over sources.

Regret is over the draws on which every set was fitted. What a choice is over its own members is over all draws that the
ranker was asked on: the best member is picked on the other draws of the cell, for on the draw that judges it would be
the luckiest. How many tasks would be under by chance, if every set scored as its best member does, says what of the
rest is the ranker's doing: the gaps' own spread over the draws, about nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from statistics import NormalDist
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from benchmarks.history.choices import Chosen
from composer.rank.history import TaskCard

Cell = tuple[str, int]
"""A task, and labels a class."""

RESAMPLED = 2_000
UNDER = 0.5
"""Points below its best member from which a set counts as worse than it."""

SURE = 2.0
TO_90 = 1.645 / 1.96
WANTED = {"regret": 0.7, "under": 0.05, "idle": 0.10, "covered": (0.85, 0.95)}


@dataclass(frozen=True)
class Figure:
    """A mean over cells with its 90 % interval over sources, in points or as a part."""

    mean: float
    low: float
    high: float
    cells: int

    def __str__(self) -> str:
        return f"{self.mean:6.2f} ({self.low:.2f} to {self.high:.2f})"


@dataclass(frozen=True)
class Evaluation:
    """What `python -m benchmarks.history evaluate` prints.

    regret    way of choosing -> points under the best set of up to three units, which was picked on the test rows
    by_labels the same for the ranker's choice alone, by labels a class (0: all)
    over      points of the chosen set over its best member
    under     part of tasks in which it is over UNDER points under it; by_chance: what that would be if it scored the
              same; surely: part of tasks where it is so by two standard errors
    idle      part of "supported" claims where the set does not beat the best single by leave-one-out
    covered   part of 90 % intervals of the expected score that hold the score, which has an error of its own from the
              rows that judge; measured: without that error
    spearman  rank correlation within a cell of the gain that leave-one-out says a pair brings and the gain it brings
    answers   how often each answer was given
    """

    tasks: int
    cells: int
    regret: dict[str, Figure]
    by_labels: dict[str, Figure]
    by_modality: dict[str, Figure]
    over: Figure
    under: Figure
    by_chance: Figure
    surely: Figure
    worst: list[tuple[str, float]]
    idle: tuple[int, int]
    covered: Figure
    measured: Figure
    spearman: Figure
    answers: dict[str, int]

    def to_dict(self) -> dict[str, Any]:
        """The numbers as JSON values, with what was wanted."""
        return {**asdict(self), "wanted": WANTED}


class Scores:
    """Runs by cell: mean test score over draws of every set of units, and what each was expected to score."""

    def __init__(self, runs: Sequence[Mapping[str, Any]], cards: Sequence[TaskCard]) -> None:
        self.cards = {card.name: card for card in cards}
        self._draws: dict[Cell, dict[int, dict[tuple[str, ...], Mapping[str, Any]]]] = {}
        self._arms: dict[Cell, dict[tuple[str, int], float]] = {}
        for run in runs:
            cell = (run["task"], run["labels"])
            if run["arm"] in ("single", "taps", "set"):
                self._draws.setdefault(cell, {}).setdefault(run["draw"], {})[tuple(run["members"])] = run
            else:
                self._arms.setdefault(cell, {})[run["arm"], run["draw"]] = 100 * run["score"]
        self.units: dict[Cell, tuple[str, ...]] = {}
        self.means: dict[Cell, dict[tuple[str, ...], float]] = {}
        for cell, draws in self._draws.items():
            first = next(iter(draws.values()))
            self.units[cell] = tuple(sorted({name for members in first if len(members) > 1 for name in members}))
            if self.units[cell]:
                self.means[cell] = {
                    members: float(np.mean([100 * draw[members]["score"] for draw in draws.values()]))
                    for members in first
                }

    @property
    def cells(self) -> list[Cell]:
        """Those in which sets were fitted."""
        return list(self.means)

    def arm(self, cell: Cell, arm: str, draws: Sequence[int]) -> float:
        """A placebo arm's mean score on some draws."""
        return float(np.mean([self._arms[cell][arm, number] for number in draws]))

    def score(self, cell: Cell, members: tuple[str, ...], draws: Sequence[int]) -> float:
        """A set's mean score on some draws."""
        return float(np.mean([100 * self._draws[cell][number][members]["score"] for number in draws]))

    def best(self, cell: Cell) -> tuple[str, ...]:
        """The set with the highest mean over all draws: an oracle, which nobody can choose beforehand."""
        sets = self.sets(cell)
        return max(sets, key=lambda members: sets[members])

    def sets(self, cell: Cell) -> dict[tuple[str, ...], float]:
        """Single units and sets of them."""
        units = set(self.units[cell])
        return {members: score for members, score in self.means[cell].items() if units.issuperset(members)}

    def draw(self, cell: Cell, number: int) -> dict[tuple[str, ...], Mapping[str, Any]]:
        """The runs of one draw."""
        return self._draws[cell][number]

    def draws(self, cell: Cell) -> list[int]:
        """The numbers of the draws."""
        return list(self._draws[cell])

    def best_single(self, cell: Cell, draws: Sequence[int]) -> float:
        """The mean score of the block or unit that leave-one-out puts first on each draw."""
        found = []
        for draw in (self._draws[cell][number] for number in draws):
            alone = [run for members, run in draw.items() if len(members) == 1]
            found.append(100 * min(alone, key=lambda run: run["loss"])["score"])
        return float(np.mean(found))

    def static(self, cell: Cell, largest: int) -> tuple[str, ...] | None:
        """The set, of at most `largest` units, with the best mean rank on tasks of other sources; None without any."""
        task, labels = cell
        card, source = self.cards[task], task.partition("/")[0]
        ranks: dict[tuple[str, ...], list[float]] = {}
        for other in self.cells:
            alike = self.cards[other[0]].modality == card.modality
            if other[1] == labels and alike and other[0].partition("/")[0] != source:
                sets = {m: s for m, s in self.sets(other).items() if len(m) <= largest}
                order = np.argsort(np.argsort([-score for score in sets.values()]))
                for members, place in zip(sets, order / max(len(sets) - 1, 1), strict=True):
                    ranks.setdefault(members, []).append(float(place))
        here = {m: s for m, s in self.sets(cell).items() if len(m) <= largest}
        known = [members for members in here if members in ranks]
        return min(known, key=lambda members: float(np.mean(ranks[members]))) if known else None

    def mean(self, cell: Cell, draws: Sequence[int]) -> float:
        """The mean score of all sets: what one taken at random has."""
        return float(np.mean([self.score(cell, members, draws) for members in self.sets(cell)]))


def evaluate(
    runs: Sequence[Mapping[str, Any]], cards: Sequence[TaskCard], choices: Sequence[Chosen], *, seed: int = 0
) -> Evaluation:
    """All figures over the cells that have both runs and choices."""
    scores = Scores(runs, cards)
    chosen: dict[Cell, list[Chosen]] = {}
    for one in choices:
        chosen.setdefault((one.task, one.labels), []).append(one)
    cells = [cell for cell in scores.cells if cell in chosen]
    judged = {cell: [one for one in chosen[cell] if one.draw in scores.draws(cell)] for cell in cells}
    draws = {cell: [one.draw for one in judged[cell]] for cell in cells}

    def listed(cell: Cell, largest: int) -> float:
        members = scores.static(cell, largest)
        return scores.mean(cell, draws[cell]) if members is None else scores.score(cell, members, draws[cell])

    best = {cell: scores.score(cell, scores.best(cell), draws[cell]) for cell in cells}
    ways = {
        "chosen": {cell: float(np.mean([100 * one.score for one in judged[cell]])) for cell in cells},
        "chosen without the history": {
            cell: float(np.mean([100 * one.bare for one in judged[cell]])) for cell in cells
        },
        "best single by leave-one-out": {cell: scores.best_single(cell, draws[cell]) for cell in cells},
        "static list, one": {cell: listed(cell, 1) for cell in cells},
        "static list, sets": {cell: listed(cell, 3) for cell in cells},
        "everything": {cell: scores.arm(cell, "everything", draws[cell]) for cell in cells},
        "random set": {cell: scores.mean(cell, draws[cell]) for cell in cells},
        "no prior": {cell: scores.arm(cell, "no_prior", draws[cell]) for cell in cells},
    }
    regret = {way: {cell: best[cell] - found[cell] for cell in cells} for way, found in ways.items()}
    asked = [one for cell in cells for one in chosen[cell]]
    gaps = {
        task: Gaps.of([one for one in asked if one.task == task]) for task in dict.fromkeys(one.task for one in asked)
    }
    claims = [one for one in asked if one.supported and one.answer == "set"]
    held = {((one.task, one.labels), one.draw): _holds(one) for one in asked}
    answers: dict[str, int] = {}
    for one in asked:
        answers[one.answer] = answers.get(one.answer, 0) + 1
    return Evaluation(
        tasks=len({task for task, _ in cells}),
        cells=len(cells),
        regret={
            way: _figure({(cell, 0): value for cell, value in found.items()}, seed) for way, found in regret.items()
        },
        by_labels={
            str(labels): _figure({(c, 0): v for c, v in regret["chosen"].items() if c[1] == labels}, seed)
            for labels in sorted({labels for _, labels in cells})
        },
        by_modality={
            modality: _figure(
                {(c, 0): v for c, v in regret["chosen"].items() if scores.cards[c[0]].modality == modality}, seed
            )
            for modality in sorted({scores.cards[task].modality for task, _ in cells})
        },
        over=_figure({((task, 0), 0): one.mean for task, one in gaps.items()}, seed),
        under=_figure({((task, 0), 0): float(one.mean < -UNDER) for task, one in gaps.items()}, seed),
        by_chance=_figure({((task, 0), 0): one.by_chance for task, one in gaps.items()}, seed),
        surely=_figure(
            {((task, 0), 0): float(one.mean + SURE * one.error < -UNDER) for task, one in gaps.items()}, seed
        ),
        worst=sorted(
            ((task, round(one.mean, 2)) for task, one in gaps.items() if one.mean < -UNDER), key=lambda one: one[1]
        ),
        idle=(sum(one.score <= one.single_score for one in claims), len(claims)),
        covered=_figure({key: both for key, (_, both) in held.items()}, seed),
        measured=_figure({key: alone for key, (alone, _) in held.items()}, seed),
        spearman=_figure(
            {(cell, 0): value for cell in cells if (value := _gain_spearman(scores, cell)) is not None}, seed
        ),
        answers=answers,
    )


@dataclass(frozen=True)
class Gaps:
    """Points of the sets chosen on a task over their best members: the mean over cells and draws, its standard error
    from what differs between the draws of a cell, and how probable a mean under -UNDER is by that error alone."""

    mean: float
    error: float
    by_chance: float

    @classmethod
    def of(cls, asked: Sequence[Chosen]) -> Gaps:
        found: list[float] = []
        variance = 0.0
        for labels in dict.fromkeys(one.labels for one in asked):
            cell = [one for one in asked if one.labels == labels]
            gaps = [_over_best_member(one, [other for other in cell if other is not one]) for one in cell]
            found += gaps
            variance += float(np.var(gaps, ddof=1)) * len(gaps) if len(gaps) > 1 else 0.0
        error = variance**0.5 / len(found)
        chance = NormalDist().cdf(-UNDER / error) if error > 0 else 0.0
        return cls(float(np.mean(found)), error, chance)


def _over_best_member(one: Chosen, others: Sequence[Chosen]) -> float:
    """Points of a chosen set over the member that was best on the other draws; where no other draw chose it, nothing is
    known of it there, and its score on this one counts."""
    if len(one.units) < 2:
        return 0.0
    here = dict(zip(one.units, one.alone, strict=True))
    elsewhere: dict[str, list[float]] = {}
    for other in others:
        for unit, score in zip(other.units, other.alone, strict=True):
            elsewhere.setdefault(unit, []).append(score)
    best = max(one.units, key=lambda unit: float(np.mean(elsewhere.get(unit, [here[unit]]))))
    return 100 * (one.score - here[best])


def _holds(one: Chosen) -> tuple[float, float]:
    """Whether the 90 % interval holds the measured score, and whether it does with the error of the rows that judge."""
    sides = (one.expected - one.low, one.high - one.expected)
    gap = one.score - one.expected
    side = TO_90 * sides[gap > 0]
    return float(abs(gap) <= side), float(abs(gap) <= np.hypot(side, TO_90 * one.error))


def _gain_spearman(scores: Scores, cell: Cell) -> float | None:
    """Mean over draws; None where there are fewer than six pairs."""
    pairs = list(combinations(scores.units[cell], 2))
    if len(pairs) < 6:
        return None
    found = []
    for number in scores.draws(cell):
        draw = scores.draw(cell, number)
        said = [min(draw[a,]["loss"], draw[b,]["loss"]) - draw[a, b]["loss"] for a, b in pairs]
        brought = [draw[a, b]["score"] - max(draw[a,]["score"], draw[b,]["score"]) for a, b in pairs]
        if np.ptp(said) > 0 and np.ptp(brought) > 0:
            found.append(float(spearmanr(said, brought).statistic))
    return float(np.mean(found)) if found else None


def _figure(values: Mapping[tuple[Cell, int], float], seed: int) -> Figure:
    """The mean with a bootstrap over sources, whose problems share rows."""
    by_source: dict[str, list[float]] = {}
    for (cell, _), value in values.items():
        by_source.setdefault(cell[0].partition("/")[0], []).append(value)
    if not by_source:
        return Figure(float("nan"), float("nan"), float("nan"), 0)
    sums = np.array([[sum(found), len(found)] for found in by_source.values()])
    drawn = np.random.default_rng(seed).integers(0, len(sums), (RESAMPLED, len(sums)))
    means = sums[drawn].sum(axis=1)
    low, high = np.quantile(means[:, 0] / means[:, 1], [0.05, 0.95])
    mean = float(sums[:, 0].sum() / sums[:, 1].sum())
    return Figure(round(mean, 3), round(float(low), 3), round(float(high), 3), len(values))


def text(found: Evaluation) -> str:
    """The figures for people, beside what was wanted."""
    lines = [f"{found.tasks} tasks, {found.cells} cells; points, 90 % intervals over sources", ""]
    lines += ["regret against the best set of up to three, picked on the test rows (wanted of chosen: 0.7)"]
    lines += [f"  {way:<30} {figure}" for way, figure in found.regret.items()]
    lines += ["regret of chosen by labels a class (0: all), and by modality"]
    lines += [f"  {name:<30} {figure}" for name, figure in {**found.by_labels, **found.by_modality}.items()]
    idle, claims = found.idle
    part = f"{idle / claims:.0%}" if claims else "none made"
    lines += [
        "",
        f"the chosen set over its best member, which was picked on other draws: {found.over} points",
        f"tasks where it is over {UNDER} points under it: {found.under.mean:.1%} (wanted 5 %; "
        f"{found.by_chance.mean:.1%} by chance if it always scored the same, {found.surely.mean:.1%} surely): "
        + (", ".join(f"{task} {gap:+.1f}" for task, gap in found.worst) or "none"),
        f"supported sets that do not beat the best single by leave-one-out: {idle} of {claims}, {part} (wanted 10 %)",
        f"90 % intervals that hold the score, with the error of the rows that judge: {found.covered.mean:.1%} "
        f"(wanted 85 to 95 %); without it: {found.measured.mean:.1%}",
        f"gain of a pair, said and brought, rank correlation: {found.spearman.mean:.2f}",
        "answers: " + ", ".join(f"{answer} {count}" for answer, count in sorted(found.answers.items())),
    ]
    return "\n".join(lines)
