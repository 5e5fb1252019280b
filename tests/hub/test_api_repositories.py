from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from hub.repos.models import Commit, Repository
from tests.factories import bearer, function_manifest, make_commit, make_repository, make_user, sha256

pytestmark = pytest.mark.django_db
API = "/api/v1"


@pytest.fixture
def api(home: Path, client: Client) -> Client:
    return client


def send(api: Client, data: bytes, headers: dict[str, str]) -> Any:
    return api.put(f"{API}/blobs/{sha256(data)}", data=data, content_type="application/octet-stream", headers=headers)


def post(api: Client, path: str, body: Any, headers: dict[str, str] | None = None) -> Any:
    return api.post(f"{API}{path}", data=json.dumps(body), content_type="application/json", headers=headers or {})


def body(response: Any) -> bytes:
    return b"".join(response.streaming_content) if response.streaming else response.content


def test_a_folder_is_pushed_and_read_back(api: Client) -> None:
    ann = make_user("ann")
    headers = bearer(ann)
    data = b"hello " * 1000

    assert post(api, "/repos", {"name": "ann/notes", "kind": "plain"}, headers).status_code == 201
    missing = post(api, "/blobs/missing", {"sha256": [sha256(data)]}, headers).json()["missing"]
    assert missing == [sha256(data)]
    assert send(api, data, headers).json() == {"sha256": sha256(data), "size": len(data)}
    assert post(api, "/blobs/missing", {"sha256": [sha256(data)]}, headers).json()["missing"] == []
    made = post(
        api,
        "/repos/ann/notes/commits",
        {"message": "one", "files": [{"path": "a/b.txt", "sha256": sha256(data)}]},
        headers,
    )

    assert made.status_code == 201
    oid = made.json()["oid"]
    tree = api.get(f"{API}/repos/ann/notes/tree/main").json()
    assert tree == {"commit": oid, "files": [{"path": "a/b.txt", "size": len(data), "sha256": sha256(data)}]}
    assert body(api.get(f"{API}/repos/ann/notes/files/{oid[:9]}/a/b.txt")) == data
    assert api.get(f"{API}/repos/ann/notes").json()["head"] == oid
    assert [commit["oid"] for commit in api.get(f"{API}/repos/ann/notes/commits").json()] == [oid]


def test_a_tag_stays_while_the_branch_moves(api: Client) -> None:
    ann = make_user()
    repository = make_repository(ann, "notes")
    first = make_commit(repository, {"a": b"1"}, by=ann)
    tagged = post(api, f"/repos/{repository}/tags", {"name": "v1", "rev": "main"}, bearer(ann))
    make_commit(repository, {"a": b"2"}, by=ann)

    assert tagged.status_code == 201
    assert api.get(f"{API}/repos/{repository}/tree/v1").json()["commit"] == first.oid
    again = post(api, f"/repos/{repository}/tags", {"name": "v1", "rev": "main"}, bearer(ann))
    assert (again.status_code, again.json()["code"]) == (409, "conflict")


def test_a_commit_on_another_parent_is_refused_and_changes_nothing(api: Client) -> None:
    ann = make_user()
    repository = make_repository(ann)
    first = make_commit(repository, {"a": b"1"}, by=ann)
    second = make_commit(repository, {"a": b"2"}, by=ann)
    files = [{"path": "a", "sha256": sha256(b"1")}]

    refused = post(api, f"/repos/{repository}/commits", {"parent": first.oid, "files": files}, bearer(ann))
    accepted = post(api, f"/repos/{repository}/commits", {"parent": second.oid, "files": files}, bearer(ann))

    assert (refused.status_code, refused.json()["code"]) == (412, "parent-moved")
    assert accepted.status_code == 201
    assert Commit.objects.filter(repository=repository).count() == 3


def test_files_are_laid_over_the_parent_unless_they_replace_it(api: Client) -> None:
    ann = make_user()
    repository = make_repository(ann)
    make_commit(repository, {"a": b"1", "b": b"2"}, by=ann)
    files = [{"path": "b", "sha256": sha256(b"1")}]

    post(api, f"/repos/{repository}/commits", {"files": files, "replace": False}, bearer(ann))
    laid_over = [file["path"] for file in api.get(f"{API}/repos/{repository}/tree/main").json()["files"]]
    post(api, f"/repos/{repository}/commits", {"files": files}, bearer(ann))
    replaced = [file["path"] for file in api.get(f"{API}/repos/{repository}/tree/main").json()["files"]]

    assert (laid_over, replaced) == (["a", "b"], ["b"])


def test_bytes_that_were_not_sent_cannot_be_committed(api: Client) -> None:
    ann = make_user()
    repository = make_repository(ann)

    refused = post(api, f"/repos/{repository}/commits", {"files": [{"path": "a", "sha256": "0" * 64}]}, bearer(ann))

    assert (refused.status_code, refused.json()["code"]) == (422, "blob-missing")


def test_a_hash_alone_does_not_give_somebody_elses_private_bytes(api: Client) -> None:
    ann, eve = make_user(), make_user()
    make_commit(make_repository(ann, private=True), {"weights": b"secret"}, by=ann)
    mine = make_repository(eve)

    known = post(api, "/blobs/missing", {"sha256": [sha256(b"secret")]}, bearer(eve)).json()["missing"]
    stolen = post(api, f"/repos/{mine}/commits", {"files": [{"path": "w", "sha256": sha256(b"secret")}]}, bearer(eve))

    assert known == [sha256(b"secret")]
    assert stolen.json()["code"] == "blob-missing"


@pytest.mark.parametrize(
    ("asked", "status", "content_range", "expected"),
    [
        ("bytes=0-3", 206, "bytes 0-3/10", b"0123"),
        ("bytes=4-", 206, "bytes 4-9/10", b"456789"),
        ("bytes=-3", 206, "bytes 7-9/10", b"789"),
        ("bytes=8-100", 206, "bytes 8-9/10", b"89"),
        ("bytes=-100", 206, "bytes 0-9/10", b"0123456789"),
        ("bytes=5-2", 200, None, b"0123456789"),
        ("bytes=0-1,4-5", 200, None, b"0123456789"),
        ("lines=1-2", 200, None, b"0123456789"),
    ],
)
def test_ranges(api: Client, asked: str, status: int, content_range: str | None, expected: bytes) -> None:
    ann = make_user()
    repository = make_repository(ann)
    make_commit(repository, {"data.bin": b"0123456789"}, by=ann)

    response = api.get(f"{API}/repos/{repository}/files/main/data.bin", headers={"Range": asked})

    assert response.status_code == status
    assert response.headers.get("Content-Range") == content_range
    assert response["Content-Length"] == str(len(expected))
    assert body(response) == expected


def test_a_range_behind_the_end_is_refused(api: Client) -> None:
    ann = make_user()
    repository = make_repository(ann)
    make_commit(repository, {"data.bin": b"0123456789"}, by=ann)

    response = api.get(f"{API}/repos/{repository}/files/main/data.bin", headers={"Range": "bytes=10-"})

    assert (response.status_code, response.json()["code"]) == (416, "range-not-satisfiable")


def test_a_file_is_an_attachment_that_no_browser_renders(api: Client) -> None:
    ann = make_user()
    repository = make_repository(ann)
    make_commit(repository, {"page.html": b"<script>alert(1)</script>"}, by=ann)

    response = api.get(f"{API}/repos/{repository}/files/main/page.html")
    head = api.head(f"{API}/repos/{repository}/files/main/page.html")
    cached = api.get(f"{API}/repos/{repository}/files/main/page.html", headers={"If-None-Match": response["ETag"]})

    assert response["Content-Type"] == "application/octet-stream"
    assert response["Content-Disposition"] == 'attachment; filename="page.html"'
    assert response["X-Content-Type-Options"] == "nosniff"
    assert response["Content-Security-Policy"] == "default-src 'none'; sandbox"
    assert body(response) == b"<script>alert(1)</script>"
    assert (head.status_code, head["Content-Length"], head.content) == (200, "25", b"")
    assert (cached.status_code, cached.content) == (304, b"")


def test_a_deleted_repository_is_gone_with_its_bytes(api: Client) -> None:
    ann = make_user()
    repository = make_repository(ann)
    make_commit(repository, {"a": b"only here"}, by=ann)

    assert api.delete(f"{API}/repos/{repository}", headers=bearer(ann)).status_code == 204

    assert api.get(f"{API}/repos/{repository}").status_code == 404
    assert not Repository.objects.filter(pk=repository.pk).exists()
    assert post(api, "/blobs/missing", {"sha256": [sha256(b"only here")]}, bearer(ann)).json()["missing"]


def test_only_an_empty_repository_goes_when_that_is_asked(api: Client) -> None:
    ann = make_user()
    full, empty = make_repository(ann), make_repository(ann, "empty")
    make_commit(full, {"a": b"kept"}, by=ann)

    refused = api.delete(f"{API}/repos/{full}?only_empty=true", headers=bearer(ann))
    gone = api.delete(f"{API}/repos/{empty}?only_empty=true", headers=bearer(ann))

    assert (refused.status_code, refused.json()["code"], gone.status_code) == (409, "conflict", 204)
    assert set(Repository.objects.all()) == {full}
    assert post(api, "/repos", {"name": str(empty), "kind": "plain"}, bearer(ann)).status_code == 201


def test_a_published_prior_is_found_and_described(api: Client) -> None:
    ann = make_user("mia")
    repository = make_repository(ann, "char-ngrams", kind="prior")
    make_commit(repository, {"prior.json": json.dumps(function_manifest()).encode()}, by=ann)

    found = api.get(f"{API}/priors", {"q": "ngram"}).json()["items"]
    by_prefix = api.get(f"{API}/priors", {"q": "charact", "modality": "text", "kind": "function"}).json()["items"]
    nothing = api.get(f"{API}/priors", {"q": "giraffe"}).json()["items"]

    assert [card["repo"] for card in found] == [card["repo"] for card in by_prefix] == ["mia/char-ngrams"]
    assert nothing == []
    assert found[0]["ref"].startswith("prior://mia/char-ngrams@sha256:")
    assert found[0]["gives"] == {"out": "vec.feat[B,D:4096]:f32"}
    assert api.get(f"{API}/priors/mia/char-ngrams/manifest").json()["name"] == "char-ngrams"


@pytest.mark.parametrize("before", [b"[1]", b"{", b'{"x": "' + b"a" * (2 << 20) + b'"}'])
def test_a_file_from_before_a_repository_became_a_prior_is_no_mistake_of_the_hub(api: Client, before: bytes) -> None:
    ann = make_user("mia")
    repository = make_repository(ann, "char-ngrams")
    plain = make_commit(repository, {"prior.json": before}, by=ann)
    make_commit(repository, {"prior.json": json.dumps(function_manifest()).encode()}, by=ann)

    answer = api.get(f"{API}/priors/mia/char-ngrams/manifest", {"rev": plain.oid})

    assert (answer.status_code, answer.json().keys() & {"x", "code"}) in [(400, {"code"}), (200, {"x"})]
    assert api.get(f"{API}/priors/mia/char-ngrams/manifest").json()["name"] == "char-ngrams"


def test_json_larger_than_the_hub_reads_is_refused_as_too_large(api: Client) -> None:
    headers = bearer(make_user("mia"))
    body = json.dumps({"sha256": ["0" * 64] * 200_000})

    answer = api.post(f"{API}/blobs/missing", body, "application/json", headers=headers)

    assert (answer.status_code, answer.json()["code"]) == (413, "too-large")
    assert answer["Content-Type"] == "application/problem+json"


def test_another_method_is_a_problem_that_says_which_there_are(api: Client) -> None:
    answer = api.put(f"{API}/repos/ann/none")

    assert (answer.status_code, answer.json()["code"]) == (405, "method-not-allowed")
    assert answer["Content-Type"] == "application/problem+json"
    assert set(answer["Allow"].split(", ")) == {"DELETE", "GET", "PATCH"}
    assert answer["Allow"] in answer.json()["detail"]


def test_the_catalogue_comes_in_pages(api: Client) -> None:
    ann = make_user()
    for number in range(3):
        repository = make_repository(ann, f"p{number}", kind="prior")
        make_commit(repository, {"prior.json": json.dumps(function_manifest(f"p{number}")).encode()}, by=ann)

    first = api.get(f"{API}/priors", {"limit": 2}).json()
    second = api.get(f"{API}/priors", {"limit": 2, "cursor": first["next"]}).json()

    assert [len(page["items"]) for page in (first, second)] == [2, 1]
    assert second["next"] is None
    assert api.get(f"{API}/priors", {"cursor": "1000000000000"}).status_code == 400
