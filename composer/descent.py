"""Gradient descent for the parts of a composition that have no closed form: projections, gates, mixing weights.

Full batches on cached values. The number of steps is chosen by cross-validation over the same ridge head that is fitted
afterwards, with 0 among the choices: a composition is never trained away from a start that was better.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, linear, mse_loss

from composer._lower_ops import Gate, Sum
from composer._lower_project import ALIGNED, Project
from composer.choices import Cancelled, Report, never, silent
from composer.errors import Cancelled as Stopped
from composer.rank.head import ridge
from composer.rank.probe import CUT, Targets
from composer.rank.rows import folds

CHECKPOINTS = (0, 10, 25, 50, 100, 200)
"""Numbers of steps compared."""

FOLDS = 4
LR = 2e-3
WEIGHT_DECAY = 0.05
SMOOTHING = 0.05

SHARPNESS = 4.0
"""What ridge scores, which lie near 0 and 1, are multiplied by to be read as logits."""


def descend(
    body: nn.Module,
    learners: Sequence[nn.Module],
    values: tuple[Tensor, ...],
    targets: Targets,
    *,
    seed: int = 0,
    report: Report = silent,
    cancelled: Cancelled = never,
) -> int:
    """Trains `learners` inside `body` (values -> (features (n, D),)) in place; the number of steps that were best."""
    align(body, learners, values)
    start = [{name: value.clone() for name, value in one.state_dict().items()} for one in learners]
    numbers = folds(targets, FOLDS, seed)
    count = int(numbers.max()) + 1
    legs = [after - before for before, after in pairwise((0, *CHECKPOINTS))]
    losses = np.zeros(len(CHECKPOINTS))
    for k in range(count):
        train, held = np.flatnonzero(numbers != k), np.flatnonzero(numbers == k)
        _restore(learners, start)
        for i, more in enumerate(legs):
            _steps(body, learners, values, targets, train, more, cancelled=cancelled)
            losses[i] += _held_out(body, values, targets, train, held) * len(held)
            report(k * len(legs) + i + 1, count * len(legs), "choosing the number of steps")
    best = int(losses.argmin())
    _restore(learners, start)
    everything = np.arange(len(targets))
    for more in legs[: best + 1]:
        _steps(body, learners, values, targets, everything, more, cancelled=cancelled)
    return CHECKPOINTS[best]


@torch.no_grad()
def align(body: nn.Module, learners: Sequence[nn.Module], values: tuple[Tensor, ...]) -> None:
    """Starts projections from the rows: what is mixed with another value is aligned with it, what is not keeps most of
    its variance."""
    projections = [one for one in learners if isinstance(one, Project) and one.init in ALIGNED]
    if not projections:
        return
    read: dict[nn.Module, Tensor] = {}
    mixed: dict[nn.Module, Tensor] = {}

    def keep(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
        read[module] = args[0]

    def compare(module: nn.Module, args: tuple[Tensor, ...]) -> None:
        for one in projections:
            made = outputs.get(one)
            if made is not None and any(x is made for x in args[1:]) and args[0] is not made:
                mixed[one] = args[0]

    outputs: dict[nn.Module, Tensor] = {}
    hooks = [one.register_forward_hook(keep) for one in projections]
    hooks += [one.register_forward_hook(lambda m, _, made: outputs.__setitem__(m, made)) for one in projections]
    mixers = [one for one in body.modules() if isinstance(one, Gate | Sum)]
    hooks += [one.register_forward_pre_hook(compare) for one in mixers]
    try:
        body(*values)
    finally:
        for hook in hooks:
            hook.remove()
    for one in projections:
        target = mixed.get(one)
        one.start(_rows(read[one], one.dim), None if target is None else _rows(target, one.dim))


def _rows(x: Tensor, dim: int) -> Tensor:
    """Every vector along `dim` as a row."""
    return x.movedim(dim, -1).flatten(0, -2)


def _steps(
    body: nn.Module,
    learners: Sequence[nn.Module],
    values: tuple[Tensor, ...],
    targets: Targets,
    rows: np.ndarray,
    count: int,
    *,
    cancelled: Cancelled,
) -> None:
    """`count` steps of AdamW on the rows `rows`, beside a head that starts as their ridge solution."""
    if count == 0:
        return
    inputs = tuple(value[rows] for value in values)
    wanted = torch.from_numpy(targets.matrix[rows]).float()
    with torch.no_grad():
        start = ridge(body(*inputs)[0].numpy(), targets.take(rows))
        head = [torch.from_numpy(part).float() for part in (start.weight, start.bias)]
    parameters = [*(p for one in learners for p in one.parameters()), *head]
    for parameter in parameters:
        parameter.requires_grad_(True)
    optimizer = torch.optim.AdamW(parameters, lr=LR, weight_decay=WEIGHT_DECAY)
    for _ in range(count):
        if cancelled():
            raise Stopped("stopped while training. Features are cached; nothing else was kept.")
        optimizer.zero_grad()
        scores = linear(body(*inputs)[0], *head)
        if targets.is_number:
            loss = mse_loss(scores, wanted)
        elif targets.sets:
            loss = binary_cross_entropy_with_logits((scores - CUT) * SHARPNESS, wanted)
        else:
            loss = cross_entropy(scores * SHARPNESS, wanted.argmax(1), label_smoothing=SMOOTHING)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    for one in learners:
        one.requires_grad_(False)


@torch.no_grad()
def _held_out(
    body: nn.Module, values: tuple[Tensor, ...], targets: Targets, train: np.ndarray, held: np.ndarray
) -> float:
    """The mean loss on the held-out rows of a ridge head fitted on the others."""
    known = body(*(value[train] for value in values))[0].numpy()
    head = ridge(known, targets.take(train))
    scores = body(*(value[held] for value in values))[0].numpy() @ head.weight.T + head.bias
    right = targets.matrix[held]
    if targets.is_number:
        return float(np.square(scores - right).mean())
    if targets.sets:
        return float(np.logaddexp(0.0, (scores - CUT) * SHARPNESS * np.where(right > CUT, -1.0, 1.0)).sum(1).mean())
    logits = scores * SHARPNESS
    logits -= logits.max(1, keepdims=True)
    return float((np.log(np.exp(logits).sum(1)) - (logits * right).sum(1)).mean())


def _restore(learners: Sequence[nn.Module], states: Sequence[dict[str, Tensor]]) -> None:
    for one, state in zip(learners, states, strict=True):
        one.load_state_dict(state)
