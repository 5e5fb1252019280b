"""What a hub says it measured (`Hub.history()`), as the types that rankers read. The client checked its numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from composer.rank.history import ARMS, Outcome, PriorCard, TaskCard
from priors.errors import BadTable

if TYPE_CHECKING:
    from priors.client.records import Past


def read_past(past: Past) -> tuple[list[Outcome], list[TaskCard], list[PriorCard]]:
    """Outcomes and cards, for `History.of_outcomes`. Raises BadTable for a hub that says something else."""
    try:
        outcomes = [Outcome(**{**one, "members": tuple(one["members"])}) for one in past.outcomes]
        tasks = [TaskCard(**card) for card in past.tasks]
        priors = [
            PriorCard(card["name"], dict(card["numbers"]), frozenset(card["tags"]), card["text"])
            for card in past.priors
        ]
    except (KeyError, TypeError) as error:
        raise BadTable(
            f"the hub's history is not what this version reads: {error}. Is its version this one?"
        ) from error
    unknown = {one.arm for one in outcomes} - set(ARMS)
    if unknown:
        raise BadTable(f"the hub's history has the arm {min(unknown)!r}. Is its version this one?")
    return outcomes, tasks, priors
