"""/history: everything that was measured on public boards and counts, for rankers that run elsewhere."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from django.http import HttpRequest, HttpResponse, HttpResponseNotModified
from django.utils.cache import patch_cache_control
from ninja import Router
from pydantic import BaseModel, Field

from hub.api.auth import Anyone
from hub.boards.history import Past, told
from hub.errors import BadRequest

router = Router(tags=["boards"])
MAX_ITEMS = 5_000


class OutcomeOut(BaseModel):
    task: str
    members: list[str] = Field(description="candidate names, sorted: namespace/name#tap, #*, @adapted")
    arm: str
    labels: int
    draw: int
    score: float
    low: float
    high: float
    seconds: float


class TaskCardOut(BaseModel):
    name: str
    modality: str
    kind: str
    classes: int
    rows: int
    metric: str
    type: str
    text: str


class PriorCardOut(BaseModel):
    name: str
    numbers: dict[str, float]
    tags: list[str]
    text: str


class HistoryOut(BaseModel):
    outcomes: list[OutcomeOut]
    tasks: list[TaskCardOut] = Field(description="of all pages; on the first one")
    priors: list[PriorCardOut] = Field(description="of all pages; on the first one")
    next: str | None = Field(description="the `cursor` of the next page; null on the last")


@router.get(
    "",
    auth=Anyone(),
    response=HistoryOut,
    summary="What counts of everything measured on public boards; ETag is of the whole, whatever page",
)
def history(
    request: HttpRequest, format: Literal["json", "parquet"] = "json", limit: int = 1_000, cursor: str = ""
) -> Any:
    if not 1 <= limit <= MAX_ITEMS:
        raise BadRequest(f"limit={limit} is not between 1 and {MAX_ITEMS}. Ask for fewer, and follow `next`.")
    if cursor and not (cursor.isascii() and cursor.isdecimal() and len(cursor) < 9):
        raise BadRequest("The cursor is not one of this hub. Hand back `next` as it came.")
    found = told()
    mark = f'"{found.mark[:32]}"'
    response: HttpResponse
    if mark in (each.strip() for each in request.headers.get("If-None-Match", "").split(",")):
        response = HttpResponseNotModified()
    elif format == "parquet":
        response = HttpResponse(_parquet(found.past), content_type="application/vnd.apache.parquet")
        response["Content-Disposition"] = 'attachment; filename="history.parquet"'
    else:
        response = HttpResponse(_page(found.content, int(cursor or 0), limit), content_type="application/json")
    response["ETag"] = mark
    patch_cache_control(response, private=True, no_cache=True)
    return response


def _page(content: Mapping[str, Any], start: int, limit: int) -> str:
    items = content["outcomes"][start : start + limit]
    more = start + limit < len(content["outcomes"])
    first = start == 0
    return json.dumps(
        {
            "outcomes": items, "tasks": content["tasks"] if first else [], "priors": content["priors"] if first else [],
            "next": str(start + limit) if more else None,
        }
    )  # fmt: skip


def _parquet(found: Past) -> bytes:
    from composer.rank.history import Outcome, TaskCard, write_outcomes  # numpy and pyarrow, for whoever asks so

    cards = [TaskCard(**card) for card in found.tasks]
    known = {card.name for card in cards}
    outcomes = [Outcome(**vars(one)) for one in found.outcomes if one.task in known]
    with tempfile.TemporaryDirectory(prefix="history-") as folder:
        path = Path(folder) / "history.parquet"
        write_outcomes(path, outcomes, cards)
        return path.read_bytes()
