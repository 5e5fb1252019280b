"""Gradient descent for the parts of a composition that have no closed form: projections, gates, mixing weights.

Full batches on cached values. The number of steps is chosen by cross-validation over the same ridge head that is fitted
afterwards, with 0 among the choices: a composition is never trained away from a start that was better.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss

from composer.choices import Cancelled, Report, never, silent
from composer.errors import Cancelled as Stopped
from composer.rank.probe import Targets, probe, solve

CHECKPOINTS = (0, 10, 25, 50, 100, 200)
"""Numbers of steps compared."""

FOLDS = 4
LR = 2e-3
WEIGHT_DECAY = 0.05
SMOOTHING = 0.05


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
    folds = _folds(targets, seed)
    losses = np.zeros(len(CHECKPOINTS))
    for k in range(FOLDS):
        train, held = np.flatnonzero(folds != k), np.flatnonzero(folds == k)
        _restore(learners, start)
        for i, steps in enumerate(CHECKPOINTS):
            done = CHECKPOINTS[i - 1] if i else 0
            _steps(body, learners, values, targets, train, steps - done, seed=seed + i, cancelled=cancelled)
            losses[i] += _held_out(body, values, targets, train, held)
            report(k * len(CHECKPOINTS) + i + 1, FOLDS * len(CHECKPOINTS), "choosing the number of steps")
    best = CHECKPOINTS[int(losses.argmin())]
    _restore(learners, start)
    everything = np.arange(len(targets))
    for i, steps in enumerate(CHECKPOINTS):
        if steps <= best:
            done = CHECKPOINTS[i - 1] if i else 0
            _steps(body, learners, values, targets, everything, steps - done, seed=seed + i, cancelled=cancelled)
    return best


@torch.no_grad()
def align(body: nn.Module, learners: Sequence[nn.Module], values: tuple[Tensor, ...]) -> None:
    """Starts every square-ended linear projection at the principal directions of what it reads, scaled to keep its
    size.

    A random projection of a block to fewer features loses what the block knows; its first principal components keep
    the most.
    """
    read: dict[nn.Module, Tensor] = {}

    def keep(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
        read[module] = args[0]

    projections = [one for one in learners if _is_projection(one)]
    hooks = [one.register_forward_hook(keep) for one in projections]
    try:
        body(*values)
    finally:
        for hook in hooks:
            hook.remove()
    for one in projections:
        x = read[one].reshape(-1, read[one].shape[-1]).double()
        mean = x.mean(0)
        _, _, directions = torch.linalg.svd(x - mean, full_matrices=False)
        weight, bias = one.get_parameter("weight"), one.get_parameter("bias")
        kept = directions[: len(weight)]
        # The sign of a direction is arbitrary, and differs between libraries: make its largest entry positive.
        signs = kept.gather(1, kept.abs().argmax(1, keepdim=True)).sign()
        weight.zero_()
        weight[: len(kept)] = (kept * signs).to(weight.dtype)
        bias.copy_(-(weight.double() @ mean).to(bias.dtype))


def _is_projection(module: nn.Module) -> bool:
    names = dict(module.named_parameters(recurse=False))
    return set(names) == {"weight", "bias"} and type(module).__name__ == "Project"


def _steps(
    body: nn.Module,
    learners: Sequence[nn.Module],
    values: tuple[Tensor, ...],
    targets: Targets,
    rows: np.ndarray,
    count: int,
    *,
    seed: int,
    cancelled: Cancelled,
) -> None:
    if count <= 0:
        return
    inputs = tuple(value[rows] for value in values)
    wanted = torch.from_numpy(targets.matrix[rows]).float()
    width = body(*inputs)[0].shape[1]
    head = nn.Linear(width, wanted.shape[1])
    with torch.no_grad():
        weight, bias = _ridge(body(*inputs)[0].numpy(), targets.take(rows))
        head.weight.copy_(torch.from_numpy(weight))
        head.bias.copy_(torch.from_numpy(bias))
    parameters = [*(p for one in learners for p in one.parameters()), *head.parameters()]
    for parameter in parameters:
        parameter.requires_grad_(True)
    optimizer = torch.optim.AdamW(parameters, lr=LR, weight_decay=WEIGHT_DECAY)
    sharpness = 4.0 if targets.labels is not None else 1.0
    for _ in range(count):
        if cancelled():
            raise Stopped("stopped while training. Features are cached; nothing else was kept.")
        optimizer.zero_grad()
        scores = head(body(*inputs)[0]) * sharpness
        if targets.labels is None:
            loss = mse_loss(scores, wanted)
        else:
            loss = cross_entropy(scores, wanted.argmax(1), label_smoothing=SMOOTHING)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    for one in learners:
        one.requires_grad_(False)


@torch.no_grad()
def _held_out(
    body: nn.Module, values: tuple[Tensor, ...], targets: Targets, train: np.ndarray, held: np.ndarray
) -> float:
    """The loss on held-out rows of a ridge head fitted on the others."""
    known = body(*(value[train] for value in values))[0].numpy()
    weight, bias = _ridge(known, targets.take(train))
    scores = body(*(value[held] for value in values))[0].numpy() @ weight.T + bias
    right = targets.matrix[held]
    if targets.labels is None:
        return float(np.square(scores - right).mean())
    logits = scores * 4.0
    logits -= logits.max(1, keepdims=True)
    return float((np.log(np.exp(logits).sum(1)) - (logits * right).sum(1)).mean())


def _ridge(features: np.ndarray, targets: Targets) -> tuple[np.ndarray, np.ndarray]:
    block = features.astype(np.float64)
    mean = block.mean(0)
    kernel = (block - mean) @ (block - mean).T
    dual, intercept = solve(kernel, targets.matrix, probe(kernel, targets).penalty)
    weight = dual.T @ (block - mean)
    return weight, intercept - weight @ mean


def _restore(learners: Sequence[nn.Module], states: Sequence[dict[str, Tensor]]) -> None:
    for one, state in zip(learners, states, strict=True):
        one.load_state_dict(state)


def _folds(targets: Targets, seed: int) -> np.ndarray:
    """(n,) fold of each row; classes spread evenly over the folds."""
    shuffled = np.random.default_rng(seed).permutation(len(targets))
    order = shuffled if targets.labels is None else shuffled[np.argsort(targets.labels[shuffled], kind="stable")]
    folds = np.empty(len(targets), dtype=np.int64)
    folds[order] = np.arange(len(targets)) % FOLDS
    return folds
