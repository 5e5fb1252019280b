"""What one question to the cold tier costs over a catalogue of 10,000 priors, of which 400 have results on 50 tasks."""

import time

import numpy as np

from benchmarks._table import show
from benchmarks._timing import interleaved
from composer.rank.cold import Cold, Limits
from composer.rank.history import History, PriorCard, TaskCard

PRIORS, WITH_RESULTS, TASKS = 10_000, 400, 50
WANTED_MS = 5.0


def catalogue(rng: np.random.Generator) -> list[PriorCard]:
    """Cards with the columns that a manifest has: sizes, costs, license, family."""
    sizes = rng.uniform(5, 10, PRIORS)
    return [
        PriorCard(
            f"maker{i % 97}/prior-{i}",
            {
                "parameters": 10**size,
                "memory_mb": 10 ** (size - 6),
                "latency_ms": 10 ** (size - 7),
                "price": float(i % 3),
            },
            frozenset({f"family=f{i % 31}", f"modality={'text' if i % 2 else 'image'}", "permits=share"}),
        )
        for i, size in enumerate(sizes)
    ]


def run(rounds: int) -> None:
    rng = np.random.default_rng(0)
    cards = catalogue(rng)
    tasks = tuple(TaskCard(f"task {i}", "text", type=f"type {i % 7}") for i in range(TASKS))
    scores = rng.standard_normal((WITH_RESULTS, TASKS)) + 2 * rng.standard_normal((WITH_RESULTS, 1))
    started = time.perf_counter()
    tier = Cold(History(tuple(cards[:WITH_RESULTS]), tasks, scores), cards)
    learned = time.perf_counter() - started
    task = TaskCard("a new task", "text", type="type 3")
    limits = Limits(modality="text", permission="share", memory_mb=2_000, latency_ms=200, price=1)
    matrices = np.ones((2, PRIORS, TASKS))
    tier.ask(task, limits).best(20)

    times = interleaved(
        {
            "every prior": lambda: tier.ask(task),
            "limits, and the best 20": lambda: tier.ask(task, limits).best(20),
            "one pass over the matrices": lambda: matrices.sum(),
        },
        rounds,
    )
    floor = times.pop("one pass over the matrices").low
    show(f"cold tier, {PRIORS:,} priors, {WITH_RESULTS} with results on {TASKS} tasks", times, floor=floor)
    slowest = 1e3 * max(one.median for one in times.values())
    verdict = "reached" if slowest < WANTED_MS else "missed"
    print(f"  target: under {WANTED_MS:g} ms: {slowest:.2f} ms, {verdict}")
    print(f"  learned once from history and catalogue in {learned:.1f} s")
