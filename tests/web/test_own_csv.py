"""A visitor's own table, from upload to deletion. Jobs are queued and not run: a worker's part ends in tests/hub."""

from __future__ import annotations

import re
import uuid
from pathlib import Path

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.http import HttpResponse
from django.test import Client
from pytest_django import Settings

from hub.accounts import rates
from hub.accounts.models import User
from hub.jobs.models import Job
from hub.repos.models import Blob, Repository
from hub.repos.services import materialise, resolve
from hub.web import own, uploads
from hub.web.uploads import safe_name
from priors.errors import NotFound
from priors.tasks import Task
from tests.factories import make_prior, make_user
from tests.web.world import make_composition, make_job

ROWS = "".join(f"message number {n} about {topic},{n * 1.5},{topic}\n" for n in range(8) for topic in ("food", "talk"))
CSV = f"text,length,topic\n{ROWS}unlabelled one,3,\nunlabelled two,4,\n"


def csv(content: str | bytes = CSV, name: str = "my rows.csv") -> SimpleUploadedFile:
    return SimpleUploadedFile(name, content.encode() if isinstance(content, str) else content, "text/csv")


def upload(client: Client, content: str | bytes = CSV, name: str = "my rows.csv") -> HttpResponse:
    return client.post("/try", {"file": csv(content, name)})  # type: ignore[return-value]


def text(response: HttpResponse) -> str:
    return response.content.decode()


def left_over(home: Path) -> list[Path]:
    return [path for folder in ("uploads", "tmp") for path in (home / folder).rglob("*") if path.is_file()]


def test_a_table_goes_from_upload_to_a_queued_fit(signed_in: Client, ada: User, home: Path) -> None:
    chosen = upload(signed_in)
    assert chosen.status_code == 302

    html = text(signed_in.get(chosen["Location"]))  # type: ignore[arg-type]
    assert "18 rows" in html and "message number 0 about food" in html
    assert re.search(r'value="topic" required checked', html)  # the column that could be a class is suggested

    started = signed_in.post(chosen["Location"], {"target": "topic"})
    job = Job.objects.get()
    assert started["Location"] == f"/jobs/{job.pk}"
    assert job.kind == "fit" and job.spec["composition"] is None and job.spec["private"]
    assert job.spec["push_to"] == "ada/my-rows-model"

    task = Repository.objects.get()
    assert (task.full_name, task.kind, task.private) == ("ada/my-rows", "task", True)
    assert left_over(home) == []


def test_the_stored_task_is_the_table(signed_in: Client, ada: User, tmp_path: Path) -> None:
    signed_in.post(upload(signed_in)["Location"], {"target": "topic"})

    task = Task.from_dir(materialise(resolve(Repository.objects.get()), tmp_path / "task"))

    assert len(task) == 16 and task.labels == ("food", "talk")
    assert task.unlabelled.num_rows == 2
    assert {column.name: column.modality for column in task.inputs} == {"text": "text", "length": "num"}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "empty"),
        ("text,topic\n", "no rows"),
        ("text,topic\na,b,c\n", "row 1 (line 2) has 3"),
        ('text,topic\n"open,b\n', "line"),
        ("text;topic\na;b\n", "one column by commas"),
        (b"\xff\xfet\x00", "UTF-16"),
        (b"text,topic\na,\xe9\n", "line 2 is not UTF-8"),
        ("only\na\nb\n", "no column is left to learn from"),
        ("text,topic\n" + "x" * 200_000 + ",b\n", "row 1 holds 200,000 characters"),
    ],
)
def test_a_bad_table_comes_back_with_its_rows(
    signed_in: Client, ada: User, home: Path, content: str | bytes, said: str
) -> None:
    response = upload(signed_in, content)

    assert response.status_code == 422
    assert said in text(response)
    assert left_over(home) == [] and not Repository.objects.exists()


@pytest.mark.parametrize(
    ("content", "target", "said"),
    [
        ("text,topic\na b c,x\nd e f,x\ng h i,y\n", "topic", "y"),
        ("text,topic\na b c,x\nd e f,x\n", "topic", "x"),
        ("size,topic\n1,x\ninf,y\n3,x\n4,y\n", "topic", "row 2"),
        ("photo,topic\n/etc/a.png,x\n../b.png,y\nc.png,x\nd.png,y\n", "topic", "absolute"),
        (CSV, "colour", "Select a valid choice"),
    ],
    ids=["class with one row", "one class", "infinity", "absolute paths", "no such column"],
)
def test_a_target_that_cannot_be_learned_keeps_the_choice(
    signed_in: Client, ada: User, content: str, target: str, said: str
) -> None:
    there = upload(signed_in, content)["Location"]

    response = signed_in.post(there, {"target": target})

    assert response.status_code == 422
    assert 'role="alert"' in text(response) and said in text(response)  # type: ignore[arg-type]
    assert not Repository.objects.exists() and not Job.objects.exists() and not Blob.objects.exists()
    assert signed_in.get(there).status_code == 200  # the upload is still there for another try


@pytest.mark.parametrize("cell", ["nan", ""])
def test_a_cell_may_be_missing(signed_in: Client, ada: User, cell: str) -> None:
    there = upload(signed_in, f"size,topic\n1,x\n{cell},y\n3,x\n4,y\n")["Location"]

    assert signed_in.post(there, {"target": "topic"})["Location"].startswith("/jobs/")


def test_only_tables_of_at_most_20_megabytes_are_taken(signed_in: Client) -> None:
    assert "not a .csv or .tsv file" in text(upload(signed_in, name="rows.xlsx"))

    large = upload(signed_in, b"text,topic\n" + b"a,b\n" * 5_100_000)
    assert large.status_code == 422 and "20 MB are the most" in text(large)


def test_a_visitor_may_look_but_not_upload(client: Client, db: None) -> None:
    assert "Sign in" in text(client.get("/try"))  # type: ignore[arg-type]

    response = upload(client)

    assert (response.status_code, response["Location"]) == (302, "/login?next=/try")


def test_an_upload_belongs_to_whoever_sent_it(client: Client, ada: User) -> None:
    client.force_login(ada)
    there = upload(client)["Location"]
    client.force_login(make_user("eve"))

    assert client.get(there).status_code == 404
    assert client.post(there, {"target": "topic"}).status_code == 404


def test_uploads_nobody_came_back_to_are_forgotten(ada: User, home: Path) -> None:
    kept = uploads.keep(owner_id=ada.pk, name="a.csv", chunks=[b"x"])

    assert uploads.forget_old() == 0
    assert uploads.forget_old(keep_s=-1) == 1
    with pytest.raises(NotFound):
        uploads.find(owner_id=ada.pk, number=kept.id)
    with pytest.raises(NotFound):
        uploads.find(owner_id=ada.pk, number=uuid.uuid4())


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("../../etc/passwd.csv", "passwd.csv"),
        ("C:\\rows\\Müller 2.CSV", "M-ller-2.csv"),
        ("...", "table.csv"),
        ("\u202egpj.tsv", "gpj.tsv"),
        ("x" * 300 + ".csv", "x" * 60 + ".csv"),
    ],
)
def test_names_of_uploads_are_made_safe(given: str, kept: str) -> None:
    assert safe_name(given) == kept


def test_a_table_counts_as_a_new_repository_and_so_does_its_model(
    signed_in: Client, ada: User, settings: Settings
) -> None:
    rates.forget()
    settings.RATES = {**settings.RATES, "create": (1, 3600)}
    shown = upload(signed_in)

    answer = signed_in.post(shown["Location"], {"target": "topic"})

    assert answer.status_code == 429 and "more than 1 in 60 minutes" in text(answer)  # type: ignore[arg-type]
    assert Job.objects.count() == 0
    assert Repository.objects.get(namespace__owner=ada).full_name == "ada/my-rows"  # fitted from its own page later
    more = upload(signed_in, name="more.csv")
    assert "more than 1 in 60 minutes" in text(signed_in.post(more["Location"], {"target": "topic"}))  # type: ignore[arg-type]
    assert Repository.objects.filter(namespace__owner=ada).count() == 1


def test_two_tables_of_one_name_are_two_tasks(signed_in: Client, ada: User) -> None:
    for _ in range(2):
        signed_in.post(upload(signed_in)["Location"], {"target": "topic"})

    names = sorted(Repository.objects.values_list("name", flat=True))
    assert names[0] == "my-rows" and names[1].startswith("my-rows-")
    assert Job.objects.count() == 2


def test_after_the_fit_the_rows_can_be_predicted_and_deleted(signed_in: Client, ada: User) -> None:
    make_prior(ada)
    make_composition(ada, "my-rows-model")
    signed_in.post(upload(signed_in)["Location"], {"target": "topic"})
    spec = {"task": Job.objects.get().spec["task"]}
    fitted = make_job(ada, "fit", "done", spec=spec, result={"repo": "ada/my-rows-model", "report": {}})

    html = text(signed_in.get(f"/jobs/{fitted.pk}"))  # type: ignore[arg-type]
    assert "2 of them without a label" in html and "/ada/my-rows/delete" in html

    predicted = signed_in.post("/ada/my-rows/predict-rows", {"model": "ada/my-rows-model"})
    job = Job.objects.filter(kind="predict").get()
    assert predicted["Location"] == f"/jobs/{job.pk}"
    assert job.spec["data"].startswith("ada/my-rows@")

    signed_in.post("/ada/my-rows/delete", {"name": "ada/my-rows"})
    assert not Repository.objects.filter(kind="task").exists()
    assert 'href="/ada/my-rows"' not in text(signed_in.get("/try"))  # type: ignore[arg-type]
    assert signed_in.get(f"/jobs/{fitted.pk}").status_code == 200


def test_a_second_file_is_predicted_with_a_model(signed_in: Client, ada: User, tmp_path: Path) -> None:
    make_prior(ada)
    make_composition(ada)

    response = signed_in.post("/ada/topics-model/predict", {"file": csv("text,other\nhello,1\nsoup,2\n", "new.csv")})

    job = Job.objects.get()
    assert response["Location"] == f"/jobs/{job.pk}" and job.spec["model"].startswith("ada/topics-model@")
    rows = Repository.objects.get(kind="task")
    assert rows.private and rows.name.startswith("topics-model-rows-")
    task = Task.from_dir(materialise(resolve(rows), tmp_path / "rows"))
    assert task.values("text") == ["hello", "soup"] and task.labels == ("food", "talk")


def test_a_second_file_without_the_models_columns_names_them(signed_in: Client, ada: User) -> None:
    make_prior(ada)
    make_composition(ada)

    response = signed_in.post("/ada/topics-model/predict", {"file": csv("body\nhello\n")})

    assert response.status_code == 422
    assert "has no column &#x27;text&#x27;" in text(response)  # type: ignore[arg-type]
    assert not Job.objects.exists() and not Repository.objects.filter(kind="task").exists()


def test_rows_for_a_model_follow_its_lock() -> None:
    head = {"op": "head", "in": ["t"], "attrs": {"target": None}, "type": "scalar.value[B]:f32"}
    table = {"op": "input", "attrs": {"column": ["target", "b"]}, "type": "tab.num[B,C:2]:f32"}

    spec = own.rows_for({"nodes": {"t": table, "y": head}})

    assert [(column.name, column.modality) for column in spec.inputs] == [("target", "num"), ("b", "num")]
    assert spec.kind == "regression" and spec.target not in {"target", "b"}
