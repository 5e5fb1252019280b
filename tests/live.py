"""A hub of its own process: gunicorn as `up` starts it, on a home, a database and a port of its own.

`live_hub` is shared by a whole session and meant for tests that only add; those that kill or configure make their own.
"""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import urlsplit

import httpx
from django.conf import settings

MANAGE = str(settings.BASE_DIR / "manage.py")


class LiveHub:
    """The web process of a hub, without workers. Stop it with `stop`."""

    def __init__(self, folder: Path, *, extra: Mapping[str, str] | None = None, workers: int = 2) -> None:
        self.home, self.log, self._workers = folder / "home", folder / "web.log", workers
        self.home.mkdir(parents=True)
        self._database = _Database(self.home)
        self.environment = {
            **os.environ, "PRIORHUB_HOME": str(self.home), "DATABASE_URL": self._database.url, "SECRET_KEY": "live",
            "PYTHONUNBUFFERED": "1", "PYTHONWARNINGS": "ignore", "BROKER_URL": "disk://",
            "ALLOWED_HOSTS": "127.0.0.1,localhost", **(extra or {}),
        }  # fmt: skip
        self.environment.pop("PYTEST_CURRENT_TEST", None)
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self.process: subprocess.Popen[bytes] | None = None
        self._database.prepare(lambda: self.manage("migrate", "--verbosity", "0"))
        self.start()

    def manage(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Runs a management command on this hub."""
        done = subprocess.run(
            [sys.executable, MANAGE, *arguments], env=self.environment, capture_output=True, text=True, timeout=120
        )
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done

    def token(self, name: str, *flags: str) -> str:
        """A write token of the user `name`, who is made when missing."""
        return self.manage("makeuser", name, "--token", *flags).stdout.split()[-1]

    def start(self) -> None:
        """Starts the web process on the same port and waits until it answers."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [
                    sys.executable, "-m", "gunicorn", "hub.wsgi:application", "--bind", f"fd://{self._socket.fileno()}",
                    "--worker-class", "gthread", "--workers", str(self._workers), "--threads", "32", "--timeout", "120",
                    "--keep-alive", "75",
                    "--graceful-timeout", "5", "--no-control-socket", "--log-level", "warning",
                ],
                env=self.environment, cwd=settings.BASE_DIR, pass_fds=[self._socket.fileno()], stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip
        deadline = time.monotonic() + 60
        while True:
            assert self.process.poll() is None, self.log.read_text()
            try:
                if httpx.get(f"{self.url}/api/v1/health", timeout=30).status_code == 200:
                    return
            except httpx.HTTPError:
                assert time.monotonic() < deadline, self.log.read_text()
                time.sleep(0.05)

    def kill(self) -> None:
        """As if the power failed: SIGKILL to the whole process group."""
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def stop(self) -> None:
        """Ends the process and its database."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.kill()
        self._socket.close()
        self._database.drop()


def make_tables(file: Path, migrate: Callable[[], object]) -> None:
    """SQLite's file of a hub, migrated. A copy of the first that this process made: that takes as long as a start."""
    if not _migrated:
        migrate()
        _migrated.append(file.read_bytes())
    else:
        file.write_bytes(_migrated[0])


_migrated: list[bytes] = []


class _Database:
    """SQLite in the home; on a server of the environment's DATABASE_URL a database of its own."""

    def __init__(self, home: Path) -> None:
        self._file = home / "db.sqlite3"
        self.url, self._server, self._name = f"sqlite:///{self._file}", os.environ.get("DATABASE_URL", ""), ""
        if self._server.startswith("postgres"):
            self._name = f"live_{secrets.token_hex(6)}"
            self._execute(f'CREATE DATABASE "{self._name}"')
            self.url = urlsplit(self._server)._replace(path=f"/{self._name}").geturl()

    def prepare(self, migrate: Callable[[], object]) -> None:
        """Makes the tables."""
        if self._name:
            migrate()
        else:
            make_tables(self._file, migrate)

    def drop(self) -> None:
        if self._name:
            self._execute(f'DROP DATABASE IF EXISTS "{self._name}" WITH (FORCE)')

    def _execute(self, statement: str) -> None:
        import psycopg

        with psycopg.connect(self._server, autocommit=True) as connection:
            connection.execute(statement.encode())
