"""One draw of one problem: every prior alone, sets of up to three, and the placebo arms, fitted on the labelled rows
with the product's head and scored on the others."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from benchmarks.history.problems import Problem
from composer.arms import Arm
from composer.assemble import TRIED, Offer
from composer.baseline import Plain
from composer.blocks import Blocks
from composer.choices import Candidate, Choice
from composer.rank.history import Outcome
from composer.rank.probe import Array, Probe, Targets, gram, hits_of, probe, solve
from composer.rank.sets import GIVEN_RATIOS, GIVEN_TEMPER, JOINING, Scored, average, mix
from composer.targets import penalty_spread
from priors.tasks import Draw

MOST_IN_SETS = 320
"""Labelled rows up to which sets are fitted: they take the cube of the rows."""


@dataclass(frozen=True)
class Arena:
    """What there is for the problems of one source.

    offered  every prior that reads it, of which `tried` are candidates of the product's own search
    twins    the same networks with weights that say nothing, or None where no network reads the source
    """

    offered: Offer
    tried: Offer
    blocks: Blocks
    plain: Plain
    twins: tuple[Offer, Blocks] | None


@dataclass(frozen=True)
class Grams:
    """Of one block or set: of the labelled rows (n, n), and of the others with them (m, n)."""

    known: Array
    asked: Array

    @classmethod
    def of(cls, block: NDArray[np.floating], n: int) -> Grams:
        """Of features (n + m, D), the labelled rows first; centered on these, in the units of `gram`."""
        centered = np.asarray(block, dtype=np.float64) - np.asarray(block[:n], dtype=np.float64).mean(axis=0)
        size = float(np.square(centered[:n]).sum() / n) or 1.0
        return cls(gram(block[:n]), np.asarray(centered[n:] @ centered[:n].T / size))


@dataclass(frozen=True)
class Ran:
    """One arm on one draw: what it was expected to score by leave-one-out, and what it said about the other rows."""

    outcome: Outcome
    expected: Probe
    said: NDArray[np.float16]


@dataclass(frozen=True)
class Judge:
    """Fits and scores Gram matrices on one draw of one problem."""

    problem: Problem
    labels: int
    draw: int
    targets: Targets
    truth: Targets

    @classmethod
    def of(cls, problem: Problem, labels: int, number: int, drawn: Draw, modalities: Collection[str] = ()) -> Judge:
        learned, truth = (targets_of(problem, rows, modalities) for rows in (drawn.train, drawn.test))
        return cls(problem, labels, number, learned, truth)

    def run(self, members: tuple[str, ...], arm: Arm, grams: Grams, found: Probe | None = None) -> Ran:
        """The arm's score on the rows that were not drawn, with its 95 % interval over those rows."""
        started = time.process_time()
        found = found or probe(grams.known, self.targets)
        tested, said = self.tested(self.scores(grams, found), found)
        low, high = tested.interval
        seconds = time.process_time() - started
        outcome = Outcome(
            task=self.problem.name,
            members=members,
            arm=arm,
            labels=self.labels,
            draw=self.draw,
            score=round(tested.score, 4),
            low=round(low, 4),
            high=round(high, 4),
            seconds=round(seconds, 3),
        )
        return Ran(outcome, found, said)

    def scores(self, grams: Grams, found: Probe | None = None) -> Array:
        """(m, C) what the head says of the rows that were not drawn."""
        found = found or probe(grams.known, self.targets)
        dual, intercept = solve(grams.known, self.targets.matrix, found.penalty)
        return grams.asked @ dual + intercept

    def tested(self, scores: Array, found: Probe) -> tuple[Probe, NDArray[np.float16]]:
        """The predictions judged like left-out rows, and as probabilities, or values in the target's own units."""
        if self.targets.is_number:
            values = scores * self.targets.spread + self.targets.mean
            scores = (values - self.truth.mean) / self.truth.spread
            losses = (scores[:, 0] - self.truth.matrix[:, 0]) ** 2
            said = values
        else:
            logits = found.sharpness * (scores - scores.max(axis=1, keepdims=True))
            said = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
            assert self.truth.labels is not None
            losses = -np.log(np.maximum(said[np.arange(len(said)), self.truth.labels], 1e-12))
        hits = hits_of(scores, losses, self.truth)
        return Probe(self.truth, found.penalty, found.sharpness, scores, losses, hits), said.astype(np.float16)


def targets_of(problem: Problem, rows: NDArray[np.int64], modalities: Collection[str] = ()) -> Targets:
    """The targets of some rows of a problem about a source of these modalities."""
    groups = None if problem.groups is None else np.asarray(problem.groups)[rows]
    y = problem.y[rows]
    found = Targets.of_values(y) if problem.is_number else Targets.of_classes(y, len(problem.labels))
    return replace(found, penalty_spread=penalty_spread(modalities)).grouped(groups)


def candidate_name(candidate: Candidate) -> str:
    """How a history calls it."""
    return f"{candidate.ref.namespace}/{candidate.ref.name}#{candidate.tap}"


def unit_names(offered: Offer) -> dict[str, str]:
    """Unit -> how a history calls it: the one tap, or all of them."""
    return {
        unit.name: f"{unit.candidates[0].ref.namespace}/{unit.candidates[0].ref.name}#*"
        if unit.is_taps
        else candidate_name(unit.candidates[0])
        for unit in offered.units
    }


def run_cell(arena: Arena, problem: Problem, labels: int, number: int, *, sets: bool) -> list[Ran]:
    """Every arm on draw `number`; sets of two and three only where wanted and where the rows are few enough.

    Raises BadTask when the problem has too few rows for the draw.
    """
    drawn = problem.draw(labels, number)
    judge = Judge.of(problem, labels, number, drawn, {m.modality for m in arena.tried.manifests.values()})
    train, n = problem.rows[drawn.train], len(drawn.train)
    rows = np.concatenate([train, problem.rows[drawn.test]])
    grams = {c: Grams.of(block, n) for c, block in arena.blocks.fitted(train, rows).items()}
    found = [judge.run((candidate_name(c),), "single", one) for c, one in grams.items()]
    alone = {ran.outcome.members[0]: ran for ran in found}
    names = unit_names(arena.tried)
    units = {names[u.name]: joined([grams[c] for c in u.candidates]) for u in arena.tried.units}
    for unit in arena.tried.units:
        if unit.is_taps:
            alone[names[unit.name]] = judge.run((names[unit.name],), "taps", units[names[unit.name]])
            found.append(alone[names[unit.name]])
    found += placebos(arena, judge, train, rows, grams, units, alone)
    if sets and n <= MOST_IN_SETS:
        trusted = {names[unit.name] for unit in arena.tried.units if unit.trusted}
        weigher = Weigher({name: one.known for name, one in units.items()}, judge.targets, trusted)
        for size in (2, 3):
            for members in combinations(sorted(units), size):
                weights = weigher.weights(members)
                found.append(judge.run(members, "set", mixed(units, weights)))
    return found


def placebos(
    arena: Arena,
    judge: Judge,
    train: NDArray[np.int64],
    rows: NDArray[np.int64],
    grams: Mapping[Candidate, Grams],
    units: Mapping[str, Grams],
    alone: Mapping[str, Ran],
) -> list[Ran]:
    """No prior; the best unit's features of other rows; everything side by side; the network with random weights."""
    n = len(train)
    known, asked = arena.plain.fitted(train, rows[n:])
    found = [judge.run((), "no_prior", Grams.of(np.concatenate([known, asked]), n))]
    best = min(units, key=lambda name: alone[name].expected.loss)
    rng = np.random.default_rng([judge.draw, judge.labels])
    order, other = rng.permutation(n), rng.permutation(len(rows) - n)
    one = units[best]
    found.append(judge.run((), "shuffled", Grams(one.known[np.ix_(order, order)], one.asked[np.ix_(other, order)])))
    tried = [grams[candidate] for candidate in arena.tried.candidates]
    found.append(judge.run((), "everything", joined(tried)))
    if arena.twins is not None:
        offered, blocks = arena.twins
        made = blocks.fitted(train, rows)
        [unit] = offered.units
        found.append(judge.run((), "random_weights", joined([Grams.of(made[c], n) for c in unit.candidates])))
    return found


def joined(parts: Sequence[Grams]) -> Grams:
    """Blocks side by side in equal parts."""
    return Grams(
        np.asarray(sum(part.known for part in parts) / len(parts)),
        np.asarray(sum(part.asked for part in parts) / len(parts)),
    )


def mixed(units: Mapping[str, Grams], weights: Mapping[str, float]) -> Grams:
    """Blocks side by side by weight."""
    return Grams(
        mix({name: one.known for name, one in units.items()}, weights),
        mix({name: one.asked for name, one in units.items()}, weights),
    )


def weighed(choice: Choice, grams: Mapping[Candidate, Grams]) -> Grams:
    """A choice of the product, side by side by weight."""
    return Grams(
        np.asarray(sum(member.weight * grams[member.candidate].known for member in choice.members)),
        np.asarray(sum(member.weight * grams[member.candidate].asked for member in choice.members)),
    )


class Weigher:
    """Weights of many sets on the same rows: as `composer.rank.sets.weigh`, but what two sets share is scored once."""

    def __init__(self, kernels: Mapping[str, Array], targets: Targets, trusted: set[str]) -> None:
        self._kernels, self._targets, self._trusted = kernels, targets, trusted
        self._scored: dict[tuple[tuple[str, float], ...], Scored] = {}

    def weights(self, members: Sequence[str]) -> dict[str, float]:
        """The posterior mean over singles, equal parts, and pairs and triples that one of them leads. A set with
        trusted members has one in every part."""
        led = [name for name in members if name in self._trusted]
        parts = [dict.fromkeys(some, 1.0) for k in range(1, len(members) + 1) for some in combinations(members, k)]
        parts += [{a: 1.0, b: r} for a in members for b in members if a != b for r in GIVEN_RATIOS]
        if len(members) > 2:
            parts += [{**dict.fromkeys(members, JOINING), lead: 1.0} for lead in members]
        kept = [one for one in parts if not led or any(name in one for name in led)]
        tried = [self._score(one) for one in kept]
        return average(tried, len(self._targets), max_members=len(members), temper=GIVEN_TEMPER)

    def _score(self, weights: Mapping[str, float]) -> Scored:
        total = sum(weights.values())
        normal = {name: weight / total for name, weight in weights.items()}
        key = tuple(sorted((name, round(weight, 6)) for name, weight in normal.items()))
        if key not in self._scored:
            self._scored[key] = Scored(normal, probe(mix(self._kernels, normal), self._targets))
        return self._scored[key]


def fixed_functions() -> frozenset[str]:
    """The function priors that say something about any column of their kind, whether the product tries them or not."""
    return TRIED | {
        *("pca", "whiten", "random_features", "nystrom", "rbf", "polynomial", "spline", "positional"),
        *("dct", "wavelet_scattering", "spectral_moments"),
    }
