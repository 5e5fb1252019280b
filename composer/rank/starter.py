"""The starter history that comes with the program: what every starter prior did, alone and in sets, on many tasks.

`python -m benchmarks.history --write` makes it; docs/history.md says what was run. Only numbers and names.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

from composer.rank.history import History, Outcome, TaskCard, read_outcomes

STARTER_HISTORY = Path(__file__).parent / "starter.parquet"

LEAST_TASKS = 3
"""On how many tasks a prior must have been run alone before a history knows it."""


def starter_history() -> tuple[list[Outcome], list[TaskCard]]:
    """Every run of the starter history, and the cards of its tasks, which are called `source/task`."""
    outcomes, cards = read_outcomes(STARTER_HISTORY)
    return outcomes, [replace(card, source=card.name.partition("/")[0]) for card in cards]


@cache
def starter_priors() -> frozenset[str]:
    """The priors (`namespace/name`) that were run alone on at least LEAST_TASKS tasks of the starter history."""
    import pyarrow.parquet as pq  # the web process must start without it

    table = pq.read_table(STARTER_HISTORY, columns=["task", "members", "arm"], filters=[("arm", "=", "single")])
    tasks: dict[str, set[str]] = {}
    for task, members in zip(table.column("task").to_pylist(), table.column("members").to_pylist(), strict=True):
        tasks.setdefault(members[0].partition("#")[0], set()).add(task)
    return frozenset(name for name, found in tasks.items() if len(found) >= LEAST_TASKS)


@cache
def starter_scores(*, without: str = "") -> History:
    """What the starter priors scored, as rankers ask for it; `without` the tasks of one source (`source/task`), which
    share rows."""
    outcomes, cards = starter_history()
    kept = [card for card in cards if not without or card.source != without]
    return History.of_outcomes(outcomes, kept)
