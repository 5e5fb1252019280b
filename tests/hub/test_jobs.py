from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.db import connection
from django.utils import timezone
from pytest_django import Settings

from composer.errors import Cancelled
from hub.accounts.models import User
from hub.boards.models import Result
from hub.errors import BadSpec
from hub.home import scratch
from hub.jobs import reporter, services, tasks
from hub.jobs.cleanup import remove_job_folders
from hub.jobs.models import Job, JobEvent
from hub.jobs.runners import Work
from hub.jobs.services import Outcome, Push, Superseded
from hub.repos.models import Repository
from priors.errors import BadTask, NotAllowed, NotFound
from tests.factories import GRAPH, make_commit, make_repository, make_task, make_user

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def own_home(home: Path) -> Path:
    return home


@pytest.fixture
def ann() -> User:
    return make_user("ann")


@pytest.fixture
def job(ann: User) -> Job:
    make_task(ann, "topics")
    return services.submit(kind="recommend", spec={"task": "ann/topics"}, owner=ann)


def runs(monkeypatch: pytest.MonkeyPatch, function: Any, kind: str = "recommend") -> None:
    """Makes jobs of `kind` call `function`."""
    monkeypatch.setattr(tasks, "load_runner", lambda asked: {kind: function}[asked])


def dead_since(job: Job, seconds: float) -> None:
    Job.objects.filter(pk=job.pk).update(heartbeat_at=timezone.now() - timedelta(seconds=seconds), worker="elsewhere:1")


# ── asking ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_spec_gets_its_defaults_and_its_task_is_pinned_to_a_commit(ann: User) -> None:
    commit = make_task(ann, "topics")

    job = services.submit(kind="benchmark", spec={"task": "ann/topics@main", "draws": 2}, owner=ann)

    assert job.spec["task"] == f"ann/topics@{commit.oid}"
    assert (job.spec["draws"], job.spec["labels_per_class"], job.queue) == (2, 16, "train")


@pytest.mark.parametrize(
    ("kind", "spec", "where"),
    [
        ("recommend", {}, "task"),
        ("recommend", {"task": "ann/topics", "rows": [-1]}, "rows.0"),
        ("benchmark", {"task": "ann/topics", "draws": 0}, "draws"),
        ("fit", {"task": "ann/topics", "push_to": "ann/m", "fusion": "glue"}, "fusion"),
        ("recommend", {"task": "ann/topics", "speed": "fast"}, "speed"),
        (
            "recommend",
            {"task": "ann/topics", "limits": {"price": -1}},
            "price is -1. Give percent as a number, 0 or more. Correct",
        ),
        ("launch", {}, "launch"),
    ],
)
def test_a_wrong_spec_is_refused_by_the_name_of_its_field(ann: User, kind: str, spec: Any, where: str) -> None:
    make_task(ann, "topics")

    with pytest.raises(BadSpec, match=where):
        services.submit(kind=kind, spec=spec, owner=ann)


def test_a_private_task_of_somebody_else_does_not_exist(ann: User) -> None:
    make_task(ann, "topics", private=True)

    with pytest.raises(NotFound):
        services.submit(kind="recommend", spec={"task": "ann/topics"}, owner=make_user())


def test_a_model_is_not_pushed_into_somebody_elses_namespace(ann: User) -> None:
    make_task(ann, "topics")

    with pytest.raises(NotAllowed):
        services.submit(kind="fit", spec={"task": "ann/topics", "push_to": "ann/model"}, owner=make_user())


def test_asking_twice_is_one_job_until_asked_again(job: Job, ann: User, monkeypatch: pytest.MonkeyPatch) -> None:
    same = services.submit(kind="recommend", spec={"task": "ann/topics"}, owner=ann)
    shared = services.submit(kind="recommend", spec={"task": "ann/topics"}, owner=ann, again=True)
    other = services.submit(kind="recommend", spec={"task": "ann/topics", "rows": [0, 1]}, owner=ann)
    runs(monkeypatch, lambda work: Outcome({"answer": "none"}))
    tasks.run_job(str(job.pk))
    done = services.submit(kind="recommend", spec={"task": "ann/topics"}, owner=ann)
    again = services.submit(kind="recommend", spec={"task": "ann/topics"}, owner=ann, again=True)

    assert same.pk == shared.pk == done.pk == job.pk
    assert done.result == {"answer": "none"}
    assert other.pk != job.pk
    assert again.pk != job.pk


def test_ten_at_once_ask_for_one_job(ann: User) -> None:
    make_task(ann, "topics")
    found: list[Job] = []

    def ask() -> None:
        found.append(services.submit(kind="recommend", spec={"task": "ann/topics"}, owner=ann))
        connection.close()

    threads = [threading.Thread(target=ask) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len({job.pk for job in found}) == 1
    assert len(found) == 10
    assert Job.objects.count() == 1


# ── working ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_of_eight_workers_one_gets_the_job(job: Job) -> None:
    claims: list[Any] = []

    def claim() -> None:
        claims.append(services.claim(str(job.pk)))
        connection.close()

    threads = [threading.Thread(target=claim) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len([held for held in claims if held is not None]) == 1
    assert len(claims) == 8


def test_a_job_runs_and_its_result_and_events_stay(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(work: Work) -> Outcome:
        assert not work.folder.exists()
        work.folder.mkdir()
        (work.folder / "half").write_text("work in progress")
        work.report(1, 2, "features", seconds=np.float32(0.5), loss=math.nan)
        return Outcome({"answer": "one"})

    runs(monkeypatch, run)
    tasks.run_job(str(job.pk))

    job.refresh_from_db()
    assert (job.status, job.result, job.attempt, job.progress) == ("done", {"answer": "one"}, 1, 1.0)
    kinds = [(event.kind, event.data.get("status")) for event in job.events.all()]
    assert kinds == [("status", "queued"), ("status", "running"), ("progress", None), ("status", "done")]
    progress = job.events.get(kind="progress").data
    assert progress == {"step": 1, "of": 2, "message": "features", "seconds": 0.5, "loss": None}
    assert list(scratch().iterdir()) == []


def test_a_second_message_for_the_same_job_does_nothing(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    runs(monkeypatch, lambda work: (calls.append(1), Outcome({}))[1])

    tasks.run_job(str(job.pk))
    tasks.run_job(str(job.pk))

    assert calls == [1]


def test_progress_is_written_at_most_once_a_tick(job: Job) -> None:
    held = services.claim(str(job.pk))
    assert held is not None

    began = time.monotonic()
    with reporter.Reporter(held, tick_s=0.2) as reports:
        for step in range(1000):
            reports.report(step, 1000, "working")
            time.sleep(0.0005)
    ticks = (time.monotonic() - began) / 0.2

    events = list(job.events.filter(kind="progress"))
    assert 2 <= len(events) <= ticks + 2
    assert events[-1].data["step"] == 999


def test_a_silent_job_still_beats(job: Job, settings: Settings) -> None:
    settings.JOB_HEARTBEAT_SECONDS = 0.1
    held = services.claim(str(job.pk))
    assert held is not None
    dead_since(job, 3600)

    with reporter.Reporter(held, tick_s=0.05):
        time.sleep(0.5)

    job.refresh_from_db()
    assert job.heartbeat_at is not None
    assert timezone.now() - job.heartbeat_at < timedelta(seconds=5)


@pytest.mark.parametrize(
    ("error", "code", "detail"),
    [
        (
            BadTask("The task has one class. Label a second one."),
            "bad-task",
            "The task has one class. Label a second one.",
        ),
        (ZeroDivisionError("secret path /etc"), "internal", "ZeroDivisionError in the worker"),
        (MemoryError(), "out-of-memory", "more memory"),
    ],
)
def test_a_failure_is_kept_with_its_cause(
    job: Job, monkeypatch: pytest.MonkeyPatch, error: Exception, code: str, detail: str
) -> None:
    def run(work: Work) -> Outcome:
        work.folder.mkdir()
        raise error

    runs(monkeypatch, run)
    tasks.run_job(str(job.pk))

    job.refresh_from_db()
    assert (job.status, job.error["code"]) == ("failed", code)
    assert detail in job.error["detail"]
    assert "secret" not in job.error["detail"]
    assert list(scratch().iterdir()) == []


def test_a_waiting_job_is_cancelled_at_once(job: Job) -> None:
    services.request_cancel(job)

    job.refresh_from_db()
    assert job.status == "cancelled"
    assert services.claim(str(job.pk)) is None


def test_a_running_job_sees_that_it_is_cancelled(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(work: Work) -> Outcome:
        services.request_cancel(job)
        deadline = time.monotonic() + 10
        while not work.cancelled():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        raise Cancelled("Stopped on request.")

    runs(monkeypatch, run)
    tasks.run_job(str(job.pk))

    job.refresh_from_db()
    assert (job.status, job.result, job.error) == ("cancelled", None, None)


def test_a_done_job_stays_done_when_it_is_cancelled(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    runs(monkeypatch, lambda work: Outcome({}))
    tasks.run_job(str(job.pk))

    services.request_cancel(job)

    job.refresh_from_db()
    assert (job.status, job.cancel_requested) == ("done", False)


def test_a_stopping_worker_gives_the_job_back_without_an_attempt(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    stop = threading.Event()
    stop.set()
    monkeypatch.setattr(reporter, "_stopping", stop)
    held = services.claim(str(job.pk))
    assert held is not None
    with pytest.raises(reporter.Interrupted), reporter.Reporter(held) as reports:
        reports.report(1, 2, "never written")
    services.release(held)
    runs(monkeypatch, lambda work: Outcome({}))

    tasks.run_job(str(job.pk))  # a message that this worker is still handed

    job.refresh_from_db()
    assert (job.status, job.attempt) == ("queued", 0)


# ── dead workers ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_job_of_a_dead_worker_runs_once_more_and_then_fails_with_its_cause(job: Job) -> None:
    for attempt in (1, 2):
        held = services.claim(str(job.pk))
        assert held is not None
        assert held.attempt == attempt
        dead_since(job, 3600)
        services.reap()

    job.refresh_from_db()
    assert (job.status, job.error["code"], job.attempt) == ("failed", "worker-lost", 2)


def test_a_late_worker_is_refused_and_the_second_result_counts(job: Job) -> None:
    late = services.claim(str(job.pk))
    dead_since(job, 3600)
    services.reap()
    second = services.claim(str(job.pk))
    assert late is not None
    assert second is not None

    for write in (
        lambda: services.beat(late),
        lambda: services.record_progress(late, step=1, of=2, message="late", metrics={}),
        lambda: services.finish(late, Outcome({"from": "late"})),
        lambda: services.fail(late, code="x", detail="late"),
        lambda: services.cancel(late),
        lambda: services.release(late),
    ):
        with pytest.raises(Superseded):
            write()
    services.finish(second, Outcome({"from": "second"}))

    job.refresh_from_db()
    assert (job.status, job.result) == ("done", {"from": "second"})
    assert job.events.filter(kind="status", data__status="done").count() == 1


def test_a_beating_worker_is_left_alone_and_a_dead_process_here_is_seen_at_once(job: Job) -> None:
    assert services.claim(str(job.pk)) is not None
    assert services.reap() == services.Reaped()

    gone = os.fork()
    if gone == 0:
        os._exit(0)
    os.waitpid(gone, 0)
    host = services.worker_name().rpartition(":")[0]
    Job.objects.filter(pk=job.pk).update(worker=f"{host}:{gone}")

    assert services.reap() == services.Reaped(requeued=1)


def test_a_cancelled_job_of_a_dead_worker_is_not_run_again(job: Job) -> None:
    services.claim(str(job.pk))
    services.request_cancel(job)
    dead_since(job, 3600)

    services.reap()

    job.refresh_from_db()
    assert job.status == "cancelled"


def test_a_forgotten_job_is_announced_again(job: Job) -> None:
    Job.objects.filter(pk=job.pk).update(woken_at=timezone.now() - timedelta(hours=1))

    assert services.reap() == services.Reaped(woken=1)
    assert services.reap() == services.Reaped()


def test_folders_of_attempts_that_are_over_are_removed(job: Job) -> None:
    services.claim(str(job.pk))
    (scratch() / f"{job.pk}-1").mkdir()
    (scratch() / f"{job.pk}-0").mkdir()

    assert remove_job_folders() == 1
    assert [path.name for path in scratch().iterdir()] == [f"{job.pk}-1"]


# ── what jobs leave ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def fit(ann: User) -> Iterator[Job]:
    make_task(ann, "topics")
    yield services.submit(kind="fit", spec={"task": "ann/topics", "push_to": "ann/model"}, owner=ann)


def model_folder(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "composition.json").write_text(GRAPH)
    return folder


def push(work: Work) -> Outcome:
    folder = model_folder(work.folder / "model")
    return Outcome({"model": "sha256:…"}, Push(folder, work.spec["push_to"], "composition", "Fit"))


def test_a_fitted_model_and_its_result_appear_together(fit: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    runs(monkeypatch, push, "fit")

    tasks.run_job(str(fit.pk))

    fit.refresh_from_db()
    assert fit.error is None
    repository = Repository.objects.named("ann/model").get()
    assert repository.head is not None
    assert fit.result == {"model": "sha256:…", "repo": "ann/model", "commit": repository.head.oid}


def test_a_superseded_fit_publishes_nothing(fit: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(work: Work) -> Outcome:
        dead_since(fit, 3600)
        services.reap()
        return push(work)

    runs(monkeypatch, run, "fit")
    tasks.run_job(str(fit.pk))

    assert not Repository.objects.named("ann/model").exists()
    fit.refresh_from_db()
    assert fit.status == "queued"


def test_a_refused_model_fails_the_job_and_leaves_no_repository(fit: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(work: Work) -> Outcome:
        outcome = push(work)
        (work.folder / "model" / "model.safetensors").write_bytes(b"\x80\x04not tensors")
        return outcome

    runs(monkeypatch, run, "fit")
    tasks.run_job(str(fit.pk))

    fit.refresh_from_db()
    assert (fit.status, fit.error["code"]) == ("failed", "bad-weights")
    assert not Repository.objects.named("ann/model").exists()


def test_a_finished_benchmark_is_a_row_of_its_tasks_board(ann: User, monkeypatch: pytest.MonkeyPatch) -> None:
    commit = make_task(ann, "topics")
    job = services.submit(kind="benchmark", spec={"task": "ann/topics"}, owner=ann)
    runs(monkeypatch, lambda work: Outcome({"rows": [{"name": "words", "accuracy": 0.5}]}), "benchmark")

    tasks.run_job(str(job.pk))

    result = Result.objects.get()
    assert (result.task.full_name, result.commit, result.job) == ("ann/topics", commit.oid, job)
    assert result.rows[0]["accuracy"] == 0.5


def test_events_are_numbered_in_the_order_they_happened(job: Job) -> None:
    services.claim(str(job.pk))

    ids = list(JobEvent.objects.filter(job=job).values_list("id", flat=True))

    assert ids == sorted(ids)


def test_a_task_that_is_not_one_is_refused(ann: User) -> None:
    repository = make_repository(ann, "notes")
    make_commit(repository, {"a": b"1"}, by=ann)

    with pytest.raises(BadSpec, match="plain"):
        services.submit(kind="recommend", spec={"task": "ann/notes"}, owner=ann)
