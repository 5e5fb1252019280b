from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from hub.jobs import events, services
from hub.jobs.models import Job, JobEvent
from hub.jobs.services import Outcome
from hub.repos.commits import Put, commit
from hub.repos.models import Blob, Repository
from hub.repos.storage import store
from tests.factories import GRAPH, bearer, make_blob, make_repository, make_task, make_user

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def own_home(home: Path) -> Path:
    return home


@pytest.fixture
def ann() -> Any:
    return make_user("ann")


@pytest.fixture
def job(ann: Any) -> Job:
    make_task(ann, "topics")
    return services.submit(kind="predict", spec=predict_spec(ann), owner=ann)


def predict_spec(ann: Any) -> dict[str, str]:
    """A model that is only a graph will do: nothing here runs it."""
    model = make_repository(ann, "model", kind=Repository.Kind.COMPOSITION)
    blob = make_blob(GRAPH.encode(), by=ann)
    commit(repository=model, changes=[Put("composition.json", blob.sha256)], message="", by=ann)
    return {"model": "ann/model", "data": "ann/topics"}


def stream(client: Client, job: Job, headers: dict[str, str]) -> tuple[Any, list[dict[str, Any]]]:
    response = client.get(f"/api/v1/jobs/{job.pk}/events", headers=headers)
    return response, list(parse(b"".join(response.streaming_content).decode()))


def parse(text: str) -> Iterator[dict[str, Any]]:
    for block in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if fields:
            yield {"id": int(fields["id"]), "event": fields["event"], **json.loads(fields["data"])}


def finish(job: Job, outcome: Outcome) -> None:
    held = services.claim(str(job.pk))
    assert held is not None
    services.record_progress(held, step=1, of=2, message="half <b>way</b>\nthere", metrics={"loss": 0.5})
    services.finish(held, outcome)


def test_a_job_is_submitted_and_shown(client: Client, ann: Any) -> None:
    make_task(ann, "topics")
    body = {"kind": "recommend", "spec": {"task": "ann/topics"}}

    made = client.post("/api/v1/jobs", body, content_type="application/json", headers=bearer(ann))
    same = client.post("/api/v1/jobs", body, content_type="application/json", headers=bearer(ann))
    shown = client.get(f"/api/v1/jobs/{made.json()['id']}", headers=bearer(ann))
    listed = client.get("/api/v1/jobs", headers=bearer(ann))

    assert (made.status_code, made.json()["status"]) == (202, "queued")
    assert same.json()["id"] == made.json()["id"]
    assert shown.json() == made.json()
    assert [job["id"] for job in listed.json()["items"]] == [made.json()["id"]]


def test_a_wrong_spec_is_a_problem_with_its_field(client: Client, ann: Any) -> None:
    body = {"kind": "benchmark", "spec": {"task": "ann/topics", "draws": "many"}}

    response = client.post("/api/v1/jobs", body, content_type="application/json", headers=bearer(ann))

    assert (response.status_code, response.json()["code"]) == (422, "bad-spec")
    assert "draws" in response.json()["detail"]


def test_events_are_streamed_to_the_end_and_resumed_from_an_id(client: Client, ann: Any, job: Job) -> None:
    finish(job, Outcome({"rows": 4}))

    response, all_events = stream(client, job, bearer(ann))
    _, rest = stream(client, job, bearer(ann) | {"Last-Event-ID": str(all_events[1]["id"])})

    assert response["Content-Type"] == "text/event-stream"
    assert response["Cache-Control"] == "no-store"
    assert [(event["event"], event.get("status")) for event in all_events] == [
        ("status", "queued"),
        ("status", "running"),
        ("progress", None),
        ("status", "done"),
    ]
    assert all_events[2]["message"] == "half <b>way</b>\nthere"
    assert rest == all_events[2:]


@pytest.mark.parametrize("last", ["x", "-1", "9" * 30, ""])
def test_a_senseless_last_event_id_starts_from_the_beginning(client: Client, ann: Any, job: Job, last: str) -> None:
    services.request_cancel(job)

    _, found = stream(client, job, bearer(ann) | {"Last-Event-ID": last})

    assert [event["status"] for event in found] == ["queued", "cancelled"]


def test_an_event_that_is_written_while_somebody_watches_arrives(job: Job) -> None:
    watch = events.Watch(job, poll_s=0.01)
    assert next(watch) == b": connected\n\n"
    assert b"queued" in next(watch)

    services.request_cancel(job)

    assert b"cancelled" in next(watch)
    assert list(watch) == []
    watch.close()


def test_watchers_have_limited_seats_that_come_back(
    client: Client, ann: Any, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "_seats", events.threading.BoundedSemaphore(1))
    watch = events.Watch(job)

    refused = client.get(f"/api/v1/jobs/{job.pk}/events", headers=bearer(ann))
    watch.close()  # never started: its seat comes back all the same
    watch.close()
    events.Watch(job).close()

    assert (refused.status_code, refused.json()["code"], refused["Retry-After"]) == (503, "too-many-watchers", "5")


def test_the_stream_of_a_deleted_job_ends(job: Job) -> None:
    watch = events.Watch(job, poll_s=0.01)
    next(watch)
    Job.objects.all().delete()

    assert list(watch) == []
    watch.close()
    assert JobEvent.objects.count() == 0


def test_predictions_are_downloaded_and_vanish_with_the_rows_they_are_of(
    client: Client, ann: Any, job: Job, tmp_path: Path
) -> None:
    csv = tmp_path / "predictions.csv"
    csv.write_text("text,prediction\nhello,talk\n")
    finish(job, Outcome({"rows": 1}, output=csv))
    headers = bearer(ann)

    file = client.get(f"/api/v1/jobs/{job.pk}/file", headers=headers)
    content = b"".join(file.streaming_content)
    client.delete("/api/v1/repos/ann/topics", headers=headers)
    gone = client.get(f"/api/v1/jobs/{job.pk}/file", headers=headers)

    assert content == csv.read_bytes()
    assert file["Content-Disposition"] == f'attachment; filename="predictions-{str(job.pk)[:8]}.csv"'
    job.refresh_from_db()
    assert gone.status_code == 404
    assert not Blob.objects.filter(pk=job.result["blob"]).exists()
    assert not store().verify(job.result["blob"])


def test_a_job_cannot_be_cancelled_by_a_stranger(client: Client, job: Job) -> None:
    response = client.post(f"/api/v1/jobs/{job.pk}/cancel", headers=bearer(make_user()))

    job.refresh_from_db()
    assert (response.status_code, job.status) == (404, "queued")


def test_what_is_not_there_is_a_problem_too(client: Client) -> None:
    for path in ("/api/v1/nothing", "/api/v1/jobs/not-an-id", "/api/v1/repos/a", "/api/v1/"):
        response = client.get(path)
        assert response.status_code in {404, 422}
        assert response["Content-Type"] == "application/problem+json"


def test_a_mistake_of_the_hub_is_a_number_for_its_operator(
    client: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(**_: object) -> None:
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr("hub.catalog.search.search", broken)

    response = client.get("/api/v1/priors")

    problem = response.json()
    assert (response.status_code, problem["code"]) == (500, "internal")
    assert "secret" not in problem["detail"]
    assert problem["detail"].split()[-1].rstrip(".") in caplog.text
