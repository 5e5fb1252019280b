"""The commands about boards, against the hub in this process."""

from __future__ import annotations

import csv
import io
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from django.db import connections
from django.test import Client

from composer.cli import main
from hub.accounts.models import User
from hub.boards import submissions
from hub.boards.models import Board, Run
from hub.errors import TooManyRequests
from hub.jobs import tasks
from priors.client import Hub
from tests.factories import bearer, make_board, make_prior, make_task, make_user

pytestmark = pytest.mark.django_db(transaction=True)

HIDDEN = [(f"{word} by the sea", "food") for word in ("soup", "bread", "rice")]
HIDDEN += [(f"{word} my friend", "talk") for word in ("hello", "goodbye", "thanks")]


class InProcess(httpx.BaseTransport):
    """Requests go to Django's own client."""

    def __init__(self, user: User) -> None:
        self._token = bearer(user)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        path, kind = str(request.url.raw_path, "ascii"), request.headers.get("content-type", "application/json")
        sent = Client().generic(request.method, path, request.read(), content_type=kind, headers=self._token)
        return httpx.Response(sent.status_code, headers=dict(sent.headers.items()), content=sent.getvalue())


@pytest.fixture
def ann(home: Path) -> User:
    ann = make_user("ann")
    make_task(ann, "topics")
    make_prior(ann, "char-ngrams")
    return ann


@pytest.fixture
def run(ann: User, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Any:
    """run(*arguments) -> what the command printed."""

    def call(*arguments: str, code: int = 0) -> str:
        hub = Hub("http://127.0.0.1:9", "ph_none_is_sent", cache=tmp_path / "cache", transport=InProcess(ann))
        monkeypatch.setattr("composer._cli_boards.open_hub", lambda url: hub)
        monkeypatch.setattr(sys, "argv", ["priorhub", *arguments])
        with pytest.raises(SystemExit) as left:
            main()
        said = capsys.readouterr()
        assert (left.value.code or 0) == code, said
        return said.out + said.err

    return call


def test_a_board_is_opened_submitted_to_looked_at_and_left(run: Any, tmp_path: Path) -> None:
    text = io.StringIO()
    csv.writer(text).writerows([("text", "topic"), *HIDDEN])
    (tmp_path / "secret.csv").write_text(text.getvalue())

    opened = run(
        "board", "ann/topics", "--open", "--labels", "2", "--draws", "2", "--hidden", str(tmp_path / "secret.csv")
    )
    assert "2 labels a class, 2 draws, 6 hidden rows judge" in opened and "Nothing ranks" in opened

    waits = run("submit", "ann/char-ngrams", "--to", "ann/topics")
    assert "waits to be measured" in waits
    tasks.run_job(str(Run.objects.get().job_id))
    shown = run("board", "ann/topics")
    assert "no prior" in shown and "not tried" in shown and "4 of 5 answers left" in shown
    again = json.loads(run("submit", "ann/char-ngrams", "--to", "ann/topics", "--json"))
    assert again["state"] == "scored" and len(again["against"]) == 6

    assert "is withdrawn" in run("withdraw", again["id"], "--why", "a mistake")
    assert "Nothing ranks" in run("board", "ann/topics")


def test_rules_without_open_change_nothing(run: Any) -> None:
    assert "--open" in run("board", "ann/topics", "--labels", "2", code=2)
    assert "has no board" in run("board", "ann/topics", code=1)
    assert not Board.objects.exists()


def test_of_many_submissions_at_once_the_budget_lets_its_number_through(ann: User) -> None:
    board = make_board(ann, "judged", budget=2)
    for number in range(2, 8):
        make_prior(ann, f"n{number}", function={"id": "char_ngrams", "config": {"n": [2, number]}})

    def submit(number: int) -> bool:
        try:
            submissions.submit(board=board, name=f"ann/n{number}", by=ann, address="203.0.113.7")
        except TooManyRequests:
            return False
        finally:
            connections.close_all()
        return True

    with ThreadPoolExecutor(6) as pool:
        let = list(pool.map(submit, range(2, 8)))

    assert sum(let) == Run.objects.count() == 2
