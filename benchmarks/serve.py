"""Downloads of one large file: from our own web process, and from nginx with sendfile, in turns."""

import getpass
import hashlib
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx

ROOT = Path(__file__).parents[1]
GB = 1_000_000_000
TARGET = 0.8


def run(rounds: int, size: int = GB) -> None:
    """Prints seconds and ratios for 1 and 4 clients at once."""
    if shutil.which("nginx") is None:
        print("\nserve: left out, nginx is not installed (apt-get install nginx-light)")
        return
    with tempfile.TemporaryDirectory(prefix="priorhub-serve-") as scratch, _hub(Path(scratch)) as ours:
        address = _upload(ours, Path(scratch), size)
        with _nginx(Path(scratch)) as theirs:
            sources = {"priorhub": (ours, address), "nginx sendfile": (theirs, "/big.bin")}
            _wait_until_assembled(ours, address, size)
            for clients in (1, 4):
                _compare(sources, clients, rounds, size)


def _compare(sources: dict[str, tuple[str, str]], clients: int, rounds: int, size: int) -> None:
    taken: dict[str, list[float]] = {name: [] for name in sources}
    with ThreadPoolExecutor(clients) as pool:
        for turn in range(rounds + 1):
            order = list(sources.items())
            for name, (host, path) in order if turn % 2 else reversed(order):  # who goes first changes
                began = time.perf_counter()
                got = list(pool.map(lambda _, host=host, path=path: _download(host, path), range(clients)))
                if turn:  # the first turn warms the page cache
                    taken[name].append(time.perf_counter() - began)
                assert got == [size] * clients, got
    print(f"\nserve: {size / 1e9:g} GB to {clients} client(s) at once, {rounds} rounds in turns")
    ours = statistics.median(taken["priorhub"])
    for name, seconds in taken.items():
        median = statistics.median(seconds)
        rate = clients * size / median / 1e9
        print(f"  {name:<16} {median:6.2f} s ({min(seconds):.2f}-{max(seconds):.2f})  {rate:5.2f} GB/s")
    reached = statistics.median(taken["nginx sendfile"]) / ours
    print(f"  throughput against nginx: {reached:.2f}, target {TARGET}: {'reached' if reached >= TARGET else 'missed'}")


def _download(host: str, path: str) -> int:
    """A GET over a bare socket, so that the client's own work is the least there can be; bytes of the body."""
    name, _, port = host.removeprefix("http://").partition(":")
    buffer = bytearray(1 << 20)
    with socket.create_connection((name, int(port))) as link:
        link.sendall(f"GET {path} HTTP/1.1\r\nHost: {name}:{port}\r\nConnection: close\r\n\r\n".encode())
        head = b""
        while b"\r\n\r\n" not in head:
            head += link.recv(4096)
        start, _, body = head.partition(b"\r\n\r\n")
        assert b" 200 " in start.split(b"\r\n")[0], start
        total = len(body)
        while count := link.recv_into(buffer):
            total += count
    return total


@contextmanager
def _hub(scratch: Path) -> Iterator[str]:
    home = scratch / "home"
    environment = {**os.environ, "PRIORHUB_HOME": str(home), "DATABASE_URL": f"sqlite:///{scratch / 'db.sqlite3'}"}
    manage = [sys.executable, str(ROOT / "manage.py")]
    process = subprocess.Popen([*manage, "up", "--port", "0", "--no-seed"], env=environment, stdout=subprocess.DEVNULL)
    try:
        while not (home / "hub.json").exists():
            assert process.poll() is None, "the hub did not start"
            time.sleep(0.1)
        token = subprocess.run(
            [*manage, "makeuser", "ann", "--token"], env=environment, check=True, capture_output=True, text=True
        ).stdout.split()[-1]
        (scratch / "token").write_text(token)
        yield httpx.Response(200, content=(home / "hub.json").read_bytes()).json()["url"]
    finally:
        process.terminate()
        process.wait(60)


@contextmanager
def _nginx(scratch: Path) -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    folder = scratch / "nginx"
    folder.mkdir()
    scratch.chmod(0o755)
    (folder / "nginx.conf").write_text(
        f"daemon off; pid {folder}/pid; error_log {folder}/error.log; worker_processes 2; "
        f"user {getpass.getuser()};\nevents {{}} http {{ access_log off; sendfile on; tcp_nopush on;"
        f" client_body_temp_path {folder}/b;"
        f" proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u;"
        f" scgi_temp_path {folder}/s; server {{ listen 127.0.0.1:{port}; root {scratch}/files; }} }}\n"
    )
    process = subprocess.Popen(["nginx", "-c", str(folder / "nginx.conf"), "-p", str(folder)])
    try:
        time.sleep(0.5)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(20)


def _upload(url: str, scratch: Path, size: int) -> str:
    file = scratch / "files" / "big.bin"
    file.parent.mkdir()
    hasher = hashlib.sha256()
    with file.open("wb") as out:
        for _ in range(0, size, 10_000_000):
            piece = os.urandom(min(10_000_000, size))
            hasher.update(piece)
            out.write(piece)
    digest = hasher.hexdigest()
    headers = {"Authorization": f"Bearer {(scratch / 'token').read_text()}"}
    with httpx.Client(base_url=f"{url}/api/v1", headers=headers, timeout=600) as client:
        client.post("/repos", json={"name": "ann/big", "kind": "plain"}).raise_for_status()
        with file.open("rb") as body:
            client.put(f"/blobs/{digest}", content=body).raise_for_status()
        commit = {"files": [{"path": "big.bin", "sha256": digest}]}
        client.post("/repos/ann/big/commits", json=commit).raise_for_status()
    return "/api/v1/repos/ann/big/files/main/big.bin"


def _wait_until_assembled(url: str, path: str, size: int) -> None:
    """The first reader of a large file gets it from its chunks, while the hub puts it together for the others."""
    began = time.perf_counter()
    assert _download(url, path) == size
    print(f"\nserve: the first download, from chunks: {time.perf_counter() - began:.2f} s")
    time.sleep(15)
