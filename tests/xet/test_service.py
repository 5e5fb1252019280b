"""The stock hf_xet client against the chunk service, and what must not get through it."""

from __future__ import annotations

import hashlib
import io
import time
from pathlib import Path
from typing import Any

import hf_xet
import numpy as np
import pytest
from django.test import Client
from pytest_django import Settings
from pytest_django.live_server_helper import LiveServer

from hub.accounts.models import User
from hub.accounts.services import authenticate, create_token
from hub.ops.fsck import fsck
from hub.repos.blobs import sweep
from hub.repos.commits import Put, commit
from hub.repos.models import Blob, Repository
from hub.repos.quotas import use_of
from hub.repos.services import change_settings
from hub.repos.storage import store
from hub.xet import assembled, chunkstore, known
from hub.xet.models import Chunk, KnownXorb, Scope, Xorb
from hub.xet.shards import Segment, Shard, ShardFile, read_shard, write_shard
from hub.xet.tokens import Grant, grant
from hub.xet.xorbs import pack
from priors.chunks import chunk_hash, cut, file_hash, from_hex, range_hash, to_hex, xorb_hash
from tests.factories import make_blob, make_commit, make_repository, make_token, make_user, sha256

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def own_home(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HF_XET_CACHE", str(tmp_path / "xet-cache"))
    monkeypatch.setenv("HF_XET_CLIENT_RETRY_MAX_ATTEMPTS", "1")
    return home


def noise(size: int, seed: int = 0) -> bytes:
    return np.random.default_rng(seed).bytes(size)


def acting(user: User, **options: Any) -> User:
    """The user as a request with a token of theirs has them."""
    return authenticate(make_token(user, **options)).user


class Service:
    """The chunk service at a live server, used through hf_xet."""

    def __init__(self, url: str) -> None:
        self.url = url

    def upload(self, user: User, repository: Repository, *contents: bytes) -> list[Any]:
        with hf_xet.XetSession().new_upload_commit(**self._way(grant(user, repository, "write"))) as work:
            handles = [work.start_upload_bytes(content, sha256=hf_xet.COMPUTE_SHA256) for content in contents]
        return [handle.result() for handle in handles]

    def download(self, user: User, repository: Repository, name: str, size: int, to: Path) -> bytes:
        with hf_xet.XetSession().new_file_download_group(**self._way(grant(user, repository, "read"))) as work:
            work.start_download_file(hf_xet.XetFileInfo(name, size), str(to))
        return to.read_bytes()

    def _way(self, given: Grant) -> dict[str, Any]:
        return {
            "endpoint": self.url + given.path, "token": given.token, "token_expiry_unix_secs": int(time.time()) + 3600
        }  # fmt: skip


@pytest.fixture
def service(live_server: LiveServer) -> Service:
    return Service(live_server.url)


@pytest.fixture
def ann() -> User:
    return make_user("ann")


def sent_bytes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The lengths of the bodies of xorbs from now on."""
    from hub.xet import receive

    lengths: list[int] = []
    original = receive.receive_xorb

    def counted(scope: Scope, name: str, body: Any, **options: Any) -> bool:
        data = b"".join(body)
        lengths.append(len(data))
        return original(scope, name, [data], **options)

    monkeypatch.setattr(receive, "receive_xorb", counted)
    return lengths


def test_what_hf_xet_uploads_is_a_blob_and_downloads_again(service: Service, ann: User, tmp_path: Path) -> None:
    repository = make_repository(ann)
    contents = [noise(3_000_000), b"", b"short", b"text " * 100_000]

    infos = service.upload(ann, repository, *contents)

    assert [info.xet_info.sha256 for info in infos] == [sha256(content) for content in contents]
    commit(
        repository=repository, message="Add", by=ann,
        changes=[Put(f"{number}.bin", sha256(content)) for number, content in enumerate(contents)],
    )  # fmt: skip
    for name in list(assembled.hashes()):
        assembled.drop(name)
    for content, info in zip(contents, infos, strict=True):
        with store().open(sha256(content)) as file:
            assert file.read() == content
        if content:
            size, name = len(content), info.xet_info.hash
            assert service.download(ann, repository, name, size, tmp_path / "back") == content
            assert chunkstore.xet_hashes([sha256(content)]) == {sha256(content): name}
    assert Blob.objects.get(pk=sha256(b"short")).git_oid == hashlib.sha1(b"blob 5\0short").hexdigest()
    assert fsck(print) == 0


def test_a_file_that_came_whole_downloads_by_chunks(service: Service, ann: User, tmp_path: Path) -> None:
    repository, content = make_repository(ann), noise(2_000_000)
    make_commit(repository, {"a.bin": content}, by=ann)
    name = chunkstore.xet_hashes([sha256(content)])[sha256(content)]

    assert service.download(ann, repository, name, len(content), tmp_path / "back") == content


def test_whichever_way_a_file_comes_its_chunks_are_stored_once(service: Service, ann: User) -> None:
    content = noise(2_000_000)
    make_blob(content)
    before = Chunk.objects.count(), Xorb.objects.count()

    service.upload(ann, make_repository(ann), content + noise(100_000, 1))

    assert Xorb.objects.count() == before[1] + 1
    assert Chunk.objects.count() <= before[0] + 6
    assert store().verify(sha256(content + noise(100_000, 1)))


def test_a_new_client_sends_only_what_changed(
    service: Service, ann: User, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository, content = make_repository(ann), noise(8_000_000)
    service.upload(ann, repository, content)
    monkeypatch.setenv("HF_XET_CACHE", str(tmp_path / "another machine"))
    lengths = sent_bytes(monkeypatch)

    service.upload(ann, repository, content[:7_000_000] + b"changed" + content[7_000_007:])
    assert 0 < sum(lengths) <= 0.05 * len(content)

    monkeypatch.setenv("HF_XET_CACHE", str(tmp_path / "a third machine"))
    lengths.clear()
    service.upload(ann, repository, content)
    assert lengths == []


def test_what_one_may_read_elsewhere_need_not_be_sent(
    service: Service, ann: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = noise(3_000_000)
    make_commit(make_repository(ann), {"base.bin": content}, by=ann)
    bob = make_user("bob")
    lengths = sent_bytes(monkeypatch)

    service.upload(bob, make_repository(bob), content + b"and more")

    assert 0 < sum(lengths) < 300_000


@pytest.mark.parametrize("hidden", ["private", "gated", "uncommitted"])
def test_what_one_may_not_read_is_not_told_of(
    service: Service, ann: User, monkeypatch: pytest.MonkeyPatch, hidden: str
) -> None:
    content = noise(1_000_000)
    repository = make_repository(ann, private=hidden == "private")
    if hidden == "uncommitted":
        service.upload(ann, repository, content)
    else:
        make_commit(repository, {"a.bin": content}, by=ann)
        Repository.objects.filter(pk=repository.pk).update(gated="manual" if hidden == "gated" else "")
    bob = make_user("bob")
    lengths = sent_bytes(monkeypatch)

    service.upload(bob, make_repository(bob), content)

    assert sum(lengths) >= len(content)  # all of it, as if nobody had it
    assert Chunk.objects.count() == len(list(cut([content])))  # and yet stored once


def test_clients_begin_anew_after_their_chunks_were_collected(service: Service, ann: User) -> None:
    repository, content = make_repository(ann), noise(1_000_000)
    service.upload(ann, repository, content)
    before = grant(ann, repository, "write").path
    sweep(grace_s=0)
    assert Xorb.objects.count() == 0

    service.upload(ann, repository, content)  # the same cache: it would name what is gone, were the address the same

    assert grant(ann, repository, "write").path != before
    assert store().verify(sha256(content))


class Wire:
    """The same routes by hand, for what hf_xet would never send."""

    def __init__(self, client: Client, given: Grant) -> None:
        self._client, self._given = client, given
        self.headers = {"Authorization": f"Bearer {given.token}"}

    def post(self, path: str, body: bytes) -> tuple[int, Any]:
        response = self._client.post(
            self._given.path + path, body, content_type="application/octet-stream", headers=self.headers
        )
        return response.status_code, response.json()

    def get(self, path: str, **headers: str) -> Any:
        return self._client.get(self._given.path + path, headers={**self.headers, **headers})

    def send_xorb(self, *chunks: bytes, name: str | None = None) -> tuple[int, Any]:
        return self.post(
            f"/v1/xorbs/default/{name or to_hex(xorb_of(*chunks))}", b"".join(pack(c).data for c in chunks)
        )

    def send_file(self, *chunks: bytes, **changes: Any) -> tuple[int, Any]:
        return self.post("/v1/shards", write_shard(Shard((described(*chunks, **changes),), ())))


def xorb_of(*chunks: bytes) -> bytes:
    return xorb_hash([(chunk_hash(chunk), len(chunk)) for chunk in chunks])


def described(*chunks: bytes, segments: tuple[Segment, ...] | None = None, **changes: Any) -> ShardFile:
    size = sum(map(len, chunks))
    proof = range_hash(chunk_hash(chunk) for chunk in chunks)
    fields: dict[str, Any] = {
        "hash": file_hash([(chunk_hash(chunk), len(chunk)) for chunk in chunks]),
        "segments": segments or (Segment(xorb_of(*chunks), 0, len(chunks), size, proof),),
        "sha256": sha256(b"".join(chunks)),
        **changes,
    }
    return ShardFile(**fields)


CHUNKS = (noise(10_000, 1), noise(9_000, 2))


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


def test_what_a_namespace_may_not_store_is_refused(wire: Wire, settings: Settings) -> None:
    settings.STORAGE_QUOTA_BYTES = 15_000

    assert wire.send_xorb(*CHUNKS)[0] == 413
    settings.STORAGE_QUOTA_BYTES = 25_000
    assert wire.send_xorb(*CHUNKS)[0] == 200
    assert wire.send_file(*CHUNKS)[0] == 200
    more = noise(9_000, 3)
    assert wire.send_xorb(more)[0] == 413
    assert not Blob.objects.filter(size=9_000).exists()


def test_xorbs_without_a_shard_fill_no_disk_and_count_until_they_are_swept(
    wire: Wire, ann: User, settings: Settings
) -> None:
    settings.STORAGE_QUOTA_BYTES = 50_000
    space = ann.namespaces.get()

    answers = [wire.send_xorb(noise(20_000, seed))[0] for seed in range(4)]

    assert answers == [200, 200, 413, 413]
    assert 40_000 < use_of(space).used <= 50_000
    assert wire.send_xorb(noise(20_000, 0))[0] == 200  # it is here
    sweep(grace_s=0)
    assert use_of(space).used == 0
    assert wire.send_xorb(noise(20_000, 2))[0] == 200


def test_a_file_counts_in_place_of_the_xorbs_it_is_made_of(wire: Wire, ann: User, settings: Settings) -> None:
    settings.STORAGE_QUOTA_BYTES = 25_000

    wire.send_xorb(*CHUNKS)
    refused = wire.send_file(*CHUNKS, sha256="0" * 64)
    left = use_of(ann.namespaces.get()).used
    made = wire.send_file(*CHUNKS)

    assert (refused[0], made[0]) == (400, 200)
    assert 19_000 < left < 20_000  # still as a xorb
    assert use_of(ann.namespaces.get()).used == sum(map(len, CHUNKS))


def test_what_a_proposer_sends_in_xorbs_counts_for_them(client: Client, ann: User, settings: Settings) -> None:
    settings.STORAGE_QUOTA_BYTES = 25_000
    repository, ben = make_repository(ann), make_user("ben")
    wire = Wire(client, grant(acting(ben), repository, "propose"))

    assert wire.send_xorb(*CHUNKS)[0] == 200

    assert use_of(repository.namespace).used == 0
    assert use_of(ben.namespaces.get()).used > sum(map(len, CHUNKS))


def test_what_somebody_proposes_counts_for_them_and_not_for_the_owner(
    client: Client, ann: User, settings: Settings
) -> None:
    settings.STORAGE_QUOTA_BYTES = 25_000
    repository, ben = make_repository(ann), make_user("ben")

    wire = Wire(client, grant(acting(ben), repository, "propose"))

    assert (wire.send_xorb(*CHUNKS)[0], wire.send_file(*CHUNKS)[0]) == (200, 200)
    assert use_of(repository.namespace).used == 0
    assert use_of(ben.namespaces.get()).used == sum(map(len, CHUNKS))
