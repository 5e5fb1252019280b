"""Files leave by the kernel: gunicorn's sendfile on the hub's own port, or nginx where one stands in front."""

from __future__ import annotations

import getpass
import hashlib
import json
import random
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from django.test import Client
from pytest_django import Settings

from tests.factories import make_commit, make_repository, make_user, sha256
from tests.live import LiveHub

SIZE = 3_000_000
CONFIG = """
import json, os
_sendfile = os.sendfile

def counted(out, file, offset, count):
    sent = _sendfile(out, file, offset, count)
    with open(os.environ["SENDFILE_LOG"], "a") as log:
        log.write(json.dumps([offset, sent]) + "\\n")
    return sent

os.sendfile = counted
"""


class Sending:
    """A running hub that notes each call of os.sendfile, with one file in it."""

    def __init__(self, folder: Path, **environment: str) -> None:
        config, self.calls = folder / "config.py", folder / "sendfile.log"
        config.write_text(CONFIG)
        self.calls.touch()
        extra = {"SENDFILE_LOG": str(self.calls), "GUNICORN_CMD_ARGS": f"--config {config}", **environment}
        self.hub = LiveHub(folder, extra=extra)
        self.content = random.Random(1).randbytes(SIZE)
        token = self.hub.token("ann")
        self.headers = {"Authorization": f"Bearer {token}"}
        with httpx.Client(base_url=f"{self.hub.url}/api/v1", headers=self.headers, timeout=60) as client:
            client.post("/repos", json={"name": "ann/big", "kind": "plain"}).raise_for_status()
            files = []
            for path, data in (("big.bin", self.content), ("small.txt", b"hello")):
                client.put(f"/blobs/{sha256(data)}", content=data).raise_for_status()
                files.append({"path": path, "sha256": sha256(data)})
            client.post("/repos/ann/big/commits", json={"files": files}).raise_for_status()

    def ask(self, method: str = "GET", path: str = "big.bin", **headers: str) -> tuple[httpx.Response, int]:
        """The response, and how many bytes of it the kernel sent."""
        self.calls.write_text("")
        address = f"{self.hub.url}/api/v1/repos/ann/big/files/main/{path}"
        response = httpx.request(method, address, headers={"Accept-Encoding": "gzip, br", **headers}, timeout=60)
        deadline = time.monotonic() + 2
        sent = -1
        while sent != len(response.content) and time.monotonic() < deadline:
            sent = sum(json.loads(line)[1] for line in self.calls.read_text().splitlines())
        return response, sent


@pytest.fixture(scope="module")
def sending(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sending]:
    made = Sending(tmp_path_factory.mktemp("sending"))
    yield made
    made.hub.stop()


def test_a_whole_file_leaves_by_sendfile(sending: Sending) -> None:
    response, sent = sending.ask()

    assert response.content == sending.content
    assert sent == SIZE
    assert response.headers["Content-Length"] == str(SIZE)
    assert "Content-Encoding" not in response.headers
    assert "Transfer-Encoding" not in response.headers


@pytest.mark.parametrize(
    ("asked", "start", "stop"),
    [("bytes=0-0", 0, 1), ("bytes=1000-2000999", 1000, 2001000), (f"bytes={SIZE - 7}-", SIZE - 7, SIZE),
     ("bytes=-65537", SIZE - 65537, SIZE), (f"bytes=5-{SIZE * 9}", 5, SIZE)],
)  # fmt: skip
def test_a_range_leaves_by_sendfile(sending: Sending, asked: str, start: int, stop: int) -> None:
    response, sent = sending.ask(Range=asked)

    assert response.status_code == 206
    assert response.content == sending.content[start:stop]
    assert sent == stop - start
    assert response.headers["Content-Length"] == str(stop - start)
    assert response.headers["Content-Range"] == f"bytes {start}-{stop - 1}/{SIZE}"


def test_a_small_file_leaves_by_sendfile_too(sending: Sending) -> None:
    response, sent = sending.ask(path="small.txt")

    assert (response.content, sent) == (b"hello", 5)


def test_head_sends_nothing_and_tells_the_length(sending: Sending) -> None:
    response, sent = sending.ask("HEAD")

    assert (response.status_code, response.content, sent) == (200, b"", 0)
    assert response.headers["Content-Length"] == str(SIZE)


def test_an_unchanged_file_is_not_sent_again(sending: Sending) -> None:
    response, sent = sending.ask(**{"If-None-Match": f'"{sha256(sending.content)}"'})

    assert (response.status_code, sent) == (304, 0)


def test_one_connection_serves_many_ranges_in_turn(sending: Sending) -> None:
    address = f"{sending.hub.url}/api/v1/repos/ann/big/files/main/big.bin"
    with httpx.Client(timeout=60) as client:
        for number in range(20):
            at = number * 100_003
            part = client.get(address, headers={"Range": f"bytes={at}-{at + 9_999}"})
            assert part.content == sending.content[at : at + 10_000]


@pytest.fixture(scope="module")
def proxied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Sending, str]]:
    """A hub that has X_ACCEL_PREFIX set, and the address of an nginx before it, set up as docs/operations.md says."""
    if shutil.which("nginx") is None:
        pytest.skip("nginx is not installed")
    folder = tmp_path_factory.mktemp("nginx")
    sending = Sending(tmp_path_factory.mktemp("proxied"), X_ACCEL_PREFIX="/_files/")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    documented = (Path(__file__).parents[2] / "docs" / "operations.md").read_text(encoding="utf-8")
    server = documented.partition("```nginx\n")[2].partition("```")[0]
    server = server.replace("/srv/priorhub", str(sending.hub.home)).replace("http://127.0.0.1:8000", sending.hub.url)
    server = server.replace("listen 80;", f"listen 127.0.0.1:{port};").replace("server_name hub.example.org;", "")
    (folder / "nginx.conf").write_text(
        f"daemon off; pid {folder}/pid; error_log {folder}/error.log; user {getpass.getuser()};\n"
        f"events {{}}\nhttp {{ access_log off; client_body_temp_path {folder}/b; proxy_temp_path {folder}/p;"
        f" fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;\n{server}\n}}\n"
    )
    process = subprocess.Popen(["nginx", "-c", str(folder / "nginx.conf"), "-p", str(folder)])
    address = f"http://127.0.0.1:{port}"
    deadline = time.monotonic() + 20
    while True:
        try:
            httpx.get(address, timeout=5)
            break
        except httpx.HTTPError:
            assert time.monotonic() < deadline, (folder / "error.log").read_text()
            time.sleep(0.05)
    yield sending, address
    process.terminate()
    process.wait(20)
    sending.hub.stop()


def test_behind_nginx_the_hub_only_names_the_file(proxied: tuple[Sending, str]) -> None:
    sending, nginx = proxied
    path = "/api/v1/repos/ann/big/files/main/big.bin"
    direct, by_hub = sending.ask()
    whole = httpx.get(nginx + path, timeout=60)
    part = httpx.get(nginx + path, headers={"Range": "bytes=1000-2999"}, timeout=60)
    again = httpx.get(nginx + path, headers={"If-None-Match": whole.headers["ETag"]}, timeout=60)
    resumed = httpx.get(
        nginx + path, headers={"Range": "bytes=5-9", "If-Range": f'"{sha256(sending.content)}"'}, timeout=60
    )
    head = httpx.head(nginx + path, timeout=60)

    assert (direct.content, by_hub) == (b"", 0)
    assert whole.content == sending.content
    assert whole.headers["ETag"] == head.headers["ETag"] == f'"{sha256(sending.content)}"'
    assert head.headers["Content-Length"] == str(SIZE)
    for header in ("Content-Disposition", "X-Content-Type-Options", "Content-Security-Policy", "Cache-Control"):
        assert whole.headers[header] == head.headers[header]
    assert (part.status_code, part.content) == (206, sending.content[1000:3000])
    assert again.status_code == 304
    assert (resumed.status_code, resumed.content) == (206, sending.content[5:10])
    assert httpx.get(f"{nginx}/_files/secret_key", timeout=60).status_code == 404
    assert httpx.get(f"{nginx}{path}x", timeout=60).status_code == 404


@pytest.mark.django_db
def test_only_files_of_the_home_are_named_to_a_proxy(
    client: Client, home: Path, settings: Settings, tmp_path: Path
) -> None:
    settings.X_ACCEL_PREFIX = "/_files/"
    ann = make_user("ann")
    make_commit(make_repository(ann, "things"), {"a.txt": b"hello"}, by=ann)
    address = "/api/v1/repos/ann/things/files/main/a.txt"

    named = client.get(address)
    part = client.get(address, headers={"If-Range": f'"{sha256(b"hello")}"', "Range": "bytes=0-1"})
    settings.STORAGE_URL = f"file://{tmp_path / 'elsewhere'}"
    shutil.copytree(home / "blobs", tmp_path / "elsewhere")
    elsewhere = client.get(address)

    digest = hashlib.sha256(b"hello").hexdigest()
    assert named["X-Accel-Redirect"].startswith("/_files/blobs/")
    assert named["X-Accel-Redirect"].endswith(digest)
    assert b"".join(named) == b""
    assert (part.status_code, b"".join(part)) == (206, b"he")
    assert "X-Accel-Redirect" not in elsewhere
    assert b"".join(elsewhere) == b"hello"


def test_no_middleware_reads_or_packs_responses(settings: Any) -> None:
    assert not [name for name in settings.MIDDLEWARE if "gzip" in name.lower() or "ConditionalGet" in name]
