"""What a file of 100 MB costs on disk and on the wire: the first time, the same again, and with a little of it changed.

A hub of its own, in this process and a temporary folder, and the stock hf_xet client beside it. Everything the client
sends and gets is counted, headers left out. Nothing here is a comparison in time; seconds are printed to see that they
are few. A change in every chunk, such as one value in a thousand all over a tensor, would be sent whole.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

TENSORS, ROWS, COLUMNS = 8, 3200, 1024  # float32: 8 tensors of 13.1 MB


def weights(*, changed_rows: int = 0) -> bytes:
    """A safetensors file; the first rows of its fourth tensor are others."""
    draw = np.random.default_rng(0)
    header, body, at = {}, [], 0
    for number in range(TENSORS):
        tensor = draw.standard_normal((ROWS, COLUMNS)).astype(np.float32) * np.float32(0.02)
        if number == 3:
            tensor[:changed_rows] += np.float32(0.001)
        header[f"layer.{number}.weight"] = {
            "dtype": "F32", "shape": [ROWS, COLUMNS], "data_offsets": [at, at + tensor.nbytes]
        }  # fmt: skip
        body.append(tensor.tobytes())
        at += tensor.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + b"".join(body)


class _Counted:
    """A WSGI application whose bodies are counted, both ways."""

    def __init__(self, application: Callable[..., Iterable[bytes]]) -> None:
        self._application = application
        self.bytes = 0

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        self.bytes += int(environ.get("CONTENT_LENGTH") or 0)
        for piece in self._application(environ, start_response):
            self.bytes += len(piece)
            yield piece


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks store", description=__doc__)
    parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {"PRIORHUB_HOME": f"{folder}/home", "HF_XET_CACHE": f"{folder}/xet", "LOG_LEVEL": "ERROR"}
        os.environ.setdefault("DJANGO_SETTINGS_MODULE", "hub.settings")
        _measure(Path(folder))


def _measure(folder: Path) -> None:
    import django

    warnings.simplefilter("ignore")  # a hub without collected style sheets says so
    django.setup()
    from django.core.management import call_command
    from django.core.servers.basehttp import ThreadedWSGIServer, WSGIRequestHandler
    from django.core.wsgi import get_wsgi_application

    from hub.accounts.services import create_user
    from hub.repos.services import create_repository

    call_command("migrate", verbosity=0)
    ann = create_user(name="ann")
    repository = create_repository(name="ann/weights", kind="plain")

    class Quiet(WSGIRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    counted = _Counted(get_wsgi_application())
    server = ThreadedWSGIServer(("127.0.0.1", 0), Quiet)
    server.set_app(counted)  # type: ignore[arg-type]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"

    before, after = weights(), weights(changed_rows=ROWS // 100)
    print(
        f"{len(before):,} bytes of safetensors; 1 % of the rows of one of {TENSORS} tensors change, one run of them\n"
    )
    print(f"{'':44}{'wire':>14}{'disk':>14}{'of the file':>13}{'seconds':>9}")
    _send(folder, counted, url, ann, repository, before, "first, by hf_xet")
    _send(folder, counted, url, ann, repository, before, "the same again, same client")
    _send(folder, counted, url, ann, repository, before, "the same again, a new client", machine="second")
    _send(folder, counted, url, ann, repository, after, "1 % changed, same client")
    _put(folder, after, "the same changed file, whole (PUT, LFS)")
    _put(folder, weights(changed_rows=ROWS // 50), "2 % changed, whole (PUT, LFS)")
    server.shutdown()


def _send(
    folder: Path, counted: _Counted, url: str, user: Any, repository: Any, data: bytes, name: str, machine: str = "xet"
) -> None:
    import hf_xet

    from hub.xet.tokens import grant

    os.environ["HF_XET_CACHE"] = str(folder / machine)
    given, disk, wire, started = grant(user, repository, "write"), _disk(folder), counted.bytes, time.perf_counter()
    with hf_xet.XetSession().new_upload_commit(
        endpoint=url + given.path, token=given.token, token_expiry_unix_secs=given.expires
    ) as work:
        handle = work.start_upload_bytes(data, sha256=hf_xet.COMPUTE_SHA256)
    handle.result()
    _row(name, counted.bytes - wire, _disk(folder) - disk, len(data), time.perf_counter() - started)


def _put(folder: Path, data: bytes, name: str) -> None:
    from hub.repos.blobs import put_blob

    disk, started = _disk(folder), time.perf_counter()
    put_blob((data[at : at + (1 << 20)] for at in range(0, len(data), 1 << 20)), by=None)
    _row(name, len(data), _disk(folder) - disk, len(data), time.perf_counter() - started)


def _disk(folder: Path) -> int:
    """What lies in the store. Whole files are a cache outside of it."""
    return sum(path.stat().st_size for path in (folder / "home" / "blobs").rglob("*") if path.is_file())


def _row(name: str, wire: int, disk: int, size: int, seconds: float) -> None:
    print(f"{name:44}{wire:>14,}{disk:>14,}{disk / size:>12.2%} {seconds:>8.1f}", flush=True)
