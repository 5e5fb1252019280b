"""Commits over the Hugging Face protocol: what is refused, what changes, and what stands afterwards."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from hub.accounts.models import User
from hub.repos import services
from hub.repos.models import Repository
from tests.factories import bearer, make_blob, make_user, sha256

pytestmark = pytest.mark.django_db


@pytest.fixture
def ann(home: Path) -> User:
    return make_user("ann")


@pytest.fixture
def client(ann: User) -> Client:
    found = Client(headers=bearer(ann))
    made = found.post("/api/repos/create", {"name": "mail"}, content_type="application/json")
    assert made.status_code == 200, made.content
    return found


def commit(client: Client, *lines: dict[str, Any], rev: str = "main", query: str = "", **header: Any) -> Any:
    every = [{"key": "header", "value": {"summary": "s", **header}}, *lines]
    body = "\n".join(json.dumps(line) for line in every)
    return client.post(f"/api/models/ann/mail/commit/{rev}{query}", body, content_type="application/x-ndjson")


def file(path: str, data: bytes) -> dict[str, Any]:
    value = {"content": base64.b64encode(data).decode(), "path": path, "encoding": "base64"}
    return {"key": "file", "value": value}


def paths(rev: str = "main") -> set[str]:
    found = services.resolve(Repository.objects.get(name="mail"), rev)
    return {each.path for each in services.files(found)} - {".gitattributes"}


def test_a_fresh_repository_has_a_first_commit(client: Client) -> None:
    info = client.get("/api/models/ann/mail").json()

    assert len(info["sha"]) == 40
    assert [each["rfilename"] for each in info["siblings"]] == [".gitattributes"]


def test_a_commit_is_answered_with_its_id_and_address(client: Client) -> None:
    made = commit(client, file("a.txt", b"1")).json()

    assert made["commitUrl"] == f"http://testserver/ann/mail/commit/{made['commitOid']}"
    assert client.get("/api/models/ann/mail").json()["sha"] == made["commitOid"]


def test_of_two_lines_for_a_path_the_last_one_counts(client: Client) -> None:
    commit(client, file("a.txt", b"old"))

    made = commit(client, {"key": "deletedFile", "value": {"path": "a.txt"}}, file("a.txt", b"new"))

    assert made.status_code == 200
    assert client.get("/ann/mail/resolve/main/a.txt").getvalue() == b"new"


def test_a_stale_parent_is_412_and_writes_nothing(client: Client) -> None:
    before = client.get("/api/models/ann/mail").json()["sha"]
    commit(client, file("a.txt", b"1"))

    refused = commit(client, file("b.txt", b"2"), parentCommit=before[:7])

    assert refused.status_code == 412
    assert paths() == {"a.txt"}


@pytest.mark.parametrize("path", ["../a", "/a", "a//b", ".git/config", "a/../b", "con.txt", "a\\b", ""])
def test_a_path_that_leads_elsewhere_is_400(client: Client, path: str) -> None:
    refused = commit(client, file(path, b"1"))

    assert refused.status_code == 400
    assert refused.headers["X-Error-Message"]
    assert paths() == set()


def test_a_hash_that_somebody_else_uploaded_is_not_enough(client: Client) -> None:
    secret = make_blob(b"private", by=make_user("bob"))

    refused = commit(client, {"key": "lfsFile", "value": {"path": "a.bin", "algo": "sha256", "oid": secret.sha256}})

    assert refused.status_code == 400
    assert paths() == set()


def test_a_size_that_is_not_the_objects_is_refused(client: Client, ann: User) -> None:
    mine = make_blob(b"mine", by=ann)
    value = {"path": "a.bin", "algo": "sha256", "oid": mine.sha256, "size": 5}

    assert commit(client, {"key": "lfsFile", "value": value}).status_code == 400


def test_deleting_what_is_not_there_is_entry_not_found(client: Client) -> None:
    refused = commit(client, {"key": "deletedFile", "value": {"path": "no.txt"}})

    assert (refused.status_code, refused.headers["X-Error-Code"]) == (404, "EntryNotFound")


def test_a_branch_that_is_not_there_is_revision_not_found(client: Client) -> None:
    refused = commit(client, file("a.txt", b"1"), rev="none")

    assert (refused.status_code, refused.headers["X-Error-Code"]) == (404, "RevisionNotFound")


def test_a_tag_takes_no_commits(client: Client) -> None:
    client.post("/api/models/ann/mail/tag/main", {"tag": "v1"}, content_type="application/json")

    assert commit(client, file("a.txt", b"1"), rev="v1").status_code == 400


def test_who_may_read_may_propose(client: Client) -> None:
    bob = Client(headers=bearer(make_user("bob")))

    made = commit(bob, file("a.txt", b"1"), query="?create_pr=1")

    assert made.status_code == 200, made.content
    assert made.json()["pullRequestUrl"] == "http://testserver/ann/mail/discussions/1"
    assert (paths(), paths("refs/pr/1")) == (set(), {"a.txt"})
    assert commit(bob, file("b.txt", b"2"), rev="refs%2Fpr%2F1").status_code == 200
    assert commit(bob, file("b.txt", b"2")).status_code == 403


def test_a_refused_proposal_leaves_no_pull_request(client: Client) -> None:
    refused = commit(client, file("../a", b"1"), query="?create_pr=1")

    assert refused.status_code == 400
    assert Repository.objects.get(name="mail").discussions.count() == 0


def test_preupload_says_mode_what_is_ignored_and_what_is_there(client: Client, ann: User) -> None:
    commit(client, file(".gitignore", b"*.log\n"), file("a.txt", b"1"))
    asked = [{"path": name, "size": size, "sample": ""} for name, size in
             (("a.txt", 1), ("b.safetensors", 9), ("x.log", 1), ("big.txt", 11 << 20), ("empty.bin", 0))]  # fmt: skip

    said = client.post("/api/models/ann/mail/preupload/main", {"files": asked}, content_type="application/json").json()

    found = {each["path"]: (each["uploadMode"], each["shouldIgnore"]) for each in said["files"]}
    assert found == {
        "a.txt": ("regular", False), "b.safetensors": ("lfs", False), "x.log": ("regular", True),
        "big.txt": ("lfs", False), "empty.bin": ("regular", False),
    }  # fmt: skip
    assert said["files"][0]["oid"] == "56a6051ca2b02b04ef92d5150c9ef600403cb1de"  # printf 1 | git hash-object --stdin


def test_a_squashed_branch_is_one_commit_and_what_it_left_is_gone(client: Client, ann: User) -> None:
    old, now = sha256(b"old weights"), b"new weights"
    for data in (b"old weights", now):
        made = make_blob(data, by=ann)
        commit(client, {"key": "lfsFile", "value": {"path": "w.bin", "oid": made.sha256, "size": made.size}})
    before = client.get("/api/models/ann/mail").json()["sha"]

    said = client.post(
        "/api/models/ann/mail/super-squash/main", {"message": "one"}, content_type="application/json"
    ).json()

    history = client.get("/api/models/ann/mail/commits/main").json()
    assert [each["title"] for each in history] == ["one"]
    assert client.get("/api/models/ann/mail").json()["sha"] == said["commitOid"]
    assert client.get(f"/api/models/ann/mail/revision/{before}").status_code == 404
    assert client.get("/ann/mail/resolve/main/w.bin").getvalue() == now
    assert [each["fileOid"] for each in client.get("/api/models/ann/mail/lfs-files").json()] == [sha256(now)]
    assert old not in {each["fileOid"] for each in client.get("/api/models/ann/mail/lfs-files").json()}
