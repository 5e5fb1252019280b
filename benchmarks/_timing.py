"""Time several ways of doing one thing, turn by turn, so that whatever else the machine does hits all of them."""

import gc
import os
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch

ALLOCATOR = {
    "MALLOC_MMAP_THRESHOLD_": "4294967296",
    "MALLOC_TRIM_THRESHOLD_": "8589934592",
    "THP_MEM_ALLOC_ENABLE": "1",
}
"""glibc keeps freed memory, torch asks for huge pages. Without it page faults dominate every large eager operation."""


@dataclass(frozen=True)
class Times:
    """Seconds of one variant: the median, and the 20th and 80th percentile of its rounds."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        scale, unit = (1e3, "ms") if self.median < 1 else (1, "s")
        return f"{self.median * scale:8.2f} {unit} ({self.low * scale:.2f}-{self.high * scale:.2f})"


def interleaved(
    variants: Mapping[str, Callable[[], object]],
    rounds: int,
    *,
    warm_up: int = 1,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Times]:
    """Wall time of each variant over `rounds` rounds A B C, A B C, ... after `warm_up` rounds that do not count.

    clock  `time.thread_time` leaves out what other programs do meanwhile; only for work in this one thread
    """
    taken: dict[str, list[float]] = {name: [] for name in variants}
    gc.collect()
    gc.disable()
    try:
        for turn in range(warm_up + rounds):
            for name, run in variants.items():
                start = clock()
                run()
                if turn >= warm_up:
                    taken[name].append(clock() - start)
    finally:
        gc.enable()
    return {name: _times(t) for name, t in taken.items()}


def _times(taken: list[float]) -> Times:
    return Times(statistics.median(taken), float(np.percentile(taken, 20)), float(np.percentile(taken, 80)))


def paired(
    ours: Callable[[], object], theirs: Callable[[], object], rounds: int, *, clock: Callable[[], float]
) -> tuple[dict[str, Times], float]:
    """Times of both, and the median over rounds of ours over theirs; who goes first changes every round.

    For differences of a few per cent: what slows the machine for a while slows both halves of a round.
    """
    taken: dict[str, list[float]] = {"ours": [], "theirs": []}
    gc.collect()
    gc.disable()
    try:
        for turn in range(rounds + 2):
            pairs = [("ours", ours), ("theirs", theirs)]
            for name, run in pairs if turn % 2 else reversed(pairs):
                start = clock()
                run()
                if turn >= 2:  # two rounds warm up
                    taken[name].append(clock() - start)
    finally:
        gc.enable()
    ratio = statistics.median(a / b for a, b in zip(taken["ours"], taken["theirs"], strict=True))
    return {name: _times(t) for name, t in taken.items()}, ratio


def environment() -> str:
    """The line every table stands under: without it no number means anything."""
    load = ", ".join(f"{x:.1f}" for x in os.getloadavg())
    allocator = " ".join(f"{k}={os.environ[k]}" for k in ALLOCATOR if k in os.environ) or "default allocator"
    return (
        f"torch {torch.__version__}, {torch.get_num_threads()} thread(s) on {os.cpu_count()} cores, load {load}, "
        f"{allocator}"
    )
