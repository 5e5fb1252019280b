"""The real runners on a small task, as a worker calls them."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser

from hub.accounts.models import User
from hub.boards.models import Result
from hub.catalog.models import Item
from hub.errors import BadSpec
from hub.home import scratch
from hub.jobs import services, tasks
from hub.jobs.models import Job
from hub.repos.commits import commit_folder
from hub.repos.models import Blob, Repository
from hub.repos.services import files, read_file
from hub.repos.storage import store
from tests.factories import make_prior, make_repository, make_user
from tests.web.world import composition

pytestmark = pytest.mark.django_db(transaction=True)

FOOD = ["soup", "bread", "cheese", "apples", "rice", "beans", "salad", "noodles", "cake", "pepper"]
TALK = ["hello", "goodbye", "morning", "evening", "thanks", "welcome", "sorry", "please", "greetings", "cheers"]


@pytest.fixture
def ann(home: Path, tmp_path: Path) -> User:
    from priors.tasks import Task

    ann = make_user("ann")
    make_prior(ann, "char-ngrams")
    make_prior(ann, "word-ngrams", function={"id": "word_ngrams", "config": {}})
    rows = [(f"{verb} {word} {end}", label) for label, verb, words in (("food", "eat", FOOD), ("talk", "say", TALK))
            for word in words for end in ("today", "again")]  # fmt: skip
    path = tmp_path / "rows.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *rows, ("eat more soup", ""), ("say hello you", "")])
    folder = Task.from_csv(path, target="label").save(tmp_path / "task", portable=True)
    repository = make_repository(ann, "rows", kind=Repository.Kind.TASK)
    commit_folder(repository=repository, folder=folder, message="Rows", by=ann)
    return ann


def done(owner: User, kind: str, spec: dict[str, Any]) -> Job:
    job = services.submit(kind=kind, spec=spec, owner=owner)
    tasks.run_job(str(job.pk))
    job.refresh_from_db()
    assert job.status == "done", job.error
    assert list(scratch().iterdir()) == []
    return job


def test_a_ranking_says_what_to_use(ann: User) -> None:
    ranking = done(ann, "recommend", {"task": "ann/rows"}).result

    assert ranking["answer"] in {"set", "one", "none"}
    assert ranking["singles"]


def test_two_owners_who_fit_the_same_get_the_same_bytes(ann: User) -> None:
    bob = make_user("bob")

    mine = done(ann, "fit", {"task": "ann/rows", "push_to": "ann/model"})
    his = done(bob, "fit", {"task": "ann/rows", "push_to": "bob/model"})

    assert mine.result["structure"] == his.result["structure"]
    assert mine.result["model"] == his.result["model"]
    weights = Blob.objects.filter(entries__name="model.safetensors").distinct()
    assert weights.count() == 1
    assert Repository.objects.named("bob/model").get().head.oid == his.result["commit"]


def test_a_fitted_model_predicts_every_row_of_a_task(ann: User) -> None:
    done(ann, "fit", {"task": "ann/rows", "push_to": "ann/model", "private": True})
    model = Repository.objects.named("ann/model").get()
    assert model.private
    assert b"composition" in read_file(model.head, "README.md")

    job = done(ann, "predict", {"model": "ann/model", "data": "ann/rows"})

    with store().open(job.output_id) as file:
        rows = list(csv.DictReader(io.StringIO(file.read().decode())))
    assert job.result["rows"] == len(rows) == 42
    assert [row["prediction"] for row in rows[-2:]] == ["food", "talk"]
    assert set(rows[0]) == {"text", "label", "prediction", "p_food", "p_talk"}


def test_a_benchmark_is_reported_and_put_on_the_board(ann: User) -> None:
    spec = {"task": "ann/rows", "labels_per_class": 4, "draws": 2, "curve": [2, 4]}

    job = done(ann, "benchmark", spec)

    assert {row["kind"] for row in job.result["rows"]} >= {"none", "single", "recommended"}
    assert Result.objects.get().report == job.result


def test_a_job_that_cannot_be_done_says_why_in_one_line(ann: User) -> None:
    job = services.submit(kind="recommend", spec={"task": "ann/rows", "rows": [0, 1, 2]}, owner=ann)

    tasks.run_job(str(job.pk))

    job.refresh_from_db()
    assert (job.status, job.error["code"]) == ("failed", "bad-task")
    assert "\n" not in job.error["detail"]


def test_what_everybody_reads_names_no_private_prior(ann: User) -> None:
    make_prior(ann, "hidden-ngrams", private=True, function={"id": "char_ngrams", "config": {"n": [2, 2]}})
    spec = {"labels_per_class": 4, "draws": 1, "curve": [4]}

    shown = done(ann, "benchmark", {"task": "ann/rows", **spec})
    Repository.objects.filter(name="rows").update(private=True)
    mine = done(ann, "benchmark", {"task": "ann/rows", "seed": 1, **spec})

    assert "hidden-ngrams" in str(mine.result) and "hidden-ngrams" not in str(shown.result)

    Repository.objects.filter(name="rows").update(private=False)
    assert [one.job_id for one in Result.objects.visible_to(AnonymousUser())] == [shown.pk]
    assert {one.job_id for one in Result.objects.visible_to(ann)} == {shown.pk, mine.pk}


def test_a_public_model_is_made_of_public_priors_unless_it_names_others(ann: User) -> None:
    make_prior(ann, "hidden-ngrams", private=True)
    named = Item.objects.get(repository__name="hidden-ngrams").ref

    done(ann, "fit", {"task": "ann/rows", "push_to": "ann/chosen"})
    done(ann, "fit", {"task": "ann/rows", "push_to": "ann/given", "composition": composition(named)})

    chosen, named_one = (Repository.objects.get(name=name) for name in ("chosen", "given"))
    assert not chosen.private and named_one.private
    again = services.submit(
        kind="fit", spec={"task": "ann/rows", "push_to": "ann/chosen", "composition": composition(named)}, owner=ann
    )
    tasks.run_job(str(again.pk))
    again.refresh_from_db()
    assert again.status == "failed" and "ann/chosen is public" in again.error["detail"]
    with pytest.raises(BadSpec, match="is public"):
        services.submit(kind="fit", spec={"task": "ann/rows", "push_to": "ann/chosen", "private": True}, owner=ann)
    assert b"hidden-ngrams" in read_file(named_one.head, "composition.lock.json")
    assert not any(b"hidden-ngrams" in read_file(chosen.head, file.path) for file in files(chosen.head))
