from __future__ import annotations

import http.client
import os
import socket
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connections

from hub.accounts.services import needs_setup, new_setup_link
from hub.home import home, hub_id
from hub.jobs.cleanup import remove_job_folders
from hub.jobs.services import reap
from hub.ops import running
from hub.ops.processes import commands
from hub.ops.supervisor import Supervisor
from priors.errors import UserError

_START_S = 60.0


class Command(BaseCommand):
    help = "Start the whole hub on this machine: web, workers and scheduler, until Ctrl-C or until one of them ends."
    requires_system_checks = ("database", "models", "urls")

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: this machine only)")
        parser.add_argument("--port", type=int, default=8000, help="0 takes a free one (default: 8000)")
        parser.add_argument("--no-seed", action="store_true", help="do not import the starter catalogue")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            with running.only_one():
                code = self._up(options)
        except UserError as err:
            raise CommandError(str(err)) from err
        if code:
            sys.exit(code)

    def _up(self, options: dict[str, Any]) -> int:
        listening = _listen(options["host"], options["port"])
        call_command("migrate", verbosity=0, interactive=False)
        call_command("collectstatic", verbosity=0, interactive=False)
        if not options["no_seed"] and not (home() / "seeded").exists():
            self.stdout.write("Importing the starter catalogue, once:")
            # A process of its own: it uses torch, which must not have run in one that forks later.
            self._seed()
        reap(wake_after=timedelta(0))  # whatever waits is announced: the messages of an earlier run may be gone
        remove_job_folders()
        url = _url(*listening.getsockname()[:2])
        setup = f"{url}/setup/{new_setup_link()}" if needs_setup() else None
        connections.close_all()  # nothing open may be inherited
        supervisor = Supervisor(
            commands(socket_fd=listening.fileno(), cores=os.cpu_count() or 1), write=self.stdout.write
        )
        return supervisor.run(ready=lambda: self._announce(supervisor, url, setup))

    def _seed(self) -> None:
        manage = [sys.executable, str(_manage()), "seed"]
        done = subprocess.run(manage, check=False)
        if done.returncode:
            raise CommandError("The starter catalogue could not be imported; see above. --no-seed starts without it.")
        (home() / "seeded").touch()

    def _announce(self, supervisor: Supervisor, url: str, setup: str | None) -> None:
        host, port = url.removeprefix("http://").rsplit(":", 1)
        deadline = time.monotonic() + _START_S
        while not _answers(host, int(port)):
            if supervisor.ended() or supervisor.asked_to_stop:
                return
            if time.monotonic() > deadline:
                raise CommandError(
                    f"The web process does not answer at {url} after {_START_S:.0f} s; see its lines above."
                )
            time.sleep(0.05)
        running.write(running.Running(url=url, pid=os.getpid(), hub_id=hub_id()))
        self.stdout.write(f"The hub is at {url}/ (home: {home()}). Ctrl-C stops it.")
        if setup:
            self.stdout.write(f"Set it up here, once, as its first administrator: {setup}")
        self.stdout.flush()


def _listen(host: str, port: int) -> socket.socket:
    """The socket the web process will use, opened here: a port that is taken is told at once, and port 0 is known."""
    try:
        return socket.create_server((host, port), backlog=512)
    except OSError as err:
        raise CommandError(
            f"Cannot listen on {host}:{port}: {os.strerror(err.errno or 0)}. Choose another --port; 0 is any free one."
        ) from err


def _url(host: str, port: int) -> str:
    return f"http://{'127.0.0.1' if host == '0.0.0.0' else host}:{port}"  # noqa: S104 compared, not bound


def _answers(host: str, port: int) -> bool:
    link = http.client.HTTPConnection(host, port, timeout=2)
    try:
        link.request("GET", "/api/v1/health", headers={"Host": f"localhost:{port}"})
        return link.getresponse().status == 200
    except OSError:
        return False
    finally:
        link.close()


def _manage() -> Path:
    return settings.BASE_DIR / "manage.py"
