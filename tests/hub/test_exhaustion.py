"""Requests that cost much more to answer than to make are refused before they cost it."""

from __future__ import annotations

import dataclasses
import time
from io import RawIOBase
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from pytest_django import Settings

from hub.accounts.models import User
from hub.errors import FileRefused
from hub.repos.checks import MAX_FILES, check_files
from hub.repos.models import Like, Repository
from hub.repos.storage import store
from priors.errors import BadTable
from priors.tasks import Task
from tests.factories import bearer, make_blob, make_commit, make_repository, make_user
from tests.hub.matrix import ROWS
from tests.hub.matrix_world import World

pytestmark = pytest.mark.django_db


@pytest.fixture
def ann(home: Path) -> User:
    return make_user("ann")


def test_a_tree_of_ten_thousand_files_is_the_largest(ann: User) -> None:
    blob = make_blob(b"1", by=ann)
    files = {f"{number}.txt": blob for number in range(MAX_FILES)}

    check_files("plain", files, store(), changed=[])
    with pytest.raises(FileRefused, match="10001 files"):
        check_files("plain", {**files, "one-more.txt": blob}, store(), changed=[])


class Endless(RawIOBase):
    """A body that never ends, and how much of it was read."""

    def __init__(self, piece: bytes) -> None:
        self._piece, self.taken = piece, 0

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        piece = (self._piece * (1 + 65_536 // len(self._piece)))[: min(size if size and size > 0 else 65_536, 65_536)]
        self.taken += len(piece)
        return piece


BODIES = [
    ("/api/v1/repos", "application/json", b" "),
    ("/api/v1/repos/ann/mail/commits", "application/json", b'{"a":'),
    ("/api/credentials/revoke", "application/json", b" "),
    ("/api/repos/create", "application/json", b" "),
    ("/api/models/ann/mail/preupload/main", "application/json", b"["),
    ("/api/models/ann/mail/paths-info/main", "application/x-www-form-urlencoded", b"paths=a&"),
    ("/api/models/ann/mail/commit/main", "application/x-ndjson", b"x"),
    ("/ann/mail.git/info/lfs/objects/batch", "application/json", b" "),
    ("/login", "application/x-www-form-urlencoded", b"a=1&"),
]


@pytest.mark.parametrize(("address", "kind", "piece"), BODIES, ids=[address for address, _, _ in BODIES])
def test_a_gigabyte_where_a_little_json_belongs_is_not_read(ann: User, address: str, kind: str, piece: bytes) -> None:
    make_commit(make_repository(ann, "mail"), {"a.txt": b"1"}, by=ann)
    body = Endless(piece)
    client = Client(headers=bearer(ann))

    answer = client.generic(
        "POST", address, b"x", content_type=kind, **{"wsgi.input": body, "CONTENT_LENGTH": str(1 << 30)}
    )

    assert answer.status_code in {400, 413}, answer.content[:200]
    assert body.taken <= 20 * 1024 * 1024


@pytest.mark.parametrize("address", ["/", "/priors", "/api/v1/priors", "/api/models", "/api/v1/health", "/ann/mail",
                                     "/ann/mail/resolve/main/a.txt", "/ann/mail.git/info/refs", "/login"])  # fmt: skip
def test_a_hundred_thousand_parameters_are_refused(ann: User, address: str) -> None:
    make_commit(make_repository(ann, "mail"), {"a.txt": b"1"}, by=ann)
    query = "&".join(f"filter=a{number}" for number in range(100_000))
    began = time.process_time()

    answer = Client().get(f"{address}?{query}")

    assert answer.status_code < 500, answer.content[:200]
    assert time.process_time() - began < 5
    if address in ("/priors", "/api/v1/priors", "/api/models"):
        assert answer.status_code == 400


@pytest.mark.parametrize(
    "address",
    ["/api/models?cursor=1000000000", "/api/models?limit=1000000000", "/api/v1/priors?cursor=1000000000",
     "/priors?page=1000000000", "/jobs?page=1000000000", "/api/models/ann/mail/commits/main?cursor=99999999",
     "/api/models/ann/mail/tree/main?limit=1000000000", "/api/models/ann/mail/discussions?p=1000000000",
     "/ann/mail/commits/main?page=1000000000", "/api/v1/jobs?cursor=1000000000", "/audit?page=1000000000"],
)  # fmt: skip
def test_a_page_far_behind_the_end_is_empty_or_refused(
    ann: User, address: str, django_assert_max_num_queries: Any
) -> None:
    make_commit(make_repository(ann, "mail"), {"a.txt": b"1"}, by=ann)
    browser = Client()
    browser.force_login(ann)

    with django_assert_max_num_queries(25):
        answer = browser.get(address)

    assert answer.status_code in {200, 302, 400, 404, 422}
    assert len(answer.getvalue()) < 100_000


DEEP = ["[" * 200_000, '{"a":' * 100_000, "[" * 200_000 + "]" * 200_000]


@pytest.mark.parametrize("deep", DEEP, ids=["arrays", "tables", "closed arrays"])
def test_deep_json_breaks_no_route(matrix: World, deep: str) -> None:
    wrong = []
    for row in ROWS:
        if row.method in ("POST", "PUT", "PATCH", "DELETE") and not row.is_page:
            answer = matrix.ask(dataclasses.replace(row, body=deep), "root", "public")
            if answer.status == 500 or (answer.status > 501):
                wrong.append((str(row), answer.status, answer.content[:200]))
    assert wrong == []


@pytest.mark.parametrize("name", ["Accept-Language", "Accept", "User-Agent", "Range", "If-None-Match", "Cookie", "Git-Protocol"])  # fmt: skip # noqa: E501
def test_a_huge_header_costs_nothing(ann: User, name: str) -> None:
    make_commit(make_repository(ann, "mail"), {"a.txt": b"1"}, by=ann)
    value = {"Range": "bytes=" + ",".join("0-0" for _ in range(50_000))}.get(name, "de;q=0.1," * 50_000)
    began = time.process_time()

    for address in ("/", "/ann/mail/resolve/main/a.txt", "/api/v1/priors"):
        assert Client().get(address, headers={name: value}).status_code in {200, 206, 304, 400, 406}

    assert time.process_time() - began < 5


def test_a_script_of_likes_is_one_like(ann: User) -> None:
    repository = make_repository(make_user("bob"), "mail")
    client = Client(headers=bearer(ann))

    for _ in range(50):
        assert client.post("/api/models/bob/mail/like").status_code == 200

    assert Like.objects.count() == Repository.objects.get(pk=repository.pk).likes == 1


DOORS = ["native", "protocol", "copy", "move here", "move", "move on the site"]


@pytest.mark.parametrize("door", DOORS)
def test_new_names_are_counted_at_every_door(ann: User, settings: Settings, door: str) -> None:
    assert settings.RATES["create"] == (1000, 3600)
    make_commit(make_repository(ann, "mail"), {"a.txt": b"1"}, by=ann)
    settings.RATES = {**settings.RATES, "create": (2, 3600)}
    client, browser = Client(headers=bearer(ann)), Client()
    browser.force_login(ann)
    now = "ann/mail"

    def enter(to: str) -> int:
        nonlocal now
        address, said = {
            "native": ("/api/v1/repos", {"name": to, "kind": "plain"}),
            "protocol": ("/api/repos/create", {"name": to, "type": "model"}),
            "copy": ("/api/models/ann/mail/duplicate", {"repository": to}),
            "move here": (f"/api/v1/repos/{now}/move", {"to": to}),
            "move": ("/api/repos/move", {"fromRepo": now, "toRepo": to, "type": "model"}),
            "move on the site": (f"/{now}/settings", {"do": "move", "to": to}),
        }[door]
        if door == "move on the site":
            status = browser.post(address, said).status_code
        else:
            status = client.post(address, said, content_type="application/json").status_code
        now = to if "move" in door and status < 400 else now
        return status

    answers = [enter(f"ann/{name}") for name in ("a", "b", "c")]

    assert max(answers[:2]) < 400
    assert answers[2] == 429


def test_a_table_of_a_million_columns_is_refused_by_its_first_line(tmp_path: Path) -> None:
    table = tmp_path / "wide.csv"
    table.write_text(",".join(f"c{number}" for number in range(1_000_000)) + "\n")
    began = time.process_time()

    with pytest.raises(BadTable, match="1,000,000 columns"):
        Task.from_csv(table, target="c1")

    assert time.process_time() - began < 10


@pytest.mark.parametrize("said", ["x" * 100_000, "a " * 50_000, '"' * 1001, "(" * 5000, "*" * 5000, "-" * 5000])
def test_a_long_question_is_answered_soon(ann: User, said: str) -> None:
    make_commit(make_repository(ann, "mail"), {"a.txt": b"1"}, by=ann)
    began = time.process_time()

    for address in ("/priors", "/api/v1/priors", "/api/models"):
        name = "search" if address == "/api/models" else "q"
        assert Client().get(address, {name: said}).status_code in {200, 400, 422}

    assert time.process_time() - began < 5
