from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from django.conf import settings
from django.db import connection
from kombu import Connection

from hub.celery import app
from hub.home import scratch
from hub.jobs import services
from hub.jobs.cleanup import remove_job_folders
from hub.jobs.models import Job
from hub.repos.models import Commit, Repository
from tests.factories import make_task, make_user

Worker = Callable[[], "subprocess.Popen[bytes]"]


@pytest.fixture
def worker(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Worker]:
    """Starts real workers on this test's database and home; stops those that are left."""
    started: list[subprocess.Popen[bytes]] = []
    environment = {
        **os.environ,
        "PRIORHUB_HOME": str(home),
        "DATABASE_URL": database_url(),
        "SECRET_KEY": "only for this test",
        "ATTEMPTS": str(home / "attempts"),
        "PYTHONWARNINGS": "ignore",
    }

    def send(task: str, argument: str, name: str) -> None:
        with this_broker(home) as broker:
            app.send_task(task, args=[argument], queue=name, connection=broker)

    def start() -> subprocess.Popen[bytes]:
        command = ["celery", "--quiet", "-A", "tests.hub.slow_worker", "worker", "-Q", "train", "--pool", "solo"]
        started.append(subprocess.Popen([sys.executable, "-m", *command], env=environment, cwd=settings.BASE_DIR))
        return started[-1]

    monkeypatch.setattr("hub.announce._send", send)
    yield start
    for process in started:
        process.kill()
        process.wait()


def database_url() -> str:
    """The address of this test's database, as the settings of another process read it."""
    found = {key: str(value) for key, value in connection.settings_dict.items()}
    if connection.vendor == "sqlite":
        return f"sqlite:///{found['NAME']}"
    who = f"{quote(found['USER'], safe='')}:{quote(found['PASSWORD'], safe='')}"
    return f"postgres://{who}@{found['HOST']}:{found['PORT']}/{found['NAME']}"


def this_broker(home: Path) -> Connection:
    """The folder in this test's home, or the server that BROKER_URL names."""
    if settings.BROKER_URL.startswith("disk://"):
        return Connection("disk://localhost/", transport_options={"folder": str(home / "broker")})
    return Connection(settings.BROKER_URL)


def wait_for(condition: Callable[[], Any], seconds: float = 40) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.django_db(transaction=True)
def test_a_job_whose_worker_is_killed_runs_once_more_and_has_one_result(home: Path, worker: Worker) -> None:
    ann = make_user("ann")
    make_task(ann, "topics")
    job = services.submit(kind="fit", spec={"task": "ann/topics", "push_to": "ann/model"}, owner=ann)

    first = worker()
    wait_for(lambda: job.events.filter(kind="progress").exists())
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert len(list(scratch().iterdir())) == 1  # it had no chance to clean up
    assert services.reap() == services.Reaped(requeued=1)
    second = worker()
    wait_for(lambda: Job.objects.get(pk=job.pk).status == Job.Status.DONE)

    job.refresh_from_db()
    attempts = (home / "attempts").read_text().split()
    assert [int(pid) for pid in attempts] == [first.pid, second.pid]
    assert (job.attempt, job.result["pid"]) == (2, second.pid)
    assert Commit.objects.filter(repository__name="model").count() == 1
    assert Repository.objects.named("ann/model").get().head.oid == job.result["commit"]
    remove_job_folders()
    assert list(scratch().iterdir()) == []
    assert list((home / "blobs" / "tmp").iterdir()) == []


@pytest.mark.django_db(transaction=True)
def test_a_worker_that_is_told_to_stop_gives_its_job_back(home: Path, worker: Worker) -> None:
    ann = make_user("ann")
    make_task(ann, "topics")
    job = services.submit(kind="fit", spec={"task": "ann/topics", "push_to": "ann/model"}, owner=ann)
    first = worker()
    wait_for(lambda: job.events.filter(kind="progress").exists())

    first.terminate()

    assert first.wait(20) == 0
    job.refresh_from_db()
    assert (job.status, job.attempt) == ("queued", 0)
    assert list(scratch().iterdir()) == []
