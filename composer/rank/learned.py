"""The learned tier: a small set transformer that says what the cold tier will have got wrong.

Tokens are the task, every prior and every result revealed on the task; an attention over any subset of the priors gives
the subset's utility with its variance, and what it gains over its best member. It is trained on episodes of the
history: one task, some of its priors, none to eight results revealed, the target being what is left of the standing
after the cold tier predicted it with that task left out. Names are learned as embeddings that are dropped half of the
time, so that a prior nobody has seen is nothing special.

A stack of learners is not better for being learned: on published tables most lose to a list by type. So there is a
gate. Tasks are left out in folds, and only where weighted tau is higher with 95 % certainty (the lower end of the 90 %
interval of the gain, paired by task, is above 0) is the tier switched on, modality by modality; else every answer says
that it is off, and why.

torch is imported where it is needed only.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from composer.errors import Cancelled
from composer.rank._episodes import (
    FEATURES,
    HASHED,
    MOST_REVEALED,
    Rows,
    batch_of,
    draw_subsets,
    drawn_tasks,
    episode,
    prior_words,
    sets_in,
    task_words,
)
from composer.rank.cold import NORMAL_90, Cold, Standing, conformal
from composer.rank.history import History, PriorCard, TaskCard
from composer.rank.measures import resamples, weighted_tau
from composer.rank.probe import Array
from composer.rank.standing import blended
from priors.errors import BadWeights

if TYPE_CHECKING:
    from torch import Tensor

    from composer.rank._set_network import SetNetwork

Report = Callable[[int, int, str], None]

FOLDS = 5
LEAST_TASKS = 8
"""With fewer tasks there is nothing to judge the tier by, and it stays off."""

LEAST_PRIORS = 4
"""A task with results of fewer priors teaches nothing."""

AT_ONCE = 1_000
"""Priors that attend to each other when the tier is asked: memory grows with the square."""

CONFIG_FILE, WEIGHTS_FILE = "ranker.json", "model.safetensors"


@dataclass(frozen=True)
class Config:
    """Sizes and training; under 2 million parameters in any case (`build` refuses more)."""

    width: int = 64
    layers: int = 2
    heads: int = 4
    members: int = 3
    steps: int = 150
    batch: int = 8
    lr: float = 2e-3
    id_dropout: float = 0.5
    seed: int = 0


@dataclass(frozen=True)
class Gate:
    """Whether the tier is on for a modality, and the gain in weighted tau over the cold tier that says so."""

    enabled: bool
    gain: float
    low: float
    high: float
    tasks: int
    why: str
    reach: float = NORMAL_90
    """Half the width of a 90 % interval in predicted deviations, by what was left out."""


@dataclass(frozen=True)
class Prediction:
    """What the ensemble adds to the cold tier: correction and sd (N,)."""

    correction: Array
    sd: Array


class Learned:
    """Trained networks for one modality's history."""

    def __init__(self, config: Config, names: Sequence[str], networks: Sequence[SetNetwork]) -> None:
        self.config, self.names, self.networks = config, tuple(names), tuple(networks)

    def __call__(
        self, task: TaskCard, cards: Sequence[PriorCard], cold: Standing, revealed: Mapping[int, float] | None = None
    ) -> Prediction:
        """Corrections of single priors; revealed: row -> standing that was measured on the task itself.

        More priors than AT_ONCE are looked at in parts, each of high and low ones, all with what is revealed.
        """
        import torch

        rows = self._rows(task, cards, cold.mean, cold.sd, cold.known)
        results = revealed or {}
        order = np.argsort(-cold.mean, kind="stable") if len(cards) > AT_ONCE else np.arange(len(cards))
        parts = max(-(-len(cards) // AT_ONCE), 1)
        correction, sd = np.zeros(len(cards)), np.zeros(len(cards))
        for part in range(parts):
            own = order[part::parts]
            at = np.concatenate([own, np.setdiff1d(list(results), own).astype(int)])
            means, variances = [], []
            with torch.inference_mode():
                for network in self.networks:
                    network.eval()
                    tokens = network(*batch_of([episode(rows, at, results)], drop=None))
                    mean, log_variance = network.utility(tokens)
                    means.append(mean[0].double().numpy()[: len(own)])
                    variances.append(log_variance[0].double().exp().numpy()[: len(own)])
            stacked = np.stack(means)
            correction[own] = stacked.mean(axis=0)
            sd[own] = np.sqrt(np.mean(variances, axis=0) + stacked.var(axis=0))
        return Prediction(correction, sd)

    def sets(
        self, task: TaskCard, cards: Sequence[PriorCard], cold: Standing, subsets: Sequence[Sequence[int]]
    ) -> tuple[Array, Array, Array]:
        """Utility, its deviation and synergy (over the best member) of subsets of the rows, each (S,)."""
        import torch

        rows = self._rows(task, cards, cold.mean, cold.sd, cold.known)
        mask = np.zeros((1, len(subsets), len(cards)), dtype=bool)
        for i, subset in enumerate(subsets):
            mask[0, i, list(subset)] = True
        found = []
        with torch.inference_mode():
            for network in self.networks:
                network.eval()
                tokens = network(*batch_of([episode(rows, np.arange(len(cards)), {})], drop=None))
                heads = network.subsets(tokens, torch.from_numpy(mask))
                found.append([part[0].double().numpy() for part in heads])
        mean, log_variance, synergy = (np.stack(part) for part in zip(*found, strict=True))
        return mean.mean(axis=0), np.sqrt(np.exp(log_variance).mean(axis=0) + mean.var(axis=0)), synergy.mean(axis=0)

    def _rows(
        self, task: TaskCard, cards: Sequence[PriorCard], mean: Array, sd: Array, known: NDArray[np.int64]
    ) -> Rows:
        at = {name: i + 1 for i, name in enumerate(self.names)}
        ids = np.array([at.get(card.name, 0) for card in cards])
        return Rows(task_words(task), np.stack([prior_words(card) for card in cards]), ids, mean, sd, known)

    def save(self) -> dict[str, Tensor]:
        """Tensors by name, those of member i under `i.`."""
        return {f"{i}.{name}": t for i, net in enumerate(self.networks) for name, t in net.state_dict().items()}

    @classmethod
    def load(cls, config: Config, names: Sequence[str], tensors: Mapping[str, Tensor]) -> Learned:
        networks = []
        for i in range(config.members):
            network = build(config, len(names))
            network.load_state_dict({k.split(".", 1)[1]: v for k, v in tensors.items() if k.startswith(f"{i}.")})
            networks.append(network)
        return cls(config, names, networks)


def build(config: Config, names: int) -> SetNetwork:
    """A network for so many known names (id 0 is a prior nobody has seen)."""
    from composer.rank._set_network import SetNetwork

    network = SetNetwork(config.width, config.layers, config.heads, names, HASHED, FEATURES)
    size = sum(parameter.numel() for parameter in network.parameters())
    if size >= 2_000_000:
        raise ValueError(f"{size:,} parameters; the learned tier has fewer than 2,000,000")
    return network


def train(history: History, tier: Cold, config: Config, *, cancelled: Callable[[], bool] = lambda: False) -> Learned:
    """An ensemble trained on what `tier`, the cold tier of this very history, got wrong task by task."""
    import torch

    from composer.rank._set_network import losses, set_losses

    names = [card.name for card in history.priors]
    networks = []
    places = [np.flatnonzero(np.isfinite(tier.blended[:, t])) for t in range(len(history.tasks))]
    usable = [t for t, at in enumerate(places) if len(at) >= LEAST_PRIORS]
    sets = sets_in(names)
    words = np.stack([prior_words(card) for card in history.priors])
    ids = np.arange(1, len(names) + 1)
    every = [
        Rows(task_words(task), words, ids, tier.surface.left_out[:, t], tier.sd[: len(names)], tier.known[: len(names)])
        for t, task in enumerate(history.tasks)
    ]
    for member in range(config.members):
        rng = np.random.default_rng([config.seed, member])
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed * 1000 + member)
            network = build(config, len(names))
            optimizer = torch.optim.AdamW(network.parameters(), lr=config.lr, weight_decay=0.05)
            schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, config.lr, total_steps=config.steps)
            network.train()
            for _ in range(config.steps):
                if cancelled():
                    raise Cancelled("stopped while training the ranker; nothing was kept")
                tasks, count = drawn_tasks([len(at) for at in places], usable, config.batch, rng)
                episodes, targets, drawn = [], [], []
                for t in tasks:
                    at = rng.choice(places[t], count, replace=False)
                    shown = rng.choice(at, int(rng.integers(min(MOST_REVEALED, count - 2) + 1)), replace=False)
                    results = {int(row): float(tier.blended[row, t]) for row in shown}
                    episodes.append(episode(every[t], at, results))
                    drawn.append((t, at))
                    targets.append(tier.blended[at, t] - every[t].mean[at])
                wanted = torch.from_numpy(np.stack(targets)).float()
                tokens = network(*batch_of(episodes, (rng, config.id_dropout)))
                base = torch.from_numpy(np.stack([one.numbers[:, 0] for one in episodes])).float()
                mask, utility, gained = draw_subsets(drawn, sets, tier, rng)
                loss = losses(network, tokens, wanted, base)
                loss = loss + 0.3 * set_losses(network, tokens, mask, utility, gained)
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
                optimizer.step()
                schedule.step()
        networks.append(network.eval())
    return Learned(config, names, networks)


@dataclass(frozen=True)
class Held:
    """What the tier said of tasks it was not trained on: correction and sd (P, T), and cold means (P, T) beside it."""

    correction: Array
    sd: Array
    cold: Array


def task_folds(history: History, seed: int) -> NDArray[np.int64]:
    """(T,) the fold of each task; those of one source are in one."""
    sources = history.sources()
    count = int(sources.max()) + 1
    return np.asarray((np.random.default_rng(seed).permutation(count) % min(FOLDS, count))[sources])


def cross_fit(
    history: History, config: Config, *, report: Report = lambda done, of, what: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Held:  # fmt: skip
    """Every task predicted by a cold tier and networks that saw neither its fold nor a task of its source."""
    tasks, priors = len(history.tasks), len(history.priors)
    folds = task_folds(history, config.seed)
    correction, sd, means = (np.full((priors, tasks), np.nan) for _ in range(3))
    row = {card.name: i for i, card in enumerate(history.priors)}
    for fold in range(int(folds.max()) + 1):
        report(fold, int(folds.max()) + 1, "training without a part of the tasks")
        out = np.flatnonzero(folds == fold)
        rest = history.without_tasks({history.tasks[t].name for t in out})
        tier = Cold(rest)
        networks = train(rest, tier, config, cancelled=cancelled)
        at = [row[card.name] for card in rest.priors]
        for t in out:
            cold = tier.ask(history.tasks[t])
            found = networks(history.tasks[t], rest.priors, cold)
            correction[at, t], sd[at, t], means[at, t] = found.correction, found.sd, cold.mean
    return Held(correction, sd, means)


def too_little(history: History) -> str:
    """Why a history cannot teach the tier, or ""."""
    enough = np.isfinite(history.scores).sum(axis=0) >= LEAST_PRIORS
    tasks = len(np.unique(history.sources()[enough]))
    if tasks >= LEAST_TASKS:
        return ""
    if tasks < enough.sum():
        return (
            f"off: {enough.sum()} tasks of {tasks} sources are too few to judge it by; it needs {LEAST_TASKS} sources"
        )
    return f"off: {tasks} tasks are too few to judge it by; it needs {LEAST_TASKS} with {LEAST_PRIORS} priors each"


def gate(history: History, held: Held) -> Gate:
    """The verdict, from what was held out; tasks of one source count as one."""
    tasks = len(history.tasks)
    truth = blended(history.scores)
    gains = np.full(tasks, np.nan)
    for t in range(tasks):
        at = np.isfinite(truth[:, t] + held.correction[:, t])
        scores = history.scores[at, t]
        base = held.cold[at, t]
        if len(scores) > 1 and np.ptp(scores) > 0:
            both, alone = (weighted_tau(one, scores) for one in (base + held.correction[at, t], base))
            gains[t] = np.nan_to_num(both) - np.nan_to_num(alone)  # who tells no priors apart has ordered none
    found = np.isfinite(gains)
    sources, judged = history.sources()[found], int(found.sum())
    gains = np.array([gains[found][sources == number].mean() for number in np.unique(sources)])
    on = f"{judged} tasks" + (f" of {len(gains)} sources" if len(gains) < judged else "")
    if len(gains) < LEAST_TASKS:
        why = f"off: {on} are too few to judge it by; it needs {LEAST_TASKS}"
        return Gate(False, 0.0, 0.0, 0.0, judged, why)
    drawn = gains[resamples(len(gains))].mean(axis=1)
    low, high = (float(x) for x in np.percentile(drawn, (5, 95)))
    mean = float(gains.mean())
    span = f"{mean:+.3f} of weighted tau over the cold tier on {on} left out, 90 % [{low:+.3f}, {high:+.3f}]"
    known = np.isfinite(truth)
    reach = conformal(np.abs(truth - held.cold - held.correction)[known] / held.sd[known])
    return Gate(low > 0, mean, low, high, judged, f"{'on' if low > 0 else 'off'}: {span}", reach)


def retrain(
    history: History, folder: Path | str, report: Report, cancelled: Callable[[], bool], *, config: Config | None = None
) -> dict[str, Gate]:
    """Judges and trains the tier anew for each modality; writes `ranker.json` and `model.safetensors` into `folder`.

    Weights are written where the gate is on; the verdict always. The same history gives the same bytes. Raises
    Cancelled, and then the folder is as it was.
    """
    from safetensors.torch import save

    chosen = config or Config()
    gates: dict[str, Gate] = {}
    names: dict[str, list[str]] = {}
    tensors: dict[str, Tensor] = {}
    modalities = sorted({task.modality for task in history.tasks})
    for i, modality in enumerate(modalities):
        part = history.of_modality(modality)
        report(i, len(modalities), f"the learned tier for {modality or 'tasks without a modality'}")
        if why := too_little(part):
            gates[modality] = Gate(False, 0.0, 0.0, 0.0, len(part.tasks), why)
            continue
        gates[modality] = gate(part, cross_fit(part, chosen, cancelled=cancelled))
        if gates[modality].enabled:
            learned = train(part, Cold(part), chosen, cancelled=cancelled)
            names[modality] = list(learned.names)
            tensors |= {f"{modality or '-'}/{name}": tensor for name, tensor in learned.save().items()}
    if cancelled():
        raise Cancelled("stopped while training the ranker; nothing was kept")
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    document = {
        "ranker": 1,
        "config": asdict(chosen),
        "gates": {modality: asdict(one) for modality, one in gates.items()},
        "names": names,
    }
    (target / CONFIG_FILE).write_text(json.dumps(document, indent=1, sort_keys=True) + "\n")
    (target / WEIGHTS_FILE).write_bytes(save(dict(sorted(tensors.items()))))
    report(len(modalities), len(modalities), "done")
    return gates


@dataclass(frozen=True)
class Ranker:
    """The learned tier as it was saved: a verdict a modality, and networks where it is on."""

    gates: Mapping[str, Gate]
    learned: Mapping[str, Learned]

    @classmethod
    def load(cls, folder: Path | str) -> Ranker:
        """Raises BadWeights where the two files are not what `retrain` writes."""
        try:
            verdict, weights = (Path(folder) / CONFIG_FILE).read_bytes(), (Path(folder) / WEIGHTS_FILE).read_bytes()
        except OSError as error:
            raise BadWeights(f"{folder} holds no ranker that can be read: {error}. Train it anew.") from error
        return cls.read(verdict, weights)

    @classmethod
    def read(cls, verdict: bytes, weights: bytes) -> Ranker:
        """From the bytes of the two files; torch is imported only where the tier is on for something."""
        try:
            document: dict[str, Any] = json.loads(verdict)
            config = Config(**document["config"])
            gates = {modality: Gate(**one) for modality, one in document["gates"].items()}
            learned = {}
            if document["names"]:
                from safetensors.torch import load

                tensors = load(weights)
                for modality, names in document["names"].items():
                    prefix = f"{modality or '-'}/"
                    mine = {name[len(prefix) :]: t for name, t in tensors.items() if name.startswith(prefix)}
                    learned[modality] = Learned.load(config, names, mine)
        except Exception as error:
            raise BadWeights(f"this is no ranker that can be read: {error}. Train it anew.") from error
        return cls(gates, learned)

    def adjust(self, task: TaskCard, cards: Sequence[PriorCard], cold: Standing) -> tuple[Standing, str]:
        """The standing with the correction as the term `learned`, and a sentence on whether the tier is on."""
        verdict = self.gates.get(task.modality)
        if verdict is None:
            return cold, f"learned tier off: no history of modality {task.modality!r}"
        learned = self.learned.get(task.modality)
        if learned is None or not verdict.enabled:
            return cold, f"learned tier {verdict.why}"
        found = learned(task, cards, cold)
        mean = cold.mean + found.correction
        reach = verdict.reach * found.sd
        terms = {**cold.terms, "learned": found.correction}
        changed = replace(cold, mean=mean, sd=found.sd, terms=terms, low=mean - reach, high=mean + reach)
        return changed, f"learned tier {verdict.why}"
