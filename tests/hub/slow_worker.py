"""A Celery application whose `fit` takes for ever the first time; test_killed_worker.py runs real workers of it."""

from __future__ import annotations

import os
import time
from pathlib import Path

import django

from hub.celery import app

django.setup()

from hub.jobs import runners  # noqa: E402 after the setup
from hub.jobs.models import Job  # noqa: E402
from hub.jobs.runners import Work  # noqa: E402
from hub.jobs.services import Outcome, Push  # noqa: E402
from tests.factories import GRAPH  # noqa: E402

__all__ = ["app", "run"]

runners.RUNNERS[Job.Kind.FIT] = "tests.hub.slow_worker:run"


def run(work: Work) -> Outcome:
    folder = work.folder / "model"
    folder.mkdir(parents=True)
    (folder / "composition.json").write_text(GRAPH)
    attempts = Path(os.environ["ATTEMPTS"])
    with attempts.open("a") as file:
        file.write(f"{os.getpid()}\n")
    if len(attempts.read_text().split()) == 1:
        while True:
            work.report(1, 2, "fitting")
            time.sleep(0.05)
    return Outcome({"pid": os.getpid()}, Push(folder, work.spec["push_to"], "composition", "Fit"))
