"""A small hub that speaks as much of the Hugging Face protocol as copying a repository from it takes."""

from __future__ import annotations

import hashlib
import json
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

COMMIT = "c" * 40
PIECE = 64 * 1024


@dataclass
class FakeSource:
    """Repositories by `models/org/name`; files over 100 kB are LFS. `tamper` changes bytes on their way out."""

    repos: dict[str, dict[str, bytes]] = field(default_factory=dict)
    license: str = "apache-2.0"
    url: str = ""
    asked: list[tuple[str, str]] = field(default_factory=list)
    """(path of a file, its Range header)"""
    gated: bool = False
    token: str = ""
    """Without it the repositories are not there, and are private with it."""
    shown: list[str] = field(default_factory=list)
    """Every Authorization header that came."""
    files_at: str = ""
    """Where files are redirected to: another source's address."""
    seconds_a_piece: float = 0.0
    breaks_after: int | None = None
    tamper: Callable[[bytes], bytes] = lambda content: content
    listing: Callable[[list[dict[str, object]]], object] = lambda items: items

    def add(self, repo: str, files: Mapping[str, bytes], *, type: str = "model") -> None:
        self.repos[f"{type}s/{repo}"] = dict(files)

    def answer(self, path: str, headers: Mapping[str, str]) -> tuple[int, dict[str, str], bytes]:
        if "authorization" in headers:
            self.shown.append(headers["authorization"])
        if self.token and headers.get("authorization") != f"Bearer {self.token}":
            if headers.get("authorization"):
                return 401, {"X-Error-Message": f"Invalid credentials: {headers['authorization']}"}, b"{}"
            return 401, {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Repository not found"}, b"{}"
        parts = urlsplit(path)
        raw = parts.path.strip("/")
        if match := re.fullmatch(r"api/(models|datasets)/([^/]+/[^/]+)(?:/revision/([^/]+))?", raw):
            return self._info(f"{match[1]}/{match[2]}", match[3])
        if match := re.fullmatch(r"api/(models|datasets)/([^/]+/[^/]+)/tree/([^/]+)", raw):
            return self._tree(f"{match[1]}/{match[2]}", parse_qs(parts.query))
        if match := re.fullmatch(r"(datasets/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)", raw):
            return self._file(f"{(match[1] or 'models/')}{match[2]}", unquote(match[4]), headers)
        return 404, {}, b"{}"

    def _info(self, repo: str, rev: str | None) -> tuple[int, dict[str, str], bytes]:
        if repo not in self.repos:
            return 404, {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Repository not found"}, b"{}"
        if rev not in {None, "main", COMMIT}:
            return 404, {"X-Error-Code": "RevisionNotFound", "X-Error-Message": "Invalid rev id"}, b"{}"
        said = {"id": repo.partition("/")[2], "sha": COMMIT, "tags": [f"license:{self.license}"]}
        said |= {"private": bool(self.token), "gated": "manual" if self.gated else False}
        return 200, {}, json.dumps(said).encode()

    def _tree(self, repo: str, query: Mapping[str, list[str]]) -> tuple[int, dict[str, str], bytes]:
        items: list[dict[str, object]] = []
        for path, content in sorted(self.repos[repo].items()):
            oid = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
            item: dict[str, object] = {"type": "file", "path": path, "size": len(content), "oid": oid}
            if len(content) > 100_000:
                sha256 = hashlib.sha256(content).hexdigest()
                item["lfs"] = {"oid": sha256, "size": len(content), "pointerSize": 134}
            items.append(item)
        begin = int(query.get("cursor", ["0"])[0])
        more = {}
        if begin + 3 < len(items):
            more = {"Link": f'<{self.url}/api/{repo}/tree/{COMMIT}?recursive=True&cursor={begin + 3}>; rel="next"'}
        return 200, more, json.dumps(self.listing(items[begin : begin + 3])).encode()

    def _file(self, repo: str, path: str, headers: Mapping[str, str]) -> tuple[int, dict[str, str], bytes]:
        if self.gated:
            return 401, {"X-Error-Code": "GatedRepo"}, b"{}"
        if self.files_at:
            return 302, {"Location": f"{self.files_at}/{repo.removeprefix('models/')}/resolve/{COMMIT}/{path}"}, b""
        self.asked.append((path, headers.get("range", "")))
        content = self.tamper(self.repos[repo][path])
        if match := re.fullmatch(r"bytes=(\d+)-", headers.get("range", "")):
            begin = int(match[1])
            return 206, {"Content-Range": f"bytes {begin}-{len(content) - 1}/{len(content)}"}, content[begin:]
        return 200, {}, content


@contextmanager
def serving(source: FakeSource) -> Iterator[FakeSource]:
    """The source behind a real socket of this machine."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            status, sent, content = source.answer(self.path, headers)
            self.send_response(status)
            for name, value in ({"Content-Type": "application/json"} | sent).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            with suppress(OSError):
                self._pour(content if "/resolve/" not in self.path else content[: source.breaks_after])
            if source.breaks_after is not None and "/resolve/" in self.path:
                self.close_connection = True

        def _pour(self, content: bytes) -> None:
            for at in range(0, len(content), PIECE):
                if "/resolve/" in self.path:
                    time.sleep(source.seconds_a_piece)
                self.wfile.write(content[at : at + PIECE])

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    source.url = f"http://127.0.0.1:{server.server_address[1]}"
    yield source
    server.shutdown()
    thread.join()
    server.server_close()
