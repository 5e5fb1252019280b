"""The cold tier: where priors likely stand on a task of which only the card is known.

Everything that depends on the history and the catalogue alone is done once, in `Cold`; a question is then two products
of a (priors, tasks) matrix with a vector. Hard filters come first; what is left gets a mean, an error bar, and the
terms the mean is the sum of. Standings are on a scale where a task's priors have mean 0 and deviation 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from composer.rank.history import History, PriorCard, TaskCard
from composer.rank.inherit import Inherited, inherit
from composer.rank.kriging import Surface, krige
from composer.rank.likeness import Metadata, Tasks, families, tasks_alike
from composer.rank.probe import Array
from composer.rank.standing import blended, leading, normal

Mask = NDArray[np.bool_]

NORMAL_90 = 1.6448536269514722
"""Half the width of a 90 % interval in standard deviations (of a normal distribution)."""

MOST_SMOOTHED = 2_500
"""With more priors in the history their cards do not smooth it: the work grows with the cube."""

SEEN_PRIOR = 20.0
"""Results that a prior's own spread, and the effect of having seen the data, are shrunk by, in numbers of results."""

FEW_TASKS = 3
"""With fewer tasks there is nothing to leave out: priors are ranked by their mean standing, with error bars of 1."""


@dataclass(frozen=True)
class Limits:
    """What a prior must keep to be recommended at all; None and "" do not limit. A prior whose card does not state what
    is limited is left out, for nobody can promise it.

    permission  what the license must allow, as the card's tag `permits=…` says
    """

    modality: str = ""
    permission: str = ""
    memory_mb: float | None = None
    latency_ms: float | None = None
    price: float | None = None


@dataclass(frozen=True)
class Standing:
    """What is expected of every prior on one task, in the order of the catalogue.

    mean, sd   (N,) standing and its standard deviation
    terms      (N,) each, which sum to mean: general (on all tasks), subject (on tasks of this type), letters (on tasks
               named like it), trained_on (it has seen the data)
    known      (N,) how many results of the prior the history has; with 0 all terms come from its card
    allowed    (N,) whether it keeps the limits
    refused    limit -> (N,) whom it left out
    low, high  (N,) the 90 % interval, as wide as it had to be on the history
    """

    mean: Array
    sd: Array
    terms: Mapping[str, Array]
    known: NDArray[np.int64]
    allowed: Mask
    refused: Mapping[str, Mask]
    low: Array
    high: Array

    def best(self, count: int) -> NDArray[np.int64]:
        """Rows of the allowed priors that stand highest."""
        at = np.flatnonzero(self.allowed)
        if len(at) > count:
            at = at[np.argpartition(-self.mean[at], count - 1)[:count]]
        return np.asarray(at[np.argsort(-self.mean[at], kind="stable")])


class Cold:
    """The cold tier over one history and one catalogue.

    priors     cards in the order of every answer: those of the history, then those of the catalogue it does not know
    residuals  (P, T) what would have been wrong on each task of the history, 0 where unknown
    slope      variance over these tasks of how pronounced the expected order was
    """

    def __init__(
        self, history: History, catalogue: Sequence[PriorCard] = (), *, metadata: Metadata | None = None
    ) -> None:
        """metadata: of the same cards in the same order, where it is known already."""
        given = {card.name: card for card in catalogue}
        had = {card.name for card in history.priors}
        self.history = replace(history, priors=tuple(given.get(card.name, card) for card in history.priors))
        self.priors = self.history.priors + tuple(card for card in given.values() if card.name not in had)
        self.standings = {"normal": normal(history.scores), "leading": leading(history.scores)}
        self.blended = blended(history.scores)
        counts = np.isfinite(history.scores).sum(axis=1)
        self.known = np.concatenate([counts, np.zeros(len(self.priors) - len(counts), dtype=np.int64)])
        self._metadata = metadata
        self._tasks = Tasks(history.tasks)
        self._learn(counts)

    def ask(self, task: TaskCard, limits: Limits | None = None, *, trained_on: Array | None = None) -> Standing:
        """What to expect on `task`. trained_on (N,): 1 for priors that have seen its data."""
        subject, letters = self._likeness(task)
        terms = {"general": self._general, "subject": self._subject @ subject, "letters": self._letters @ letters}
        if trained_on is not None and self._seen_effect:
            terms["trained_on"] = self._seen_effect * trained_on
        mean = np.asarray(sum(terms.values()))
        refused = self._refused(limits or Limits())
        allowed = np.ones(len(mean), dtype=bool)
        for mask in refused.values():
            allowed &= ~mask
        return Standing(mean, self.sd, terms, self.known, allowed, refused, mean - self._reach, mean + self._reach)

    def nearest(self, task: TaskCard, count: int = 3) -> list[TaskCard]:
        """The tasks of the history that the answer for `task` leans on most, by their cards."""
        if not self.history.tasks:
            return []
        subject, letters = self._likeness(task)
        order = np.argsort(-(subject + letters), kind="stable")[:count]
        return [self.history.tasks[int(j)] for j in order]

    def _likeness(self, task: TaskCard) -> tuple[Array, Array]:
        """(T,) and (T,): how like the tasks of the history it is, by subject and by letters."""
        return self._tasks.like(task)

    def _learn(self, counts: NDArray[np.int64]) -> None:
        count, new = len(counts), len(self.priors) - len(counts)
        tasks = len(self.history.tasks)
        self.inherited: Inherited | None = None
        self.sd, self._reach = np.ones(count + new), NORMAL_90 * np.ones(count + new)
        self._general = np.zeros(count + new)
        self._subject = self._letters = np.zeros((count + new, tasks))
        self._seen_effect, self.slope = 0.0, 0.0
        self.residuals: Array = np.zeros((count, tasks))
        if not count or not tasks:
            return
        own = np.nansum(self.blended, axis=1) / np.maximum(counts, 1)
        if tasks < FEW_TASKS or count < 4:
            self._general[:count] = own * counts / (counts + 1)
            return
        inherited, alike = self._from_cards(own)
        self._unsure = 1 - self._shrunk(self.blended, inherited)[1]
        surface = krige(
            self.standings,
            *tasks_alike(self.history.tasks),
            weighed=self.blended,
            alike=alike,
            sources=self.history.sources(),
            start=lambda at: self._shrunk(self.blended[:, at], inherited)[0],
        )
        self.surface, self.inherited = surface, inherited
        self._general = self._extended(surface.general, inherited)
        self._subject = self._extended(surface.subject, inherited)
        self._letters = self._extended(surface.letters, inherited)
        self._spread(surface, inherited)

    @cached_property
    def metadata(self) -> Metadata:
        return self._metadata or Metadata.of(self.priors)

    def _from_cards(self, own: Array) -> tuple[Inherited, Array | None]:
        count = len(own)
        found = inherit(self.metadata, count, own, families(self.history.priors), self.known[:count])
        return found, self.metadata.alike(slice(0, count)) if count <= MOST_SMOOTHED else None

    @staticmethod
    def _shrunk(standings: Array, inherited: Inherited) -> tuple[Array, Array]:
        """(P,) the mean of each in standings (P, T), shrunk to what its card says the more the fewer results it has,
        and (P,) the part that is its own."""
        known = np.isfinite(standings)
        counts = known.sum(axis=1)
        own = np.nansum(standings, axis=1) / np.maximum(counts, 1)
        seen = counts > 0
        if not seen.any():
            return own, np.zeros(len(own))
        again = int(known.sum() - seen.sum())  # results beyond the first of each; without any 1, as standings vary
        within = max(float(np.square(standings - own[:, None])[known].sum()) / again, 1e-6) if again else 1.0
        card = inherited(own, left_out=True)
        between = max(float(np.square(own - card)[seen].mean()) - within / float(counts[seen].mean()), 1e-3)
        part = counts / (counts + within / between)
        return np.asarray(part * own + (1 - part) * card), np.asarray(part)

    @staticmethod
    def _extended(values: Array, inherited: Inherited) -> Array:
        return np.concatenate([values, inherited(values)]) if len(inherited.operator) else values

    def _spread(self, surface: Surface, inherited: Inherited) -> None:
        """Error bars by what the same would have said of the history's own cells, each task left out with all of its
        source; for priors without history each family too."""
        known = np.isfinite(self.blended)
        gaps = np.where(known, self.blended - surface.left_out, 0.0)
        if self.history.trained_on is not None:
            seen = np.where(known, self.history.trained_on, 0.0)
            self._seen_effect = float((seen * gaps).sum() / (np.square(seen).sum() + SEEN_PRIOR))
            gaps = np.where(known, gaps - self._seen_effect * seen, 0.0)
        self.residuals = gaps
        sizes = np.square(np.where(known, surface.left_out, 0.0)).sum(axis=0)
        slopes = 1 + (surface.left_out * gaps).sum(axis=0) / np.where(sizes > 0, sizes, 1.0)
        self.slope = float(slopes.var())
        counts = known.sum(axis=1)
        overall = float(np.square(gaps).sum() / max(int(known.sum()), 1))
        own = (np.square(gaps).sum(axis=1) + SEEN_PRIOR * overall) / (counts + SEEN_PRIOR)
        without = np.where(known, self.blended - inherited(surface.left_out, left_out=True), 0.0)
        unseen = float(np.square(without).sum() / max(int(known.sum()), 1)) ** 0.5
        sd = np.sqrt(own + self._unsure * max(unseen**2 - overall, 0.0))
        new = len(self.priors) - len(counts)
        self.sd = np.concatenate([sd, np.full(new, unseen)])
        reach = conformal((np.abs(gaps) / sd[:, None])[known]) * sd
        self._reach = np.concatenate([reach, np.full(new, conformal(np.abs(without)[known]))])

    @cached_property
    def _stated(self) -> Mapping[str, Array]:
        return {
            key: np.array([card.numbers.get(key, np.inf) for card in self.priors])
            for key in ("memory_mb", "latency_ms", "price")
        }

    def _refused(self, limits: Limits) -> dict[str, Mask]:
        found: dict[str, Mask] = {}
        for key, tag in (("modality", limits.modality), ("permits", limits.permission)):
            if tag:
                found[key] = ~self._tagged(f"{key}={tag}")
        for key, most in (("memory_mb", limits.memory_mb), ("latency_ms", limits.latency_ms), ("price", limits.price)):
            if most is not None:
                found[key] = ~(self._stated[key] <= most)
        return found

    def _tagged(self, tag: str) -> Mask:
        if tag not in self._masks:
            self._masks[tag] = np.array([tag in card.tags for card in self.priors], dtype=bool)
        return self._masks[tag]

    @cached_property
    def _masks(self) -> dict[str, Mask]:
        return {}


def conformal(sizes: Array) -> float:
    """The 90 % quantile of residuals' sizes, with the finite-sample correction of split conformal intervals."""
    if not len(sizes):
        return NORMAL_90
    return float(np.quantile(sizes, min(0.9 * (1 + 1 / len(sizes)), 1.0)))


def cold(
    history: History, task: TaskCard, priors: Sequence[PriorCard] = (), limits: Limits | None = None
) -> tuple[tuple[PriorCard, ...], Standing]:
    """One question: the cards of history and catalogue, and the standing of each. Keep a `Cold` for several."""
    tier = Cold(history, priors)
    return tier.priors, tier.ask(task, limits)
