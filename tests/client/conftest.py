"""A hub in memory that speaks the part of /api/v1 the client uses, behind httpx's mock transport or a real socket."""

from __future__ import annotations

import hashlib
import json
import re
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import httpx
import pytest

from priors.client import Hub

TOKEN = "ph_0123456789012345678901234567890123456789"
Answer = tuple[int, dict[str, str], bytes]


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def answer(content: object, status: int = 200) -> Answer:
    return status, {"content-type": "application/json"}, json.dumps(content).encode()


def problem(status: int, code: str, detail: str) -> Answer:
    body = {"type": "about:blank", "title": code, "status": status, "code": code, "detail": detail}
    return status, {"content-type": "application/problem+json"}, json.dumps(body).encode()


@dataclass
class FakeHub:
    """Blobs, repositories and jobs; `before` may answer in its stead, `tamper` changes bytes on their way out."""

    blobs: dict[str, bytes] = field(default_factory=dict)
    repos: dict[str, list[dict]] = field(default_factory=dict)
    jobs: dict[str, dict] = field(default_factory=dict)
    streams: list[bytes] = field(default_factory=list)
    requests: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    before: Callable[[str, str, dict[str, str]], Answer | None] = lambda method, path, headers: None
    tamper: Callable[[bytes], bytes] = lambda content: content

    def commit(self, repo: str, files: dict[str, bytes], message: str = "m") -> str:
        tree = [{"path": path, "size": len(content), "sha256": sha256(content)} for path, content in files.items()]
        self.blobs |= {sha256(content): content for content in files.values()}
        oid = hashlib.sha1(f"{repo}{len(self.repos.get(repo, []))}{json.dumps(tree)}".encode()).hexdigest()
        self.repos.setdefault(repo, []).append({"oid": oid, "message": message, "files": tree})
        return oid

    def handle(self, method: str, target: str, headers: dict[str, str], body: bytes) -> Answer:
        path, query = urlsplit(target).path, parse_qs(urlsplit(target).query)
        self.requests.append((method, path, headers))
        early = self.before(method, path, headers)
        if early is not None:
            return early
        match [method, *path.removeprefix("/api/v1/").split("/")]:
            case ["GET", "health"]:
                return answer({"status": "ok", "version": "0.1.0", "hub_id": "h"})
            case ["GET", "whoami"]:
                return answer({"name": "ada", "scopes": ["read", "write"]})
            case ["GET", "priors"]:
                start = int(query.get("cursor", ["0"])[0])
                items = [self._listing(repo) for repo in sorted(self.repos)][start:]
                count = int(query["limit"][0])
                return answer({"items": items[:count], "next": str(start + count) if len(items) > count else None})
            case ["GET", "priors", ns, name, "manifest"]:
                return answer(self._manifest(f"{ns}/{name}", query.get("rev", ["main"])[0]))
            case ["POST", "repos"]:
                name = json.loads(body)["name"]
                if name in self.repos:
                    return problem(409, "conflict", "it exists")
                self.repos[name] = []
                return answer({"name": name}, 201)
            case ["GET", "repos", ns, name, "tree", rev]:
                found = self._find(f"{ns}/{name}", unquote(rev))
                if found is None:
                    return problem(404, "not-found", f"there is no {ns}/{name} at {rev}. Check the name.")
                return answer({"commit": found["oid"], "files": found["files"]})
            case ["GET", "repos", ns, name, "commits"]:
                return answer({"items": [{"oid": c["oid"]} for c in reversed(self.repos[f"{ns}/{name}"])]})
            case ["GET", "repos", ns, name]:
                return answer({"name": f"{ns}/{name}", "kind": "plain"})
            case ["DELETE", "repos", ns, name]:
                del self.repos[f"{ns}/{name}"]
                return 204, {}, b""
            case ["POST", "blobs", "missing"]:
                return answer({"missing": [h for h in json.loads(body)["sha256"] if h not in self.blobs]})
            case ["PUT", "blobs", promised]:
                if sha256(body) != promised or int(headers["content-length"]) != len(body):
                    return problem(422, "hash-mismatch", "other bytes")
                self.blobs[promised] = body
                return answer({}, 201)
            case ["POST", "repos", ns, name, "commits"]:
                given = json.loads(body)
                history = self.repos[f"{ns}/{name}"]
                if given["parent"] != (history[-1]["oid"] if history else None):
                    return problem(412, "parent-moved", "somebody pushed in between. Pull, then push again.")
                files = {f["path"]: self.blobs[f["sha256"]] for f in given["files"]}
                return answer({"oid": self.commit(f"{ns}/{name}", files, given["message"])}, 201)
            case ["GET", "repos", ns, name, "files", commit, *parts]:
                found = self._find(f"{ns}/{name}", commit)
                path = unquote("/".join(parts))
                blob = next(self.blobs[f["sha256"]] for f in found["files"] if f["path"] == path)
                return self._ranged(self.tamper(blob), headers)
            case ["POST", "jobs"]:
                self.jobs["j1"] = {"id": "j1", "status": "queued", **json.loads(body)}
                return answer(self.jobs["j1"], 202)
            case ["GET", "jobs", job_id, "events"]:
                content = self.streams.pop(0) if self.streams else b""
                return 200, {"content-type": "text/event-stream"}, content
            case ["GET", "jobs", job_id]:
                return answer(self.jobs[job_id])
            case ["POST", "jobs", job_id, "cancel"]:
                self.jobs[job_id]["status"] = "cancelled"
                return answer(self.jobs[job_id])
        return problem(404, "not-found", "nothing here. Check the address.")

    def _find(self, repo: str, rev: str) -> dict | None:
        history = self.repos.get(repo, [])
        if rev == "main":
            return history[-1] if history else None
        return next((commit for commit in history if commit["oid"] == rev), None)

    def _manifest(self, repo: str, rev: str) -> dict:
        files = self._find(repo, rev)["files"]
        return json.loads(self.blobs[next(f["sha256"] for f in files if f["path"] == "prior.json")])

    def _listing(self, repo: str) -> dict:
        from priors.manifest import parse_manifest

        identity = parse_manifest(self._manifest(repo, "main")).identity()
        return {"repo": repo, "ref": f"prior://{repo}@{identity}", "summary": "s", "kind": "function"}

    def _ranged(self, content: bytes, headers: dict[str, str]) -> Answer:
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", headers.get("range", ""))
        if not asked:
            return 200, {}, content
        begin, end = int(asked[1]), int(asked[2])
        return 206, {"content-range": f"bytes {begin}-{end}/{len(content)}"}, content[begin : end + 1]

    def transport(self) -> httpx.MockTransport:
        def handler(request: httpx.Request) -> httpx.Response:
            target = request.url.raw_path.decode()
            status, headers, body = self.handle(request.method, target, dict(request.headers), request.read())
            return httpx.Response(status, headers=headers, stream=httpx.ByteStream(body))

        return httpx.MockTransport(handler)


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees the login, the cache or the hub of whoever runs it."""
    for name in ("PRIORHUB_URL", "PRIORHUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("PRIORHUB_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def fake() -> FakeHub:
    return FakeHub()


@pytest.fixture
def hub(fake: FakeHub) -> Iterator[Hub]:
    with Hub("http://hub.test", TOKEN, transport=fake.transport()) as hub:
        yield hub


@pytest.fixture
def served(fake: FakeHub) -> Iterator[str]:
    """The fake behind a real socket, for tests that need other processes."""

    class Handler(BaseHTTPRequestHandler):
        def do(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            status, sent, content = fake.handle(self.command, self.path, headers, body)
            self.send_response(status)
            for name, value in (sent | {"content-length": str(len(content))}).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PUT = do_DELETE = do

        def log_message(self, *args: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128  # of the library's 5, eight pulling processes have most of their connections dropped

        def handle_error(self, request: object, client_address: object) -> None:
            """A killed process leaves its answer unread: nothing to print a traceback for."""
            if not isinstance(sys.exception(), ConnectionError):
                super().handle_error(request, client_address)

    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()
