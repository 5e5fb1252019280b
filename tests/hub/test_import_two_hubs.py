"""Copying from one Priorhub to another: a second hub with a home, a database and a port of its own is the source."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pytest_django import Settings
from safetensors.numpy import save

from hub.accounts.models import User
from hub.jobs import services, tasks
from hub.jobs.models import Job
from hub.repos.models import Repository
from hub.repos.services import files
from priors.client import Cache, Hub
from tests.factories import function_manifest, make_user, sha256
from tests.live import LiveHub

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]  # test_import.py has a hub made up

CARD = b"---\nlicense: mit\nlanguage: [de]\n---\n# Copied\n"


@pytest.fixture
def ann(home: Path) -> User:
    return make_user("ann")


@pytest.fixture
def there(live_hub: LiveHub, settings: Settings, tmp_path: Path) -> Any:
    """The other hub, as its user `source`."""
    settings.IMPORT_ENDPOINTS = {"other": live_hub.url}
    settings.IMPORT_ALLOW_PRIVATE = True
    with Hub(live_hub.url, live_hub.token("source"), cache=Cache(tmp_path / "cache")) as hub:
        yield hub


def publish(hub: Hub, folder: Path, repo: str, contents: dict[str, bytes], **options: Any) -> str:
    for name, content in contents.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return hub.push(folder, repo, **options)


def copy(owner: User, source: str, to: str, **spec: Any) -> Job:
    job = services.submit(kind="import", spec={"source": source, "push_to": to} | spec, owner=owner, again=True)
    tasks.run_job(str(job.pk))
    job.refresh_from_db()
    return job


def contents(name: str) -> dict[str, str]:
    return {file.path: file.sha256 for file in files(Repository.objects.named(name).get().head)}


def test_a_model_arrives_byte_for_byte_and_a_revision_when_asked_for(there: Hub, ann: User, tmp_path: Path) -> None:
    model = {
        "README.md": CARD, "config.json": b'{"model_type": "bert"}', "sub folder/a+b.txt": b"text", "empty.txt": b"",
        "model.safetensors": save({"w": np.random.default_rng(1).standard_normal(800_000, dtype=np.float32)}),
    }  # fmt: skip
    first = publish(there, tmp_path / "m", "source/model", model)
    second = publish(there, tmp_path / "m", "source/model", {"config.json": b'{"model_type": "other"}'})

    newest = copy(ann, "other:source/model", "ann/newest")
    older = copy(ann, "other:source/model", "ann/older", rev=first)

    assert (newest.error, older.error) == (None, None)
    assert newest.result["source_commit"] == second
    assert contents("ann/older") == {path: sha256(content) for path, content in model.items()}
    assert contents("ann/newest")["config.json"] == sha256(b'{"model_type": "other"}')
    provenance = Repository.objects.named("ann/older").get().provenance
    assert (provenance["commit"], provenance["repo"]) == (first, "source/model")


def test_a_prior_arrives_as_one(there: Hub, ann: User, tmp_path: Path) -> None:
    publish(there, tmp_path / "p", "source/grams", {"prior.json": json.dumps(function_manifest("grams")).encode()})

    assert copy(ann, "other:source/grams", "ann/grams").error is None
    assert Repository.objects.named("ann/grams").get().kind == "prior"


def test_what_is_private_there_does_not_exist_here_and_what_is_gated_says_so(
    there: Hub, ann: User, tmp_path: Path
) -> None:
    publish(there, tmp_path / "s", "source/secret", {"a.bin": os.urandom(1000)}, private=True)
    publish(there, tmp_path / "g", "source/gated", {"a.bin": os.urandom(1000)})
    there.settings("source/gated", gated="manual")

    assert copy(ann, "other:source/secret", "ann/secret").error["code"] == "not-found"
    assert copy(ann, "other:source/gated", "ann/gated").error["code"] == "not-allowed"
    assert Repository.objects.count() == 0


def test_an_address_that_moved_there_is_followed(there: Hub, ann: User, tmp_path: Path) -> None:
    publish(there, tmp_path / "m", "source/before", {"a.txt": b"a"})
    there.move("source/before", "source/after")

    job = copy(ann, "other:source/before", "ann/copy")

    assert job.error is None
    assert contents("ann/copy") == {"a.txt": sha256(b"a")}


def test_a_token_of_the_other_hub_opens_what_is_private_there_and_becomes_private_here(
    there: Hub, live_hub: LiveHub, ann: User, tmp_path: Path
) -> None:
    model = {"README.md": CARD, "a.bin": os.urandom(300_000)}
    publish(there, tmp_path / "s", "source/secret", model, private=True)
    given = {"source": "other:source/secret", "push_to": "ann/secret"}

    for token, code in ((live_hub.token("stranger"), "not-found"), (live_hub.token("source"), None)):
        job = services.submit(kind="import", spec=given, owner=ann, again=True, source_token=token)
        tasks.run_job(str(job.pk))
        job.refresh_from_db()
        assert (job.error or {}).get("code") == code

    assert contents("ann/secret") == {path: sha256(content) for path, content in model.items()}
    assert Repository.objects.named("ann/secret").get().private
