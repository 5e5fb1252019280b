"""A server that answers the stock hf_xet client and keeps what it sends; nothing of the hub is in it."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

_XORB = re.compile(r"/v1/xorbs/default/([0-9a-f]{64})")
_CHUNK = re.compile(r"/v1/chunks/default/([0-9a-f]{64})")


@dataclass
class Recorded:
    """What the client sent, and what it asked for."""

    url: str
    xorbs: dict[str, bytes] = field(default_factory=dict)
    shards: list[bytes] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    known_chunks: dict[str, bytes] = field(default_factory=dict)
    """Shards to answer questions for chunks with."""


@contextmanager
def recording_server() -> Iterator[Recorded]:
    """Listens until the end of the block."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            if match := _CHUNK.match(self.path):
                recorded.asked.append(match[1])
                if (shard := recorded.known_chunks.get(match[1])) is not None:
                    return self._answer(200, shard)
            return self._answer(404, b"{}")

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if match := _XORB.match(self.path):
                recorded.xorbs[match[1]] = body
                return self._answer(200, b'{"was_inserted": true}')
            if self.path == "/v1/shards":
                recorded.shards.append(body)
                return self._answer(200, b'{"result": 1}')
            return self._answer(404, b"{}")

        def _answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    recorded = Recorded(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield recorded
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def upload(url: str, contents: list[bytes], *, cache: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Uploads with hf_xet, which remembers in `cache` what it sent; the Xet hash of each content."""
    import hf_xet  # each session reads the environment anew

    monkeypatch.setenv("HF_XET_CACHE", str(cache))
    session = hf_xet.XetSession()
    with session.new_upload_commit(
        endpoint=url, token="secret", token_expiry_unix_secs=int(time.time()) + 3600
    ) as commit:
        handles = [commit.start_upload_bytes(content, sha256=hf_xet.COMPUTE_SHA256) for content in contents]
    return [handle.result().xet_info.hash for handle in handles]
