"""Jobs from the client's side: events as they come, broken lines, results and failures."""

import json

import pytest

from priors.client._events import parse
from priors.client.records import JobEvent
from priors.errors import BadTask, HubError, HubUnreachable, NotFound

from .conftest import problem


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    monkeypatch.setattr("priors.client._events.time.sleep", lambda seconds: None)


def stream(*events: tuple[int, dict]) -> bytes:
    return b"".join(f"id: {n}\nevent: progress\ndata: {json.dumps(data)}\n\n".encode() for n, data in events)


def finish(fake, status: str = "done", **more) -> None:
    fake.jobs["j1"] = {"id": "j1", "kind": "fit", "status": status, **more}


def test_events_are_parsed_and_what_is_not_one_is_passed_over():
    lines = [
        ": keep-alive",
        "",
        "id: 1",
        "event: progress",
        'data: {"step": 1,',
        'data:  "of": 2}',
        "",
        "data: {}",
        "",
        "id: x",
        "data: {}",
        "",
        "id:2",
        "data: not json",
        "",
        "id: 3",
        "data: []",
        "",
        "id: 4",
        'data:{"a":1}',
        "retry: 10",
        "",
        "id: 5",
        'data: {"cut": "off"}',
    ]

    assert list(parse(lines)) == [JobEvent(1, "progress", {"step": 1, "of": 2}), JobEvent(4, "message", {"a": 1})]


def test_a_job_is_submitted_followed_and_its_result_returned(fake, hub):
    job = hub.submit("fit", {"task": "me/t@main"})
    assert (job.id, job.status, job.finished) == ("j1", "queued", False)
    first, second = ({"step": n, "of": 2, "message": what} for n, what in ((1, "features"), (2, "fit")))
    fake.streams = [stream((1, first), (2, second))]
    finish(fake, result={"repo": "me/m"})
    steps = []

    assert hub.wait(job, lambda *step: steps.append(step)) == {"repo": "me/m"}
    assert steps == [(1, 2, "features"), (2, 2, "fit")]


def test_a_broken_line_is_taken_up_after_the_last_event_and_nothing_is_seen_twice(fake, hub):
    fake.streams = [stream((1, {"step": 1})), b"", stream((1, {"step": 1}), (2, {"step": 2}))]
    statuses = iter(["running", "running"])

    def before(method, path, headers):
        if path.endswith("/jobs/j1"):
            finish(fake, next(statuses, "done"))

    fake.before = before

    assert [event.id for event in hub.events("j1")] == [1, 2]
    asked = [headers.get("last-event-id") for _, path, headers in fake.requests if path.endswith("/events")]
    assert asked[:3] == [None, "1", "1"]


def test_a_hub_that_restarts_is_waited_for_and_one_that_stays_away_is_given_up(fake, hub):
    away = [problem(503, "hub-unreachable", "restarting. Wait.")] * 3
    fake.before = lambda method, path, headers: away.pop() if away else None
    fake.streams = [stream((1, {"step": 1}))]
    finish(fake)
    assert [event.id for event in hub.events("j1")] == [1]

    fake.before = lambda method, path, headers: problem(503, "hub-unreachable", "gone. Start it.")
    with pytest.raises(HubUnreachable, match="gone"):
        list(hub.events("j1"))


def test_a_failed_job_raises_the_error_it_failed_with(fake, hub):
    finish(fake, "failed", error={"code": "bad-task", "detail": "class 'x' has one row. Add rows."})
    with pytest.raises(BadTask, match="class 'x' has one row"):
        hub.wait("j1")

    finish(fake, "failed", error=None)
    with pytest.raises(HubError, match="without saying why"):
        hub.wait("j1")


def test_a_cancelled_job_has_no_result(fake, hub):
    finish(fake, "running")
    assert hub.cancel("j1").status == "cancelled"
    with pytest.raises(HubError, match="is cancelled"):
        hub.wait("j1")


def test_a_status_from_the_future_and_an_id_that_is_none_are_refused(fake, hub):
    finish(fake, "paused")
    with pytest.raises(HubError, match="'paused'"):
        hub.job("j1")
    with pytest.raises(NotFound, match="no job id"):
        hub.job("../priors")
