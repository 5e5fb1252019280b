"""The ranker that learns from what was measured: asked for by the clock, kept as versions of a repository."""

from __future__ import annotations

import csv
import json
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from composer.rank.learned import Ranker
from composer.rank.learned import retrain as train_anew
from hub.accounts.models import User
from hub.boards import history, ranker
from hub.boards.tasks import retrain
from hub.errors import BadSpec
from hub.jobs import services, tasks
from hub.jobs.models import Job
from hub.repos.commits import commit_folder
from hub.repos.models import Repository
from hub.repos.services import materialise, read_file
from tests._named_tasks import QUICK, outcomes
from tests.factories import make_board, make_organisation, make_prior, make_repository, make_run, make_user

pytestmark = pytest.mark.django_db(transaction=True)


def test_it_is_trained_when_there_is_something_new_and_each_time_is_a_version(home: Path, tmp_path: Path) -> None:
    ann = make_user("ann")
    make_prior(ann, "good")
    boards = [make_board(make_user(f"owner{n}"), f"task-{n}") for n in range(4)]
    for board in boards[:3]:
        make_run(board, "ann/good", 0.8, ann)
    retrain()
    assert not Job.objects.exists()  # nobody could own what it makes

    root = make_user("root", admin=True)
    make_organisation("priorhub")
    retrain()
    retrain()

    [job] = Job.objects.all()
    tasks.run_job(str(job.pk))
    job.refresh_from_db()
    assert job.status == "done", job.error
    assert job.result["repo"] == ranker.REPOSITORY and job.owner == root
    assert "too few to judge" in job.result["gates"]["text"]["why"]
    head = Repository.objects.for_cards().named(ranker.REPOSITORY).get().head
    assert head is not None and json.loads(read_file(head, "ranker.json"))["gates"]["text"]["enabled"] is False
    assert Ranker.load(materialise(head, tmp_path / "ranker")).gates["text"].tasks == 3

    retrain()
    assert Job.objects.count() == 1
    make_run(boards[3], "ann/good", 0.9, root)
    retrain()
    second = Job.objects.exclude(pk=job.pk).get()
    tasks.run_job(str(second.pk))
    assert Repository.objects.named(ranker.REPOSITORY).get().commits.count() == 2


def test_nobody_asks_for_one_themselves(home: Path) -> None:
    with pytest.raises(BadSpec, match="no kind of job"):
        services.submit(kind="retrain", spec={"history": "x"}, owner=make_user("eve", admin=True))


@pytest.mark.slow
def test_where_tasks_left_out_say_that_it_helps_it_has_a_say_in_what_is_recommended(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from priors.tasks import Task

    runs, cards = outcomes("ann/char-ngrams#out", "ann/word-ngrams#out")
    known = [history.Said(**vars(one)) for one in runs], [asdict(card) for card in cards]
    monkeypatch.setattr(history, "_starter", lambda: known)
    monkeypatch.setattr("hub.jobs.runners.retrain.retrain", partial(train_anew, config=QUICK))
    ann = make_user("ann", admin=True)
    make_organisation("priorhub")
    make_prior(ann, "char-ngrams")
    make_prior(ann, "word-ngrams", function={"id": "word_ngrams", "config": {}})
    for name in ("alpine", "marine"):
        with (tmp_path / f"{name}.csv").open("w", newline="") as file:
            csv.writer(file).writerows(
                [("text", "label"), *((f"{word} {i}", word) for word in ("up", "down") for i in range(8))]
            )
        folder = Task.from_csv(tmp_path / f"{name}.csv", target="label").save(tmp_path / name, portable=True)
        commit_folder(
            repository=make_repository(ann, name, kind=Repository.Kind.TASK), folder=folder, message="Rows", by=ann
        )

    before = _explained(ann, "alpine")
    assert "none was trained" in before["learned"]
    assert all("learned" not in one["terms"] for one in before["stands"])

    job = ranker.ask()
    assert job is not None
    tasks.run_job(str(job.pk))
    job.refresh_from_db()
    gate = job.result["gates"]["text"]
    assert gate["enabled"] and gate["low"] > 0, gate["why"]
    head = Repository.objects.for_cards().named(ranker.REPOSITORY).get().head
    assert head is not None and head.title == "Trained on 24 tasks: on for text"

    for name, higher, lower in (("alpine", "char", "word"), ("marine", "word", "char")):
        told = _explained(ann, name)
        assert told["learned"] == f"learned tier {gate['why']}"
        terms = {one["name"].partition("-")[0]: one["terms"] for one in told["stands"]}
        assert terms[higher]["learned"] > 0 > terms[lower]["learned"], terms


def _explained(owner: User, task: str) -> dict[str, Any]:
    job = services.submit(kind="recommend", spec={"task": f"{owner.username}/{task}"}, owner=owner, again=True)
    tasks.run_job(str(job.pk))
    job.refresh_from_db()
    assert job.status == "done", job.error
    return dict(job.result["explained"])
