"""Gradient descent for what has no closed form: projections, gates, attention, pooling that learns, networks, deltas.

Everything trains together, beside a linear head that starts as the ridge solution and is fitted anew afterwards. The
number of steps is chosen by cross-validation over the same ridge head, with 0 among the choices: a composition is never
trained away from a start that was better. A fold that has got worse for a while is not trained on.

A step sees all rows where values are of one size, else a batch. A batch that needs more memory than there may be is
taken in pieces whose gradients add up to that of the whole.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import count as counting
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, linear

from composer._lower_ops import Gate, Sum
from composer._lower_project import ALIGNED, Project
from composer.checkpoints import Kept, keep
from composer.choices import Cancelled, Report, never, silent, within
from composer.contrast import quick_products
from composer.dropout import RATE, Losable, with_copies
from composer.errors import Cancelled as Stopped
from composer.examples import Examples, Rows
from composer.rank.head import ridge
from composer.rank.probe import CUT, Array, Probe, Targets, hits_of, judge
from composer.rank.rows import folds
from composer.schedule import Role, Schedule

PATIENCE = 2
"""A fold is trained no further when its held-out loss was best so many comparisons ago."""

WEIGHT_DECAY = 0.05
SMOOTHING = 0.05

SHARPNESS = 4.0
"""What ridge scores, which lie near 0 and 1, are multiplied by to be read as logits."""

SAVE_SECONDS = 20.0
"""Between two checkpoints. When they are made changes no bits of what is learned."""


@dataclass(frozen=True)
class Learner:
    """A module that is trained, and the role that says how fast."""

    module: nn.Module
    role: Role

    @property
    def state(self) -> dict[str, Tensor]:
        """What training may change, by name; it shares memory with the module."""
        saved = getattr(self.module, "saved", None)
        return {name: x for name, x in self.module.state_dict().items() if saved is None or name in saved}

    @property
    def parameters(self) -> list[nn.Parameter]:
        """What has gradients while training."""
        state = self.state
        return [parameter for name, parameter in self.module.named_parameters() if name in state]


def descend(
    body: nn.Module,
    learners: Sequence[Learner],
    examples: Examples,
    targets: Targets,
    schedule: Schedule,
    *,
    seed: int = 0,
    losable: Losable | None = None,
    checkpoint: Path | None = None,
    report: Report = silent,
    cancelled: Cancelled = never,
) -> tuple[int, Probe]:
    """Trains `learners` inside `body` (values -> features (n, D), one or more) in place; rows are judged whole and, of
    what is `losable`, without each column.

    The number of steps that was best, and what rows say that were held out from so many. `checkpoint` is a file that a
    killed or cancelled run left, and from which this one goes on to the same bits; it is the caller's to remove.
    """
    align(body, [one.module for one in learners], examples)
    start = [{name: x.clone() for name, x in one.state.items()} for one in learners]
    numbers = folds(targets, schedule.folds, seed)
    count = int(numbers.max()) + 1
    marks = schedule.marks
    ways = 1 if losable is None else 1 + len(losable.columns)
    scores = np.full((len(marks), ways, *targets.matrix.shape), np.nan)  # of held-out rows, after so many steps
    kept = Kept.read(checkpoint)
    if kept:
        scores = kept.facts["scores"].numpy()
    for k in range(int(kept.facts["fold"]) if kept else 0, count + 1):
        train, held = np.flatnonzero(numbers != k), np.flatnonzero(numbers == k)  # none is held out at the end
        _put(learners, start)
        run = _Run(body, learners, examples, targets, train, schedule, seed=seed + k)
        if kept:
            run.restore(kept)
            kept = None
        told = within(report, k + 1, count + 1)
        facts = {"scores": torch.from_numpy(scores), "fold": torch.tensor([k])}
        ended = len(marks) if k < count else _best(scores, targets) + 1
        try:
            for i, mark in enumerate(marks[:ended]):
                run.until(mark, checkpoint, facts, told, cancelled)
                if np.isnan(scores[i, :, held]).any():
                    scores[i, :, held] = _held_out(body, examples, targets, train, held, losable).swapaxes(0, 1)
                if k < count and _got_worse(scores[: i + 1, :, held], targets.take(held)):
                    break
        finally:
            run.close()
    best = _best(scores, targets)
    whole = scores[best, 0]
    sharpness, losses = judge(whole, targets)
    return marks[best], Probe(targets, run.penalty, sharpness, whole, losses, hits_of(whole, losses, targets))


@torch.no_grad()
def _put(learners: Sequence[Learner], states: Sequence[Mapping[str, Tensor]]) -> None:
    for one, state in zip(learners, states, strict=True):
        for name, x in one.state.items():
            x.copy_(state[name])


def _got_worse(scores: Array, targets: Targets) -> bool:
    """Whether the last comparisons (m, W, n, C) did not better the best before them."""
    losses = [targets.mean_of(_expected(one, targets)) for one in scores]
    return len(losses) - 1 - int(np.argmin(losses)) >= PATIENCE


def _best(scores: Array, targets: Targets) -> int:
    """The comparison with the least loss, of those that every fold came to."""
    whole = [one for one in scores if not np.isnan(one).any()]
    return int(np.argmin([targets.mean_of(_expected(one, targets)) for one in whole]))


@torch.no_grad()
def align(body: nn.Module, learners: Sequence[nn.Module], examples: Examples) -> None:
    """Starts projections from the rows: what is mixed with another value is aligned with it, what is not keeps most of
    its variance."""
    projections = [one for one in learners if isinstance(one, Project) and one.init in ALIGNED]
    if not projections:
        return
    read: dict[nn.Module, list[Tensor]] = {one: [] for one in projections}
    mixed: dict[nn.Module, list[Tensor]] = {one: [] for one in projections}

    def keep_input(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
        read[module].append(args[0])
        outputs[module] = output

    def compare(module: nn.Module, args: tuple[Tensor, ...]) -> None:
        for one in projections:
            made = outputs.get(one)
            if made is not None and any(x is made for x in args[1:]) and args[0] is not made:
                mixed[one].append(args[0])

    outputs: dict[nn.Module, Tensor] = {}
    hooks = [one.register_forward_hook(keep_input) for one in projections]
    mixers = [one for one in body.modules() if isinstance(one, Gate | Sum)]
    hooks += [one.register_forward_pre_hook(compare) for one in mixers]
    try:
        examples.through(body)
    finally:
        for hook in hooks:
            hook.remove()
    for one in projections:
        target = [_rows(x, one.dim) for x in mixed[one]]
        one.start(torch.cat([_rows(x, one.dim) for x in read[one]]), torch.cat(target) if target else None)


def _rows(x: Tensor, dim: int) -> Tensor:
    """Every vector along `dim` as a row."""
    return x.movedim(dim, -1).flatten(0, -2)


class _Run:
    """One training, of some rows: the state between its steps.

    parameters  of the learners, and the head's weight and bias;  penalty  of the ridge head it began with
    """

    def __init__(
        self,
        body: nn.Module,
        learners: Sequence[Learner],
        examples: Examples,
        targets: Targets,
        rows: Rows,
        schedule: Schedule,
        *,
        seed: int,
    ) -> None:
        self._body, self._examples, self._targets, self._rows = body, examples, targets, rows
        self._schedule, self._seed = schedule, seed
        start = ridge(_features(body, examples, rows), targets.take(rows))
        self.penalty, self.step, self._positions, self._saved = start.probe.penalty, 0, 0, time.monotonic()
        self._head = [nn.Parameter(torch.from_numpy(part).float()) for part in (start.weight, start.bias)]
        by_role = [(one.parameters, one.role) for one in learners] + [(self._head, "head")]
        groups = [{"params": list(some), "lr": schedule.rate(role)} for some, role in by_role if some]
        self.parameters = [parameter for some, _ in by_role for parameter in some]
        for parameter in self.parameters:
            parameter.requires_grad_(True)
        self.optimizer = torch.optim.AdamW(groups, weight_decay=WEIGHT_DECAY, fused=True)

    def restore(self, kept: Kept) -> None:
        """Goes on from what was kept."""
        kept.restore(self.parameters, self.optimizer)
        self.step = int(kept.facts["step"])

    def close(self) -> None:
        """Nothing has gradients any more."""
        for parameter in self.parameters:
            parameter.requires_grad_(False)
            parameter.grad = None

    def until(
        self, mark: int, checkpoint: Path | None, facts: Mapping[str, Tensor], report: Report, cancelled: Cancelled
    ) -> None:
        """Steps up to number `mark`; the checkpoint, which holds `facts` too, is written now and then. Raises
        Cancelled, when it was written."""

        def save() -> None:
            keep(checkpoint, self.parameters, self.optimizer, {**facts, "step": torch.tensor([self.step])})
            self._saved = time.monotonic()

        while self.step < mark:
            if cancelled():
                save()
                raise Stopped("stopped while training. The same call goes on from here.")
            if time.monotonic() - self._saved > SAVE_SECONDS:
                save()
            loss = self._take_step()
            self.step += 1
            report(self.step, self._schedule.marks[-1], "training", loss=round(loss, 4))

    def _take_step(self) -> float:
        if not self._positions:
            self._positions = self._schedule.memory // _bytes_a_place(self._body, self._examples)
        self.optimizer.zero_grad()
        loss = self.gradients(self._batch(), self._positions)
        self.optimizer.step()
        return loss

    def gradients(self, batch: Rows, positions: int) -> float:
        """Adds the gradients of the mean loss of `batch`, in pieces of so many places; the loss."""
        weights = self._targets.weights
        each = np.ones(len(self._targets)) if weights is None else weights
        whole = float(each[batch].sum())
        total = 0.0
        for piece in self._examples.pieces(batch, positions):
            with quick_products(self._body) if self._schedule.bf16 else nullcontext():
                made = self._body(*self._examples.take(piece))
            features = torch.cat([x.float() for x in made], -1)
            losses = self._loss(linear(features, *self._head), piece)
            loss = (losses * torch.from_numpy(each[piece]).float()).sum() / whole
            loss.backward()  # type: ignore[no-untyped-call]
            total += float(loss.detach())
        return total

    def _loss(self, scores: Tensor, rows: Rows) -> Tensor:
        """(n,) of each row."""
        wanted = torch.from_numpy(self._targets.matrix[rows]).float()
        if self._targets.is_number:
            return (scores - wanted).square().mean(1)
        if self._targets.sets:
            return binary_cross_entropy_with_logits((scores - CUT) * SHARPNESS, wanted, reduction="none").mean(1)
        return cross_entropy(scores * SHARPNESS, wanted.argmax(1), label_smoothing=SMOOTHING, reduction="none")

    def _batch(self) -> Rows:
        """The rows of the next step: all, or the next part of an order that every epoch draws anew."""
        size = self._schedule.batch or len(self._rows)
        if size >= len(self._rows):
            return self._rows
        a_round = -(-len(self._rows) // size)
        epoch, part = divmod(self.step, a_round)
        order = np.random.default_rng([self._seed, epoch]).permutation(self._rows)
        return np.sort(np.array_split(order, a_round)[part])


def _bytes_a_place(body: nn.Module, examples: Examples) -> int:
    """What autograd remembers for one place of the longest row, in bytes, weights not counted."""
    row = np.array([examples.longest])
    held = {x.untyped_storage().data_ptr() for x in (*body.parameters(), *body.buffers())}
    sizes: dict[int, int] = {}
    numbers = counting()

    def count(x: Tensor) -> Tensor:
        storage = x.untyped_storage()
        if storage.data_ptr() not in held:
            sizes[storage.data_ptr() or next(numbers)] = storage.nbytes()
        return x

    with torch.autograd.graph.saved_tensors_hooks(count, lambda x: x):
        made = body(*examples.take(row))
    del made
    return max(sum(sizes.values()) // int(examples.lengths[row[0]]), 1)


def _features(body: nn.Module, examples: Examples, rows: Rows) -> Array:
    """(n, D) what the heads read, side by side."""
    return np.asarray(torch.cat([x.float() for x in examples.through(body, rows)], -1).numpy())


def _held_out(
    body: nn.Module, examples: Examples, targets: Targets, train: Rows, held: Rows, losable: Losable | None
) -> Array:
    """(W, m, C) the scores of held-out rows, whole and without each column, by a head that was fitted on the others."""
    head, told = ridge(_features(body, examples, train), targets.take(train)), [_features(body, examples, held)]
    if losable is not None:
        lost = []
        for at in range(len(losable.columns)):
            with losable.lost(at):
                lost.append(_features(body, examples, train))
                told.append(_features(body, examples, held))
        head = with_copies(head, _features(body, examples, train), lost, targets.take(train), mixed=True)
    return np.stack([features @ head.weight.T + head.bias for features in told])


def _expected(scores: Array, targets: Targets) -> Array:
    """(n,) of each row, of scores (W, n, C) whole and without each column."""
    whole, *lost = (_losses(one, targets) for one in scores)
    return (1.0 - RATE) * whole + RATE * np.mean(lost, axis=0) if lost else whole


def _losses(scores: Array, targets: Targets) -> Array:
    """(n,) of each row."""
    right = targets.matrix
    if targets.is_number:
        return np.asarray(np.square(scores - right).mean(1))
    if targets.sets:
        signed = (scores - CUT) * SHARPNESS * np.where(right > CUT, -1.0, 1.0)
        return np.asarray(np.logaddexp(0.0, signed).sum(1))
    logits = scores * SHARPNESS
    logits = logits - logits.max(1, keepdims=True)
    return np.asarray(np.log(np.exp(logits).sum(1)) - (logits * right).sum(1))
