"""What must not get through the chunk service, and what it answers to requests that hf_xet would not send."""

from __future__ import annotations

import io
import time
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from pytest_django import Settings

from hub.accounts.models import User
from hub.accounts.services import authenticate, create_token
from hub.repos.models import Blob, Repository
from hub.repos.services import change_settings
from hub.repos.storage import store
from hub.xet import chunkstore, known
from hub.xet.models import KnownXorb, Xorb
from hub.xet.shards import Segment, read_shard
from hub.xet.tokens import Grant, grant
from hub.xet.xorbs import pack
from priors.chunks import chunk_hash, cut, from_hex, to_hex
from tests.factories import make_commit, make_repository, make_user, sha256
from tests.xet.by_hand import CHUNKS, Wire, acting, noise, xorb_of

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("home")]


@pytest.fixture
def ann() -> User:
    return make_user("ann")


@pytest.fixture
def wire(client: Client, ann: User) -> Wire:
    return Wire(client, grant(ann, make_repository(ann, "mine"), "write"))


def test_a_xorb_under_another_name_is_refused(wire: Wire) -> None:
    assert wire.send_xorb(*CHUNKS, name="0" * 64)[0] == 400
    assert (Xorb.objects.count(), KnownXorb.objects.count()) == (0, 0)


@pytest.mark.parametrize("body", [b"", b"junk", pack(b"x").data[:-1], b"XETBLOB"])
def test_a_broken_xorb_is_refused_and_leaves_nothing(wire: Wire, home: Path, body: bytes) -> None:
    assert wire.post(f"/v1/xorbs/default/{'0' * 64}", body)[0] == 400
    assert [path for path in (home / "blobs").rglob("*") if path.is_file()] == []


def test_a_shard_makes_a_blob(wire: Wire) -> None:
    assert wire.send_xorb(*CHUNKS) == (200, {"was_inserted": True})
    assert wire.send_xorb(*CHUNKS) == (200, {"was_inserted": False})
    assert wire.send_file(*CHUNKS) == (200, {"result": 1})
    assert wire.send_file(*CHUNKS) == (200, {"result": 0})
    assert store().verify(sha256(b"".join(CHUNKS)))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"hash": bytes(32)}, "its chunks hash to"),
        ({"sha256": "0" * 64}, "its bytes have SHA-256"),
        ({"segments": (Segment(bytes(32), 0, 2, 19_000),)}, "was not sent here"),
        ({"segments": (Segment(xorb_of(*CHUNKS), 0, 3, 19_000),)}, "has no such chunks"),
        ({"segments": (Segment(xorb_of(*CHUNKS), 0, 2, 19_001),)}, "has no such chunks"),
        ({"segments": (Segment(xorb_of(*CHUNKS), 0, 2, 19_000, bytes(32)),)}, "the proof"),
    ],
)
def test_a_shard_that_lies_is_refused_and_no_blob_made(wire: Wire, changes: dict[str, Any], said: str) -> None:
    wire.send_xorb(*CHUNKS)

    status, answer = wire.send_file(*CHUNKS, **changes)

    assert status == 400 and said in answer["error"]
    assert not Blob.objects.filter(size__gt=10).exists()


def test_knowing_a_xorb_of_somebody_else_is_no_way_to_its_bytes(wire: Wire, client: Client) -> None:
    wire.send_xorb(*CHUNKS)
    bob = make_user("bob")
    theirs = Wire(client, grant(bob, make_repository(bob), "write"))

    assert theirs.send_file(*CHUNKS)[0] == 400
    assert theirs.get(f"/v1/chunks/default/{to_hex(chunk_hash(CHUNKS[0]))}").status_code == 404
    assert Blob.objects.usable_by(bob).filter(size=19_000).count() == 0


def test_a_fine_grained_token_has_a_scope_of_its_own(client: Client, ann: User, wire: Wire) -> None:
    wire.send_xorb(*CHUNKS)
    wire.send_file(*CHUNKS)
    other = make_repository(ann, "other")
    text, _ = create_token(user=ann, name="narrow", role="fine_grained", scopes=["write:ann/other"])
    narrow = Wire(client, grant(authenticate(text).user, other, "write"))

    assert narrow.send_file(*CHUNKS)[0] == 400
    assert narrow.get(f"/v1/chunks/default/{to_hex(chunk_hash(CHUNKS[0]))}").status_code == 404
    assert wire.get(f"/v1/chunks/default/{to_hex(chunk_hash(CHUNKS[0]))}").status_code == 200


def test_the_answer_for_a_chunk_is_a_shard_of_the_files_that_have_it(wire: Wire) -> None:
    wire.send_xorb(*CHUNKS)
    answer = wire.get(f"/v1/chunks/default/{to_hex(chunk_hash(CHUNKS[1]))}")

    [xorb] = read_shard(answer.content).xorbs
    assert (xorb.hash, len(xorb.chunks)) == (xorb_of(*CHUNKS), 2)


def test_a_file_that_goes_while_it_is_asked_about_is_not_told_of(
    client: Client, ann: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository, content = make_repository(ann), noise(300_000)
    make_commit(repository, {"a.bin": content}, by=ann)
    wire = Wire(client, grant(ann, repository, "write"))
    monkeypatch.setattr(known, "chunks_of", lambda blob: iter(()))  # as its rows are once a sweep took them

    answer = wire.get(f"/v1/chunks/default/{to_hex(next(iter(cut([content]))).hash)}")

    assert answer.status_code == 404


def test_tokens_are_for_one_purpose_one_place_and_one_hour(
    client: Client, ann: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = make_repository(ann)
    reading = Wire(client, grant(ann, repository, "read"))
    writing = Wire(client, grant(ann, repository, "write"))

    assert reading.send_xorb(*CHUNKS)[0] == 403
    assert client.post(f"{writing._given.path}/v1/shards").status_code == 401
    elsewhere = Wire(client, Grant(f"/xet/{repository.pk}/1", writing._given.token, 0))
    assert elsewhere.send_xorb(*CHUNKS)[0] == 403
    forged = Wire(client, Grant(writing._given.path, writing._given.token[:-3] + "abc", 0))
    assert forged.send_xorb(*CHUNKS)[0] == 401
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 3700)
    assert writing.send_xorb(*CHUNKS)[0] == 401


def test_a_token_ends_with_the_rights_behind_it(client: Client, ann: User) -> None:
    text, row = create_token(user=ann, name="ci", role="write")
    wire = Wire(client, grant(authenticate(text).user, make_repository(ann), "write"))
    assert wire.send_xorb(*CHUNKS)[0] == 200

    row.revoked_at = row.created_at
    row.save()

    assert wire.send_xorb(*CHUNKS)[0] == 401


def test_a_file_is_reconstructed_only_for_its_repository(client: Client, ann: User) -> None:
    mine, other, content = make_repository(ann, private=True), make_repository(ann), noise(500_000)
    make_commit(mine, {"a.bin": content}, by=ann)
    name = chunkstore.xet_hashes([sha256(content)])[sha256(content)]

    assert Wire(client, grant(ann, mine, "read")).get(f"/v1/reconstructions/{name}").status_code == 200
    assert Wire(client, grant(ann, other, "read")).get(f"/v1/reconstructions/{name}").status_code == 404


@pytest.mark.parametrize(("first", "last"), [(0, 0), (0, 99), (150_000, 420_000), (499_999, 600_000)])
def test_a_range_is_reconstructed_from_the_chunks_it_touches(client: Client, ann: User, first: int, last: int) -> None:
    from hub.xet.xorbs import read_frames, unpack

    repository, content = make_repository(ann), noise(500_000)
    make_commit(repository, {"a.bin": content}, by=ann)
    name = chunkstore.xet_hashes([sha256(content)])[sha256(content)]
    wire = Wire(client, grant(ann, repository, "read"))

    said = wire.get(f"/v1/reconstructions/{name}", Range=f"bytes={first}-{last}").json()

    built = b""
    for term in said["terms"]:
        [way] = [each for each in said["fetch_info"][term["hash"]] if each["range"] == term["range"]]
        part = client.get(way["url"], headers={"Range": "bytes={start}-{end}".format(**way["url_range"])})
        assert part.status_code == 206
        raw = b"".join(unpack(frame) for frame in read_frames(io.BytesIO(part.getvalue())))
        assert len(raw) == term["unpacked_length"]
        built += raw
    skip = said["offset_into_first_range"]
    assert built[skip : skip + last - first + 1] == content[first : last + 1]
    assert len(built) <= last - first + 1 + 2 * 128 * 1024


@pytest.mark.parametrize("asked", ["bytes=500000-500009", "bytes=400000-3"])
def test_behind_the_end_of_a_file_or_a_range_is_nothing(client: Client, ann: User, asked: str) -> None:
    repository, content = make_repository(ann), noise(500_000)
    make_commit(repository, {"a.bin": content}, by=ann)
    name = chunkstore.xet_hashes([sha256(content)])[sha256(content)]
    wire = Wire(client, grant(ann, repository, "read"))

    assert wire.get(f"/v1/reconstructions/{name}", Range=asked).status_code == 416


def test_a_ticket_opens_its_own_bytes_and_no_others(client: Client, ann: User) -> None:
    repository, content = make_repository(ann), noise(500_000)
    make_commit(repository, {"a.bin": content}, by=ann)
    name = chunkstore.xet_hashes([sha256(content)])[sha256(content)]
    wire = Wire(client, grant(ann, repository, "read"))
    said = wire.get(f"/v1/reconstructions/{name}", Range="bytes=0-9").json()
    [way] = next(iter(said["fetch_info"].values()))

    assert client.get(way["url"], headers={"Range": f"bytes=0-{way['url_range']['end'] + 1}"}).status_code == 403
    assert client.get(f"{way['url']}x", headers={"Range": "bytes=0-9"}).status_code == 403


def test_anybody_downloads_by_chunks_what_is_public(client: Client, ann: User) -> None:
    from django.contrib.auth.models import AnonymousUser

    repository, content = make_repository(ann), noise(500_000)
    make_commit(repository, {"a.bin": content}, by=ann)
    name = chunkstore.xet_hashes([sha256(content)])[sha256(content)]
    wire = Wire(client, grant(AnonymousUser(), repository, "read"))

    assert wire.get(f"/v1/reconstructions/{name}").status_code == 200
    Repository.objects.filter(pk=repository.pk).update(private=True)
    assert wire.get(f"/v1/reconstructions/{name}").status_code == 403


def test_who_may_propose_changes_to_a_gated_repository_has_not_its_files(client: Client, ann: User) -> None:
    repository, content, ben = make_repository(ann), noise(500_000), make_user("ben")
    make_commit(repository, {"a.bin": content}, by=ann)
    change_settings(repository, gated="manual")
    name = chunkstore.xet_hashes([sha256(content)])[sha256(content)]

    wire = Wire(client, grant(acting(ben), repository, "propose"))

    assert wire.send_xorb(*CHUNKS)[0] == 200
    assert wire.get(f"/v1/reconstructions/{name}").status_code == 403


@pytest.mark.parametrize(
    "path", ["/v2/shards", f"/v2/reconstructions/{'0' * 64}", f"/v1/xorb-grants/default/{'0' * 64}"]
)
def test_newer_routes_are_not_here(wire: Wire, path: str) -> None:
    assert wire.post(path, b"")[0] == 404


def test_a_file_larger_than_allowed_is_refused(wire: Wire, settings: Settings) -> None:
    settings.BLOB_MAX_BYTES = 10_000
    wire.send_xorb(*CHUNKS)

    assert wire.send_file(*CHUNKS)[0] == 413


def test_hashes_of_the_tests_are_those_of_xet() -> None:
    assert from_hex(to_hex(xorb_of(*CHUNKS))) == xorb_of(*CHUNKS)
