"""Large files go up in chunks: only what the hub lacks travels, whatever was changed, killed or sent before."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from hub.accounts.services import create_token, create_user
from hub.ops.fsck import fsck
from hub.repos.models import Blob, BlobUpload, Commit
from hub.xet.models import Chunk
from priors.chunks import chunk_hash, cut, to_hex, xorb_hash
from priors.client import Cache, Hub, _upload
from priors.errors import Conflict, HubError, NotFound, UserError
from tests.rounds import rounds

pytestmark = pytest.mark.django_db(transaction=True)
MB = 1_000_000


class Counting(httpx.BaseTransport):
    """Real HTTP, with every request's address and the bytes of its body."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, int]] = []
        self._inner = httpx.HTTPTransport()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.sent.append((f"{request.method} {request.url.path}", int(request.headers.get("content-length", 0))))
        return self._inner.handle_request(request)

    def close(self) -> None:
        self._inner.close()

    @property
    def bytes(self) -> int:
        return sum(size for _, size in self.sent)


@pytest.fixture
def ada(home: Path) -> Any:
    return create_user(name="ada")


@pytest.fixture
def token(ada: Any) -> str:
    return create_token(user=ada, name="test", role="write")[0]


@pytest.fixture
def wire() -> Counting:
    return Counting()


@pytest.fixture
def hub(live_server: Any, token: str, wire: Counting) -> Any:
    with Hub(live_server.url, token, transport=wire) as hub:
        yield hub


def weights(path: Path, megabytes: int, *, seed: int = 0) -> Path:
    """A safetensors file of random float32 tensors of 4 MB each."""
    draw = np.random.default_rng(seed)
    tensors = {f"layer{i}": draw.standard_normal(MB, dtype=np.float32) for i in range(megabytes // 4)}
    header: dict[str, Any] = {}
    for number, name in enumerate(tensors):
        header[name] = {"dtype": "F32", "shape": [MB], "data_offsets": [number * 4 * MB, (number + 1) * 4 * MB]}
    said = json.dumps(header).encode()
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(len(said).to_bytes(8, "little") + said + b"".join(t.tobytes() for t in tensors.values()))
    return path


def change(path: Path, at: int, size: int) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(os.urandom(size))


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_hundredth_of_a_tensor_costs_what_it_is_and_the_same_again_nothing(
    hub: Hub, wire: Counting, tmp_path: Path, home: Path
) -> None:
    path = weights(tmp_path / "m" / "model.safetensors", 40)
    steps: list[tuple[int, int]] = []
    hub.push(path.parent, "ada/m", report=lambda done, of, what: steps.append((done, of)))
    assert 40 * MB < wire.bytes < 41 * MB
    assert steps[-1] == (path.stat().st_size,) * 2
    assert [done for done, _ in steps] == sorted(done for done, _ in steps)

    wire.sent.clear()
    hub.push(path.parent, "ada/m")
    (path.parent / "again.safetensors").write_bytes(path.read_bytes())
    hub.push(path.parent, "ada/m")
    assert wire.bytes < 5_000

    change(path, 20 * MB, 40_000)  # a hundredth of one tensor of 4 MB
    wire.sent.clear()
    hub.push(path.parent, "ada/m")

    assert wire.bytes < 5 * MB  # the requirement
    assert wire.bytes < 700_000  # what it is: the changed chunks, and two lists of hashes
    pulled = hub.pull("ada/m", to=tmp_path / "out")
    assert sha256(pulled / "model.safetensors") == sha256(path)


def test_bytes_that_were_moved_are_found_where_they_are_now(hub: Hub, wire: Counting, tmp_path: Path) -> None:
    path = tmp_path / "m" / "data.bin"
    path.parent.mkdir()
    content = os.urandom(8 * MB)
    path.write_bytes(content)
    hub.push(path.parent, "ada/m")
    wire.sent.clear()

    path.write_bytes(b"in front" + content[3 * MB :] + content[: 3 * MB])
    hub.push(path.parent, "ada/m")

    assert wire.bytes < MB
    assert sha256(hub.pull("ada/m") / "data.bin") == sha256(path)


def test_small_files_go_whole(hub: Hub, wire: Counting, tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "small.bin").write_bytes(os.urandom(MB))

    hub.push(tmp_path / "m", "ada/m")

    assert [path for path, _ in wire.sent if "/chunks" in path] == []
    assert sum(path.startswith("PUT /api/v1/blobs/") for path, _ in wire.sent) == 1


@pytest.mark.soak
def test_a_push_that_was_killed_sends_only_the_rest(
    hub: Hub, wire: Counting, live_server: Any, token: str, tmp_path: Path
) -> None:
    script = (
        "import sys; from priors.client import Hub, _upload; _upload.RUN_BYTES = 500_000\n"
        "Hub(sys.argv[1], sys.argv[2]).push(sys.argv[3], 'ada/m')"
    )
    for number in rounds(2, 50):
        path = tmp_path / f"m{number}" / "data.bin"
        path.parent.mkdir()
        path.write_bytes(os.urandom(12 * MB))
        before, commits = Chunk.objects.count(), Commit.objects.count()
        process = subprocess.Popen([sys.executable, "-c", script, live_server.url, token, str(path.parent)])
        deadline = time.monotonic() + 300  # beside others that leave it no processor
        while Chunk.objects.count() - before < 40 and time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
        process.wait()
        time.sleep(0.3)  # requests that had reached the hub whole are finished by it
        assert Commit.objects.count() == commits  # nothing half a push
        arrived = sum(
            chunk.raw_size for chunk in Chunk.objects.filter(hash__in=[c.hash for c in cut([path.read_bytes()])])
        )
        wire.sent.clear()

        hub.push(path.parent, "ada/m")

        assert arrived > 2 * MB
        assert wire.bytes < 12 * MB - arrived + 100_000
        assert sha256(hub.pull("ada/m") / "data.bin") == sha256(path)
    assert fsck(print) == 0


def test_a_hub_that_takes_no_chunks_gets_the_file_whole(
    hub: Hub, wire: Counting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object) -> None:
        raise NotFound("The API has no such thing.")

    monkeypatch.setattr(_upload, "_lacking", refuse)
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "data.bin").write_bytes(os.urandom(2 * MB))

    hub.push(tmp_path / "m", "ada/m")

    assert sum(path.startswith("PUT /api/v1/blobs/") for path, _ in wire.sent) == 1


def test_a_file_that_changes_while_it_is_sent_is_not_published(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "m" / "data.bin"
    path.parent.mkdir()
    path.write_bytes(os.urandom(3 * MB))
    lacking = _upload._lacking

    def meanwhile(*args: Any) -> Any:
        change(path, 0, 2 * MB)
        return lacking(*args)

    monkeypatch.setattr(_upload, "_lacking", meanwhile)
    with pytest.raises(HubError, match="changed while it was sent"):
        hub.push(path.parent, "ada/m")
    assert Commit.objects.count() == 0


# ---- what the hub believes


def run(content: bytes) -> tuple[str, bytes, bytes]:
    """(name, body, list of hashes) of a file as one run of plain frames."""
    chunks = list(cut([content]))
    name = to_hex(xorb_hash([(chunk.hash, len(chunk.data)) for chunk in chunks]))
    frames = b"".join(
        b"\0" + len(c.data).to_bytes(3, "little") + b"\0" + len(c.data).to_bytes(3, "little") + c.data for c in chunks
    )
    return name, frames, b"".join(chunk.hash for chunk in chunks)


@pytest.fixture
def put(hub: Hub, tmp_path: Path) -> Any:
    (tmp_path / "first").mkdir()
    (tmp_path / "first" / "a").write_text("a")
    hub.push(tmp_path / "first", "ada/m")

    def put(address: str, content: bytes, by: Hub = hub) -> None:
        headers = {"Content-Length": str(len(content))}
        path = f"/repos/ada/m/chunks/{address}"
        with by._transport.stream("PUT", path, content=iter([content]), headers=headers):
            pass

    return put


def test_names_that_are_not_the_hash_of_what_came_are_refused(put: Any) -> None:
    content = os.urandom(300_000)
    name, frames, hashes = run(content)
    digest = hashlib.sha256(content).hexdigest()

    with pytest.raises(UserError):
        put("0" * 64, frames)
    with pytest.raises(UserError):
        put(name, frames[:-1] + b"x")
    with pytest.raises(Conflict, match="are not here"):
        put(f"files/{digest}", hashes)
    put(name, frames)
    for bad in (hashes[:-1], b"", hashes[32:], hashes[::-1]):
        with pytest.raises(UserError):
            put(f"files/{digest}", bad)
    assert not Blob.objects.filter(pk=digest).exists()

    put(f"files/{digest}", hashes)
    put(f"files/{digest}", hashes)
    assert Blob.objects.get(pk=digest).size == len(content)


def test_knowing_a_chunks_name_is_no_way_to_its_bytes(put: Any, live_server: Any, hub: Hub, tmp_path: Path) -> None:
    """bob knows every hash of a private file of ada's, and gets neither told that it is here nor a file made of it."""
    secret = os.urandom(2 * MB)
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "secret.bin").write_bytes(secret)
    hub.push(tmp_path / "s", "ada/secret", private=True)
    bob = create_user(name="bob")
    theirs = Hub(live_server.url, create_token(user=bob, name="t", role="write")[0], cache=Cache(tmp_path / "c"))
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "x").write_text("x")
    theirs.push(tmp_path / "b", "bob/m")
    names = [to_hex(chunk_hash(chunk.data)) for chunk in cut([secret])]
    digest = hashlib.sha256(secret).hexdigest()

    asked = theirs._transport.json("POST", "/repos/bob/m/chunks/missing", body={"chunks": names})
    mine = hub._transport.json("POST", "/repos/ada/m/chunks/missing", body={"chunks": names})

    assert asked["missing"] == names
    assert mine["missing"] == []
    body = b"".join(chunk.hash for chunk in cut([secret]))
    with (
        pytest.raises(Conflict),
        theirs._transport.stream(
            "PUT",
            f"/repos/bob/m/chunks/files/{digest}",
            content=iter([body]),
            headers={"Content-Length": str(len(body))},
        ),
    ):
        pass
    assert not BlobUpload.objects.filter(user=bob, blob=digest).exists()


def test_a_full_namespace_takes_neither_chunks_nor_files(put: Any, settings: Any) -> None:
    content = os.urandom(300_000)
    name, frames, hashes = run(content)
    put(name, frames)
    settings.STORAGE_QUOTA_BYTES = 200_000

    with pytest.raises(UserError, match="bytes left"):
        put(f"files/{hashlib.sha256(content).hexdigest()}", hashes)
    other, frames, _ = run(os.urandom(300_000))
    with pytest.raises(UserError, match="bytes left"):
        put(other, frames)


def test_one_chunk_named_without_end_makes_no_file_without_end(put: Any, settings: Any) -> None:
    settings.BLOB_MAX_BYTES = 10 * MB
    name, frames, hashes = run(os.urandom(100_000))
    put(name, frames)

    with pytest.raises(UserError, match="larger than"):
        put(f"files/{'0' * 64}", hashes * 200)
