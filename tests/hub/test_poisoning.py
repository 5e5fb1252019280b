"""What people do to be recommended, and that it moves nothing: likes, claims, copies, runs on tasks of their own."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from django.contrib.auth.models import AnonymousUser
from django.test import Client
from django.utils import timezone

from composer.past import history_of
from composer.rank.cold import Cold
from composer.rank.history import TaskCard
from hub.accounts.models import User
from hub.boards import attest, claims, history, ranking, recording, submissions, versions
from hub.boards.attest import ResultRefused
from hub.boards.history import ALONE, past
from hub.boards.models import Board, Claim, Outcome, Run
from hub.boards.recording import packed
from hub.catalog.models import Item
from hub.ids import uuid7
from hub.jobs import services as jobs
from hub.jobs.models import Job
from hub.repos.models import Repository
from priors.client import Hub
from priors.errors import HubError
from tests.factories import (
    function_manifest,
    make_board,
    make_commit,
    make_organisation,
    make_prior,
    make_repository,
    make_run,
    make_user,
)

pytestmark = pytest.mark.django_db


@pytest.fixture
def honest() -> list[User]:
    """Four people, each with a task; every prior of ann's measured on each by its owner or by ann."""
    people = [make_user(name) for name in ("ann", "bob", "cat", "dan")]
    for name, config in (("good", {"n": [2, 3]}), ("fair", {"n": [2, 2]})):
        make_prior(people[0], name, function={"id": "char_ngrams", "config": config})
    for number, person in enumerate(people):
        board = make_board(person, f"task-{person.username}")
        for name, score in (("ann/good", 0.8), ("ann/fair", 0.7)):
            make_run(board, name, score + number / 100, people[(number + 1) % 4], address=f"203.0.113.{number}")
    return people


def recommended() -> list[tuple[str, float, float, tuple[float, ...]]]:
    """Where the cold tier says that each prior stands on a new task, how sure it is, and the scores that rests on."""
    history = history_of(past().to_dict())
    assert history is not None
    tier = Cold(history, history.priors)
    stands = tier.ask(TaskCard("new", modality="text", kind="binary"))
    rows = [tuple(row) for row in history.scores]
    return [(prior.name, *each) for prior, *each in zip(tier.priors, stands.mean, stands.sd, rows, strict=True)]


def _again(row: Any, **changes: Any) -> Any:
    """A copy of a row, not saved."""
    return type(row)(**{field.attname: getattr(row, field.attname) for field in row._meta.concrete_fields} | changes)


def test_a_thousand_likes_and_fifty_claims_change_nothing(honest: list[User]) -> None:
    before = recommended()
    boards = list(Board.objects.for_cards())
    standing = [ranking.standing(board, actor=AnonymousUser()).lines for board in boards]
    eve = make_user("eve")
    make_prior(eve, "evil", function={"id": "word_ngrams", "config": {}})
    evil = Repository.objects.get(name="evil")

    Repository.objects.filter(pk=evil.pk).update(likes=1_000)
    Item.objects.filter(repository=evil).update(likes=1_000, trending=1_000.0, downloads=10**6)
    for board in boards:
        for source in Claim.Source.values:
            submissions.claim(board=board, repository=evil, score=0.999, by=eve, source=source)

    assert recommended() == before and before
    assert [ranking.standing(board, actor=AnonymousUser()).lines for board in boards] == standing


def test_the_same_content_under_fifty_names_is_one_prior_by_its_first_name(honest: list[User]) -> None:
    before = recommended()
    eve = make_user("eve")
    make_prior(eve, "copy-0", function={"id": "char_ngrams", "config": {"n": [2, 2]}})
    first = Item.objects.get(repository__name="copy-0")
    copied = Repository.objects.bulk_create(
        _again(first.repository, id=uuid7(), name=f"copy-{n}") for n in range(1, 50)
    )
    Item.objects.bulk_create(_again(first, id=None, repository_id=one.pk) for one in copied)

    for number, board in enumerate(Board.objects.for_cards()):
        make_run(board, f"eve/copy-{number}", 0.7, eve, address="198.51.100.1")

    names = [name for name, *_ in recommended()]
    assert names == [name for name, *_ in before] == ["ann/fair#out", "ann/good#out"]


def test_a_thousand_runs_on_tasks_of_ones_own_do_not_move_a_recommendation(honest: list[User]) -> None:
    before = recommended()
    eve = make_user("eve")
    make_prior(eve, "evil", function={"id": "word_ngrams", "config": {}})
    boards = [make_board(eve, f"mine-{number}") for number in range(10)]

    for board in boards:
        run = make_run(board, "eve/evil", 0.99, eve, address="198.51.100.1")
        many = Run.objects.bulk_create(_again(run, id=uuid7(), content=f"evil {n}") for n in range(99))
        said = list(run.outcomes.all())
        Outcome.objects.bulk_create(_again(one, id=None, run_id=copy.pk) for copy in many for one in said)

    assert recommended() == before


def test_withdrawing_somebodys_prior_does_not_keep_it_off_the_board(honest: list[User]) -> None:
    ann, eve, zoe = honest[0], make_user("eve"), make_user("zoe")
    board, prior = make_board(ann, "another"), Repository.objects.get(name="good")
    run = make_run(board, "ann/good", 0.8, eve, content=submissions.content_of(prior))
    submissions.withdraw(run, by=eve, why="not for you")

    again = submissions.submit(board=board, name="ann/good", by=zoe, address="")
    run.refresh_from_db()
    assert run.withdrawn_why == "not for you" and again != run

    assert submissions.submit(board=board, name="ann/good", by=ann, address="") == again
    submissions.withdraw(again, by=zoe)
    assert submissions.submit(board=board, name="ann/good", by=ann, address="") == again  # whose prior it is may, too
    again.refresh_from_db()
    assert again.withdrawn_at is None


def test_a_run_whose_account_went_before_it_was_measured_does_not_wait_for_ever(honest: list[User]) -> None:
    run = make_run(make_board(honest[0], "another"), "ann/good", 0.8, honest[1], state="waiting", job=None)

    jobs.reap()

    run.refresh_from_db()
    assert run.state == "failed" and "account" in run.problem


def test_tasks_of_ones_organisation_are_ones_own(honest: list[User]) -> None:
    before = recommended()
    eve = make_user("eve")
    make_prior(eve, "evil", function={"id": "word_ngrams", "config": {}})
    theirs = make_organisation("evil-lab", admin=eve)
    for number in range(3):
        board = make_board(eve, f"lab-{number}")
        Repository.objects.filter(pk=board.task_id).update(namespace=theirs)
        make_run(Board.objects.for_cards().get(pk=board.pk), "eve/evil", 0.99, eve, address="198.51.100.1")

    assert recommended() == before


def test_two_accounts_do_not_vouch_for_each_others_own_tasks(honest: list[User]) -> None:
    eve, mal = make_user("eve"), make_user("mal")
    make_prior(eve, "evil", function={"id": "word_ngrams", "config": {}})
    for number in range(8):
        for who, address in ((eve, "198.51.100.1"), (mal, "192.0.2.1")):
            board = make_board(who, f"own-{who.username}-{number}")
            make_run(board, "eve/evil", 0.99, who, address=address)

    # mal's tasks are not of the prior's namespace, nor eve's; still, each account owns all that it ran on.
    assert not [one for one in past().outcomes if one.members == ("eve/evil#out",)]


def test_of_a_prior_one_account_and_one_network_bring_a_share_at_most(honest: list[User]) -> None:
    eve, other = make_user("eve"), make_user("other")
    make_prior(eve, "new", function={"id": "word_ngrams", "config": {}})
    boards = [*Board.objects.for_cards(), *(make_board(honest[0], f"more-{number}") for number in range(6))]

    for number, board in enumerate(boards):  # two accounts on one network
        make_run(board, "eve/new", 0.9, eve if number % 2 else other, address="198.51.100.1")

    brought = {one.task for one in past().outcomes if one.members == ("eve/new#out",)}
    assert len(brought) == ALONE < len(boards)


def test_a_withdrawn_and_a_private_run_are_no_history(honest: list[User]) -> None:
    before = len(past().outcomes)
    run = Run.objects.filter(submission="ann/good").first()
    assert run is not None

    submissions.withdraw(run, by=User.objects.get(pk=run.account))
    Run.objects.exclude(pk=run.pk).filter(submission="ann/fair").update(private=True)
    versions.changed()

    # Two draws each of ann/good on two tasks; on ann's own it counts no more, with so few of others beside it.
    assert (before, len(past().outcomes)) == (16, 4)


def test_the_history_is_put_together_and_hashed_once_for_each_state_of_the_hub(
    honest: list[User], monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []
    measure, dumps = history._measured, json.dumps
    monkeypatch.setattr(history, "_measured", lambda: made.append("read") or measure())
    told = SimpleNamespace(dumps=lambda *args, **options: made.append("said") or dumps(*args, **options))
    monkeypatch.setattr(history, "json", told)
    client, run = Client(), Run.objects.filter(submission="ann/good").first()
    assert run is not None

    before = {client.get(f"/api/v1/history?limit={limit}")["ETag"] for limit in (1, 2, 3)}
    submissions.withdraw(run, by=User.objects.get(pk=run.account))
    after = {client.get(f"/api/v1/history?limit={limit}")["ETag"] for limit in (1, 2)}

    assert made == ["read", "said"] * 2
    assert len(before) == len(after) == 1 and before != after


def test_of_hidden_rows_the_history_says_one_rounded_number_a_way(honest: list[User]) -> None:
    Run.objects.filter(submission="ann/good").update(step=0.05, shown=0.8)
    Outcome.objects.filter(run__submission="ann/good").update(low=0.7123, high=0.8377)
    versions.changed()

    said = [one for one in past().outcomes if one.members == ("ann/good#out",)]

    assert {(one.draw, one.score) for one in said} == {(0, 0.8)} and len(said) == 4
    assert {round(one.high - one.score, 6) for one in said} == {0.063}  # .0627: the exact width would tell the score


def test_a_hub_begins_with_what_is_known_of_the_starter_priors_it_has(honest: list[User]) -> None:
    before = past()
    own = make_repository(make_organisation("priorhub"), "char-ngrams", kind=Repository.Kind.PRIOR)

    make_commit(own, {"prior.json": json.dumps(function_manifest()).encode()})

    found = past()
    members = {member for one in found.outcomes for member in one.members}
    assert members == {"ann/fair#out", "ann/good#out", "priorhub/char-ngrams#out"}
    assert len(found.tasks) > len(before.tasks) + 10
    assert found.outcomes[-len(before.outcomes) :] == before.outcomes
    assert history_of(found.to_dict()) is not None
    make_prior(make_user("eve"), "char-ngrams")  # the same name elsewhere is known of nothing
    assert past() == found


# ---- what a worker sends


@pytest.fixture
def held() -> tuple[jobs.Claim, Run, dict[str, Any]]:
    """A claimed job, its run, and a result that is right."""
    ann = make_user("ann")
    make_prior(ann, "good", function={"id": "char_ngrams", "config": {}})
    board = make_board(ann, "topics")
    run = submissions.submit(board=board, name="ann/good", by=ann, address="203.0.113.7")
    claim = jobs.claim(str(run.job_id))
    assert claim is not None
    way = {"arm": "single", "name": "ann/good", "members": ["ann/good#out"], "scores": [0.75, 0.75],
           "errors": [0.1, 0.1], "seconds": 0.1, "skipped": "", "submitted": True,
           "hits": packed([1.0, 1.0, 1.0, 0.0])}  # fmt: skip
    none = {**way, "arm": "no_prior", "name": "no prior", "members": [], "submitted": False, "scores": [0.5, 0.5],
            "hits": packed([1.0, 1.0, 0.0, 0.0])}  # fmt: skip
    measured = {"run": str(run.pk), "edition": run.edition, "data": "d" * 64, "metric": "accuracy", "test_rows": 4,
                "ways": [way, none], "curve": {}, "lock": {}, "facts": {}}  # fmt: skip
    return claim, run, measured


def sent(claim: jobs.Claim, measured: dict[str, Any]) -> jobs.Outcome:
    return jobs.Outcome({}, measured=attest.seal(attest.token_of(claim.job_id, claim.fence), measured))


def test_a_right_result_is_recorded_once(held: tuple[jobs.Claim, Run, dict[str, Any]]) -> None:
    claim, run, measured = held

    jobs.finish(claim, sent(claim, measured))

    run.refresh_from_db()
    assert (run.state, run.mean, run.shown) == ("scored", 0.75, 0.75)
    assert run.facts["against"][0]["gain"] == pytest.approx(0.25)
    with pytest.raises(jobs.Superseded):
        jobs.finish(claim, sent(claim, measured))
    with pytest.raises(ResultRefused, match="recorded once"):
        recording.record(job_id=claim.job_id, fence=claim.fence, sent=sent(claim, measured).measured)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"edition": "e" * 64}, "another edition"),
        ({"run": "00000000-0000-7000-8000-000000000000"}, "another run"),
        ({"ways": []}, "no score"),
        ({"metric": "accuracy", "test_rows": 0}, "not whole"),
        ({"more": 1}, "not whole"),
    ],
)
def test_a_result_of_something_else_is_refused(
    held: tuple[jobs.Claim, Run, dict[str, Any]], change: dict[str, Any], said: str
) -> None:
    claim, run, measured = held

    with pytest.raises(ResultRefused, match=said):
        jobs.finish(claim, sent(claim, measured | change))

    assert Run.objects.get(pk=run.pk).state == "waiting" and not Outcome.objects.exists()


@pytest.mark.parametrize("scores", [[1.75, 0.75], [-0.5, 0.75], [0.75], [0.75, 0.75, 0.75]])
def test_a_score_that_cannot_be_is_refused(held: tuple[jobs.Claim, Run, dict[str, Any]], scores: list[float]) -> None:
    claim, _, measured = held
    measured["ways"][0] |= {"scores": scores, "errors": [0.1] * len(scores)}

    with pytest.raises(ResultRefused):
        jobs.finish(claim, sent(claim, measured))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e308])
def test_numbers_that_no_score_can_be_do_not_even_travel(
    held: tuple[jobs.Claim, Run, dict[str, Any]], value: float
) -> None:
    claim, _, measured = held
    measured["ways"][1] |= {"scores": [value, 0.5]}

    with pytest.raises((ValueError, ResultRefused)):
        jobs.finish(claim, sent(claim, measured))


def test_edited_numbers_another_claims_token_and_no_result_are_refused(
    held: tuple[jobs.Claim, Run, dict[str, Any]],
) -> None:
    claim, _, measured = held
    right = sent(claim, measured).measured
    assert right is not None
    edited = json.loads(json.dumps(right))
    edited["measured"]["ways"][0]["scores"] = [1.0, 1.0]
    elsewhere = attest.seal(attest.token_of(claim.job_id, claim.fence + 1), measured)

    for wrong in (edited, elsewhere, {"measured": measured, "seal": "0" * 64}, {}, None):
        with pytest.raises(ResultRefused):
            jobs.finish(claim, jobs.Outcome({}, measured=wrong))
    with pytest.raises(jobs.Superseded):
        jobs.finish(replace(claim, fence=claim.fence + 1), sent(claim, measured))


def test_a_result_on_other_rows_than_the_editions_is_refused(held: tuple[jobs.Claim, Run, dict[str, Any]]) -> None:
    claim, run, measured = held
    make_run(run.board, "ann/other", 0.7, User.objects.get(username="ann"), data="f" * 64)

    with pytest.raises(ResultRefused, match="other rows"):
        jobs.finish(claim, sent(claim, measured))


@pytest.mark.parametrize("hours", [-2, 2])
def test_a_result_from_another_time_is_refused(held: tuple[jobs.Claim, Run, dict[str, Any]], hours: int) -> None:
    claim, _, measured = held
    Job.objects.filter(pk=claim.job_id).update(started_at=timezone.now() + timedelta(hours=hours))

    with pytest.raises(ResultRefused, match="clock"):
        jobs.finish(claim, sent(claim, measured))


# ---- what a client reads


class Wire(httpx.BaseTransport):
    """The hub in this process, or nobody."""

    def __init__(self) -> None:
        self.away, self.asked, self.body = False, [], b""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if self.away:
            raise httpx.ConnectError("refused")
        if self.body:
            return httpx.Response(200, headers={"ETag": '"x"'}, content=self.body)
        known = {"If-None-Match": request.headers["If-None-Match"]} if "If-None-Match" in request.headers else {}
        answer = Client().get(str(request.url.raw_path, "ascii"), headers=known)
        self.asked.append(answer.status_code)
        return httpx.Response(answer.status_code, headers=dict(answer.headers.items()), content=answer.getvalue())


def test_the_client_reads_the_history_once_and_has_it_without_the_hub(honest: list[User], tmp_path: Any) -> None:
    wire = Wire()
    hub = Hub("http://127.0.0.1:9", cache=tmp_path, transport=wire)

    first, second = hub.history(), hub.history()
    wire.away = True
    third = Hub("http://127.0.0.1:9", cache=tmp_path, transport=wire).history()

    assert wire.asked == [200, 304]
    assert first == second == third and len(first.outcomes) == 16 and len(first.tasks) == 4
    assert {card["name"] for card in first.priors} == {"ann/good#out", "ann/fair#out"}


@pytest.mark.parametrize(
    "poison",
    [
        {"outcomes": [{"task": "a/b", "members": ["c/d#out"], "score": float("nan"), "low": 0, "high": 1}]},
        {"outcomes": [{"task": "a/b", "members": ["c/d#out"], "score": 0.5, "low": -1e308, "high": 1}]},
        {"outcomes": [{"task": "a/b", "members": ["c/d#out"], "score": 7.0, "low": 0, "high": 1}]},
        {"outcomes": [{"task": "a/b", "score": 0.5, "low": 0, "high": 1}]},
        {"priors": [{"name": "c/d#out", "numbers": {"parameters": 1e308}, "tags": [], "text": ""}]},
        {"priors": [{"name": "c/d#out", "numbers": {"parameters": float("inf")}, "tags": [], "text": ""}]},
    ],
)
def test_a_poisoned_history_is_refused_and_not_kept(poison: dict[str, Any], tmp_path: Any) -> None:
    wire = Wire()
    wire.body = json.dumps({"outcomes": [], "tasks": [], "priors": [], "next": None} | poison).encode()
    hub = Hub("http://127.0.0.1:9", cache=tmp_path, transport=wire)

    with pytest.raises(HubError, match="Nothing was kept"):
        hub.history()

    assert not list(tmp_path.rglob("*.json"))


def test_the_history_also_comes_in_pages_and_as_parquet(honest: list[User], tmp_path: Any) -> None:
    from composer.rank.history import read_outcomes

    client, pages, cursor = Client(), [], ""
    while True:
        page = client.get(f"/api/v1/history?limit=5&cursor={cursor}").json()
        pages.append(page)
        if (cursor := page["next"]) is None:
            break
    whole = client.get("/api/v1/history?format=parquet")
    (tmp_path / "h.parquet").write_bytes(whole.content)

    assert [len(page["outcomes"]) for page in pages] == [5, 5, 5, 1] and len(pages[0]["tasks"]) == 4
    outcomes, tasks = read_outcomes(tmp_path / "h.parquet")
    assert len(outcomes) == 16 and {task.name for task in tasks} == {one.task for one in outcomes}
    assert client.get("/api/v1/history", headers={"If-None-Match": whole["ETag"]}).status_code == 304
    assert client.get("/api/v1/history?limit=0").status_code == 400


def test_scores_of_cards_are_claims_of_the_board_their_dataset_names(honest: list[User]) -> None:
    card = """---
model-index:
- name: evil
  results:
  - task: {type: text-classification}
    dataset: {type: bob/task-bob, name: Bob's task}
    metrics:
    - {type: accuracy, value: 99.9}
    - {type: seconds, value: 3}
  - dataset: {type: nobody/none, name: none}
    metrics: [{type: accuracy, value: .inf}]
- just words
---
# Evil
"""
    before = recommended()
    eve = make_user("eve")
    make_prior(eve, "evil", card=card, function={"id": "word_ngrams", "config": {}})

    assert claims.read_cards() == 1

    [claim] = Claim.objects.all()
    assert (claim.board.task.name, claim.source, claim.metric) == ("task-bob", "card", "accuracy")
    assert claim.score == pytest.approx(0.999)
    assert recommended() == before
    Repository.objects.get(name="evil").item.delete()
    assert (claims.read_cards(), Claim.objects.count()) == (0, 0)
