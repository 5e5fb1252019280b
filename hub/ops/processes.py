"""The processes of a hub on one machine, with the environment each needs."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

from hub.home import home
from hub.ops.supervisor import Command

WEB_THREADS = 32
QUICK_PROCESSES = 2

# glibc gives every tensor of 32 MB or more fresh pages; with these, freed memory is kept and used again. Measured: 5 to
# 14 times faster on large element-wise work. Jobs hand the memory back when they end (hub/jobs/tasks.py).
ALLOCATOR = {
    "THP_MEM_ALLOC_ENABLE": "1",
    "MALLOC_MMAP_THRESHOLD_": "4294967296",
    "MALLOC_TRIM_THRESHOLD_": "8589934592",
}


def commands(*, socket_fd: int, cores: int, env: Mapping[str, str] = os.environ) -> list[Command]:
    """Web, `quick` worker, `train` worker and beat. `socket_fd` is the listening socket, open already."""
    base = {**env, "DJANGO_SETTINGS_MODULE": "hub.settings", "PRIORHUB_HOME": str(home()), "PYTHONUNBUFFERED": "1"}
    base["PYTHONWARNINGS"] = "ignore::UserWarning:celery.platforms"  # that the worker runs as root, in a container
    worker = {**base, **{name: env.get(name, value) for name, value in ALLOCATOR.items()}}
    gunicorn = [
        sys.executable, "-m", "gunicorn", "hub.wsgi:application", "--bind", f"fd://{socket_fd}",
        "--worker-class", "gthread", "--workers", "2", "--threads", str(WEB_THREADS), "--timeout", "120",
        # Longer than clients keep a connection: one that closes while they send their next request is an error to them.
        "--keep-alive", "75",
        "--graceful-timeout", "5", "--no-control-socket", "--log-level", "warning", "--worker-tmp-dir", str(home()),
    ]  # fmt: skip
    return [
        Command("web", gunicorn, base, keep=(socket_fd,)),
        Command(
            "quick",
            _celery(
                "worker", "-Q", "quick", "-n", "quick@%h", "--pool", "prefork", "-c", str(QUICK_PROCESSES),
                "--max-tasks-per-child", "50",
            ),
            {**worker, "OMP_NUM_THREADS": env.get("OMP_NUM_THREADS", "1")},
        ),
        Command(
            "train",
            _celery("worker", "-Q", "train", "-n", "train@%h", "--pool", "solo"),
            {**worker, "OMP_NUM_THREADS": env.get("OMP_NUM_THREADS", str(cores))},
        ),
        Command("beat", _celery("beat", "--schedule", str(home() / "beat-schedule"), "--pidfile", ""), base),
    ]  # fmt: skip


def _celery(*arguments: str) -> list[str]:
    quiet = ("--without-gossip", "--without-mingle", "--without-heartbeat") if arguments[0] == "worker" else ()
    return [sys.executable, "-m", "celery", "--quiet", "-A", "hub.celery", *arguments, *quiet, "--loglevel", "WARNING"]
