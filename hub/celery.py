"""The Celery application. The Job row is the truth; a message only says which row to look at."""

from __future__ import annotations

import os

from celery import Celery
from kombu.entity import Exchange, Queue

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "hub.settings")

from django.conf import settings

from hub.home import broker_folder
from hub.jobs import disk_transport

disk_transport.register()
on_disk = settings.BROKER_URL.startswith("disk://")


def _queue(name: str) -> Queue:
    return Queue(name, Exchange(name), routing_key=name)  # type: ignore[no-untyped-call]


app = Celery("priorhub")
app.conf.update(
    broker_url="disk://localhost/" if on_disk else settings.BROKER_URL,  # kombu warns about a URL without a host
    broker_connection_retry_on_startup=True,
    broker_transport_options={"folder": str(broker_folder()), "polling_interval": 0.1} if on_disk else {},
    task_ignore_result=True,
    # Spelled out: queues without an exchange share the default one and its routing key, and get each other's messages.
    task_queues=[_queue("quick"), _queue("train")],
    task_default_queue="quick",
    task_acks_late=True,
    worker_prefetch_multiplier=1,  # a worker busy for an hour must not sit on jobs that another could start
    worker_hijack_root_logger=False,
    timezone="UTC",
    beat_schedule={
        "reap": {"task": "jobs.reap", "schedule": settings.JOB_HEARTBEAT_SECONDS * 2, "options": {"expires": 30}},
        "scans": {"task": "safety.catch_up", "schedule": 300, "options": {"expires": 240}},
        "catalog": {"task": "catalog.sweep", "schedule": 60, "options": {"expires": 60}},
        "downloads": {"task": "catalog.fold", "schedule": 600, "options": {"expires": 600}},
        "ranker": {"task": "boards.retrain", "schedule": 7 * 24 * 3600, "options": {"expires": 3600}},
        "claims": {"task": "boards.read_cards", "schedule": 600, "options": {"expires": 600}},
        "wake": {"task": "xet.wake", "schedule": 60, "options": {"expires": 50}},
        "sweep": {"task": "ops.sweep", "schedule": 6 * 3600, "options": {"expires": 3600}},
    },
    imports=[
        "hub.safety.tasks",
        "hub.jobs.tasks",
        "hub.catalog.tasks",
        "hub.boards.tasks",
        "hub.ops.tasks",
        "hub.xet.tasks",
    ],
)
