"""Who pays for an answer of a board, and that copies, other names and a clock that goes back bring no second one."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from django.utils import timezone

from hub.accounts.models import Membership, User
from hub.boards import submissions
from hub.boards.models import Board
from hub.boards.submissions import Rules
from hub.errors import TooManyRequests
from tests.factories import make_organisation, make_prior, make_user
from tests.hub._rows import HERE, THERE, board_of_rows, owner_of_rows

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def ann(home: Path, tmp_path: Path) -> User:
    return owner_of_rows(tmp_path)


@pytest.fixture
def board(ann: User) -> Board:
    return board_of_rows(ann)


def test_the_budget_is_of_an_account_its_network_and_a_namespaces_people(board: Board, ann: User) -> None:
    board = submissions.open_board(task=board.task, by=ann, rules=Rules(budget=1))
    bob, cid, lab = make_user("bob"), make_user("cid"), make_organisation("lab", admin=ann)
    for user in (bob, cid):
        Membership.objects.create(organisation=lab, user=user)
    make_prior(bob, "pairs", function={"id": "char_ngrams", "config": {"n": [2, 2]}})
    for name, n in (("threes", 3), ("fours", 4)):
        make_prior(lab, name, function={"id": "char_ngrams", "config": {"n": [n, n]}})

    submissions.submit(board=board, name="ann/word-ngrams", by=ann, address=HERE)

    with pytest.raises(TooManyRequests, match="1 times a week"):
        submissions.submit(board=board, name="ann/char-ngrams", by=ann, address=THERE)
    with pytest.raises(TooManyRequests):
        submissions.submit(board=board, name="bob/pairs", by=bob, address=HERE)  # another account, the same network
    submissions.submit(board=board, name="lab/threes", by=bob, address=THERE)
    with pytest.raises(TooManyRequests):
        submissions.submit(board=board, name="lab/fours", by=cid, address="192.0.2.1")  # for the same organisation
    submissions.submit(board=board, name="bob/pairs", by=cid, address="192.0.2.1")  # for nobody but cid


def test_nobody_uses_up_the_budget_of_those_whose_public_priors_they_submit(board: Board, ann: User) -> None:
    board = submissions.open_board(task=board.task, by=ann, rules=Rules(budget=1))
    eve = make_user("eve")

    run = submissions.submit(board=board, name="ann/char-ngrams", by=eve, address=THERE)

    assert not run.speaks
    assert submissions.submit(board=board, name="ann/word-ngrams", by=ann, address=HERE).speaks
    with pytest.raises(TooManyRequests):
        submissions.submit(board=board, name="ann/word-ngrams#out", by=eve, address=THERE)


def test_of_one_content_under_fifty_names_and_accounts_there_is_one_answer(board: Board, ann: User) -> None:
    first = submissions.submit(board=board, name="ann/word-ngrams", by=ann, address=HERE)
    for number in range(3):
        user = make_user(f"puppet{number}")
        make_prior(user, "mine", function={"id": "word_ngrams", "config": {}})
        again = submissions.submit(board=board, name=f"{user}/mine", by=user, address=f"192.0.2.{number}")
        assert again.pk == first.pk

    assert board.runs.count() == 1


def test_who_has_a_copy_neither_restores_a_withdrawn_run_nor_is_kept_off_the_board_by_it(
    board: Board, ann: User
) -> None:
    eve = make_user("eve")
    make_prior(eve, "copy", function={"id": "word_ngrams", "config": {}})
    theirs = submissions.submit(board=board, name="eve/copy", by=eve, address=THERE)
    submissions.withdraw(theirs, by=eve, why="a bug")

    mine = submissions.submit(board=board, name="ann/word-ngrams", by=ann, address=HERE)

    theirs.refresh_from_db()
    assert mine.pk != theirs.pk and theirs.withdrawn_why == "a bug"
    assert submissions.submit(board=board, name="eve/copy", by=eve, address=THERE).pk == mine.pk  # one stands at a time
    submissions.withdraw(mine, by=ann)
    assert submissions.submit(board=board, name="eve/copy", by=eve, address=THERE).pk == theirs.pk
    theirs.refresh_from_db()
    assert theirs.withdrawn_at is None and theirs.withdrawn_why == ""


def test_a_clock_that_goes_back_gives_no_second_budget(
    board: Board, ann: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    board = submissions.open_board(task=board.task, by=ann, rules=Rules(budget=1))
    submissions.submit(board=board, name="ann/word-ngrams", by=ann, address=HERE)
    now = timezone.now()

    monkeypatch.setattr("hub.boards.lines.timezone.now", lambda: now - timedelta(days=30))

    with pytest.raises(TooManyRequests):
        submissions.submit(board=board, name="ann/char-ngrams", by=ann, address=HERE)
