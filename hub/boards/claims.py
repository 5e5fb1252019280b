"""Scores that cards claim: the `model-index` of README.md, as the Hugging Face card describes it.

    model-index: [{name, results: [{task, dataset: {name, type, …}, metrics: [{type, name, value}]}]}]

A claim is kept for the board whose task the dataset names (`type` or `name` is `namespace/task`). It stands in a table
that nothing which ranks reads.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from hub.boards.models import Board, Claim
from hub.boards.submissions import claim
from hub.catalog.models import Item
from hub.errors import BadRequest

_NAMES = {"accuracy": "accuracy", "acc": "accuracy", "f1": "macro_f1", "macro_f1": "macro_f1", "map": "map",
          "mean_average_precision": "map", "r2": "r2", "r_squared": "r2"}  # fmt: skip
_MOST = 1_000


@dataclass(frozen=True)
class Said:
    """One score of a card."""

    dataset: str
    metric: str
    score: float


def read_cards() -> int:
    """Brings the claims of all boards in line with the cards. How many there are."""
    boards = {board.live_task.full_name.lower(): board for board in Board.objects.exclude(task=None).for_cards()}
    if not boards:
        return 0
    kept = []
    for item in Item.objects.filter(card__has_key="model-index").for_cards().iterator(chunk_size=200):
        for said in of_card(item.card):
            board = boards.get(said.dataset.lower())
            if board is None:
                continue
            try:
                made = claim(
                    board=board, repository=item.repository, score=said.score, by=None, source=Claim.Source.CARD,
                    metric=said.metric,
                )  # fmt: skip
            except BadRequest:
                continue
            kept.append(made.pk)
    Claim.objects.filter(source=Claim.Source.CARD).exclude(pk__in=kept).delete()
    return len(kept)


def of_card(card: Mapping[str, Any]) -> Iterator[Said]:
    """The scores in a card's front matter; what is malformed is passed over: it is only a claim."""
    models = card.get("model-index")
    count = 0
    for model in models if isinstance(models, list) else []:
        for result in _list(model, "results"):
            dataset = result.get("dataset") if isinstance(result, Mapping) else None
            for metric in _list(result, "metrics"):
                score = _score(metric)
                name = _NAMES.get(str(metric.get("type", "")).lower()) if isinstance(metric, Mapping) else None
                if score is None or name is None or not isinstance(dataset, Mapping) or count >= _MOST:
                    continue
                for key in ("type", "name"):
                    if isinstance(dataset.get(key), str) and "/" in dataset[key]:
                        count += 1
                        yield Said(dataset[key][:200], name, score)
                        break


def _list(found: object, key: str) -> list[Any]:
    value = found.get(key) if isinstance(found, Mapping) else None
    return value if isinstance(value, list) else []


def _score(metric: object) -> float | None:
    """As a fraction: cards write 91.2 for .912, too."""
    value = metric.get("value") if isinstance(metric, Mapping) else None
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    return float(value) / 100 if 1 < value <= 100 else float(value)
