"""A bucket behind the hub: clients put and get by themselves, a worker looks before anything is anybody's blob."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from hub.accounts.models import User
from hub.accounts.services import authenticate
from hub.errors import BadRequest, BlobLost, HashMismatch, StillChecking, StorageDown, TooLarge
from hub.ops.fsck import fsck
from hub.repos.blobs import drop_unused, put_blob, sweep
from hub.repos.models import Blob
from hub.repos.objects import bucket, objects
from hub.repos.quotas import use_of
from hub.repos.s3 import S3Objects
from hub.repos.storage import store
from hub.xet import assembled, bucketed, direct
from hub.xet.models import AssembledBlob, DirectUpload, Xorb
from hub.xet.tokens import grant
from hub.xet.xorbs import pack
from priors.chunks import chunk_hash, to_hex, xorb_hash
from tests.factories import bearer, make_blob, make_commit, make_repository, make_token, make_user, sha256

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("a_bucket")]


def noise(size: int, seed: int = 0) -> bytes:
    return np.random.default_rng(seed).bytes(size)


@pytest.fixture
def ann() -> User:
    return make_user("ann")


def put(url: str, data: bytes) -> str:
    """Puts bytes as a client does: without any token. The ETag."""
    answer = httpx.put(url, content=data)
    assert answer.status_code == 200, answer.text
    return answer.headers["ETag"]


def get(url: str, **headers: str) -> tuple[bytes, Any]:
    answer = httpx.get(url, headers=headers)
    assert answer.status_code in (200, 206), answer.text
    return answer.content, answer.headers


def keys() -> set[str]:
    return {
        key.partition("/")[0]
        for prefix in ("sha256/", "xorbs/", "assembled/", "arriving/")
        for key, _ in objects().listing(prefix)
    }


def upload(user: User, data: bytes, **options: Any) -> DirectUpload:
    begun = direct.begin(user=user, sha256=sha256(data), size=len(data), **{"parts": False, **options})
    assert begun is not None
    step = begun.part_size or len(data)
    etags = [put(url, data[at : at + step]) for url, at in zip(begun.urls, range(0, len(data), step), strict=True)]
    direct.arrived(begun.upload, etags if begun.part_size else ())
    return begun.upload


@pytest.mark.parametrize("size", [1000, 3_000_000])
def test_a_blob_in_a_bucket_reads_back(size: int) -> None:
    data = noise(size)
    blob = make_blob(data)

    with store().open(blob.sha256) as file:
        assert file.read() == data
        file.seek(size // 2)
        assert file.read(10) == data[size // 2 :][:10]
    assert store().path(blob.sha256).read_bytes() == data
    for name in list(assembled.hashes()):
        assembled.drop(name)
    with store().open(blob.sha256) as file:
        assert file.read() == data
    assert keys() == ({"sha256"} if size < 128 * 1024 else {"xorbs"})
    assert fsck(print) == 0


def test_other_bytes_put_to_the_same_address_later_reach_nobody(
    ann: User, told: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    from hub.xet import taking

    data, other = noise(2_000_000), noise(2_000_000, 1)
    begun = direct.begin(user=ann, sha256=sha256(data), size=len(data), parts=False)
    assert begun is not None
    put(begun.urls[0], data)
    direct.arrived(begun.upload)
    keep = taking.keep

    def beaten(*args: Any) -> Any:
        put(begun.urls[0], other)  # during the check
        return keep(*args)

    monkeypatch.setattr(taking, "keep", beaten)
    direct.settle(str(begun.upload.pk))
    direct.wait(begun.upload, seconds=0)
    put(begun.urls[0], other)  # and after it

    url = store().url(sha256(data), name="a.bin")
    assert url is not None and get(url)[0] == data
    assert bucketed.collect_strays(before_s=timezone.now().timestamp() + 60) == 1
    assert keys() == {"xorbs", "assembled"}
    assert get(url)[0] == data


@pytest.mark.parametrize("size", [500, 2_000_000])
def test_what_a_client_puts_becomes_its_blob_once_a_worker_has_read_it(
    ann: User, told: list[tuple[str, str]], size: int
) -> None:
    data = noise(size)
    begun = upload(ann, data)

    assert told == [("xet.settle", str(begun.pk))]
    assert not Blob.objects.exists()
    direct.settle(told[0][1])

    direct.wait(begun, seconds=0)
    assert Blob.objects.usable_by(ann).filter(pk=sha256(data)).exists()
    assert store().verify(sha256(data))
    url = store().url(sha256(data), name="a b.bin")
    assert url is not None
    got, headers = get(url)
    assert got == data
    assert headers["Content-Disposition"].startswith("attachment")
    assert get(url, Range="bytes=10-19")[0] == data[10:20]


def test_a_large_file_goes_in_parts(ann: User, told: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch) -> None:
    from hub.repos import s3

    monkeypatch.setattr(s3, "_PART", 5 * 1024 * 1024)
    data = noise(12_000_000)
    begun = upload(ann, data, parts=True)
    direct.settle(str(begun.pk))

    assert begun.parts_id
    direct.wait(begun, seconds=0)
    assert Blob.objects.get(pk=sha256(data)).size == len(data)
    assert store().verify(sha256(data))


def test_missing_parts_are_refused(ann: User) -> None:
    begun = direct.begin(user=ann, sha256="0" * 64, size=1000, parts=True)
    assert begun is not None

    put(begun.urls[0], noise(1000))
    with pytest.raises(BadRequest, match="missing"):
        direct.arrived(begun.upload, ["none"])


@pytest.mark.parametrize("sent", [b"other bytes of any length", noise(1_000_000, 9)])
def test_other_bytes_than_announced_are_nobodys_blob(ann: User, told: list[tuple[str, str]], sent: bytes) -> None:
    meant = noise(len(sent), 5)
    begun = direct.begin(user=ann, sha256=sha256(meant), size=len(meant), parts=False)
    assert begun is not None
    put(begun.urls[0], sent)
    direct.arrived(begun.upload)
    direct.settle(str(begun.upload.pk))

    with pytest.raises(HashMismatch, match=r"hash to|were announced"):
        direct.wait(begun.upload, seconds=0)
    assert not Blob.objects.exists()
    assert keys().isdisjoint({"assembled", "arriving"})


def test_nothing_put_is_refused(ann: User, told: list[tuple[str, str]]) -> None:
    begun = direct.begin(user=ann, sha256="0" * 64, size=1000, parts=False)
    assert begun is not None
    direct.arrived(begun.upload)
    direct.settle(str(begun.upload.pk))

    with pytest.raises(HashMismatch):
        direct.wait(begun.upload, seconds=0)


def test_a_file_that_is_not_yet_checked_is_said_to_be(ann: User, told: list[tuple[str, str]]) -> None:
    begun = upload(ann, noise(1000))

    with pytest.raises(StillChecking):
        direct.wait(begun, seconds=0.1)


def test_a_file_that_is_too_large_is_not_begun(ann: User, settings: Settings) -> None:
    settings.BLOB_MAX_BYTES = 10

    with pytest.raises(TooLarge):
        direct.begin(user=ann, sha256="0" * 64, size=11, parts=False)


def test_a_second_upload_of_the_same_bytes_is_stored_once(ann: User, told: list[tuple[str, str]]) -> None:
    data = noise(2_000_000)
    direct.settle(str(upload(ann, data).pk))
    before = [key for key, _ in objects().listing("")]
    bob = make_user("bob")

    direct.settle(str(upload(bob, data).pk))

    assert [key for key, _ in objects().listing("")] == before
    assert Blob.objects.usable_by(bob).filter(pk=sha256(data)).exists()


def test_an_upload_whose_message_was_lost_is_announced_again(ann: User, told: list[tuple[str, str]]) -> None:
    begun = upload(ann, noise(1000))
    told.clear()
    assert direct.wake() == 0
    DirectUpload.objects.update(due_at=timezone.now())

    assert direct.wake() == 1
    assert told == [("xet.settle", str(begun.pk))]


def test_uploads_that_never_ended_are_forgotten_with_their_bytes(ann: User) -> None:
    data = noise(1000)
    begun = direct.begin(user=ann, sha256=sha256(data), size=1000, parts=False)
    assert begun is not None
    put(begun.urls[0], data)
    assert direct.forget_old(grace_s=3600) == 0
    DirectUpload.objects.update(changed_at=timezone.now() - timedelta(days=2))

    assert direct.forget_old(grace_s=3600) == 1
    assert (keys(), DirectUpload.objects.count()) == (set(), 0)


def test_a_download_goes_to_the_bucket_and_reads_nothing_here(
    client: Client, ann: User, told: list[tuple[str, str]], server: str
) -> None:
    data = noise(1_000_000)
    repository = make_repository(ann, "mine")
    make_commit(repository, {"a.bin": data}, by=ann)
    where = "/api/v1/repos/ann/mine/files/main/a.bin"

    first = client.get(where)
    assert first.status_code == 200 and first.getvalue() == data  # from the chunks, until a worker made it whole
    assert ("xet.assemble", sha256(data)) in told
    bucketed.assemble(sha256(data))
    second = client.get(where, headers=bearer(ann))

    assert second.status_code == 302
    assert second["Location"].startswith(f"{server}/hub/some/where/assembled/")
    assert get(second["Location"])[0] == data


def test_chunks_are_fetched_from_the_bucket(client: Client, ann: User, server: str) -> None:
    from hub.xet import chunkstore

    data = noise(500_000)
    repository = make_repository(ann)
    make_commit(repository, {"a.bin": data}, by=ann)
    name = chunkstore.xet_hashes([sha256(data)])[sha256(data)]
    given = grant(ann, repository, "read")

    said = client.get(
        f"{given.path}/v1/reconstructions/{name}", headers={"Authorization": f"Bearer {given.token}"}
    ).json()

    [way] = next(iter(said["fetch_info"].values()))
    assert way["url"].startswith(server)
    assert "range" in way["url"]  # signed for these bytes only
    got, _ = get(way["url"], Range="bytes={start}-{end}".format(**way["url_range"]))
    assert len(got) == way["url_range"]["end"] + 1 - way["url_range"]["start"]


def test_whole_files_in_the_bucket_are_bounded(settings: Settings, told: list[tuple[str, str]]) -> None:
    made = [make_blob(noise(1_000_000, seed)) for seed in range(3)]
    for age, blob in enumerate(made):
        bucketed.assemble(blob.sha256)
        AssembledBlob.objects.filter(pk=blob.pk).update(used_at=timezone.now() - timedelta(hours=2 + age))
    settings.ASSEMBLED_MAX_BYTES = 2_100_000

    assert bucketed.evict() == 1
    assert set(AssembledBlob.objects.values_list("pk", flat=True)) == {blob.pk for blob in made[:2]}
    assert len(list(objects().listing("assembled/"))) == 2


def test_what_is_deleted_leaves_the_bucket_at_once(told: list[tuple[str, str]]) -> None:
    blob = make_blob(noise(1_000_000))
    bucketed.assemble(blob.sha256)
    assert keys() == {"xorbs", "assembled"}

    drop_unused([blob.sha256])

    assert keys() == set()


def test_a_sweep_of_a_bucket_keeps_what_is_fresh_or_used(ann: User) -> None:
    make_commit(make_repository(ann), {"a.bin": noise(1_000_000)}, by=ann)
    put_blob([noise(500_000, 1)], by=None)

    swept = sweep(grace_s=0)

    assert (swept.blobs, swept.xorbs, swept.strays) == (1, 1, 0)
    assert Xorb.objects.count() == len(list(objects().listing("xorbs/"))) == 1
    assert fsck(print) == 0


def test_an_object_that_is_gone_is_lost_and_said_so() -> None:
    blob = make_blob(noise(1_000_000))
    for name in list(assembled.hashes()):
        assembled.drop(name)
    for key, _ in list(objects().listing("xorbs/")):
        objects().delete(key)

    with pytest.raises(BlobLost, match="gone from bucket"), store().open(blob.sha256) as file:
        file.read()
    assert fsck(lambda _: None) == 2


def test_a_bucket_that_does_not_answer_is_a_503_and_not_a_crash(settings: Settings) -> None:
    settings.STORAGE_URL = "s3://hub?endpoint=http://127.0.0.1:9"

    with pytest.raises(StorageDown) as refused:
        make_blob(b"x")
    assert refused.value.status == 503


@pytest.mark.parametrize("url", ["s3://", "s3://hub?endpont=http://x"])
def test_a_mistyped_address_stops_the_start(url: str) -> None:
    from django.core.exceptions import ImproperlyConfigured

    with pytest.raises(ImproperlyConfigured, match="s3://bucket"):
        S3Objects(url)


def test_addresses_are_signed_for_one_object_and_one_hour() -> None:
    store_ = bucket()
    assert store_ is not None
    query = urlsplit(store_.put_url("assembled/x", 1000)).query

    assert "X-Amz-Expires=3600" in query
    assert "content-length" in query.lower()  # no more and no fewer bytes than announced


@pytest.mark.parametrize("transfer", ["basic", "multipart"])
def test_lfs_clients_put_into_the_bucket_and_never_here(
    client: Client, ann: User, server: str, told: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch, transfer: str
) -> None:
    from hub.repos import s3
    from hub.wire import lfs

    monkeypatch.setattr(lfs, "_MULTIPART_FROM", 1000)
    monkeypatch.setattr(s3, "_PART", 5 * 1024 * 1024)
    make_repository(ann, "mine")
    data, headers = noise(6_000_000), bearer(ann)
    wanted = {"oid": sha256(data), "size": len(data)}

    def post(url: str, body: Any) -> Any:
        return client.post(
            url.removeprefix("http://testserver"), body, content_type="application/json", headers=headers
        )

    asked = {"operation": "upload", "transfers": ["basic", transfer], "objects": [wanted], "hash_algo": "sha256"}
    [answer] = post("/ann/mine.git/info/lfs/objects/batch", asked).json()["objects"]
    action, check = answer["actions"]["upload"], answer["actions"]["verify"]["href"]
    if transfer == "basic":
        assert action["href"].startswith(server)
        put(action["href"], data)
    else:
        header, size = action["header"], int(action["header"]["chunk_size"])
        parts = [put(header[str(n + 1)], data[n * size : (n + 1) * size]) for n in range(-(-len(data) // size))]
        assert all(url.startswith(server) for name, url in header.items() if name.isdigit())
        sent = [{"partNumber": n, "etag": etag} for n, etag in enumerate(parts, 1)]
        assert post(action["href"], {"oid": wanted["oid"], "parts": sent}).status_code == 200
    monkeypatch.setattr(lfs, "_WAIT_S", 0.01)
    assert post(check, wanted).status_code == 503  # no worker yet; clients ask again

    direct.settle(next(of for task, of in told if task == "xet.settle"))

    assert post(check, wanted).status_code == 200
    assert Blob.objects.usable_by(ann).filter(pk=sha256(data)).exists()
    [again] = post("/ann/mine.git/info/lfs/objects/batch", asked).json()["objects"]
    assert "actions" not in again


def test_a_fine_grained_token_may_commit_what_it_put_there(ann: User, told: list[tuple[str, str]]) -> None:
    data = noise(300_000)
    acting = authenticate(make_token(ann, role="fine_grained", scopes=["write:ann/*"])).user
    other = authenticate(make_token(ann, role="fine_grained", scopes=["write:ann/*"])).user

    direct.settle(str(upload(acting, data).pk))

    assert [Blob.objects.usable_by(user).count() for user in (acting, ann, other)] == [1, 1, 0]


def test_xorbs_on_their_way_into_the_bucket_count_and_asking_again_takes_no_more(
    client: Client, ann: User, settings: Settings
) -> None:
    settings.STORAGE_QUOTA_BYTES = 500_000
    chunk = noise(100_000)
    body = pack(chunk).data
    name = to_hex(xorb_hash([(chunk_hash(chunk), len(chunk))]))
    given, space = grant(ann, make_repository(ann), "write"), ann.namespaces.get()

    def ask(name: str, size: int) -> Any:
        address, headers = f"{given.path}/v1/xorb-grants/default/{name}", {"Authorization": f"Bearer {given.token}"}
        return client.post(address, {"length": size}, "application/json", headers=headers)

    answers = [ask(name, len(body)) for _ in range(3)]
    used = use_of(space).used
    refused = ask("0" * 64, 450_000)
    put(answers[-1].json()["url"], body)
    [row] = DirectUpload.objects.all()
    direct.arrived(row)
    direct.settle(str(row.pk))
    row.refresh_from_db()

    assert [answer.status_code for answer in answers] == [201, 201, 201]
    assert (used, refused.status_code, row.status) == (len(body), 413, "done")
    assert use_of(space).used == Xorb.objects.get().size
    sweep(grace_s=0)
    assert use_of(space).used == 0
