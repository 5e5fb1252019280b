"""Texts that no database keeps: NUL characters and halves of surrogate pairs, in addresses, bodies and files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from hub.accounts.models import User
from hub.catalog.models import Item
from hub.errors import FileRefused, header_text
from hub.repos.models import Repository
from hub.texts import is_storable, storable
from tests.factories import bearer, function_manifest, make_commit, make_repository, make_user

pytestmark = pytest.mark.django_db
BAD = ["\0", "\ud800"]


@pytest.fixture
def ann(home: Path) -> User:
    return make_user("ann")


@pytest.fixture
def model(ann: User) -> Repository:
    repository = make_repository(ann, "m")
    make_commit(repository, {"a.txt": b"1"}, by=ann)
    return repository


def test_what_can_be_stored_is_told_of_every_part_of_a_value() -> None:
    assert is_storable({"a": ["ä", {"b": 1.5, "c": None}], "😀": "\x07"})
    assert not any(is_storable(value) for bad in BAD for value in (bad, [bad], {bad: 1}, {"a": [{"b": f"x{bad}"}]}))


def test_a_deeply_nested_value_is_read_all_the_same() -> None:
    value: Any = "\0"
    for _ in range(5000):
        value = [value]

    assert not is_storable(value)


def test_what_cannot_be_stored_is_marked() -> None:
    assert storable("a\0b\ud800c") == "a\ufffdb\ufffdc"


@pytest.mark.parametrize(
    "address",
    [
        "/api/models?search=%00", "/api/models/a%00/m", "/api/models/ann/m/tree/main/%00", "/ann/m/resolve/main/%00",
        "/api/users/%00/overview", "/api/models/ann/m/discussions?author=%00", "/api/v1/priors?fits=a/%00",
        "/api/v1/repos/ann/%00", "/ann/m/tree/main/%00", "/ann/%00", "/priors?with=a/%00", "/jobs/%00",
    ],
)  # fmt: skip
def test_an_address_with_a_nul_is_no_address(client: Client, model: Repository, address: str) -> None:
    answer = client.get(address)

    assert (answer.status_code, answer["X-Error-Message"]) == (
        400,
        "The address holds a NUL character, which no name here does.",
    )


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize(
    ("address", "body"),
    [
        ("/api/models/ann/m/discussions", {"title": "tBAD", "description": "d"}),
        ("/api/models/ann/m/super-squash/main", {"message": "BAD"}),
        ("/api/models/ann/m/user-access-request/grant", {"user": "BAD"}),
        ("/api/models/ann/m/preupload/main", {"files": [{"path": "BAD", "size": 1, "sample": ""}]}),
        ("/api/validate-yaml", {"content": "BAD"}),
        ("/api/v1/repos", {"name": "ann/q", "kind": "plain", "description": "BAD"}),
        ("/api/v1/repos/ann/m/holds", {"kind": "yank", "reason": "BAD"}),
        ("/api/v1/repos/ann/m/commits", {"message": "BAD", "files": []}),
        ("/api/credentials/revoke", {"tokens": ["ph_BAD" + "a" * 37]}),
    ],
)
def test_a_body_with_such_a_text_is_refused(
    ann: User, model: Repository, address: str, body: dict[str, Any], bad: str
) -> None:
    said = json.dumps(body).replace("BAD", json.dumps(bad)[1:-1])

    answer = Client(headers=bearer(ann)).post(address, said, content_type="application/json")

    assert answer.status_code == 400, answer.content


@pytest.mark.parametrize("bad", BAD)
def test_a_commit_with_such_a_message_is_refused(ann: User, model: Repository, bad: str) -> None:
    lines = [
        {"key": "header", "value": {"summary": bad}},
        {"key": "file", "value": {"path": "b", "content": "Mg==", "encoding": "base64"}},
    ]
    answer = Client(headers=bearer(ann)).post(
        "/api/models/ann/m/commit/main",
        "\n".join(json.dumps(line) for line in lines),
        content_type="application/x-ndjson",
    )

    assert answer.status_code == 400, answer.content


def test_paths_with_a_nul_are_refused_in_a_form(ann: User, model: Repository) -> None:
    answer = Client(headers=bearer(ann)).post(
        "/api/models/ann/m/paths-info/main", "paths=a%00", content_type="application/x-www-form-urlencoded"
    )

    assert answer.status_code == 400


def test_a_page_s_form_with_a_nul_is_refused(ann: User, model: Repository) -> None:
    client = Client()
    client.force_login(ann)

    assert client.post("/ann/m/refs/change", {"do": "make", "kind": "tag", "name": "a\0"}).status_code == 400


def test_a_card_and_a_config_with_such_texts_are_shown_with_a_mark(ann: User, model: Repository) -> None:
    card = b'---\ntags: ["a\\0b"]\n"k\\0": 1\n---\nHello \0 there.'
    config = b'{"model_type": "be\\u0000rt", "architectures": ["\\ud800"]}'

    make_commit(model, {"README.md": card, "config.json": config}, by=ann)

    item = Item.objects.get(repository=model)
    assert item.card == {"tags": ["a\ufffdb"], "k\ufffd": 1}
    assert item.config == {"model_type": "be\ufffdrt", "architectures": ["\ufffd"]}


@pytest.mark.parametrize("bad", BAD)
def test_a_manifest_with_such_a_text_is_refused(ann: User, bad: str) -> None:
    repository = make_repository(ann, "p", kind=Repository.Kind.PRIOR)

    with pytest.raises(FileRefused, match=r"prior\.json holds a NUL character or half a surrogate pair"):
        make_commit(repository, {"prior.json": json.dumps(function_manifest("p", summary=bad)).encode()}, by=ann)


def test_a_message_in_a_header_is_one_line_that_servers_send(client: Client, model: Repository) -> None:
    assert header_text("a\r\n\tb\x07\x1b[0m\x7f\u2026 é") == "a b??[0m?? é"

    answer = client.get("/api/models/ann/m/tree/main/%07")

    assert (answer.status_code, answer["X-Error-Message"]) == (404, "? does not exist on 'main', or is no folder.")
