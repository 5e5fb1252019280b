"""Addresses: quoted slashes, names that moved, methods, errors as the client reads them."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from django.test import Client

from hub.accounts.models import User
from hub.repos import services
from hub.repos.gitobjects import blob_oid
from hub.repos.models import Repository
from tests.factories import bearer, make_commit, make_repository, make_user

pytestmark = pytest.mark.django_db


@pytest.fixture
def repository(home: Path) -> Repository:
    made = make_repository(make_user("ann"), "mail")
    make_commit(made, {"a.txt": b"main", "dir/b c.txt": b"below"})
    services.create_branch(repository=made, name="feature/x", rev="main")
    make_commit(made, {"a.txt": b"branch"}, branch="feature/x")
    return made


def owner(repository: Repository) -> User:
    found = repository.namespace.owner
    assert isinstance(found, User)
    return found


def get(client: Client, raw: str, **extra: Any) -> Any:
    """As gunicorn hands it over: with the request line beside the decoded path."""
    return client.get(raw, RAW_URI=raw, **extra)


def test_a_branch_with_a_slash_is_one_quoted_segment(repository: Repository, client: Client) -> None:
    rev = quote("feature/x", safe="")

    assert get(client, f"/ann/mail/resolve/{rev}/a.txt").getvalue() == b"branch"
    assert [each["path"] for each in get(client, f"/api/models/ann/mail/tree/{rev}").json()] == ["a.txt"]
    assert len(get(client, f"/api/models/ann/mail/commits/{rev}").json()) == 2


def test_a_path_in_a_tree_is_quoted_whole(repository: Repository, client: Client) -> None:
    found = get(client, f"/api/models/ann/mail/tree/main/{quote('dir', safe='')}").json()

    assert [each["path"] for each in found] == ["dir/b c.txt"]
    assert get(client, "/ann/mail/resolve/main/dir%2Fb%20c.txt").getvalue() == b"below"


def test_a_percent_sign_is_decoded_once(repository: Repository, client: Client) -> None:
    assert get(client, "/ann/mail/resolve/main/dir%2Fb%2520c.txt").status_code == 404


def test_without_a_request_line_refs_are_recognised(repository: Repository, client: Client) -> None:
    assert client.get("/ann/mail/resolve/refs/heads/main/a.txt").getvalue() == b"main"
    assert client.get("/api/models/ann/mail/revision/feature/x").status_code == 200


def test_a_moved_repository_is_found_under_its_old_name(repository: Repository, client: Client) -> None:
    services.move_repository(repository, "ann/post")

    moved = get(client, "/api/models/ann/mail/tree/main?recursive=true")

    assert moved.status_code == 307
    assert moved.headers["Location"] == "/api/models/ann/post/tree/main?recursive=true"
    assert client.get("/ann/mail/resolve/main/a.txt").headers["Location"] == "/ann/post/resolve/main/a.txt"


def test_a_quoted_old_name_leads_to_the_new_one_too(repository: Repository, client: Client) -> None:
    services.move_repository(repository, "ann/post")

    assert get(client, "/ann/m%61il/resolve/main/a.txt").headers["Location"] == "/ann/post/resolve/main/a.txt"


def test_slashes_before_an_address_make_no_way_to_another_host(repository: Repository, client: Client) -> None:
    services.move_repository(repository, "ann/post")

    moved = client.get("/ann/mail/resolve/main/a%20b", RAW_URI="////ann/mail/resolve/main/a%20b")

    assert moved.headers["Location"] == "/ann/post/resolve/main/a%20b"


def test_a_move_tells_nobody_of_a_private_repository(repository: Repository, client: Client) -> None:
    services.move_repository(repository, "ann/post")
    services.change_settings(repository, private=True)

    refused = client.get("/api/models/ann/mail")

    assert (refused.status_code, refused.headers["X-Error-Code"]) == (401, "RepoNotFound")


def test_a_wrong_token_is_401_on_a_public_repository_too(repository: Repository, client: Client) -> None:
    refused = client.get("/api/models/ann/mail", headers={"Authorization": "Bearer hf_wrong"})

    assert refused.status_code == 401
    assert refused.headers["X-Error-Message"] == "Invalid credentials in Authorization header"
    assert "X-Error-Code" not in refused.headers


def test_a_missing_file_names_the_commit(repository: Repository, client: Client) -> None:
    missing = client.head("/ann/mail/resolve/main/no.txt")

    assert (missing.status_code, missing.headers["X-Error-Code"]) == (404, "EntryNotFound")
    assert missing.headers["X-Repo-Commit"] == services.resolve(repository).oid


def test_the_etag_of_a_plain_file_is_gits_id(repository: Repository, client: Client) -> None:
    head = client.head("/ann/mail/resolve/main/a.txt")

    assert head.headers["ETag"] == f'"{blob_oid(b"main")}"'
    assert (head.headers["Content-Length"], head.headers["Accept-Ranges"]) == ("4", "bytes")
    assert "sandbox" in head.headers["Content-Security-Policy"]


def test_what_is_not_served_says_so(repository: Repository, client: Client) -> None:
    refused = client.get("/api/collections/x")

    assert (refused.status_code, refused.json()["error"]) == (501, "This hub does not serve collections.")


def test_another_method_is_405_with_those_there_are(repository: Repository, client: Client) -> None:
    assert client.put("/api/whoami-v2").headers["Allow"] == "GET, HEAD"


@pytest.mark.parametrize(
    "address", ["", "/tree/main?recursive=true", "/tree/main?expand=true", "/refs", "/commits/main"]
)
def test_queries_do_not_grow_with_what_is_there(
    repository: Repository, client: Client, address: str, django_assert_max_num_queries: Any
) -> None:
    ann = bearer(owner(repository))
    make_commit(repository, {f"d/{number}.txt": b"%d" % number for number in range(60)}, replace=False)
    client.get("/api/whoami-v2", headers=ann)

    with django_assert_max_num_queries(16):
        assert client.get(f"/api/models/ann/mail{address}", headers=ann).status_code == 200


def test_lists_are_paged_by_absolute_addresses(repository: Repository, client: Client) -> None:
    for number in range(4):
        make_repository(owner(repository), f"list-{number}")

    first = client.get("/api/models?search=list-&limit=3")
    url = first.headers["Link"].removeprefix("<").partition(">")[0]
    second = client.get(url.removeprefix("http://testserver"))

    assert url.startswith("http://testserver/api/models?")
    assert len(first.json()) == 3 and len(second.json()) == 1 and "Link" not in second.headers
