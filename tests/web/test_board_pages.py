"""A board's page, a run's, and what is done there; the journey in a real browser."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from hub.accounts.models import User
from hub.boards import submissions
from hub.boards.models import Board, Claim, Outcome, Run
from hub.repos.models import Repository
from tests.factories import make_board, make_prior, make_run, make_user
from tests.web import browser
from tests.web.world import body, make_job

CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), ""
)
HIDDEN = b"text,topic\nthe soup was cold,food\nnice to meet you,talk\n"


@pytest.fixture
def board(ada: User) -> Board:
    make_prior(ada, "char-ngrams")
    make_prior(ada, "word-ngrams", function={"id": "word_ngrams", "config": {}})
    board = make_board(ada, "judged")
    make_run(board, "ada/char-ngrams", 0.8, ada)
    return board


@pytest.mark.django_db
def test_a_board_shows_ranks_placebos_and_apart_from_them_what_is_only_claimed(client: Client, board: Board) -> None:
    make_run(board, "ada/word-ngrams", 0.55, board.task.namespace.owner)  # type: ignore[arg-type]
    claimed = Repository.objects.get(name="word-ngrams")
    submissions.claim(board=board, repository=claimed, score=0.999, by=None, source=Claim.Source.CARD)

    html = body(client.get("/ada/judged/board"))

    ranking, rest = html.split('id="placebos"')
    assert "0.999" not in ranking and "Claimed, not verified" in rest and "0.999" in rest
    assert (
        "Not above no prior." in ranking
        and "why-not" in ranking
        and "+30.0 points" in ranking
        and "Above everything it was held against" in ranking
    )
    assert "not tried: no network" in rest
    assert html.count('<svg xmlns="http://www.w3.org/2000/svg" class="plot" role="img"') == 1
    assert "sign in" in rest


@pytest.mark.django_db
def test_the_runs_of_a_deleted_task_are_shown_as_that(client: Client, signed_in: Client, board: Board) -> None:
    run = Run.objects.get()

    signed_in.post("/ada/judged/delete", {"name": "ada/judged"})

    listed, shown, html = (
        body(Client().get(path)) for path in ("/boards", f"/boards/deleted/{board.pk}", f"/boards/runs/{run.pk}")
    )
    assert f"/boards/deleted/{board.pk}" in listed
    assert "The task was deleted" in shown and "80.0" in shown and f"/boards/runs/{run.pk}" in shown
    assert "The task was deleted" in html and "Held against" in html and "/ada/char-ngrams" in html
    assert "ada/judged" in body(Client().get("/ada/char-ngrams"))


@pytest.mark.django_db
def test_the_owner_opens_a_board_hides_rows_and_changes_the_rules(signed_in: Client, ada: User) -> None:
    from tests.factories import make_task

    make_task(ada, "mine")

    opened = signed_in.post("/ada/mine/board/rules", {"labels": "2", "draws": "2", "test_rows": "", "budget": ""})
    rows = SimpleUploadedFile("rows.csv", HIDDEN)
    hid = signed_in.post("/ada/mine/board/hide", {"rows": rows}, follow=True)

    assert opened.headers["Location"] == "/ada/mine/board"
    assert "2 hidden rows judge" in body(hid)
    wrong = signed_in.post("/ada/mine/board/rules", {"labels": "many"})
    assert wrong.status_code == 400 and "whole number" in body(wrong)
    assert signed_in.post("/ada/mine/board/rules", {"draws": "1"}).status_code == 422


@pytest.mark.django_db
def test_submitting_leads_to_the_run_and_says_what_is_left(signed_in: Client, board: Board) -> None:
    sent = signed_in.post("/ada/judged/board/submit", {"name": "ada/word-ngrams"}, follow=True)

    assert "waiting or running" in body(sent)
    run = Run.objects.get(submission="ada/word-ngrams")
    assert sent.redirect_chain == [(f"/boards/runs/{run.pk}", 302)]
    shown = body(signed_in.get("/ada/judged/board"))
    assert "<b>3 of 5</b> answers left" in shown
    again = signed_in.post("/ada/judged/board/submit", {"name": "ada/none"})
    assert again.status_code == 404


@pytest.mark.django_db
def test_a_run_that_the_ladder_keeps_back_shows_no_number_and_withdrawing_is_its_owners(
    client: Client, signed_in: Client, board: Board, ada: User
) -> None:
    kept = make_run(board, "ada/word-ngrams", 0.8125, ada, shown=None, step=0.05)

    html = body(client.get(f"/boards/runs/{kept.pk}"))
    board_html = body(Client().get("/ada/judged/board"))
    signed_in.post(f"/boards/runs/{kept.pk}/withdraw", {"why": "a bug"})

    assert "not clearly above" in html and "81.2" not in html + board_html and "0.8125" not in html + board_html
    assert "withdrawn" in body(Client().get(f"/boards/runs/{kept.pk}"))
    other = Client()
    other.force_login(make_user("eve"))
    assert other.post(f"/boards/runs/{Run.objects.first().pk}/withdraw").status_code == 403  # type: ignore[union-attr]


@pytest.mark.django_db
def test_a_priors_page_says_what_it_is_worth_in_labels(client: Client, board: Board) -> None:
    run = Run.objects.get()
    for labels, ours, none in ((2, 0.8, 0.5), (8, 0.9, 0.7), (32, 0.92, 0.85)):
        for submitted, score in ((True, ours), (False, none)):
            if (submitted, labels) != (True, 2):
                Outcome.objects.bulk_create(
                    Outcome(run=run, arm="single" if submitted else "no_prior", name="x", submitted=submitted,
                            labels=labels, draw=draw, score=score, low=score, high=score)
                    for draw in range(2)
                )  # fmt: skip

    html = body(client.get("/ada/char-ngrams"))

    section = html.split('id="verified"')[1].split("</section>")[0]
    assert "2 labels a class with this prior are worth 20 without a prior" in section
    assert "with this prior</text>" in section and "80.0" in section
    assert section.count("mark mark-none") > 3  # its line, and an interval at each number of labels
    assert "2 labels a class with this prior are worth" in body(client.get("/ada/judged/board"))
    assert 'id="verified"' not in body(client.get("/ada/word-ngrams"))


@pytest.mark.django_db
@pytest.mark.parametrize("status", ["failed", "cancelled", "done"])
def test_the_job_of_a_run_leads_to_it_and_is_not_run_again(
    signed_in: Client, board: Board, ada: User, status: str
) -> None:
    run = Run.objects.get()
    result = {"run": str(run.pk), "board": "ada/judged", "shown": False} if status == "done" else None
    error = {"code": "test-rows-seen", "detail": "It was made from hidden rows."} if status == "failed" else None
    job = make_job(ada, "verify", status, spec={"run": str(run.pk)}, result=result, error=error)

    html = body(signed_in.get(f"/jobs/{job.pk}"))

    assert "Run it again" not in html
    assert status == "cancelled" or f"/boards/runs/{run.pk}" in html
    assert ("not clearly above" in html) == (status == "done")


@pytest.mark.web
@pytest.mark.slow
@pytest.mark.skipif(not CHROMIUM, reason="no Chromium here: apt-get install chromium")
@pytest.mark.django_db(transaction=True)
def test_the_journey_over_a_board(
    ada: User, board: Board, live_server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = Client()
    client.force_login(ada)
    session = client.cookies[settings.SESSION_COOKIE_NAME].value
    shots = Path(os.environ.get("PRIORHUB_SCREENSHOTS", tmp_path))
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")  # Playwright keeps a loop in this thread

    with browser.open_visit(CHROMIUM, live_server.url, profile=tmp_path, shots=shots) as visit:
        page = visit.page
        visit.context.add_cookies([{"name": settings.SESSION_COOKIE_NAME, "value": session, "url": live_server.url}])
        page.goto(f"{live_server.url}/boards")
        visit.shoot("boards")
        page.get_by_role("link", name="ada/judged").click()
        page.get_by_role("heading", name="Ranking").wait_for()
        visit.shoot("board")
        page.get_by_label("Prior or composition").fill("ada/word-ngrams")
        page.get_by_role("button", name="Have it measured").click()
        page.get_by_text("waiting or running").wait_for()
        page.go_back()
        page.get_by_role("link", name="ada/char-ngrams").click()
        page.get_by_role("heading", name="Held against").wait_for()
        visit.shoot("run")
        page.get_by_label("Reason, which everybody will read").fill("measured by mistake")
        page.get_by_role("button", name="Withdraw this run").click()
        page.get_by_text("measured by mistake", exact=False).first.wait_for()
        assert visit.problems == []
