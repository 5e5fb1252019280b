"""Where the hub's own API wants bytes sent: into the bucket with what is worth it, to its own routes with the rest."""

from __future__ import annotations

import hashlib
from typing import Any

import httpx
import numpy as np
import pytest
from django.test import Client
from pytest_django import Settings

from hub.accounts.models import User
from hub.ops.fsck import fsck
from hub.repos.models import Blob
from hub.xet import assembled, bucketed, direct
from hub.xet.models import DirectUpload
from priors.chunks import cut, to_hex, xorb_hash
from tests.factories import bearer, make_commit, make_repository, make_token, make_user, sha256

pytestmark = pytest.mark.django_db
WHERE = "/api/v1/repos/ann/mine"


def noise(size: int, seed: int = 0) -> bytes:
    return np.random.default_rng(seed).bytes(size)


def as_xorb(data: bytes) -> tuple[str, bytes, bytes]:
    """Name and body of a file's chunks as one xorb, and the list of their hashes."""
    chunks = list(cut([data]))
    name = to_hex(xorb_hash([(chunk.hash, len(chunk.data)) for chunk in chunks]))
    sizes = [len(chunk.data).to_bytes(3, "little") for chunk in chunks]
    frames = b"".join(b"\0" + size + b"\0" + size + chunk.data for size, chunk in zip(sizes, chunks, strict=True))
    return name, frames, b"".join(chunk.hash for chunk in chunks)


@pytest.fixture
def ann() -> User:
    user = make_user("ann")
    make_repository(user, "mine")
    return user


@pytest.fixture
def post(client: Client, ann: User, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr("hub.api.uploads._WAIT_S", 0.0)
    headers = bearer(ann)

    def post(path: str, body: Any, **given: Any) -> Any:
        return client.post(f"{WHERE}{path}", body, "application/json", headers={**headers, **given})

    return post


def ask(post: Any, *items: tuple[str, str, int]) -> list[dict[str, Any]]:
    body = {"items": [{"kind": kind, "name": name, "size": size} for kind, name, size in items]}
    answer = post("/uploads", body)
    assert answer.status_code == 200, answer.content
    return answer.json()["items"]


def settle_all() -> None:
    for row in DirectUpload.objects.filter(status=DirectUpload.Status.ARRIVED):
        direct.settle(str(row.pk))


@pytest.mark.usefixtures("a_bucket", "told")
def test_a_file_goes_to_the_bucket_and_is_put_together_by_a_worker(client: Client, ann: User, post: Any) -> None:
    data, whole = noise(900_000), noise(300_000, 1)
    name, frames, hashes = as_xorb(data)
    xorb, blob, small = ask(
        post, ("xorb", name, len(frames)), ("blob", sha256(whole), len(whole)), ("blob", sha256(b"x"), 1)
    )
    assert [place["to"] for place in (xorb, blob, small)] == ["bucket", "bucket", "hub"]
    for place, body in ((xorb, frames), (blob, whole)):
        assert httpx.put(place["url"], content=body).status_code == 200
    begun = {"uploads": [xorb["upload"], blob["upload"]]}
    assert sorted(post("/uploads/arrived", begun).json()["waiting"]) == sorted(begun["uploads"])
    assert not Blob.objects.exists()

    settle_all()
    assert post("/uploads/arrived", begun).json() == {"waiting": []}
    address, headers = f"{WHERE}/chunks/files/{sha256(data)}", bearer(ann)
    told = [client.put(address, hashes, "application/octet-stream", headers=headers) for _ in range(2)]
    assert [answer.status_code for answer in told] == [202, 202]
    assert told[0].json() == told[1].json()  # the same upload
    assert not Blob.objects.filter(pk=sha256(data)).exists()
    settle_all()

    assert post("/uploads/arrived", {"uploads": told[0].json()["waiting"]}).json() == {"waiting": []}
    files = [{"path": "a.bin", "sha256": sha256(data)}, {"path": "b.bin", "sha256": sha256(whole)}]
    assert post("/commits", {"files": files}).status_code == 201
    assert httpx.get(client.get(f"{WHERE}/files/main/a.bin")["Location"]).content == data
    assert [place["to"] for place in ask(post, ("xorb", name, len(frames)), ("blob", sha256(data), len(data)))] == [
        "nowhere", "nowhere"
    ]  # fmt: skip
    assert fsck(print) == 0


@pytest.mark.usefixtures("a_bucket", "told")
def test_a_run_of_chunks_that_lies_in_the_bucket_need_not_be_sent_again(post: Any) -> None:
    name, frames, _ = as_xorb(noise(200_000))
    [first] = ask(post, ("xorb", name, len(frames)))
    [second] = ask(post, ("xorb", name, len(frames)))
    assert (first["to"], second["to"], first["upload"]) == ("bucket", "bucket", second["upload"])

    assert httpx.put(second["url"], content=frames).status_code == 200

    for _ in range(2):  # its client died before it said so, and before it heard
        [again] = ask(post, ("xorb", name, len(frames)))
        assert (again["to"], again["url"], again["upload"]) == ("nowhere", None, first["upload"])
        assert post("/uploads/arrived", {"uploads": [again["upload"]]}).json()["waiting"] == [first["upload"]]
    settle_all()
    [known] = ask(post, ("xorb", name, len(frames)))
    assert (known["to"], known["upload"]) == ("nowhere", None)


@pytest.mark.usefixtures("a_bucket", "told")
def test_a_list_of_chunks_that_makes_other_bytes_is_refused(client: Client, ann: User, post: Any) -> None:
    name, frames, hashes = as_xorb(noise(200_000))
    [place] = ask(post, ("xorb", name, len(frames)))
    httpx.put(place["url"], content=frames)
    post("/uploads/arrived", {"uploads": [place["upload"]]})
    settle_all()
    wrong = hashlib.sha256(b"others").hexdigest()

    told = client.put(f"{WHERE}/chunks/files/{wrong}", hashes, "application/octet-stream", headers=bearer(ann))
    settle_all()
    answer = post("/uploads/arrived", {"uploads": told.json()["waiting"]})

    assert (answer.status_code, answer.json()["code"]) == (400, "bad-shard")
    assert not Blob.objects.exists()


@pytest.mark.usefixtures("a_bucket", "told")
def test_nobody_waits_for_what_another_person_or_token_sent(client: Client, ann: User, post: Any) -> None:
    [place] = ask(post, ("blob", "0" * 64, 100_000))
    eve = make_user("eve")
    make_repository(eve, "hers")
    fine = make_token(ann, role="fine_grained", scopes=["write:ann/*"])
    body = {"uploads": [place["upload"]]}

    theirs = client.post("/api/v1/repos/eve/hers/uploads/arrived", body, "application/json", headers=bearer(eve))
    narrow = post("/uploads/arrived", body, Authorization=f"Bearer {fine}")

    assert (theirs.status_code, narrow.status_code) == (404, 404)
    assert DirectUpload.objects.get().status == DirectUpload.Status.OPEN


@pytest.mark.usefixtures("a_bucket", "told")
def test_an_address_takes_room_and_there_is_none_without(post: Any, settings: Settings) -> None:
    settings.STORAGE_QUOTA_BYTES = 500_000
    ask(post, ("blob", "1" * 64, 300_000), ("xorb", "2" * 64, 100_000))

    for kind in ("blob", "xorb"):
        answer = post("/uploads", {"items": [{"kind": kind, "name": "3" * 64, "size": 200_000}]})
        assert (answer.status_code, answer.json()["code"]) == (413, "over-quota")
    assert DirectUpload.objects.count() == 2


def test_without_a_bucket_everything_comes_to_the_hub(post: Any) -> None:
    places = ask(post, ("blob", "1" * 64, 300_000), ("xorb", "2" * 64, 100_000))

    assert places == [{"to": "hub", "url": None, "upload": None}] * 2
    assert not DirectUpload.objects.exists()


# ---- downloads of what left the cache of whole files


@pytest.mark.usefixtures("a_bucket")
def test_a_download_waits_for_a_worker_to_make_the_file_again(
    client: Client, ann: User, told: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = noise(2_000_000)
    make_commit(ann.namespaces.get().repositories.get(), {"a.bin": data}, by=ann)
    where = f"{WHERE}/files/main/a.bin"

    assembled.drop(sha256(data))
    monkeypatch.setattr(bucketed, "_WAIT_S", 0.2)
    late = client.get(where)
    assert late.status_code == 200 and late.getvalue() == data  # from its chunks: no worker came in time
    assert list(assembled.hashes()) == []  # and not by way of this machine's disk

    part = client.get(where, headers={"Range": "bytes=5-9"})
    assert (part.status_code, part.getvalue()) == (206, data[5:10])  # at once

    sleeps: list[float] = []

    def work(seconds: float) -> None:
        sleeps.append(seconds)
        bucketed.assemble(sha256(data))

    monkeypatch.setattr("hub.xet.bucketed.time.sleep", work)
    told.clear()
    answer = client.get(where)
    assert (answer.status_code, len(sleeps), told) == (302, 1, [("xet.assemble", sha256(data))])
    assert httpx.get(answer["Location"]).content == data
