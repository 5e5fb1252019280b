"""Slow scans: they run after the commit, hold only what fails, and none is forgotten."""

from __future__ import annotations

import io
import json
import struct
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.test import Client
from django.utils import timezone
from PIL import Image

from hub.accounts.models import User
from hub.repos import trees
from hub.repos.models import Commit
from hub.safety import scans
from hub.safety.models import Finding, Hold, ScanDue, Scanned
from hub.safety.status import file_status, repository_status
from tests.factories import function_manifest, make_commit, make_prior, make_repository, make_user, sha256

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def own_home(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(scans, "announce", lambda task, commit_id: None)
    return home


@pytest.fixture
def ann() -> User:
    return make_user("ann")


def safetensors(values: np.ndarray, dtype: str = "F32") -> bytes:
    data = values.tobytes()
    header = json.dumps({"w": {"dtype": dtype, "shape": [len(values)], "data_offsets": [0, len(data)]}}).encode()
    return struct.pack("<Q", len(header)) + header + data


def prior(ann: User, extra: dict[str, bytes]) -> Commit:
    repository = make_repository(ann, "char-ngrams", kind="prior")
    return make_commit(repository, {"prior.json": json.dumps(function_manifest()).encode(), **extra}, by=ann)


def png(width: int = 8, height: int = 8) -> bytes:
    out = io.BytesIO()
    Image.new("L", (width, height)).save(out, "PNG")
    return out.getvalue()


BAD = {
    "F64": (np.array([1, np.inf], "<f8"), "F64"),
    "F32": (np.array([1, np.nan], "<f4"), "F32"),
    "F16": (np.array([-np.inf, 1], "<f2"), "F16"),
    "BF16": (np.array([0x3F80, 0x7FC0], "<u2"), "BF16"),
    "F8_E5M2": (np.array([0x3C, 0x7C], "u1"), "F8_E5M2"),
    "F8_E4M3": (np.array([0x38, 0xFF], "u1"), "F8_E4M3"),
}


@pytest.mark.parametrize("dtype", BAD)
def test_weights_that_are_no_numbers_are_held_after_the_commit(client: Client, ann: User, dtype: str) -> None:
    content = safetensors(*BAD[dtype])
    commit = prior(ann, {"model.safetensors": content})
    address = "/api/v1/repos/ann/char-ngrams/files/main/"
    assert client.get(f"{address}model.safetensors").status_code == 200  # what was not scanned yet is not held
    assert file_status(commit, [sha256(content)])[sha256(content)]["status"] == "queued"

    scans.scan(commit.pk)

    response = client.get(f"{address}model.safetensors")
    assert (response.status_code, response.json()["code"]) == (403, "scan-held")
    assert "tensor w holds NaN" in response.json()["detail"]
    assert client.get(f"{address}prior.json").status_code == 200
    assert file_status(commit, [sha256(content)])[sha256(content)]["status"] == "unsafe"
    assert repository_status(commit) == {
        "scansDone": True, "filesWithIssues": [{"path": "model.safetensors", "level": "unsafe"}]
    }  # fmt: skip


@pytest.mark.parametrize(
    ("values", "dtype"),
    [(np.array([3.4e38, -0.0], "<f4"), "F32"), (np.array([0x7F7F], "<u2"), "BF16"), (np.array([0x7E], "u1"), "F8_E4M3"),
     (np.array([-1, 2**63 - 1], "<i8"), "I64")],
)  # fmt: skip
def test_the_largest_numbers_are_numbers(ann: User, values: np.ndarray, dtype: str) -> None:
    commit = prior(ann, {"model.safetensors": safetensors(values, dtype)})

    scans.scan(commit.pk)

    assert Hold.objects.count() == 0
    assert Scanned.objects.count() == 1
    assert ScanDue.objects.count() == 0


def test_plain_repositories_are_marked_and_not_judged(client: Client, ann: User) -> None:
    content = safetensors(*BAD["F32"])
    commit = make_commit(make_repository(ann, "plain"), {"w.safetensors": content, "x.safetensors": b"?" * 40}, by=ann)

    scans.scan(commit.pk)

    assert client.get("/api/v1/repos/ann/plain/files/main/w.safetensors").status_code == 200
    assert file_status(commit, [sha256(content)])[sha256(content)]["status"] == "suspicious"
    assert "holds NaN" in client.get("/ann/plain").content.decode()
    assert Finding.objects.get(sha256=sha256(b"?" * 40)).rule == "header"


def test_a_picture_that_does_not_open_is_held(ann: User) -> None:
    broken = png()[:40] + b"\x00" * 20 + png()[-12:]
    commit = prior(ann, {"a.png": png(), "b.png": broken})

    scans.scan(commit.pk)

    assert Hold.objects.get().sha256 == sha256(broken)


def test_a_key_deep_in_a_large_text_is_found_with_its_line(client: Client, ann: User) -> None:
    secret = "hf" + "_" + "aB3" * 11 + "x"
    lines = [b"row %d of a table\n" % n for n in range(600_000)]
    lines[450_000] = f"key {secret}\n".encode()
    commit = make_commit(make_repository(ann, "plain"), {"big.txt": b"".join(lines)}, by=ann)
    assert ScanDue.objects.filter(commit=commit).exists()

    scans.scan(commit.pk)

    response = client.get("/api/v1/repos/ann/plain/files/main/big.txt")
    assert response.status_code == 403
    assert "line 450001" in response.json()["detail"]
    assert secret not in response.json()["detail"]


def test_what_is_too_much_for_a_commit_to_wait_for_is_scanned_after_it(
    client: Client, ann: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hub.safety.leaks._BUDGET", 1000)
    repository = make_repository(ann, "notes")
    key = b"-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA" + b"x" * 64 + b"\n-----END RSA PRIVATE KEY-----\n"
    made = make_commit(repository, {"a.txt": b"hello\n" * 100, "b.txt": b"line\n" * 150 + key}, by=ann)

    assert ScanDue.objects.filter(commit=made).exists()
    scans.scan(made.pk)

    [hold] = Hold.objects.all()
    assert "'b.txt', line 151" in hold.reason
    assert client.get("/ann/notes/resolve/main/a.txt").status_code == 200
    assert client.get("/ann/notes/resolve/main/b.txt").status_code == 403


def test_clients_are_told_what_scans_found(client: Client, ann: User) -> None:
    repository = make_repository(ann, "weights")
    make_commit(repository, {"w.safetensors": safetensors(np.array([np.nan], "f4")), "a.txt": b"a"}, by=ann)
    waiting = client.get("/api/models/ann/weights", {"securityStatus": "true"}).json()["securityRepoStatus"]
    [commit] = Commit.objects.filter(repository=repository)
    scans.scan(commit.pk)

    items = {item["path"]: item for item in client.get("/api/models/ann/weights/tree/main?expand=true").json()}
    done = client.get("/api/models/ann/weights", {"securityStatus": "true"}).json()["securityRepoStatus"]

    assert not waiting["scansDone"]
    assert done == {"scansDone": True, "filesWithIssues": [{"path": "w.safetensors", "level": "suspicious"}]}
    assert items["a.txt"]["securityFileStatus"]["status"] == "safe"
    assert items["w.safetensors"]["securityFileStatus"]["status"] == "suspicious"


def test_a_token_across_the_edge_of_two_pieces_is_found(ann: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scans, "_PIECE", 1 << 20)
    secret = ("ghp" + "_" + "aB3" * 12).encode()
    content = b"x\n" * ((1 << 19) - 10) + b" " + secret + b"\n" + b"y\n" * 50
    commit = make_commit(make_repository(ann, "plain"), {"big.txt": content}, by=ann)

    scans.scan(commit.pk)

    assert f"line {(1 << 19) - 9}" in Hold.objects.get().reason


def test_a_missed_scan_is_caught_up_and_a_hopeless_one_given_up(ann: User, monkeypatch: pytest.MonkeyPatch) -> None:
    commit = prior(ann, {"model.safetensors": safetensors(*BAD["F32"])})
    assert scans.catch_up() == 0  # too young: its message may be on the way
    ScanDue.objects.update(created_at=timezone.now() - timedelta(hours=1))

    def dies(*arguments: Any) -> None:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(scans, "_look", dies)
        for _ in range(scans.MAX_TRIES):
            assert scans.catch_up() == 0
        assert ScanDue.objects.get().tries == scans.MAX_TRIES
        assert scans.catch_up() == 0
    ScanDue.objects.update(tries=0)
    assert scans.catch_up() == 1
    assert Hold.objects.get().repository == commit.repository


def test_the_same_bytes_are_looked_at_once(ann: User, monkeypatch: pytest.MonkeyPatch) -> None:
    content = safetensors(*BAD["F32"])
    scans.scan(prior(ann, {"model.safetensors": content}).pk)
    monkeypatch.setattr(scans, "_look", None)
    manifest = json.dumps(function_manifest("other")).encode()
    bob = make_user("bob")
    second = make_commit(
        make_repository(bob, "other", kind="prior"), {"prior.json": manifest, "w.safetensors": content}
    )

    scans.scan(second.pk)

    assert Hold.objects.filter(repository=second.repository).exists()


def test_nothing_is_due_where_nothing_is_slow(ann: User) -> None:
    make_prior(ann)

    assert ScanDue.objects.count() == 0


def test_the_task_names_are_those_that_are_sent() -> None:
    from hub.celery import app

    app.loader.import_default_modules()

    assert {"safety.scan", "safety.catch_up"} <= set(app.tasks)


def test_a_commit_wakes_a_worker_once_it_is_there(
    ann: User, monkeypatch: pytest.MonkeyPatch, django_capture_on_commit_callbacks: Any
) -> None:
    woken: list[int] = []
    monkeypatch.setattr(scans, "announce", lambda task, commit_id: woken.append(commit_id))

    with django_capture_on_commit_callbacks(execute=True):
        commit = prior(ann, {"model.safetensors": safetensors(np.ones(3, "<f4"))})

    assert woken == [commit.pk]
    assert trees.read(commit.tree_id)
