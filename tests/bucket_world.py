"""A hub whose store is a bucket, with real workers: for tests that count what goes between client, hub and bucket.

Who talked to the bucket is told by what they call themselves; what client and web process say to each other is counted
on its way.
"""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import httpx
import numpy as np
import pytest
from django.conf import settings
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

from hub.ops.processes import commands
from tests.live import LiveHub
from tests.sigv4 import wrong_with

Files = dict[str, bytes]
FAR_LESS = 0.05
"""Of the bytes of a file, what may be said about it: names of chunks, addresses, headers."""


@dataclass(frozen=True)
class Call:
    """A request to the bucket: `who` is web, worker or client."""

    method: str
    path: str
    who: str
    size: int


@dataclass
class Bucket:
    """moto's server, and what was asked of it."""

    url: str
    calls: list[Call] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

    def bytes_of(self, who: str, method: str = "") -> int:
        return sum(call.size for call in self.calls if call.who == who and method in ("", call.method))

    def names(self) -> set[str]:
        client = boto3.session.Session().client("s3", endpoint_url=self.url, region_name="us-east-1")
        return {row["Key"] for row in client.list_objects_v2(Bucket="hub").get("Contents", [])}


def refusal(environ: dict[str, Any]) -> str | None:
    """moto takes any signature. A client has nothing but its address, so that has to be right to the header."""
    headers = {name[5:].replace("_", "-"): value for name, value in environ.items() if name.startswith("HTTP_")}
    headers["content-length"] = environ.get("CONTENT_LENGTH") or "0"
    if headers.get("AUTHORIZATION", "").startswith("AWS4-HMAC-SHA256"):
        return None  # this test, which made the bucket
    return wrong_with(environ["REQUEST_METHOD"], environ["RAW_URI"], headers, secrets={"testing": "testing"})


@contextmanager
def serving() -> Iterator[Bucket]:
    """A server with an empty bucket, for which this process and those it starts have keys."""
    moto = DomainDispatcherApplication(create_backend_app)

    def recording(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterator[bytes]:
        agent = environ.get("HTTP_USER_AGENT", "")
        who = next((name for name in ("web", "worker") if f"exec-env/{name}" in agent), "client")
        size = int(environ.get("CONTENT_LENGTH") or 0)
        if who == "client" and (why := refusal(environ)) is not None:
            found.refused.append(f"{environ['REQUEST_METHOD']} {environ['RAW_URI']}: {why}")
            start_response("403 Forbidden", [("Content-Type", "text/plain")])
            yield why.encode()
            return
        answer: Iterable[bytes] = moto(environ, start_response)
        for piece in answer:
            size += len(piece)
            yield piece
        found.calls.append(Call(environ["REQUEST_METHOD"], environ["PATH_INFO"], who, size))

    http = make_server("127.0.0.1", 0, recording, threaded=True)
    found = Bucket(f"http://127.0.0.1:{http.server_port}")
    thread = threading.Thread(target=http.serve_forever, daemon=True)
    thread.start()
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "testing")
        client = boto3.session.Session().client("s3", endpoint_url=found.url, region_name="us-east-1")
        client.create_bucket(Bucket="hub")
        yield found
    http.shutdown()
    thread.join()
    http.server_close()


class Counter:
    """Stands before the web process, passes everything on and counts it."""

    def __init__(self, target: str) -> None:
        host, port = target.removeprefix("http://").split(":")
        self._target = host, int(port)
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=100)
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        self.bytes = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listening.accept()
            except OSError:
                return
            far = socket.create_connection(self._target)
            for one, other in ((near, far), (far, near)):
                threading.Thread(target=self._pass_on, args=(one, other), daemon=True).start()

    def _pass_on(self, one: socket.socket, other: socket.socket) -> None:
        try:
            while piece := one.recv(65536):
                self.bytes += len(piece)
                other.sendall(piece)
        except OSError:
            pass
        for each in (one, other):
            try:
                each.shutdown(socket.SHUT_RDWR)
            except OSError:
                each.close()

    def close(self) -> None:
        self._listening.close()


class World:
    """The hub, its workers, and the stock client."""

    def __init__(self, folder: Path, bucket: Bucket) -> None:
        self.folder, self.bucket = folder, bucket
        storage = {"STORAGE_URL": f"s3://hub/blobs?endpoint={bucket.url}", "AWS_EXECUTION_ENV": "web"}
        self.hub = LiveHub(folder, extra=storage)
        self.counter = Counter(self.hub.url)
        self.token = self.hub.token("ann")
        self.workers: dict[str, subprocess.Popen[bytes]] = {}
        for name in ("quick", "train"):
            self.start_worker(name)
        self.http = httpx.Client(
            base_url=self.counter.url, headers={"Authorization": f"Bearer {self.token}"}, timeout=60
        )

    def start_worker(self, name: str) -> None:
        """As `manage.py up` starts it."""
        [command] = [each for each in commands(socket_fd=0, cores=1, env=self.hub.environment) if each.name == name]
        home = {"PRIORHUB_HOME": str(self.hub.home), "AWS_EXECUTION_ENV": "worker"}
        with (self.folder / f"{name}.log").open("ab") as log:
            self.workers[name] = subprocess.Popen(
                command.argv, env={**command.env, **home}, cwd=settings.BASE_DIR, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip

    def client(self, script: str, *arguments: str, xet: bool, cache: str = "hf") -> None:
        """Runs lines with `api`, the stock HfApi, in a process of their own; raises when they fail."""
        head = "import sys; from huggingface_hub import HfApi; api = HfApi(endpoint=sys.argv[1], token=sys.argv[2])\n"
        environment = {
            **os.environ, "HF_HOME": str(self.folder / cache), "HF_ENDPOINT": self.counter.url,
            "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            **({} if xet else {"HF_HUB_DISABLE_XET": "1"}),
        }  # fmt: skip
        done = subprocess.run(
            [sys.executable, "-c", head + script, self.counter.url, self.token, *arguments], env=environment,
            capture_output=True, text=True, timeout=180,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(done.stderr[-3000:])

    def create(self, repo: str, **fields: Any) -> None:
        answer = self.http.post("/api/v1/repos", json={"name": repo, "kind": "plain", **fields})
        answer.raise_for_status()

    def push(self, repo: str, files: Files, *, xet: bool, type: str = "model") -> None:
        folder = self.folder / "files" / repo
        folder.mkdir(parents=True, exist_ok=True)
        for path, data in files.items():
            (folder / path).write_bytes(data)
        script = "api.upload_folder(repo_id=sys.argv[3], folder_path=sys.argv[4], repo_type=sys.argv[5])"
        self.client(script, repo, str(folder), type, xet=xet)

    def pull(self, repo: str, *, xet: bool) -> Files:
        to = self.folder / "pulled" / f"{random.random()}"
        script = "api.snapshot_download(sys.argv[3], local_dir=sys.argv[4])"
        self.client(script, repo, str(to), xet=xet, cache=f"hf{random.random()}")
        return {path.name: path.read_bytes() for path in to.iterdir() if path.is_file() and path.name[0] != "."}

    def said(self) -> int:
        """Bytes between clients and the web process, and between that and the bucket."""
        return self.counter.bytes + self.bucket.bytes_of("web")

    def sound(self) -> None:
        checked = self.hub.manage("fsck", check=False)
        assert checked.returncode == 0, checked.stdout + checked.stderr + self.logs()

    def logs(self) -> str:
        return "\n".join(path.read_text()[-3000:] for path in self.folder.glob("*.log"))

    def stop(self) -> None:
        for worker in self.workers.values():
            os.killpg(worker.pid, signal.SIGKILL)
            worker.wait()
        self.http.close()
        self.hub.stop()
        self.counter.close()


def noise(size: int, seed: int) -> bytes:
    return np.random.default_rng(seed).bytes(size)


def wait_for(condition: Callable[[], Any], seconds: float = 60) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return found


@contextmanager
def running(folder: Path) -> Iterator[World]:
    """A world of its own; at its end nothing was put or got with a wrong signature."""
    with serving() as bucket:
        world = World(folder, bucket)
        yield world
        world.stop()
        assert bucket.refused == []
