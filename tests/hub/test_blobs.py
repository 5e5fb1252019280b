from __future__ import annotations

import errno
import os
import random
from datetime import timedelta
from pathlib import Path

import pytest
from django.core.management import call_command
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from hub.home import home as home_folder
from hub.ops.fsck import fsck
from hub.repos import storage
from hub.repos.blobs import put_blob, sweep
from hub.repos.models import Blob
from hub.repos.services import materialise
from hub.repos.storage import store
from tests.factories import bearer, make_blob, make_commit, make_prior, make_repository, make_user, sha256

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def own_home(home: Path) -> Path:
    return home


def files_below(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def put(client: Client, data: bytes, name: str, headers: dict[str, str]) -> tuple[int, dict[str, str]]:
    response = client.put(f"/api/v1/blobs/{name}", data=data, content_type="application/octet-stream", headers=headers)
    return response.status_code, response.json()


def test_bytes_lie_under_their_hash_with_gits_id(home: Path) -> None:
    blob = make_blob(b"hello\n")

    assert blob.git_oid == "ce013625030ba8dba906f756967f9e9ca394464a"  # git hash-object
    [path] = files_below(home / "blobs")
    assert path == home / "blobs" / "sha256" / blob.sha256[:2] / blob.sha256[2:4] / blob.sha256
    assert path.read_bytes() == b"hello\n"
    assert path.stat().st_mode & 0o222 == 0


def test_the_same_bytes_are_stored_once(home: Path) -> None:
    make_blob(b"twice")
    make_blob(b"twice")

    assert Blob.objects.count() == len(files_below(home / "blobs")) == 1


def test_other_bytes_than_announced_are_refused_and_nothing_stays(client: Client, home: Path) -> None:
    headers = bearer(make_user())

    status, problem = put(client, b"what came", sha256(b"what was meant"), headers)

    assert (status, problem["code"]) == (422, "hash-mismatch")
    assert Blob.objects.count() == 0
    assert files_below(home / "blobs") == []


def test_more_bytes_than_allowed_are_refused_and_nothing_stays(client: Client, home: Path, settings: Settings) -> None:
    settings.BLOB_MAX_BYTES = 1000
    headers = bearer(make_user())

    status, problem = put(client, b"x" * 1001, sha256(b"x" * 1001), headers)

    assert (status, problem["code"]) == (413, "too-large")
    assert files_below(home / "blobs") == []


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_said_and_nothing_stays(
    client: Client, home: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    headers, data = bearer(make_user()), b"x" * (3 << 20)
    written = 0
    write = os.write

    def full(descriptor: int, piece: memoryview) -> int:
        nonlocal written
        written += len(piece)
        if written > 2 << 20:
            raise OSError(number, "full")
        return write(descriptor, piece)

    with monkeypatch.context() as patch:
        patch.setattr(storage.os, "write", full)
        status, problem = put(client, data, sha256(data), headers)

    assert (status, problem["code"]) == (507, "storage-full")
    assert "Free some space" in problem["detail"]
    assert (Blob.objects.count(), files_below(home / "blobs")) == (0, [])
    assert put(client, data, sha256(data), headers)[0] == 201  # it recovers by itself


def test_a_body_without_a_length_is_refused(client: Client) -> None:
    response = client.generic("PUT", f"/api/v1/blobs/{'0' * 64}", headers=bearer(make_user()))

    assert (response.status_code, response.json()["code"]) == (411, "length-required")


def test_unused_bytes_are_swept_after_their_grace_and_used_ones_never() -> None:
    ann = make_user()
    make_commit(make_repository(ann), {"a": b"used"}, by=ann)
    young, old = make_blob(b"young"), make_blob(b"old")
    Blob.objects.exclude(pk=young.pk).update(touched_at=timezone.now() - timedelta(days=2))

    swept = sweep(grace_s=24 * 3600)

    assert swept.blobs == 1
    assert not Blob.objects.filter(pk=old.pk).exists()
    assert {blob.sha256 for blob in Blob.objects.all()} == {sha256(b"used"), sha256(b"young")}
    assert not store().verify(old.sha256)
    assert store().verify(sha256(b"used"))


def test_what_dead_writers_left_is_swept(home: Path) -> None:
    stray = store().stage([b"no row was written"])
    store().publish([stray])
    store().stage([b"never published"])
    for path in files_below(home / "blobs"):
        os.utime(path, (0, 0))

    swept = sweep(grace_s=3600)

    assert (swept.strays, swept.temporary) == (1, 1)
    assert files_below(home / "blobs") == []


def test_asking_for_a_blob_keeps_it_for_another_grace(client: Client) -> None:
    ann = make_user()
    blob = make_blob(b"kept", by=ann)
    Blob.objects.update(touched_at=timezone.now() - timedelta(days=2))

    client.post(
        "/api/v1/blobs/missing", {"sha256": [blob.sha256]}, content_type="application/json", headers=bearer(ann)
    )

    assert sweep(grace_s=24 * 3600).blobs == 0


def test_a_commit_is_laid_out_as_files(tmp_path: Path) -> None:
    ann = make_user()
    commit = make_commit(make_repository(ann), {"a/b": b"1", "c": b"2"}, by=ann)

    folder = materialise(commit, tmp_path / "out")

    assert {path.relative_to(folder).as_posix(): path.read_bytes() for path in files_below(folder)} == {
        "a/b": b"1",
        "c": b"2",
    }


def test_fsck_finds_one_flipped_bit_and_a_row_that_was_edited(capsys: pytest.CaptureFixture[str]) -> None:
    ann = make_user()
    make_prior(ann)
    commit = make_commit(make_repository(ann), {"a": random.Random(1).randbytes(5000)}, by=ann)
    assert fsck(print) == 0

    path = store().path(commit.tree.entries.get().blob_id)
    path.chmod(0o644)
    content = bytearray(path.read_bytes())
    content[2500] ^= 1
    path.write_bytes(content)
    type(commit).objects.filter(pk=commit.pk).update(message="rewritten history")

    assert fsck(print) == 2
    assert commit.tree.entries.get().blob_id in capsys.readouterr().out


def test_sweeping_and_checking_are_commands(capsys: pytest.CaptureFixture[str]) -> None:
    put_blob([b"old"], by=None)

    call_command("sweep", "--grace", "0")
    call_command("fsck")

    assert "Removed 1 blobs" in capsys.readouterr().out
    assert home_folder().is_dir()
