"""Git LFS: where bytes go, who may send them, and files taken out of a whole history."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from hub.accounts.models import AuditEntry, User
from hub.accounts.services import revoke_token
from hub.errors import FileRefused
from hub.ops.fsck import fsck
from hub.repos import lfs_files, parts, services
from hub.repos.commits import Put, commit
from hub.repos.models import Blob, Commit, Repository
from hub.repos.names import check_sha256
from hub.safety.holds import lift, quarantine
from tests.factories import (
    bearer,
    function_manifest,
    make_blob,
    make_commit,
    make_prior,
    make_repository,
    make_user,
    sha256,
)

pytestmark = pytest.mark.django_db
DATA = b"weights " * 1000


@pytest.fixture
def ann(home: Path) -> User:
    return make_user("ann")


@pytest.fixture
def model(ann: User) -> Repository:
    return make_repository(ann, "model")


def post(client: Client, path: str, body: Any, user: User | None) -> Any:
    headers = bearer(user) if user is not None else {}
    return client.post(path, json.dumps(body), content_type="application/json", headers=headers)


def batch(client: Client, user: User | None, data: bytes = DATA, *, where: str = "ann/model", **said: Any) -> Any:
    objects = [{"oid": sha256(data), "size": len(data)}]
    body = {"operation": "upload", "transfers": ["basic", "multipart"], "objects": objects, **said}
    return post(client, f"/{where}.git/info/lfs/objects/batch", body, user)


def path_of(address: str) -> str:
    return "/" + address.split("/", 3)[3]


def content(response: Any) -> bytes:
    return b"".join(response.streaming_content) if response.streaming else response.content


def test_bytes_go_to_a_signed_address_without_a_token(client: Client, ann: User, model: Repository) -> None:
    [wanted] = batch(client, ann).json()["objects"]
    sent = client.put(path_of(wanted["actions"]["upload"]["href"]), DATA, content_type="application/octet-stream")
    verified = post(client, path_of(wanted["actions"]["verify"]["href"]), {"oid": sha256(DATA), "size": len(DATA)}, ann)
    [again] = batch(client, ann).json()["objects"]

    assert (sent.status_code, verified.status_code) == (200, 200)
    assert Blob.objects.get().sha256 == sha256(DATA)
    assert again == {"oid": sha256(DATA), "size": len(DATA)}  # nothing to send


def test_other_bytes_than_announced_are_refused(client: Client, ann: User, model: Repository) -> None:
    [wanted] = batch(client, ann).json()["objects"]
    address = path_of(wanted["actions"]["upload"]["href"])

    wrong = client.put(address, DATA[::-1], content_type="application/octet-stream")
    short = client.put(address, DATA[:-1], content_type="application/octet-stream")

    assert (wrong.status_code, short.status_code) == (400, 400)
    assert "announced" in short.json()["error"]
    assert Blob.objects.count() == 0


def test_a_large_file_comes_in_parts_in_any_order(
    client: Client, ann: User, model: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    # hub.wire.lfs first: were it imported only now, it would take over the changed size for good.
    monkeypatch.setattr("hub.wire.lfs.PART_BYTES", 1000)
    monkeypatch.setattr("hub.wire.lfs._MULTIPART_FROM", 2000)
    monkeypatch.setattr("hub.repos.parts.PART_BYTES", 1000)
    answer = batch(client, ann).json()
    action = answer["objects"][0]["actions"]["upload"]
    numbers = sorted((number for number in action["header"] if number.isdigit()), key=int)
    done = {"oid": sha256(DATA), "parts": []}

    for number in reversed(numbers):
        part = DATA[(int(number) - 1) * 1000 : int(number) * 1000]
        sent = client.put(path_of(action["header"][number]), part, content_type="application/octet-stream")
        done["parts"].append({"partNumber": int(number), "etag": sent["ETag"]})
        if number == "2":  # one is missing still
            early = post(client, path_of(action["href"]), {**done, "parts": done["parts"] + [{}]}, None)
    completed = post(client, path_of(action["href"]), done, None)

    assert answer["transfer"] == "multipart" and action["header"]["chunk_size"] == "1000"
    assert len(numbers) == 8
    assert early.status_code == 400 and "Part 1 of 8 is missing" in early.json()["error"]
    assert completed.status_code == 200
    assert Blob.objects.get().sha256 == sha256(DATA)


def test_a_part_of_another_length_is_refused(ann: User, model: Repository) -> None:
    upload = parts.Upload(ann, model, sha256(DATA), len(DATA))

    for wrong in (DATA[:-1], DATA + b"x"):
        with pytest.raises(Exception, match="Part 1 has"):
            parts.put_part(upload, 1, [wrong])
    assert parts.put_part(upload, 1, [DATA]) == sha256(DATA)


@pytest.mark.parametrize("who", ["stranger", "nobody", "reader"])
def test_who_may_not_write_gets_no_address(client: Client, ann: User, who: str) -> None:
    make_repository(ann, "secret", private=True)
    if who == "reader":
        headers = bearer(ann, role="read")
        response = client.post(
            "/ann/secret.git/info/lfs/objects/batch",
            json.dumps({"operation": "upload", "objects": [{"oid": sha256(DATA), "size": 1}]}),
            content_type="application/json",
            headers=headers,
        )
        assert response.status_code == 403
        return
    response = batch(client, make_user("bob") if who == "stranger" else None, where="ann/secret")

    assert response.status_code == (404 if who == "stranger" else 401)
    assert response["X-Error-Code"] == "RepoNotFound"


def test_an_address_serves_only_what_it_was_made_for(client: Client, ann: User, model: Repository) -> None:
    [wanted] = batch(client, ann).json()["objects"]
    address = path_of(wanted["actions"]["upload"]["href"])
    note = address.rpartition("/")[2]

    assert client.put(f"{address}x", DATA).status_code == 403
    assert client.get(f"/api/lfs/objects/{note}").status_code == 403
    ann.is_active = False
    ann.save()
    assert client.put(address, DATA, content_type="application/octet-stream").status_code in {401, 404}
    assert Blob.objects.count() == 0


def test_knowing_a_hash_is_no_way_to_its_bytes(client: Client, ann: User, model: Repository) -> None:
    secret = b"private bytes " * 100
    hidden = make_repository(ann, "hidden", private=True)
    make_commit(hidden, {"w.bin": secret}, by=ann)
    bob = make_user("bob")
    make_repository(bob, "own")

    [up] = batch(client, bob, secret, where="bob/own").json()["objects"]
    [down] = batch(client, bob, secret, where="bob/own", operation="download").json()["objects"]

    assert "upload" in up["actions"]  # he is asked for them, as if nobody had sent them
    assert down["error"]["code"] == 404


def test_files_come_back_from_a_signed_address(client: Client, ann: User, model: Repository) -> None:
    make_commit(model, {"w.bin": DATA}, by=ann)

    [wanted] = batch(client, None, operation="download").json()["objects"]
    address = path_of(wanted["actions"]["download"]["href"])

    assert content(client.get(address)) == DATA
    part = client.get(address, headers={"Range": "bytes=8-15"})
    assert (part.status_code, content(part)) == (206, b"weights ")


def test_a_file_over_the_limit_or_the_quota_is_refused_before_its_bytes(
    client: Client, ann: User, model: Repository, settings: Any
) -> None:
    settings.STORAGE_QUOTA_BYTES = 1000
    [over] = batch(client, ann).json()["objects"]
    settings.STORAGE_QUOTA_BYTES, settings.BLOB_MAX_BYTES = 0, 1000
    [large] = batch(client, ann).json()["objects"]

    assert over["error"]["code"] == large["error"]["code"] == 413
    assert "1,000" in over["error"]["message"]


@pytest.mark.parametrize(
    "said",
    [
        {"operation": "dance"},
        {"objects": "none"},
        {"objects": [{"oid": "short", "size": 1}]},
        {"objects": [{"oid": "0" * 64, "size": -1}]},
        {"hash_algo": "md5"},
    ],
)
def test_a_batch_that_makes_no_sense_says_why(client: Client, ann: User, model: Repository, said: Any) -> None:
    response = batch(client, ann, **said)

    assert response.status_code == 400
    assert response.json()["error"] == response["X-Error-Message"]


def test_files_taken_out_leave_no_commit_with_them(client: Client, ann: User, model: Repository) -> None:
    make_commit(model, {"a.txt": b"a"}, by=ann)
    make_commit(model, {"a.txt": b"a", "w.bin": DATA}, by=ann)
    last = make_commit(model, {"a.txt": b"b", "w.bin": DATA}, by=ann)
    services.create_tag(repository=model, name="v1", rev="main")
    listed = client.get("/api/models/ann/model/lfs-files", headers=bearer(ann)).json()

    gone = post(client, "/api/models/ann/model/lfs-files/batch", {"deletions": {"sha": [sha256(DATA)]}}, ann)

    assert [(file["fileOid"], file["filename"], file["ref"]) for file in listed] == [
        (sha256(DATA), "w.bin", "refs/heads/main")
    ]
    assert gone.status_code == 200
    assert not Blob.objects.filter(pk=sha256(DATA)).exists()
    model.refresh_from_db()
    assert model.head is not None and model.head.oid != last.oid
    assert [file.path for file in services.files(services.resolve(model, "v1"))] == ["a.txt"]
    assert not Commit.objects.filter(oid=last.oid).exists()
    problems: list[str] = []
    assert fsck(problems.append) == 0, problems


def test_the_catalogue_follows_a_history_that_is_written_anew(ann: User) -> None:
    make_prior(ann, "words")
    repository = Repository.objects.get(name="words")
    blob = make_blob(DATA, by=ann)
    commit(repository=repository, changes=[Put("w.bin", blob.sha256, lfs=True)], message="", by=ann)

    lfs_files.delete(repository, {check_sha256(blob.sha256)})

    problems: list[str] = []
    assert fsck(problems.append) == 0, problems


def test_a_file_is_used_in_another_repository_without_sending_it(client: Client, ann: User, model: Repository) -> None:
    make_commit(model, {"w.bin": DATA}, by=ann)
    bob = make_user("bob")
    make_repository(bob, "own")
    body = {"target": {"type": "model", "name": "bob/own"}, "files": [{"sha256": sha256(DATA)}, {"sha256": "0" * 64}]}

    answer = post(client, "/api/models/ann/model/lfs-files/duplicate", body, bob)
    unknown = post(client, "/api/models/ann/model/lfs-files/duplicate", body | {"target": {"name": "ann/no"}}, bob)

    assert [failed["sha256"] for failed in answer.json()["failed"]] == ["0" * 64]
    assert Blob.objects.usable_by(bob).filter(pk=sha256(DATA)).exists()
    assert unknown.status_code == 404


def test_an_address_ends_with_the_token_it_was_given_to(client: Client, ann: User, model: Repository) -> None:
    kept = make_commit(model, {"kept.bin": b"kept"}, by=ann)
    model.private = True
    model.save()
    [put] = batch(client, ann).json()["objects"]
    [get] = batch(client, ann, b"kept", operation="download").json()["objects"]
    address = path_of(get["actions"]["download"]["href"])
    before = client.get(address).status_code

    for token in ann.tokens.all():
        revoke_token(token)
    sent = client.put(path_of(put["actions"]["upload"]["href"]), DATA, content_type="application/octet-stream")

    assert kept.oid and before == 200
    assert (sent.status_code, client.get(address).status_code) == (401, 401)
    assert not Blob.objects.filter(pk=sha256(DATA)).exists()


def test_an_upload_completed_twice_is_no_error(ann: User, model: Repository) -> None:
    upload = parts.Upload(ann, model, sha256(DATA), len(DATA))
    parts.put_part(upload, 1, [DATA])

    assert parts.complete(upload) == parts.complete(upload) == Blob.objects.get()


def test_who_opens_a_pull_request_fills_no_strangers_quota(
    client: Client, ann: User, model: Repository, settings: Any
) -> None:
    settings.STORAGE_QUOTA_BYTES = 10_000
    bob = make_user("bob")

    [taken] = batch(client, bob).json()["objects"]
    [over] = batch(client, bob, DATA + b"more").json()["objects"]
    [free] = batch(client, ann, DATA + b"mine").json()["objects"]

    assert "upload" in taken["actions"] and "upload" in free["actions"]
    assert over["error"]["code"] == 413 and over["error"]["message"].startswith("bob ")


def test_a_file_the_manifest_promises_is_not_taken_out(ann: User) -> None:
    repository = make_repository(ann, "words", kind=Repository.Kind.PRIOR)
    promised = {"w.bin": {"sha256": sha256(DATA), "size": len(DATA)}}
    manifest = json.dumps(function_manifest("words", files=promised)).encode()
    make_commit(repository, {"prior.json": manifest, "w.bin": DATA}, by=ann)
    before = repository.head

    with pytest.raises(FileRefused, match=r"w\.bin"):
        lfs_files.delete(repository, {sha256(DATA)})

    repository.refresh_from_db()
    assert repository.head == before
    assert Blob.objects.filter(pk=sha256(DATA)).exists()


def test_asking_for_many_objects_costs_no_more_queries_than_for_few(
    client: Client, ann: User, model: Repository, django_assert_max_num_queries: Any
) -> None:
    contents = [b"%d" % number * 10 for number in range(30)]
    make_commit(model, {f"{number}.bin": data for number, data in enumerate(contents)}, by=ann)
    objects = [{"oid": sha256(data), "size": len(data)} for data in contents]
    headers = bearer(ann)

    for operation in ("download", "upload"):
        body = json.dumps({"operation": operation, "objects": objects})
        with django_assert_max_num_queries(16):
            answer = client.post(
                "/ann/model.git/info/lfs/objects/batch", body, content_type="application/json", headers=headers
            )
        assert len(answer.json()["objects"]) == 30


def test_deleting_files_for_good_is_in_the_audit_log_and_not_for_what_is_in_quarantine(
    client: Client, ann: User, model: Repository
) -> None:
    make_commit(model, {"a.bin": DATA}, by=ann)
    body = {"deletions": {"sha": [sha256(DATA)], "rewriteHistory": True}}
    hold = quarantine(model, reason="suspicious", by=make_user("root", admin=True))

    assert post(client, "/api/models/ann/model/lfs-files/batch", body, ann).status_code == 403

    lift(hold, by=make_user("staff", admin=True))
    assert post(client, "/api/models/ann/model/lfs-files/batch", body, ann).status_code == 200
    assert AuditEntry.objects.get(action="repository.files_deleted").detail == {"sha256": [sha256(DATA)]}
