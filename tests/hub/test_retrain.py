"""The ranker that learns from what was measured: asked for by the clock, kept as versions of a repository."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from composer.rank.learned import Ranker
from hub.boards import ranker
from hub.boards.tasks import retrain
from hub.errors import BadSpec
from hub.jobs import services, tasks
from hub.jobs.models import Job
from hub.repos.models import Repository
from hub.repos.services import materialise, read_file
from tests.factories import make_board, make_organisation, make_prior, make_run, make_user

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
