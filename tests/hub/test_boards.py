"""A board: submitted, measured by a worker, ranked with ties, withdrawn; hidden rows that judge."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser
from django.test import Client

from hub.accounts import services as accounts
from hub.accounts.models import Membership, User
from hub.boards import hidden, lines, ranking, submissions
from hub.boards.history import past
from hub.boards.models import Board, Claim, Outcome, Result, Run
from hub.boards.submissions import Rules
from hub.errors import BadRequest, BadSpec, TooManyRequests
from hub.home import scratch
from hub.jobs import services as jobs
from hub.jobs import tasks
from hub.jobs.cleanup import delete_repository
from hub.repos import services as repos
from hub.repos.commits import commit_folder
from hub.repos.models import Blob, Repository
from hub.web.boards import verified
from priors.errors import BadTask, NotAllowed
from tests.factories import bearer, make_organisation, make_prior, make_repository, make_run, make_user
from tests.hub._rows import HERE, HIDDEN, THERE, board_of_rows, owner_of_rows, sentences, table

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def ann(home: Path, tmp_path: Path) -> User:
    return owner_of_rows(tmp_path)


@pytest.fixture
def board(ann: User) -> Board:
    return board_of_rows(ann)


def measured(board: Board, name: str, by: User, *, address: str = HERE) -> Run:
    run = submissions.submit(board=board, name=name, by=by, address=address)
    tasks.run_job(str(run.job_id))
    run.refresh_from_db()
    assert run.state == "scored", run.problem
    assert list(scratch().iterdir()) == []
    return run


def whole(run: Run) -> Any:
    """The open rows and the hidden ones, as its worker had them."""
    from hub.repos.services import materialise
    from priors.tasks import Task, held_out

    assert run.hidden is not None and run.board.task.head is not None
    task = Task.from_dir(materialise(run.board.task.head, scratch().parent / "whole"))
    return held_out.beside(task, hidden.read(run.hidden, task, scratch().parent / "whole-hidden"))


def test_a_run_is_measured_beside_its_placebos_and_says_what_it_was_measured_with(board: Board, ann: User) -> None:
    run = measured(board, "ann/word-ngrams", ann)

    assert run.shown == run.mean and run.low <= run.low90 <= run.mean <= run.high90 <= run.high
    arms = set(run.outcomes.filter(submitted=False, labels=4).values_list("arm", flat=True))
    assert arms == {"no_prior", "shuffled", "single", "everything"}
    skipped = {each.arm: each.skipped for each in ranking.against(run) if each.skipped}
    assert set(skipped) == {"random_weights", "adapted"} and all("no network" in why for why in skipped.values())
    assert run.outcomes.get(submitted=True, labels=4, draw=0).members == ["ann/word-ngrams#out"]
    assert set(run.outcomes.values_list("labels", flat=True)) == {4, 16}  # of the curve what the task has rows for
    assert run.facts["versions"]["numpy"] and run.facts["hardware"]["cores"]
    assert run.lock["structure"].startswith("sha256:") and len(run.data) == 64 and run.task_commit
    assert len(run.facts["seeds"]) == 64  # a hash of them: who submits neither chooses nor knows the seeds


def test_a_run_of_a_private_time_is_nobody_elses_when_the_task_opens(board: Board, ann: User) -> None:
    bob = make_user("bob")
    Repository.objects.filter(name="rows").update(private=True)
    board = Board.objects.select_related("task").get(pk=board.pk)
    kept = submissions.submit(board=board, name="ann/word-ngrams", by=ann, address=HERE)
    Repository.objects.filter(name="rows").update(private=False)
    board = Board.objects.select_related("task").get(pk=board.pk)

    found = submissions.submit(board=board, name="ann/word-ngrams", by=bob, address=THERE)

    assert kept.private and not found.private and found.pk != kept.pk and found.owner == bob


def test_the_same_content_under_another_name_is_the_same_run(board: Board, ann: User) -> None:
    bob = make_user("bob")
    make_prior(bob, "words-anew", function={"id": "word_ngrams", "config": {}})

    run = measured(board, "ann/word-ngrams", ann)
    again = submissions.submit(board=board, name="bob/words-anew", by=bob, address=THERE)

    assert again.pk == run.pk
    assert lines.budget_of(board, user=bob, network=lines.digest_of(THERE)).left == board.budget


def test_runs_that_are_not_told_apart_share_a_rank_and_a_withdrawn_one_stays_visible(board: Board, ann: User) -> None:
    first = measured(board, "ann/word-ngrams", ann)
    measured(board, "ann/char-ngrams", ann)

    shown = ranking.standing(board, actor=AnonymousUser())
    assert [line.ranks for line in shown.lines] == ["1-2", "1-2"]
    assert {each.arm for each in shown.placebos} == set(ranking.ARMS)

    submissions.withdraw(first, by=ann, why="a bug")
    after = ranking.standing(board, actor=AnonymousUser())

    assert [line.ranks for line in after.lines] == ["1"]
    assert [(run.pk, run.withdrawn_why) for run in after.withdrawn] == [(first.pk, "a bug")]
    assert Outcome.objects.filter(run=first).exists()
    with pytest.raises(NotAllowed):
        submissions.withdraw(first, by=make_user("eve"))


def test_hidden_rows_judge_and_nobody_is_told_more_than_the_ladder_says(board: Board, ann: User) -> None:
    rows = hidden.keep(board=board, name="rows.csv", content=HIDDEN, by=ann)

    run = measured(board, "ann/word-ngrams", ann)

    assert (rows.rows, run.test_rows, run.hidden_id) == (40, 40, rows.pk)
    assert run.step > 0 and run.shown is not None
    assert abs(run.shown / run.step - round(run.shown / run.step)) < 1e-6 and abs(run.shown - run.mean) <= run.step
    assert ranking.ways(run) == {}
    assert run.data == hidden.seal_of(board, whole(run).fingerprint.encode())  # else guesses at all rows can be checked
    told = jobs.Job.objects.get(pk=run.job_id)
    assert set(told.result) == {"board", "run", "shown"}
    assert "score" not in json.dumps([event.data for event in told.events.all()])


def test_no_route_and_no_object_of_the_store_holds_a_hidden_row(board: Board, ann: User) -> None:
    hidden.keep(board=board, name="rows.csv", content=HIDDEN, by=ann)
    measured(board, "ann/word-ngrams", ann)
    client, head = Client(), bearer(ann)

    answers = [
        client.get(path, headers=head)
        for path in (
            "/api/v1/repos/ann/rows", "/api/v1/repos/ann/rows/tree/main", "/api/v1/repos/ann/rows/files/main/task.json",
            "/api/v1/boards", "/api/v1/boards/ann/rows", "/api/v1/boards/ann/rows/hidden", "/api/v1/jobs",
            "/api/datasets/ann/rows", "/api/datasets/ann/rows/tree/main?recursive=1",
            "/datasets/ann/rows/resolve/main/hidden.csv", "/datasets/ann/rows/resolve/main/data.parquet",
            "/datasets/ann/rows.git/info/refs?service=git-upload-pack", "/ann/rows", "/datasets/ann/rows/tree/main",
        )
    ]  # fmt: skip

    assert {answer.status_code for answer in answers} <= {200, 404, 405}
    assert not any(b"harbour" in answer.getvalue() for answer in answers)
    copied = client.post(
        "/api/datasets/ann/rows/duplicate", json.dumps({"repository": "ann/copy"}), content_type="application/json",
        headers=head,
    )  # fmt: skip
    assert copied.status_code == 200 and not Board.objects.filter(task__name="copy").exists()
    from hub.repos.storage import store

    for blob in Blob.objects.all():
        with store().open(blob.sha256) as file:
            assert b"harbour" not in file.read()
    assert not any(b"harbour" in bytes(row.sealed) for row in board.hidden.all())
    assert not any(b"harbour" in path.read_bytes() for path in scratch().rglob("*") if path.is_file())


def test_the_same_hidden_rows_again_are_those_that_runs_wait_for(board: Board, ann: User) -> None:
    first = hidden.keep(board=board, name="rows.csv", content=HIDDEN, by=ann)
    other = hidden.keep(board=board, name="rows.csv", content=table(sentences(("over there",))), by=ann)
    assert hidden.of(board) == other

    again = hidden.keep(board=board, name="rows.csv", content=HIDDEN, by=ann)

    assert again == first == hidden.of(board) == hidden.of_all([board])[board.pk]


def test_asking_for_what_fails_has_an_end_too(board: Board, ann: User) -> None:
    board = submissions.open_board(task=board.task, by=ann, rules=Rules(budget=1))
    for _ in range(lines.TRIES):
        run = submissions.submit(board=board, name="ann/word-ngrams", by=ann, address=HERE)
        jobs.request_cancel(jobs.Job.objects.get(pk=run.job_id))
        run.refresh_from_db()
        assert (run.state, run.problem) == ("failed", "It was cancelled.")

    with pytest.raises(TooManyRequests, match="tries"):
        submissions.submit(board=board, name="ann/word-ngrams", by=ann, address=HERE)


def test_hidden_rows_that_stand_in_the_open_table_are_refused(board: Board, ann: User) -> None:
    both = table([*sentences(("far away from here",)), ("Eat  SOUP today", "food")])

    with pytest.raises(BadTask, match="1 of 21 hidden rows stand among the open rows"):
        hidden.keep(board=board, name="rows.csv", content=both, by=ann)
    with pytest.raises(BadTask, match="no 'label'"):
        hidden.keep(board=board, name="rows.csv", content=table([("new words", "")]), by=ann)


def leak(owner: User, folder: Path, *, private: bool = False) -> Repository:
    """A task that holds the hidden rows."""
    from priors.tasks import Task

    (folder / "leak.csv").write_bytes(HIDDEN)
    made = Task.from_csv(folder / "leak.csv", target="label").save(folder / "leak", portable=True)
    repository = make_repository(owner, "leak", kind=Repository.Kind.TASK, private=private)
    commit_folder(repository=repository, folder=made, message="Rows", by=owner)
    return repository


def test_what_was_fitted_on_the_hidden_rows_is_refused_and_named(board: Board, ann: User, tmp_path: Path) -> None:
    hidden.keep(board=board, name="rows.csv", content=HIDDEN, by=ann)
    taught = leak(ann, tmp_path)
    fitted = jobs.submit(kind="fit", spec={"task": "ann/leak", "push_to": "ann/cheat"}, owner=ann)
    tasks.run_job(str(fitted.pk))

    run = submissions.submit(board=board, name="ann/cheat", by=ann, address=HERE)
    tasks.run_job(str(run.job_id))

    run.refresh_from_db()
    assert run.state == "failed" and "ann/leak, which holds hidden rows" in run.problem
    assert lines.budget_of(board, user=ann, network="").left == board.budget

    Repository.objects.filter(pk=taught.pk).update(private=True)
    said = refused(board, "ann/cheat", make_user("bob"))
    assert "was made from a task, which holds hidden rows" in said and "leak" not in said  # bob may not know of it
    repos.move_repository(Repository.objects.get(pk=taught.pk), "ann/other", by=ann)
    repos.move_repository(Repository.objects.get(name="cheat"), "ann/clean", by=ann)
    assert "ann/other, which holds" in refused(board, "ann/clean", ann)  # other names make them nothing else
    delete_repository(Repository.objects.get(pk=taught.pk), by=ann)
    assert "deleted by now" in refused(board, "ann/clean", ann)


def refused(board: Board, name: str, by: User) -> str:
    """Why a worker did not measure it."""
    run = submissions.submit(board=board, name=name, by=by, address=HERE)
    tasks.run_job(str(run.job_id))
    run.refresh_from_db()
    return run.problem


def test_training_data_in_a_manifest_asks_nothing_about_tasks_of_others(
    board: Board, ann: User, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measure(*_: Any, **__: Any) -> None:
        raise BadSpec("It would be measured now.")

    monkeypatch.setattr("hub.jobs.runners.verify.verify", measure)
    eve = make_user("eve")
    hidden.keep(board=board, name="rows.csv", content=HIDDEN, by=ann)
    secret = leak(ann, tmp_path, private=True)
    for name, said in (("asks", ["ann/leak"]), ("absent", ["ann/none"])):
        make_prior(eve, name, training_data=said, function={"id": "char_ngrams", "config": {"n": [2, len(name)]}})
    many = [f"eve/none-{number}" for number in range(60)]
    make_prior(
        ann, "honest", training_data=[*many, "ann/leak"], function={"id": "char_ngrams", "config": {"n": [3, 3]}}
    )

    assert refused(board, "eve/asks", eve) == refused(board, "eve/absent", eve) == "It would be measured now."
    assert "ann/leak, which holds hidden rows" in refused(board, "ann/honest", ann)  # after sixty others, too
    Repository.objects.filter(pk=secret.pk).update(private=False)
    make_prior(eve, "open", training_data=["ann/leak"], function={"id": "char_ngrams", "config": {"n": [2, 2]}})
    assert "ann/leak, which holds" in refused(board, "eve/open", eve)


def test_a_private_board_names_only_priors_that_all_its_readers_see(ann: User, tmp_path: Path) -> None:
    lab, bob = make_organisation("lab", admin=ann), make_user("bob")
    Membership.objects.create(organisation=lab, user=bob)
    task = Repository.objects.for_cards().get(name="rows")
    repos.change_settings(task, by=ann, private=True)
    repos.move_repository(task, "lab/rows", by=ann)
    Repository.objects.filter(name__in=("char-ngrams", "word-ngrams")).update(private=True)
    make_prior(lab, "ours", private=True, function={"id": "char_ngrams", "config": {"n": [2, 2]}})
    board = submissions.open_board(task=Repository.objects.for_cards().get(pk=task.pk), by=ann,
                                   rules=Rules(labels=4, draws=2, test_rows=60))  # fmt: skip

    run = measured(board, "ann/word-ngrams", ann)

    named = {each.arm: set(each.members) for each in ranking.against(run)}
    assert named["single"] == {"lab/ours#out"}  # ann's own, which bob does not see, were not even tried


def test_what_was_measured_outlives_its_task_and_its_job_without_the_rows(board: Board, ann: User) -> None:
    eve = make_user("eve")
    hidden.keep(board=board, name="rows.csv", content=HIDDEN, by=ann)
    run = make_run(
        board, "ann/word-ngrams", 0.8, ann, step=0.05, hidden=hidden.of(board), lock={"structure": "sha256:1"}
    )
    other = make_run(board, "ann/char-ngrams", 0.7, ann, private=True)
    waiting = submissions.submit(board=board, name="ann/char-ngrams", by=ann, address=HERE)
    job = jobs.submit(kind="benchmark", spec={"task": "ann/rows"}, owner=eve)
    result = Result.objects.create(job=job, task=board.task, commit="0" * 40, report={"rows": []})

    delete_repository(Repository.objects.get(pk=board.task_id), by=ann)
    accounts.delete_account(eve, by=eve)

    waiting.refresh_from_db()
    kept, told = Run.objects.get(pk=run.pk), Result.objects.get(pk=result.pk)
    assert (kept.mean, kept.lock, kept.outcomes.count()) == (0.8, {"structure": "sha256:1"}, 2)
    assert waiting.state == "failed" and kept.board.task is None and told.job is None
    assert kept.board.task_called == told.task_called == "ann/rows"
    assert [bytes(rows.sealed) for rows in kept.board.hidden.all()] == [b""]
    everybody = Run.objects.visible_to(AnonymousUser())
    assert kept in everybody and other not in everybody and other in Run.objects.visible_to(ann)
    shown = Client().get(f"/api/v1/boards/runs/{run.pk}").json()
    assert (shown["task"], shown["task_deleted"], shown["score"]) == ("ann/rows", True, 0.8)
    assert submissions.withdraw(kept, by=ann).withdrawn_at is not None
    assert not past().outcomes


def test_what_was_measured_on_a_private_task_is_nobodys_when_it_is_deleted(board: Board, ann: User) -> None:
    bob, root = make_user("bob"), make_user("root", admin=True)
    run = make_run(board, "ann/word-ngrams", 0.8, ann)  # of the time before it was private
    result = Result.objects.create(task=board.task, commit="0" * 40, report={"rows": []})
    Repository.objects.filter(pk=board.task_id).update(private=True)

    delete_repository(Repository.objects.get(pk=board.task_id), by=ann)

    for rows, row in ((Run.objects, run), (Result.objects, result)):
        assert [row in rows.visible_to(who) for who in (AnonymousUser(), bob, ann, root)] == [False, False, True, True]
    assert Client().get(f"/boards/deleted/{board.pk}").status_code == 404
    assert not Board.objects.gone(bob).exists()


def test_a_run_is_of_its_repository_whatever_that_is_called_now(board: Board, ann: User) -> None:
    run = make_run(board, "ann/word-ngrams", 0.8, ann)
    repository = Repository.objects.get(name="word-ngrams")

    repos.move_repository(repository, "ann/words", by=ann)

    run = Run.objects.get(pk=run.pk)
    assert (run.submission, run.called) == ("ann/word-ngrams", "ann/words")
    assert [each.run.pk for each in verified(repository, actor=AnonymousUser())] == [run.pk]
    assert {member for one in past().outcomes for member in one.members} <= {"ann/words#out"}
    Repository.objects.filter(pk=repository.pk).update(private=True)
    assert Run.objects.get(pk=run.pk).called == "ann/word-ngrams"  # the new name of what is private is nobody else's


def test_everybody_sees_the_same_ranks_on_a_board_that_was_private_once(board: Board, ann: User) -> None:
    Repository.objects.filter(pk=board.task_id).update(private=True)
    make_run(Board.objects.for_cards().get(pk=board.pk), "ann/char-ngrams", 0.9, ann, private=True)
    Repository.objects.filter(pk=board.task_id).update(private=False)
    board = Board.objects.for_cards().get(pk=board.pk)
    make_run(board, "ann/word-ngrams", 0.8, ann)
    make_run(board, "ann/char-ngrams", 0.6, ann, content="left from a time when editions did not tell", private=True)

    ranks = [[(line.ranks, line.run.submission) for line in ranking.standing(board, actor=who).lines]
             for who in (AnonymousUser(), make_user("bob"), ann)]  # fmt: skip

    assert ranks[0] == ranks[1] == ranks[2] == [("1", "ann/word-ngrams")]
    assert len(ranking.standing(board, actor=ann).earlier) == 2  # those who saw them see them beside it


def test_a_claimed_score_stands_apart_and_ranks_nowhere(board: Board, ann: User) -> None:
    run = measured(board, "ann/word-ngrams", ann)
    prior = Repository.objects.get(name="char-ngrams")

    submissions.claim(board=board, repository=prior, score=0.999, by=ann, source=Claim.Source.ENTERED)

    shown = ranking.standing(board, actor=AnonymousUser())
    assert [line.run.pk for line in shown.lines] == [run.pk]
    assert [claim.score for claim in shown.claims] == [0.999]
    with pytest.raises(BadRequest, match="ann/rows is a task"):
        submissions.claim(board=board, repository=board.live_task, score=0.9, by=ann, source=Claim.Source.ENTERED)


def test_a_public_board_judges_nothing_that_others_cannot_look_at(board: Board, ann: User) -> None:
    make_prior(ann, "secret", private=True, function={"id": "char_ngrams", "config": {"n": [2, 2]}})

    with pytest.raises(NotAllowed, match="Make it public first"):
        submissions.submit(board=board, name="ann/secret", by=ann, address=HERE)
    with pytest.raises(BadSpec, match="neither a prior nor a composition"):
        submissions.submit(board=board, name="ann/rows", by=ann, address=HERE)
    with pytest.raises(BadSpec, match="no kind of job"):
        jobs.submit(kind="verify", spec={"run": "x"}, owner=ann)


def call(client: Client, method: str, path: str, body: Any, **headers: str) -> Any:
    return client.generic(method, path, json.dumps(body), content_type="application/json", headers=headers)


def test_the_whole_way_over_the_api(ann: User) -> None:
    client, head = Client(), bearer(ann)

    made = call(client, "PUT", "/api/v1/boards/ann/rows", {"labels": 4, "draws": 2, "test_rows": 60}, **head)
    sealed = client.generic("PUT", "/api/v1/boards/ann/rows/hidden?file=rows.csv", HIDDEN,
                            content_type="application/octet-stream", headers=head)  # fmt: skip
    asked = call(client, "POST", "/api/v1/boards/ann/rows/submissions", {"name": "ann/word-ngrams"}, **head)
    assert (made.status_code, sealed.status_code, asked.status_code) == (200, 200, 202), asked.content
    assert sealed.json()["rows"] == 40 and asked.json()["state"] == "waiting"
    tasks.run_job(asked.json()["job"])

    shown = client.get("/api/v1/boards/ann/rows", headers=head).json()

    [line] = shown["ranked"]
    assert (line["first"], line["last"]) == (1, 1) and line["run"]["score"] is not None
    assert len(line["run"]["against"]) == 6 and line["verdict"]
    assert shown["budget"]["left"] == 4 and shown["board"]["hidden_rows"] == 40
    gone = call(client, "POST", f"/api/v1/boards/runs/{asked.json()['id']}/withdraw", {"why": "mistake"}, **head)
    assert gone.json()["withdrawn_why"] == "mistake"
    assert client.get("/api/v1/boards/ann/rows").json()["ranked"] == []
