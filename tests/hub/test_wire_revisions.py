"""What the stock client hears of a revision is of that revision: card, tags, files, id and date."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from hub.catalog.derive import derive
from hub.catalog.models import Item
from hub.repos import pulls, services
from hub.repos.models import Commit, Repository
from hub.wire.shapes import iso
from tests.factories import function_manifest, make_commit, make_repository, make_user

pytestmark = pytest.mark.django_db


def card(license: str, *tags: str, **more: str) -> bytes:
    lines = [f"license: {license}", "tags:", *(f"- {tag}" for tag in tags), *(f"{k}: {v}" for k, v in more.items())]
    return "\n".join(["---", *lines, "---", f"Words of {license}."]).encode()


def weights(count: int) -> bytes:
    header = json.dumps({"w": {"dtype": "F32", "shape": [count], "data_offsets": [0, 4 * count]}}).encode()
    return struct.pack("<Q", len(header)) + header + bytes(4 * count)


OLD = {"README.md": card("mit", "old", pipeline_tag="text-classification"), "model.safetensors": weights(3)}
NEW = {
    "README.md": card("apache-2.0", "new", pipeline_tag="fill-mask"), "model.safetensors": weights(3),
    "config.json": b'{"model_type": "bert"}', "more.txt": b"more",
}  # fmt: skip


@pytest.fixture
def repository(home: Path) -> Repository:
    return make_repository(make_user("ann"), "mail")


def committed(repository: Repository, files: Mapping[str, bytes], day: int) -> Commit:
    """A commit of January that the worker has read."""
    made = make_commit(repository, dict(files))
    Commit.objects.filter(pk=made.pk).update(created_at=datetime(2026, 1, day, tzinfo=UTC))
    derive(Item.objects.get(repository=repository).pk)
    made.refresh_from_db()
    return made


def info(client: Client, rev: str = "", **query: Any) -> dict[str, Any]:
    answer = client.get(f"/api/models/ann/mail{f'/revision/{rev}' if rev else ''}", query)
    assert answer.status_code == 200, answer.content
    found: dict[str, Any] = answer.json()
    return found


REVISED = (
    "sha", "cardData", "tags", "pipeline_tag", "siblings", "config", "safetensors", "usedStorage", "description",
)  # fmt: skip


def test_an_older_revision_answers_what_it_answered_when_it_was_main(client: Client, repository: Repository) -> None:
    old = committed(repository, OLD, day=1)
    then = info(client, blobs=1)
    committed(repository, NEW, day=2)
    services.create_tag(repository=repository, name="v1", rev=old.oid)

    for rev in (old.oid, old.oid[:7], "v1"):
        found = info(client, rev, blobs=1)
        assert {name: found.get(name) for name in REVISED} == {name: then.get(name) for name in REVISED}
        assert found["lastModified"] == iso(old.created_at) == "2026-01-01T00:00:00.000Z"
        assert found["tags"][0] == "old" and found["cardData"]["license"] == "mit"
        assert found["safetensors"] == {"parameters": {"F32": 3}, "total": 3}


def test_main_stays_main_under_each_of_its_names(client: Client, repository: Repository) -> None:
    committed(repository, OLD, day=1)
    new = committed(repository, NEW, day=2)

    assert info(client) == info(client, "main") == info(client, new.oid)
    assert info(client)["tags"][0] == "new" and info(client)["config"] == {"model_type": "bert"}


def test_a_branch_and_a_pull_request_show_their_own_card(client: Client, repository: Repository) -> None:
    committed(repository, NEW, day=1)
    services.create_branch(repository=repository, name="dev", rev="main")
    make_commit(repository, {"README.md": card("mit", "on-a-branch")}, branch="dev")
    pull = pulls.open_pull(repository=repository, by=repository.namespace.owner, title="Better")
    make_commit(repository, {"README.md": card("mit", "proposed")}, branch=pull.ref)

    assert info(client, "dev")["tags"][0] == "on-a-branch"
    assert info(client, "refs%2Fpr%2F1")["cardData"]["tags"] == ["proposed"]
    assert info(client)["tags"][0] == "new"
    assert Item.objects.get().tags[0] == "new"


def test_numbers_of_other_weights_are_unknown_and_not_mains(client: Client, repository: Repository) -> None:
    old = committed(repository, OLD, day=1)
    committed(repository, {**NEW, "model.safetensors": weights(50)}, day=2)

    assert info(client)["safetensors"]["total"] == 50
    assert "safetensors" not in info(client, old.oid)


def test_before_it_became_a_prior_it_has_no_manifest_of_one(client: Client, home: Path) -> None:
    repository = make_repository(make_user("ann"), "mail")
    plain = make_commit(repository, {"README.md": b"# Plain"})
    first = make_commit(repository, {"prior.json": json.dumps({**function_manifest("mail"), "tags": ["one"]}).encode()})
    make_commit(repository, {"prior.json": json.dumps({**function_manifest("mail"), "tags": ["two"]}).encode()})

    assert info(client, plain.oid)["tags"] == []
    assert "one" in info(client, first.oid)["tags"] and info(client, first.oid)["library_name"] == "priorhub"
    assert "two" in info(client)["tags"]


def test_expand_tells_of_the_revision_too(client: Client, repository: Repository) -> None:
    old = committed(repository, OLD, day=1)
    committed(repository, NEW, day=2)

    found = info(client, old.oid, expand=["tags", "siblings", "lastModified"])

    assert found["tags"][0] == "old" and found["lastModified"] == iso(old.created_at)
    assert [each["rfilename"] for each in found["siblings"]] == sorted(OLD)
