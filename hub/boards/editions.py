"""What two runs must share to be compared, and the seeds of an edition, which nobody who submits can choose or know."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Sequence

from hub.boards.models import Board, HiddenRows
from hub.repos import services as repos
from hub.repos.models import Commit

PROTOCOL = 1
"""Rises when runs are judged in another way."""
_WORDS = ("README.md",)  # an edited card is not another task


def edition_of(board: Board, commit: Commit, hidden: HiddenRows | None) -> str:
    """A hash of the task's files, the hidden rows, and how the board judges.

    While a task is private its runs are others than after: whoever submits the same content later must not be told of a
    run that they may not see.
    """
    files = sorted((entry.path, entry.sha256) for entry in repos.files(commit) if entry.path not in _WORDS)
    said = [PROTOCOL, files, hidden.seal if hidden else "", board.labels, board.draws, board.test_rows]
    said += ["private"] * board.live_task.private
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()


def seeds_of(board: Board, edition: str) -> list[int]:
    """The seed of every draw, the same for all runs of the edition: that is what makes them comparable draw by draw."""
    return [
        int.from_bytes(hmac.digest(board.salt.encode(), f"{edition}:{draw}".encode(), "sha256")[:4], "big") | 1
        for draw in range(board.draws)
    ]


def commitment(seeds: Sequence[int]) -> str:
    """A hash by which anybody can check later which seeds these were."""
    return hashlib.sha256(json.dumps(list(seeds)).encode()).hexdigest()
