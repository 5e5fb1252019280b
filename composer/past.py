"""What the past says of a task's candidates, and how it joins what its own rows say.

The cold tier (composer.rank.cold) says where every prior stands on tasks like this one, on a scale where a task's
priors have mean 0 and deviation 1, with an error bar. Leave-one-out on the labelled rows says the same, with one of its
own: the noise of so few rows, and what such a score never tells of other rows. Both are normal, so they join by their
precisions: the fewer the rows, the more the past counts.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import numpy as np

from composer.assemble import Unit
from composer.choices import Candidate, Near, Stands
from composer.rank.cold import Cold
from composer.rank.history import History, Outcome, PriorCard, TaskCard
from composer.rank.learned import Ranker
from composer.rank.probe import Array, Probe
from composer.rank.standing import quantiles
from priors.errors import BadWeights, HubError
from priors.manifest import PriorManifest
from priors.tasks.spec import modality_of

if TYPE_CHECKING:
    from priors.client import Hub
    from priors.tasks import Task

logger = logging.getLogger(__name__)

BETWEEN = 0.3
"""Standing that leave-one-out scores miss whatever the rows, in deviations of a task's priors: a score on the labelled
rows is not that of other rows. An assumption, to be learned once histories have leave-one-out beside test scores."""

SUREST = 0.3
"""The least error of the past: a new task may be like none of those that agreed. As assumed."""

NEAREST = 3
FEWEST_TASKS = 3
"""Tasks without which a history says nothing of another."""

FEWEST = 3
"""Candidates that a past task must share before its agreement is told."""


RANKER = "priorhub/ranker"
"""The repository of a hub that has the versions of its learned tier."""

NO_RANKER = "learned tier off: none was trained on this history"


class Past:
    """A history, asked about one task's candidates.

    learned  whether the learned tier corrects what the history says, and why, in a sentence
    """

    def __init__(
        self, history: History, task: Task, units: Sequence[Unit], manifests: Mapping[Candidate, PriorManifest],
        ranker: Ranker | None = None,
    ) -> None:  # fmt: skip
        self.history = history
        self.card = card_of(task)
        self.names = {unit.name: name_of(unit) for unit in units}
        catalogue = [prior_card(self.names[unit.name], manifests[unit.candidates[0]]) for unit in units]
        self._tier = Cold(history, catalogue)
        self._standing, self.learned = self._tier.ask(self.card), NO_RANKER
        if ranker is not None:
            self._standing, self.learned = ranker.adjust(self.card, self._tier.priors, self._standing)
        self._place = {card.name: i for i, card in enumerate(self._tier.priors)}

    @property
    def proven(self) -> frozenset[str]:
        """The priors (`namespace/name`) of which runs on FEWEST_TASKS tasks or more are known."""
        counts = np.isfinite(self.history.scores).sum(axis=1)
        rows = zip(self.history.priors, counts, strict=True)
        return frozenset(prior.name.partition("#")[0] for prior, count in rows if count >= FEWEST_TASKS)

    def join(self, probes: Mapping[str, Probe]) -> dict[str, Stands]:
        """Where every unit stands by both tiers; `probes` are by name, and may lack some. The terms sum to it."""
        scores = np.array([found.score for found in probes.values()])
        spread = float(scores.std()) if len(scores) > 1 else 0.0
        found = {}
        for name, its in self.names.items():
            at = self._place[its]
            past = 1 / max(float(self._standing.sd[at]), SUREST) ** 2
            said, weight = 0.0, 0.0
            if name in probes and np.isfinite(noise := probes[name].error):
                score = probes[name].score
                scale = max(spread, noise, 1e-9)  # where all score alike, the noise is all there is to tell them by
                said, weight = float(score - scores.mean()) / scale, 1 / ((noise / scale) ** 2 + BETWEEN**2)
            terms = {term: float(values[at]) for term, values in self._standing.terms.items()}
            if not self._standing.known[at]:
                terms = {"card": sum(terms.values())}  # no run of it is known: all comes from its card
            shares = {term: round(value * past / (past + weight), 4) for term, value in terms.items()}
            if weight:
                shares["rows"] = round(said * weight / (past + weight), 4)
            found[name] = Stands(name, shares, round(sum(shares.values()), 4), round((past + weight) ** -0.5, 4))
        return found

    def rate(self, probes: Mapping[str, Probe]) -> dict[str, float]:
        """How good the units that were probed are by both tiers, as composer.race asks."""
        stands = self.join(probes)
        return {name: stands[name].standing for name in probes}

    def leaders(self, names: Sequence[str], probes: Mapping[str, Probe]) -> list[str]:
        """Of units that a set may start from, those that may well be the best: within a deviation of it."""
        stands = self.join(probes)
        best = max((stands[name] for name in names), key=lambda one: one.standing, default=None)
        return [name for name in names if best is None or stands[name].standing >= best.standing - best.sd]

    def nearest(self, probes: Mapping[str, Probe]) -> tuple[Near, ...]:
        """The past tasks that the answer leans on, and how far priors did there as they do here."""
        rows = {prior.name: i for i, prior in enumerate(self.history.priors)}
        found = []
        for card in self._tier.nearest(self.card, NEAREST):
            column = self.history.scores[:, [task.name for task in self.history.tasks].index(card.name)]
            if not np.isfinite(column).any():
                continue
            pairs = [
                (probe.score, column[rows[self.names[name]]])
                for name, probe in probes.items()
                if self.names.get(name) in rows and np.isfinite(column[rows[self.names[name]]])
            ]
            agreement = _rank_correlation(np.array(pairs)) if len(pairs) >= FEWEST else None
            found.append(Near(card.name, agreement, self.history.priors[int(np.nanargmax(column))].name))
        return tuple(found)


def history_of(content: Mapping[str, Sequence[Mapping[str, Any]]]) -> History | None:
    """What a hub says it measured (`Hub.history`, `GET /api/v1/history`), None where it is too little to lean on."""
    tasks = [TaskCard(**_known(TaskCard, one)) for one in content["tasks"]]
    priors = [
        PriorCard(**{**_known(PriorCard, one), "tags": frozenset(one.get("tags") or ())}) for one in content["priors"]
    ]
    outcomes = [
        Outcome(**{**_known(Outcome, one), "members": tuple(sorted(one["members"]))}) for one in content["outcomes"]
    ]
    history = History.of_outcomes(outcomes, tasks, priors)
    return history if len(history.tasks) >= FEWEST_TASKS else None


def history_at(hub: Hub) -> History | None:
    """The hub's history; None where it has none, or is not there and left none in the cache."""
    try:
        found = hub.history()
    except HubError as error:
        logger.info("recommending without a history", extra={"cause": str(error)})
        return None
    return history_of({"tasks": found.tasks, "priors": found.priors, "outcomes": found.outcomes})


def ranker_at(hub: Hub) -> Ranker | None:
    """The hub's learned tier as it was last trained; None where it has none, or is not there and left none in the
    cache."""
    try:
        return Ranker.load(hub.pull(RANKER))
    except (HubError, BadWeights) as error:
        logger.info("recommending without the learned tier", extra={"cause": str(error)})
        return None


def _known(kind: type, content: Mapping[str, Any]) -> dict[str, Any]:
    """What a card of this version holds of what a hub, perhaps of another, says."""
    return {one.name: content[one.name] for one in fields(kind) if one.name in content}


def card_of(task: Task) -> TaskCard:
    """What the history may know a task by."""
    words = " ".join([task.name, task.summary or "", task.target, *task.labels[:50]])
    return TaskCard(
        task.name, modality_of(task.modalities), task.kind, len(task.labels), len(task), task.metric, "", words
    )


def name_of(unit: Unit) -> str:
    """A unit as histories name it: `namespace/name#tap`, `#*` for the mean of several."""
    first = unit.candidates[0]
    return f"{first.ref.repo}#{'*' if unit.is_taps else first.tap}"


def prior_card(name: str, manifest: PriorManifest) -> PriorCard:
    """What is known of a candidate without running it, in the words of a hub's history (`GET /api/v1/history`)."""
    numbers = {"parameters": float(manifest.parameters), "size_bytes": float(manifest.size_bytes)}
    tags = {*manifest.tags, f"modality={manifest.modality}", f"kind={manifest.kind}"}
    if manifest.architecture is not None:
        tags.add(f"architecture={manifest.architecture.id}")
    return PriorCard(name, numbers, frozenset(tags), f"{manifest.name} {manifest.summary}")


def _rank_correlation(pairs: Array) -> float | None:
    """Of two columns (n, 2), those that score the same sharing a rank; None where either does not vary."""
    if (np.ptp(pairs, axis=0) == 0).any():
        return None
    ranks = quantiles(pairs)
    return round(float(np.asarray(np.corrcoef(ranks.T))[0, 1]), 3)
