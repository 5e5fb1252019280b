"""A small task of sentences about food and talk, with a board, and rows that may be hidden on it."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from hub.accounts.models import User
from hub.boards import submissions
from hub.boards.models import Board
from hub.boards.submissions import Rules
from hub.repos.commits import commit_folder
from hub.repos.models import Repository
from tests.factories import make_prior, make_repository, make_user

FOOD = ["soup", "bread", "cheese", "apples", "rice", "beans", "salad", "noodles", "cake", "pepper"]
TALK = ["hello", "goodbye", "morning", "evening", "thanks", "welcome", "sorry", "please", "greetings", "cheers"]
HERE, THERE = "203.0.113.7", "198.51.100.9"


def sentences(ends: tuple[str, ...]) -> list[tuple[str, str]]:
    return [(f"{verb} {word} {end}", label) for label, verb, words in (("food", "eat", FOOD), ("talk", "say", TALK))
            for word in words for end in ends]  # fmt: skip


def table(rows: list[tuple[str, str]]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows([("text", "label"), *rows])
    return text.getvalue().encode()


HIDDEN = table(sentences(("at the harbour tonight", "in the garden tomorrow")))


def owner_of_rows(folder: Path) -> User:
    """ann, with two priors and the task `ann/rows`, which is written in `folder` first."""
    from priors.tasks import Task

    ann = make_user("ann")
    make_prior(ann, "char-ngrams")
    make_prior(ann, "word-ngrams", function={"id": "word_ngrams", "config": {}})
    (folder / "rows.csv").write_bytes(table(sentences(("today", "again"))))
    task = Task.from_csv(folder / "rows.csv", target="label").save(folder / "task", portable=True)
    repository = make_repository(ann, "rows", kind=Repository.Kind.TASK)
    commit_folder(repository=repository, folder=task, message="Rows", by=ann)
    return ann


def board_of_rows(ann: User) -> Board:
    """The open board of her task."""
    task = Repository.objects.for_cards().get(name="rows")
    return submissions.open_board(task=task, by=ann, rules=Rules(labels=4, draws=2, test_rows=60))
