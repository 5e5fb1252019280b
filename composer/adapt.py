"""Whether to adapt a network of a choice to the labelled rows, and how much of the answer it then gives.

The evidence is cross-validated: for each fold a delta is trained on the other rows alone, and its rows are predicted by
the frozen set, by the adapted network, and by mixtures of their scores. The mixture is averaged over that evidence, as
weights of sets are (composer.rank.sets), with staying frozen among what is compared; what does no better than its best
part on the labelled rows is not used. Test rows are never seen.

The mean of the folds' deltas is the final one: every label has taught one of them. Measured on 300 test rows of one
draw each of tweets, film reviews, messages and topics, the adapted network alone: 80.9 % right; 80.4 % after a training
of its own on all rows, and 80.4 % after six more steps from the mean.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from composer.assemble import NARROW, Offer, tap_width
from composer.blocks import Blocks
from composer.cache import FeatureCache
from composer.choices import Cancelled, Candidate, Choice, Report, never, silent, within
from composer.contrast import Recipe, Subject, alike, tune
from composer.delta import Kind, upper_half
from composer.errors import BadGraph
from composer.rank.head import ridge, ridge_at
from composer.rank.probe import TEMPER, Array, Probe, Targets, chance, hits_of, judge
from composer.rank.rows import folds, sample
from priors.errors import BadTask
from priors.functions.absent import is_missing
from priors.library import Library
from priors.load import load
from priors.registry import find_function

if TYPE_CHECKING:
    from priors.tasks import Task

Mode = Literal["auto", "none", "lora", "full"]

RECIPES: Mapping[Kind, Recipe] = {
    "lora": Recipe(kind="lora", lr=2e-3),
    "full": Recipe(kind="full", lr=2e-4),
}

AUTO: Kind = "full"
"""What `auto` holds against staying frozen. Measured on three draws of a task that no table shows: both cost
the same within a sixth, and full was 1 to 2 points better; what lora saves is a thirtieth of the size."""

FOLDS = 2
"""Each fold is a training of its own. Two cost as much as one on all rows, as each sees half of them."""

MAX_ROWS = 1_000
"""Rows a delta is trained on at most; chosen at random. The head is fitted on all."""

PARTS: Array = np.array([0.0, 0.25, 0.5, 0.75, 1.0])
"""Parts of the adapted network in the score that are compared; 0 is the frozen set."""

WORTH = 0.01
"""`auto` stays frozen unless the cross-validated loss falls by this part of what guessing loses: less is not worth a
delta, nor can a few rows tell it from none."""

LEAST_PART = 0.15
"""`auto` stays frozen where the network has a smaller part in the set: the others are far better on these rows, and an
adapted one would have to overtake them. Nor does `auto` give the adapted network more than the part its frozen self
has. Measured on a draw of film reviews (a part of .06) and one of tweets (.36), 300 test rows: 0.6 and 0.3 points above
the frozen set so; 0.4 and 2.0 below it by the evidence of 32 rows alone."""

NOISE = 2.0
"""`auto` stays frozen unless that loss falls by as many standard errors of its paired difference. The halves that it is
judged on favour adapting: the fewer the rows, the more it helps. Measured with 300 test rows on a draw each of messages
and topics, where the loss fell by 1.7 and 1.8 of them: no gain, and 0.4 points lost."""

CLEAR = 2.0
"""Standard errors from which the report calls it supported."""

PENALTY = 1.0
"""Ridge penalty of the adapted block. Its rows were trained on with their labels, so leaving one out says nothing: the
middle of what is usual without adaptation (composer.rank.probe)."""

FEWEST_STEPS = 8
"""A budget that allows no more steps than this allows no adaptation: the warm-up alone takes half of them."""

SPEND = 0.8
"""Part of the budget that is planned for: a step may take longer on a busier machine."""

STALE_SECONDS = 7 * 24 * 3600


@dataclass(frozen=True)
class Adapted:
    """A network to adapt.

    part   of its scores in the answer; the rest is the frozen set's
    probe  the cross-validated scores of the mixture, for the interval and the temperature
    delta  its values: the mean of the folds'
    """

    candidate: Candidate
    recipe: Recipe
    part: float
    probe: Probe
    delta: Mapping[str, torch.Tensor] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class Verdict:
    """`adapted` is None where the set stays frozen; `facts` say why and with which scores, as JSON values."""

    adapted: Adapted | None
    facts: Mapping[str, Any]


class Budget:
    """Wall seconds for everything that adaptation does, from now on; None is no limit."""

    def __init__(self, seconds: float | None) -> None:
        self.seconds, self._started = seconds, time.monotonic()

    @property
    def left(self) -> float:
        return float("inf") if self.seconds is None else self.seconds - (time.monotonic() - self._started)

    @property
    def spent(self) -> bool:
        return self.left <= 0


class Workplace:
    """The folder that holds the checkpoints of one adaptation, named by everything that decides its bits."""

    def __init__(self, cache: FeatureCache, **decides: Any) -> None:
        root = cache.root / "adapting"
        decides |= {"recipes": {kind: asdict(recipe) for kind, recipe in RECIPES.items()}}
        key = hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:32]
        self.folder = root / key
        for old in root.glob("*"):
            if old != self.folder and time.time() - old.stat().st_mtime > STALE_SECONDS:
                shutil.rmtree(old, ignore_errors=True)

    def file(self, name: str) -> Path:
        return self.folder / f"{name}.safetensors"

    def plan(self, make: Callable[[], int]) -> int:
        """The number of steps that was planned before the run was cut off, or `make()` now: timing must not decide
        twice."""
        path = self.folder / "plan.json"
        if path.is_file():
            return int(json.loads(path.read_text("utf-8"))["steps"])
        steps = make()
        self.folder.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(".plan.part")
        fresh.write_text(json.dumps({"steps": steps}), encoding="utf-8")
        fresh.replace(path)
        return steps

    def clear(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


def decide(
    task: Task,
    choice: Choice,
    offered: Offer,
    library: Library,
    cache: FeatureCache,
    targets: Targets,
    *,
    mode: Mode,
    budget: Budget,
    place: Workplace,
    seed: int = 0,
    report: Report = silent,
    cancelled: Cancelled = never,
) -> Verdict:
    """What cross-validation on the labelled rows of `task` says about adapting `choice`'s leading network.

    A mode of "lora" or "full" leaves out staying frozen. Raises BadTask for such a mode where nothing can be adapted;
    Cancelled when stopped.
    """
    kind: Kind = AUTO if mode == "auto" else "full" if mode == "full" else "lora"
    candidate = leading_network(choice, offered)
    if candidate is None:
        what = "what is recommended, no prior," if choice.kind == "none" else choice.name
        return _impossible(mode, f"{what} has no network that can be adapted")
    share = sum(member.weight for member in choice.members if member.candidate.ref == candidate.ref)
    if mode == "auto" and share < LEAST_PART:
        return _frozen(f"{candidate.ref.name} has only {share:.0%} of the set")
    rows = sample(targets, MAX_ROWS)
    some, wanted = task.subset(rows), targets.take(rows)
    blocks = Blocks(task, offered, library, cache, candidates=[member.candidate for member in choice.members])
    weights = {member.candidate: member.weight for member in choice.members}
    if mode == "auto":
        alone = ridge(_joined(blocks.fitted(rows, rows), weights), wanted).probe
        if alone.loss < _least(wanted):
            return _frozen(f"the frozen set leaves nothing to win: its leave-one-out loss is {alone.loss:.3f}")
    values = _values(some, candidate)
    there = np.array([not is_missing(value) for value in values])
    subject = Subject(load(library.directory(candidate.ref)), candidate.tap, values)
    try:
        recipe = replace(RECIPES[kind], targets=tuple(upper_half(subject.network)))
        recipe.make(subject.network, seed)
    except BadGraph as error:
        return _impossible(mode, str(error))
    together = alike(wanted)
    steps = place.plan(lambda: _steps(subject, together, recipe, budget, seed))
    if steps < FEWEST_STEPS:
        return _frozen(f"{budget.seconds:g} seconds are not enough for {FEWEST_STEPS} steps and their comparison")
    recipe = replace(recipe, steps=steps)
    numbers = folds(wanted, FOLDS, seed)
    count = int(numbers.max()) + 1
    frozen, adapted = np.zeros_like(wanted.matrix), np.zeros_like(wanted.matrix)
    mean: dict[str, torch.Tensor] = {}
    for k in range(count):
        if budget.spent:
            return _frozen(f"{budget.seconds:g} seconds were over before the comparison was")
        train, held = np.flatnonzero(numbers != k), np.flatnonzero(numbers == k)
        features = _joined(blocks.fitted(rows[train], rows), weights)
        known = wanted.take(train)
        head = ridge(features[train], known)
        frozen[held] = features[held] @ head.weight.T + head.bias
        delta = recipe.make(subject.network, seed)
        taught = train[there[train]]
        tune(
            subject,
            delta,
            taught,
            together[taught][:, taught],
            recipe,
            seed=seed,
            checkpoint=place.file(f"fold-{k}"),
            report=within(report, k + 1, count, "comparing, "),
            cancelled=cancelled,
        )
        block = normalized(subject.features(np.arange(len(rows)), delta), taught)
        block[~there] = 0.0  # as a block with gaps does
        weight, bias = ridge_at(block[train], known, PENALTY)
        adapted[held] = block[held] @ weight.T + bias
        for name, value in delta.state_dict().items():
            mean[name] = mean.get(name, torch.zeros_like(value)) + value / count
        seen = np.flatnonzero(numbers <= k)
        if mode == "auto" and k + 1 < count and not _hopeful(frozen[seen], adapted[seen], wanted.take(seen), share):
            return _frozen(f"no mixture with {candidate.name} lowers the loss on the first {len(seen)} rows left out")
    verdict = _verdict(candidate, recipe, frozen, adapted, wanted, mode, share)
    if verdict.adapted is None:
        return verdict
    return replace(verdict, adapted=replace(verdict.adapted, delta=mean))


def leading_network(choice: Choice, offered: Offer) -> Candidate | None:
    """The network with the largest part in the choice, at its default tap, of those that read text, images or audio.

    Taps of a few features, such as a classifier's directions, have no room to pull rows together in.
    """
    parts: dict[Candidate, float] = {}
    for member in choice.members:
        manifest = offered.manifests[member.candidate]
        wide = tap_width(manifest, manifest.default_tap) > NARROW
        if manifest.kind == "network" and manifest.modality in ("text", "image", "audio") and wide:
            whole = replace(member.candidate, tap=manifest.default_tap)
            parts[whole] = parts.get(whole, 0.0) + member.weight
    return max(parts, key=lambda one: parts[one], default=None)


def normalized(features: np.ndarray, train: np.ndarray) -> Array:
    """The block (n, D) as the composition will normalize it, fitted on the rows `train`."""
    mode = "columns" if features.shape[1] <= NARROW else "rows"
    function: Any = find_function("block_norm")({"mode": mode, "weight": 1.0})
    module = function.module(f"vec.feat[B,D:{features.shape[1]}]:f32")
    x = torch.from_numpy(features)
    module.load_state_dict(function.fit(x[torch.from_numpy(train)]))
    with torch.inference_mode():
        return np.asarray(module(x).numpy(), dtype=np.float64)


def _joined(blocks: Mapping[Candidate, NDArray[np.float32]], weights: Mapping[Candidate, float]) -> Array:
    """The frozen set's features (n, D): its blocks side by side, each as long as its weight says."""
    return np.hstack([weights[one] ** 0.5 * block for one, block in blocks.items()]).astype(np.float64)


def _least(targets: Targets) -> float:
    """The loss that is too small a gain to adapt for."""
    return WORTH * float(chance(targets).mean())


def _hopeful(frozen: Array, adapted: Array, targets: Targets, share: float) -> bool:
    """Whether any mixture has a lower loss than the frozen set, on the rows so far."""
    losses = [_mixed(frozen, adapted, part, targets).loss for part in share * PARTS]
    return min(losses[1:]) < losses[0]


def _values(task: Task, candidate: Candidate) -> Sequence[Any]:
    return list(task.values(str(candidate.column)))


def _steps(subject: Subject, together: torch.Tensor, recipe: Recipe, budget: Budget, seed: int) -> int:
    """As many steps as fit in the budget, at most the recipe's; 0 where one alone would not."""
    if budget.seconds is None:
        return recipe.steps
    rows = np.arange(len(subject))
    one = replace(recipe, steps=2)
    started = time.monotonic()
    tune(subject, recipe.make(subject.network, seed), rows, together, one, seed=seed)
    step = (time.monotonic() - started) / 2
    full = step * FOLDS * (1 - 1 / FOLDS)  # a step in every fold
    return min(recipe.steps, int(SPEND * budget.left / full))


def _verdict(
    candidate: Candidate,
    recipe: Recipe,
    frozen: Array,
    adapted: Array,
    targets: Targets,
    mode: Mode,
    share: float = 1.0,
) -> Verdict:
    parts = PARTS * share if mode == "auto" else PARTS
    probes = [_mixed(frozen, adapted, part, targets) for part in parts]
    losses, nats = np.array([one.loss for one in probes]), np.array([one.nats for one in probes])
    allowed = np.ones(len(parts), dtype=bool) if mode == "auto" else parts > 0
    evidence = np.where(allowed, np.exp(-len(targets) * (nats - nats[allowed].min()) / TEMPER), 0.0)
    part = float((evidence * parts).sum() / evidence.sum())
    chosen = _mixed(frozen, adapted, part, targets)
    if chosen.loss > losses[allowed].min():  # the average is no better than its best part: take that
        part = float(parts[allowed][losses[allowed].argmin()])
        chosen = _mixed(frozen, adapted, part, targets)
    scores = {
        "frozen": _shown(probes[0]),
        "adapted": _shown(_mixed(frozen, adapted, 1.0, targets)),
        "chosen": _shown(chosen),
    }
    prior = candidate.name
    gap = probes[0].losses - chosen.losses
    gain, error = targets.mean_and_error(gap)
    if mode == "auto" and gain < max(_least(targets), NOISE * error):
        losses_shown = f"{probes[0].loss:.3f} frozen, {chosen.loss:.3f} with it, give or take {error:.3f}"
        why = f"adapting {prior} does not lower the cross-validated loss enough to be worth it ({losses_shown})"
        return Verdict(None, {"chosen": "frozen", "why": why, "scores": {**scores, "chosen": scores["frozen"]}})
    clear = gain > CLEAR * error
    how = "clearly lowers" if clear else "lowers" if gain > 0 else "does not lower"
    why = (
        f"adapting {prior} {how} the cross-validated loss ({probes[0].loss:.3f} frozen, {chosen.loss:.3f} with it); "
        f"it gives {part:.0%} of the score"
    )
    facts = {
        "chosen": recipe.kind,
        "prior": str(candidate.ref),
        "tap": candidate.tap,
        "part": round(part, 4),
        "recipe": {
            **{key: value for key, value in asdict(recipe).items() if value is not None},
            "targets": [*recipe.targets],
        },
        "why": why,
        "supported": bool(clear),
        "scores": scores,
    }
    return Verdict(Adapted(candidate, recipe, part, chosen), facts)


def _mixed(frozen: Array, adapted: Array, part: float, targets: Targets) -> Probe:
    scores = (1 - part) * frozen + part * adapted
    sharpness, losses = judge(scores, targets)
    return Probe(targets, PENALTY, sharpness, scores, losses, hits_of(scores, losses, targets))


def _shown(found: Probe) -> dict[str, float]:
    low, high = found.interval
    return {
        "score": round(found.score, 4),
        "low": round(low, 4),
        "high": round(high, 4),
        "loss": round(found.loss, 4),
    }


def _impossible(mode: Mode, why: str) -> Verdict:
    if mode != "auto":
        raise BadTask(f"adapt={mode}: {why}. Use adapt='auto' or 'none'.")
    return _frozen(why)


def _frozen(why: str) -> Verdict:
    return Verdict(None, {"chosen": "frozen", "why": why})
