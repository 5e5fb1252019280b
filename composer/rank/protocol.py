"""The evaluation of rankings on a published table: every data set is left out in turn, what is known of it is its name.

known       every model has results on the other data sets
new_models  a model has none, nor has its family: only its card is known
revealed    0, 3 or 5 models have been measured on the data set itself, drawn at random (three draws) or chosen one
            after the other by the method's own belief; a method without one tries the first of its list
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from composer.rank import baselines
from composer.rank.cold import Cold
from composer.rank.history import History, TaskCard
from composer.rank.inherit import folds_of
from composer.rank.likeness import Metadata, families
from composer.rank.measures import normalised, pearson, regret, weighted_tau
from composer.rank.probe import Array
from composer.rank.reveal import Belief, chosen, spread_of
from composer.rank.standing import blended, quantiles
from priors.errors import BadTable

REVEALED = (0, 3, 5)
DRAWS = 3
LEAST_TASKS, LEAST_PRIORS = 4, 8
MEASURES = (
    "weighted_tau", "pearson", "top1_regret", "top5_regret", "normalised_top1_regret", "coverage90",
)  # fmt: skip

Key = tuple[str, int, str, str]
"""protocol, revealed, choice, method"""

Progress = Callable[[int, int, str], None]
Values = dict[str, float]


@dataclass
class Results:
    """(protocol, revealed, choice, method) -> measure -> one value a task, NaN where it has none."""

    tasks: int
    values: dict[Key, dict[str, Array]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def add(self, key: Key, task: int, found: list[Values]) -> None:
        """The mean over draws of what was measured on one task."""
        rows = self.values.setdefault(key, {name: np.full(self.tasks, np.nan) for name in MEASURES})
        for name in MEASURES:
            known = [one[name] for one in found if np.isfinite(one[name])]
            if known:
                rows[name][task] = float(np.mean(known))


@dataclass(frozen=True)
class _Case:
    """One data set left out: the rest of the history, and the models measured on it (rows, n of them).

    flags (P,): whether each model has seen its data, where that is known
    """

    task: TaskCard
    rest: History
    scores: Array
    standings: Array
    rows: NDArray[np.int64]
    draws: tuple[NDArray[np.int64], ...]
    flags: Array | None
    spread: tuple[float, float]

    def measure(self, predicted: Array, at: Sequence[int] = (), inside: NDArray[np.bool_] | None = None) -> Values:
        """predicted (n,) of the models measured; `at` are those revealed, `inside` whether each interval holds."""
        left = np.ones(len(self.scores), dtype=bool)
        left[list(at)] = False
        lost = regret(predicted, self.scores)
        return {
            "weighted_tau": weighted_tau(predicted[left], self.scores[left]),
            "pearson": pearson(predicted[left], self.scores[left]),
            "top1_regret": lost,
            "top5_regret": regret(predicted, self.scores, 5),
            "normalised_top1_regret": normalised(lost, self.scores),
            "coverage90": float(inside[left].mean()) if inside is not None and left.any() else float("nan"),
        }

    def with_revealed(self, predicted: Array, at: Sequence[int]) -> Array:
        """Predicted standings on the scale of scores, at the level of those revealed, whose own scores take their
        place."""
        if not len(at):
            return predicted
        rows = list(at)
        span = float(np.exp(self.spread[0])) / (float(predicted.std()) or 1.0)
        found = span * (predicted - predicted.mean())
        found = np.asarray(found + float((self.scores[rows] - found[rows]).mean()))
        found[rows] = self.scores[rows]
        return found

    def tried(self, predicted: Array, count: int) -> Values:
        """As if the `count` first were measured and the best of them taken; the order of the rest stays."""
        first = np.argsort(-predicted, kind="stable")[:count]
        order = predicted.copy()
        order[first] = predicted.max() + 1.0 + (self.scores[first] - self.scores.min())
        return self.measure(order, list(first))


def evaluate(
    history: History,
    *,
    protocols: Sequence[str] = ("known", "new_models"),
    revealed: Sequence[int] = REVEALED,
    learned: bool = False,
    progress: Progress | None = None,
) -> Results:
    """Every method under every protocol on one table. Raises BadTable where the table is too small to leave out.

    learned  also train the learned tier, with folds of data sets left out, and judge it (known models, none revealed)
    """
    tasks, count = len(history.tasks), len(history.priors)
    if tasks < LEAST_TASKS or count < LEAST_PRIORS:
        raise BadTable(
            f"{count} models on {tasks} data sets are too few to leave any out; at least {LEAST_PRIORS} on "
            f"{LEAST_TASKS} are needed."
        )
    if not (np.nanmax(history.scores, axis=0) > np.nanmin(history.scores, axis=0)).any():
        raise BadTable("no data set of the table tells two models apart: there is nothing to rank by.")
    results = Results(tasks)
    rng = np.random.default_rng(0)
    models = _Models.of(history)
    size = baselines.size_only(history)
    standings = blended(history.scores)
    for t, task in enumerate(history.tasks):
        if progress:
            progress(t, tasks, task.name)
        rows = np.flatnonzero(np.isfinite(history.scores[:, t]))
        draws = tuple(rng.permutation(len(rows)) for _ in range(DRAWS))
        flags = None if history.trained_on is None else history.trained_on[:, t]
        rest = history.without_tasks({task.name})
        case = _Case(
            task, rest, history.scores[rows, t], standings[rows, t], rows, draws, flags, spread_of(rest.scores)
        )
        boosted = baselines.boosted(models.metadata, models.folds, baselines.static_mean_rank(rest))
        shared = {"random": rng.random(count), "metadata": boosted, "oracle_nearest": _oracle(rest, case)}
        if size is not None:
            shared["size"] = size
        for protocol, methods in (("known", _known), ("new_models", _new)):
            if protocol in protocols:
                believers, fixed, fitted = methods(case, models, shared)
                for number in revealed:
                    _measure(results, protocol, number, t, case, believers, fixed, fitted)
    if learned:
        _learned(results, history, standings)
    return results


@dataclass(frozen=True)
class _Models:
    """What is the same for every data set: cards as features, who is left out together, how alike cards are."""

    metadata: Metadata
    folds: NDArray[np.int64]
    alike: Array

    @classmethod
    def of(cls, history: History) -> _Models:
        metadata = Metadata.of(history.priors)
        everything = slice(0, len(history.priors))
        return cls(metadata, folds_of(families(history.priors)), metadata.alike(everything))


@dataclass(frozen=True)
class _Believer:
    """A method with a belief over the models measured; reach is its interval's half width in deviations."""

    belief: Belief
    reach: Array | None = None


_Fitted = Callable[[Sequence[int]], Array]
_Methods = tuple[dict[str, _Believer], dict[str, Array], dict[str, _Fitted]]


def _known(case: _Case, models: _Models, shared: dict[str, Array]) -> _Methods:
    rest, rows = case.rest, case.rows
    tier = Cold(rest, metadata=models.metadata)
    cold = tier.ask(case.task, trained_on=case.flags)
    alike = models.alike[np.ix_(rows, rows)]
    ours = Belief(cold.mean[rows], cold.sd[rows], tier.residuals[rows], alike, case.spread, tier.slope)
    plain = baselines.kriging(rest, case.spread)
    none = np.eye(len(rows))
    believers = {
        "ours": _Believer(ours, ((cold.high - cold.mean) / np.maximum(cold.sd, 1e-9))[rows]),
        "kriging": _Believer(Belief(plain.mean[rows], plain.sd[rows], plain.residuals[rows], none, case.spread)),
    }
    fixed = shared | {
        "static_mean_rank": baselines.static_mean_rank(rest),
        "type_weighted": baselines.type_weighted(rest, case.task),
    }

    def low_rank(at: Sequence[int]) -> Array:
        return baselines.low_rank(rest, list(rows[list(at)]), case.scores[list(at)], float(np.exp(case.spread[0])))

    def nearest(at: Sequence[int]) -> Array:
        return baselines.nearest(rest, case.task, list(rows[list(at)]), case.scores[list(at)])

    return believers, fixed, {"low_rank": low_rank, "nearest": nearest}


def _new(case: _Case, models: _Models, shared: dict[str, Array]) -> _Methods:
    count = len(models.folds)
    mean, sd, reach = np.zeros(count), np.ones(count), np.ones(count)
    slope = 0.0
    for fold in np.unique(models.folds):
        out, seen = np.flatnonzero(models.folds == fold), np.flatnonzero(models.folds != fold)
        names = {case.rest.priors[i].name for i in out}
        cards = [case.rest.priors[i] for i in out]
        tier = Cold(case.rest.without_priors(names), cards, metadata=models.metadata.take([*seen, *out]))
        cold = tier.ask(case.task)
        mean[out], sd[out] = cold.mean[len(seen) :], cold.sd[len(seen) :]
        slope = max(slope, tier.slope)
        reach[out] = ((cold.high - cold.mean) / np.maximum(cold.sd, 1e-9))[len(seen) :]
    rows = case.rows
    nothing, alike = np.zeros((len(rows), 0)), models.alike[np.ix_(rows, rows)]
    plain = shared["metadata"][rows] - shared["metadata"][rows].mean()
    plain = plain / (float(plain.std()) or 1.0) * 0.7
    believers = {
        "ours": _Believer(Belief(mean[rows], sd[rows], nothing, alike, case.spread, slope), reach[rows]),
        "kriging": _Believer(Belief(plain, np.full(len(rows), 0.7), nothing, alike, case.spread)),
    }
    return believers, shared, {}


def _learned(results: Results, history: History, standings: Array) -> None:
    """The learned tier on data sets that neither it nor the cold tier under it has seen, and the gate's verdict."""
    from composer.rank.learned import Config, cross_fit, gate, too_little  # torch, wanted only here

    if why := too_little(history):
        results.notes.append(f"learned tier {why}")
        return
    held = cross_fit(history, Config())
    verdict = gate(history, held)
    for t, task in enumerate(history.tasks):
        rows = np.flatnonzero(np.isfinite(history.scores[:, t]))
        rest = history.without_tasks({task.name})
        case = _Case(task, rest, history.scores[rows, t], standings[rows, t], rows, (), None, (0.0, 1.0))
        mean = (held.cold + held.correction)[rows, t]
        inside = np.abs(case.standings - mean) <= verdict.reach * held.sd[rows, t]
        results.add(("known", 0, "random", "learned"), t, [case.measure(mean, inside=inside)])
    results.notes.append(f"learned tier {verdict.why}")


def _measure(
    results: Results, protocol: str, number: int, task: int, case: _Case, believers: dict[str, _Believer],
    fixed: dict[str, Array], fitted: dict[str, _Fitted],
) -> None:  # fmt: skip
    """Every method on one data set with `number` models revealed, at random and, where it may choose, chosen."""
    draws = [draw[:number].tolist() for draw in case.draws] if number else [[]]
    for name, one in believers.items():
        results.add((protocol, number, "random", name), task, [_believed(case, one, at) for at in draws])
        if number:
            at = chosen(one.belief, case.scores, number)
            results.add((protocol, number, "active", name), task, [_believed(case, one, at)])
    for name, predicted in fixed.items():
        mine = predicted[case.rows]
        found = [case.measure(case.with_revealed(mine, at), at) for at in draws]
        results.add((protocol, number, "random", name), task, found)
        if number and name != "oracle_nearest":
            results.add((protocol, number, "active", name), task, [case.tried(mine, number)])
    for name, fit in fitted.items():
        found = [case.measure(case.with_revealed(fit(at)[case.rows], at), at) for at in draws]
        results.add((protocol, number, "random", name), task, found)


def _believed(case: _Case, one: _Believer, at: Sequence[int]) -> Values:
    mean, sd = one.belief.given(at, case.scores[list(at)])
    inside = None if one.reach is None else np.abs(case.standings - mean) <= one.reach * sd
    return case.measure(mean, at, inside)


def _oracle(rest: History, case: _Case) -> Array:
    """The data set that would have predicted best, known only afterwards: a bound."""
    standings = quantiles(rest.scores)
    standings = np.where(np.isfinite(standings), standings, 0.5)
    taus = np.array([weighted_tau(standings[case.rows, u], case.scores) for u in range(standings.shape[1])])
    told = np.isfinite(taus)
    return np.asarray(standings[:, int(np.argmax(np.where(told, taus, -np.inf)))] if told.any() else standings[:, 0])
