"""A web process killed in the middle of an upload: nothing half is visible, the upload goes on, fsck is clean."""

from __future__ import annotations

import base64
import json
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from tests.factories import sha256
from tests.live import LiveHub
from tests.rounds import rounds

Files = dict[str, bytes]


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveHub]:
    # Without a limit on requests: fifty rounds try again all the time.
    limits = {f"RATE_{name}": "1000000000/60" for name in ("API", "UPLOAD", "CREATE")}
    hub = LiveHub(tmp_path_factory.mktemp("killed"), extra=limits, workers=1)  # it starts 150 times
    yield hub
    hub.stop()


@pytest.fixture(scope="module")
def token(hub: LiveHub) -> str:
    return hub.token("ann")


def client(hub: LiveHub, token: str) -> httpx.Client:
    return httpx.Client(base_url=hub.url, headers={"Authorization": f"Bearer {token}"}, timeout=30)


def by_the_api(hub: LiveHub, token: str, repo: str, files: Files) -> None:
    """Asks what is missing, sends it, commits."""
    with client(hub, token) as http:
        hashes = {sha256(data): data for data in files.values()}
        missing = http.post("/api/v1/blobs/missing", json={"sha256": list(hashes)}).raise_for_status().json()["missing"]
        for digest in missing:
            http.put(f"/api/v1/blobs/{digest}", content=hashes[digest]).raise_for_status()
        body = [{"path": path, "sha256": sha256(data)} for path, data in files.items()]
        http.post(f"/api/v1/repos/{repo}/commits", json={"files": body}).raise_for_status()


def by_git_lfs(hub: LiveHub, token: str, repo: str, files: Files) -> None:
    """Batch, put, verify, and the NDJSON commit of the Hugging Face protocol."""
    with client(hub, token) as http:
        known = {sha256(data): data for data in files.values()}
        wanted = {
            "operation": "upload", "transfers": ["basic"], "hash_algo": "sha256",
            "objects": [{"oid": oid, "size": len(data)} for oid, data in known.items()],
        }  # fmt: skip
        answer = http.post(f"/{repo}.git/info/lfs/objects/batch", json=wanted).raise_for_status().json()
        for each in answer["objects"]:
            if "actions" in each:
                data = known[each["oid"]]
                httpx.put(each["actions"]["upload"]["href"], content=data, timeout=30).raise_for_status()
                if "verify" in each["actions"]:
                    proof = {"oid": each["oid"], "size": len(data)}
                    http.post(each["actions"]["verify"]["href"], json=proof).raise_for_status()
        lines: list[dict[str, object]] = [{"key": "header", "value": {"summary": "s", "description": ""}}]
        for path, data in files.items():
            if path.endswith(".txt"):
                content = base64.b64encode(data).decode()
                lines.append({"key": "file", "value": {"path": path, "content": content, "encoding": "base64"}})
            else:
                value = {"path": path, "algo": "sha256", "oid": sha256(data), "size": len(data)}
                lines.append({"key": "lfsFile", "value": value})
        body = "\n".join(json.dumps(line) for line in lines)
        kind = {"Content-Type": "application/x-ndjson"}
        http.post(f"/api/models/{repo}/commit/main", content=body, headers=kind).raise_for_status()


def by_xet(hub: LiveHub, token: str, repo: str, files: Files) -> None:
    """The stock client with hf_xet, in a process of its own, whose cache stays between tries."""
    folder = hub.home.parent / "files" / repo
    for path, data in files.items():
        folder.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    script = (
        "import sys; from huggingface_hub import HfApi; "
        "HfApi(endpoint=sys.argv[1], token=sys.argv[2]).upload_folder(repo_id=sys.argv[3], folder_path=sys.argv[4])"
    )
    environment = {
        **os.environ, "HF_HOME": str(hub.home.parent / "hf"), "HF_ENDPOINT": hub.url, "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", script, hub.url, token, repo, str(folder)], env=environment, capture_output=True,
        text=True, timeout=90,
    )  # fmt: skip
    if done.returncode:
        raise httpx.HTTPError(done.stderr[-2000:])


UPLOADS: dict[str, Callable[[LiveHub, str, str, Files], None]] = {
    "api": by_the_api, "lfs": by_git_lfs, "xet": by_xet
}  # fmt: skip
GIVING_UP = (httpx.HTTPError, subprocess.TimeoutExpired)


def some_files(chance: random.Random) -> Files:
    made = {f"part{n}.bin": chance.randbytes(chance.randrange(1, 2_000_000)) for n in range(3)}
    return {**made, "notes.txt": chance.randbytes(50).hex().encode()}


def visible(hub: LiveHub, token: str, repo: str) -> Files | None:
    """The files of main as a reader gets them, or None before the first commit."""
    with client(hub, token) as http:
        tree = http.get(f"/api/v1/repos/{repo}/tree/main")
        if tree.status_code == 404:
            return None
        listed = [entry["path"] for entry in tree.raise_for_status().json()["files"]]
        return {path: http.get(f"/api/v1/repos/{repo}/files/main/{path}").raise_for_status().content for path in listed}


@pytest.mark.parametrize("way", UPLOADS)
def test_a_kill_at_any_moment_of_an_upload_loses_nothing(hub: LiveHub, token: str, way: str) -> None:
    upload, chance = UPLOADS[way], random.Random(time.time_ns())
    repo = f"ann/{way}"
    with client(hub, token) as http:
        http.post("/api/v1/repos", json={"name": repo, "kind": "plain"}).raise_for_status()
    began, first = time.monotonic(), some_files(chance)
    upload(hub, token, repo, first)
    usual = time.monotonic() - began
    before = visible(hub, token, repo)

    for number in rounds(few=1, many=50):
        files = some_files(chance)
        failed: list[BaseException] = []

        def send(files: Files = files, failed: list[BaseException] = failed) -> None:
            try:
                upload(hub, token, repo, files)
            except GIVING_UP as error:
                failed.append(error)

        sender = threading.Thread(target=send)
        sender.start()
        time.sleep(chance.random() * usual * 1.2)
        hub.kill()
        hub.start()
        sender.join()
        now = visible(hub, token, repo)
        if failed or now == before:
            assert now == before or (now or {}).items() >= files.items(), f"round {number}: half a commit is visible"
            upload(hub, token, repo, files)
            now = visible(hub, token, repo)
        assert now is not None
        assert now.items() >= files.items(), f"round {number}"
        before = now

    checked = hub.manage("fsck", check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    for draft in Path(hub.home, "blobs", "tmp").glob("*"):  # those of the killed; `sweep` leaves the last hour's alone
        os.utime(draft, (0, 0))
    swept = hub.manage("sweep", "--grace", "0")
    assert swept.returncode == 0
    assert visible(hub, token, repo) == before
    assert list(Path(hub.home, "blobs", "tmp").glob("*")) == []
