"""Training on cached features against computing them again every epoch."""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from benchmarks._starter import two_taps
from benchmarks._table import Target, show
from benchmarks._timing import interleaved
from composer.blocks import fit_functions, frozen_values
from composer.cache import FeatureCache
from composer.lower import Lowered
from priors.tasks import Task
from priors.tasks.starter import starter_task

EPOCHS = 10
LABELS = 16  # a class
TARGET = 20.0
"""Reading the cache, hashing the texts to find them there, and fitting what standardises count for the cached side."""


def run() -> None:
    with tempfile.TemporaryDirectory(prefix="priorhub-benchmark-") as scratch:
        task = starter_task("topics", scratch)
        task = task.subset(task.draw(LABELS, seed=0).train)
        lowered, filled = two_taps(), FeatureCache(Path(scratch) / "filled")

        def cached(cache: FeatureCache) -> None:
            values = frozen_values(lowered, task, cache)
            fit_functions(lowered, values, np.arange(len(task)))
            _train(lowered, task, list(values), lambda: tuple(values.values()))

        def recomputed() -> None:
            nodes = list(lowered.lock.frontier)
            _train(lowered, task, nodes, lambda: _features(lowered, task, nodes))

        times = interleaved(
            {
                "features cached before": lambda: cached(filled),
                "cached in this run": lambda: cached(FeatureCache(tempfile.mkdtemp(dir=scratch))),
                "computed every epoch": recomputed,
            },
            rounds=3,
            clock=time.process_time,
        )
    show(f"fit of {len(task)} texts, {EPOCHS} epochs of the head", times, Target("computed every epoch", TARGET))


def _features(lowered: Lowered, task: Task, nodes: list[str]) -> tuple[Tensor, ...]:
    found = lowered.features({"text": task.values("text")}, nodes)
    return tuple(torch.from_numpy(found[node]) for node in nodes)


def _train(lowered: Lowered, task: Task, given: list[str], values: Callable[[], tuple[Tensor, ...]]) -> None:
    part, targets = lowered.part(given, ["y"]), torch.from_numpy(task.y)
    optimizer = torch.optim.AdamW(lowered.learned["y"].parameters(), lr=1e-2, fused=True)
    for _ in range(EPOCHS):
        loss = cross_entropy(part(*values())[0], targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
