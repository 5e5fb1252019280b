"""What goes away while a commit is being made: bytes that a sweep takes, folders, the repository itself."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from django.db import connection, transaction

from hub.accounts.models import User
from hub.errors import BlobMissing
from hub.repos import commits, discussions, services, trees
from hub.repos.blobs import drop_unused
from hub.repos.commits import Put
from hub.repos.models import Repository
from hub.repos.trees import FileEntry
from priors.errors import NotFound
from tests.factories import make_blob, make_commit, make_repository, make_user


@pytest.fixture
def ann(home: Path, transactional_db: None) -> User:
    return make_user("ann")


def before_the_lock(monkeypatch: pytest.MonkeyPatch, happens: Any) -> None:
    """Lets something happen between the checks of a commit and its transaction."""
    prepare = commits._prepare

    def prepared(*args: Any) -> Any:
        ready = prepare(*args)
        happens()
        return ready

    monkeypatch.setattr(commits, "_prepare", prepared)


def test_a_blob_that_a_sweep_takes_before_the_commit_is_said_to_be_missing(
    ann: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository, blob = make_repository(ann), make_blob(b"going", by=ann)
    before_the_lock(monkeypatch, lambda: drop_unused([blob.sha256]))

    with pytest.raises(BlobMissing, match="were removed meanwhile"):
        commits.commit(repository=repository, changes=[Put("a", blob.sha256)], message="Add", by=ann)


def test_a_repository_that_is_deleted_before_the_commit_is_said_to_be_gone(
    ann: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = make_repository(ann)
    before_the_lock(monkeypatch, lambda: services.delete_repository(Repository.objects.get(pk=repository.pk)))

    with pytest.raises(NotFound, match="it was deleted"):
        make_commit(repository, {"a": b"1"}, by=ann)


@pytest.mark.parametrize("what", ["blob", "folder"])
def test_a_sweep_waits_for_the_commit_that_comes_to_need_something(
    ann: User, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    repository, written, note = make_repository(ann), threading.Event(), commits.note_commit
    blob = make_blob(b"needed", by=ann)
    with transaction.atomic():
        folder = trees.write({"a": FileEntry("a", blob)}) if what == "folder" else ""

    def slowly(*args: Any) -> None:
        note(*args)
        written.set()
        time.sleep(0.5)

    def sweep_meanwhile() -> int:
        try:
            written.wait(20)
            return trees.drop_unused([folder]) if folder else drop_unused([blob.sha256])
        finally:
            connection.close()

    monkeypatch.setattr(commits, "note_commit", slowly)
    with ThreadPoolExecutor(1) as pool:
        swept = pool.submit(sweep_meanwhile)
        made = commits.commit(repository=repository, changes=[Put("a", blob.sha256)], message="Add", by=ann)

    assert swept.result() == 0
    assert services.read_file(made, "a") == b"needed"


def test_a_discussion_of_a_repository_that_was_deleted_meanwhile_is_refused_clearly(
    ann: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = make_repository(ann)
    require = discussions.require

    def required(*args: Any) -> None:
        require(*args)
        services.delete_repository(Repository.objects.get(pk=repository.pk))

    monkeypatch.setattr(discussions, "require", required)

    with pytest.raises(NotFound, match="it was deleted"):
        discussions.open_discussion(repository=repository, by=ann, title="Late")
