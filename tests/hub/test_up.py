from __future__ import annotations

import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from django.conf import settings

from hub.ops.supervisor import Command, Supervisor
from tests.factories import function_manifest, sha256
from tests.live import make_tables

MANAGE = str(settings.BASE_DIR / "manage.py")


def environment(home: Path) -> dict[str, str]:
    return {**os.environ, "PRIORHUB_HOME": str(home), "PYTHONUNBUFFERED": "1"}


def manage(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, MANAGE, *arguments], env=environment(home), capture_output=True, text=True, timeout=60
    )


class Hub:
    """A hub of this test's own, running."""

    def __init__(self, home: Path) -> None:
        self.home, self.log = home, home.parent / "up.log"
        if not home.exists() and not os.environ.get("DATABASE_URL"):
            home.mkdir()
            make_tables(home / "db.sqlite3", lambda: manage(home, "migrate", "--verbosity", "0"))
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, MANAGE, "up", "--port", "0", "--no-seed"],
                env=environment(home),
                stdout=log,
                stderr=log,
            )

    def wait(self) -> None:
        deadline = time.monotonic() + 60
        while not (self.home / "hub.json").exists() or self.children() < 4:
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.05)

    @property
    def url(self) -> str:
        return str(json.loads((self.home / "hub.json").read_text())["url"])

    def pids(self) -> dict[int, str]:
        """Processes of this hub, found by its home in their environment."""
        found = {}
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if f"PRIORHUB_HOME={self.home}".encode() in (folder / "environ").read_bytes().split(b"\0"):
                    found[int(folder.name)] = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except (FileNotFoundError, ProcessLookupError, PermissionError):
                continue
        return found

    def children(self) -> int:
        return len([command for command in self.pids().values() if "gunicorn" in command or "celery" in command])


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    running = Hub(tmp_path / "home")
    try:
        running.wait()
        yield running
    finally:
        if running.process.poll() is None:
            running.process.terminate()
        running.process.wait(40)


def answers(hub: Hub) -> None:
    """It has one supervisor, takes a prior, shows it, and its web processes never loaded torch."""
    second = manage(hub.home, "up", "--port", "0")
    assert second.returncode == 1
    assert hub.url in second.stderr
    assert second.stderr.count("\n") == 1

    link = re.search(rf"{hub.url}/setup/(\S+)", hub.log.read_text())
    assert link is not None
    with httpx.Client(base_url=hub.url) as client:
        health = client.get("/api/v1/health").json()
        headers = {"Authorization": f"Bearer {manage(hub.home, 'makeuser', 'ann', '--token').stdout.split()[-1]}"}
        manifest = json.dumps(function_manifest()).encode()
        made = client.post("/api/v1/repos", json={"name": "ann/char-ngrams", "kind": "prior"}, headers=headers)
        sent = client.put(f"/api/v1/blobs/{sha256(manifest)}", content=iter([manifest]), headers=headers)  # chunked
        files = [{"path": "prior.json", "sha256": sha256(manifest)}]
        commit = client.post("/api/v1/repos/ann/char-ngrams/commits", json={"files": files}, headers=headers)
        part = client.get("/api/v1/repos/ann/char-ngrams/files/main/prior.json", headers={"Range": "bytes=2-9"})
        pages = [client.get(path).status_code for path in ("/", "/ann/char-ngrams", "/api/v1/priors?q=ngram")]

    assert health["hub_id"] == json.loads((hub.home / "hub.json").read_text())["hub_id"]
    assert [response.status_code for response in (made, sent, commit, part)] == [201, 201, 201, 206]
    assert part.content == manifest[2:10]
    assert max(pages) < 500
    web = [pid for pid, command in hub.pids().items() if "gunicorn" in command]
    assert len(web) == 3
    for pid in web:
        assert "libtorch" not in Path(f"/proc/{pid}/maps").read_text()


def test_a_killed_supervisor_leaves_nothing_and_the_next_start_answers_and_stops_as_cleanly(hub: Hub) -> None:
    hub.process.kill()
    hub.process.wait()

    deadline = time.monotonic() + 30
    while hub.pids() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert hub.pids() == {}
    again = Hub(hub.home)
    try:
        again.wait()
        answers(again)
        again.process.send_signal(signal.SIGINT)
        assert again.process.wait(30) == 0, again.log.read_text()
    finally:
        if again.process.poll() is None:
            again.process.terminate()
        again.process.wait(40)
    assert again.pids() == {}
    assert not (again.home / "hub.json").exists()


def test_when_one_process_dies_the_others_stop_with_its_code(hub: Hub) -> None:
    [beat] = [pid for pid, command in hub.pids().items() if " beat " in command]

    os.kill(beat, signal.SIGKILL)

    assert hub.process.wait(30) == 128 + signal.SIGKILL
    assert "beat ended with code -9" in hub.log.read_text()
    assert hub.pids() == {}


def test_a_port_that_is_taken_is_said_in_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        done = manage(tmp_path, "up", "--port", str(port), "--no-seed")

    assert done.returncode == 1
    cause = f"Cannot listen on 127.0.0.1:{port}: Address already in use. Choose another --port; 0 is any free one."
    assert done.stderr.strip() == f"CommandError: {cause}"


@pytest.mark.parametrize(("script", "code"), [("exit 3", 3), ("exit 0", 1), ("kill -TERM $$", 143)])
def test_the_code_of_the_one_that_ended_is_passed_on(script: str, code: int) -> None:
    lines: list[str] = []
    commands = [Command("short", ["sh", "-c", f"echo out; sleep 0.2; {script}"], os.environ),
                Command("long", ["sh", "-c", "sleep 1000 & sleep 1000"], os.environ)]  # fmt: skip

    began = time.monotonic()
    assert Supervisor(commands, grace_s=2, write=lines.append).run() == code

    assert time.monotonic() - began < 10
    assert "short | out" in lines


def test_checking_stays_quick(tmp_path: Path) -> None:
    manage(tmp_path, "check")  # once before: bytecode and caches
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert manage(tmp_path, "check").returncode == 0
    after = resource.getrusage(resource.RUSAGE_CHILDREN)

    # Processor time, which other tests beside this one raise too. A guard against disasters, such as torch being
    # imported; 0.9 s were measured, of the 1.5 that a check may take.
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 2.5
