from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from hub.accounts.models import User
from hub.errors import OverQuota
from hub.jobs.cleanup import delete_repository
from hub.repos import commits, pulls, quotas, services
from hub.repos.blobs import put_blob
from hub.repos.commits import Put, Remove
from hub.repos.models import Blob, Namespace, Repository, Reservation
from tests.factories import bearer, make_blob, make_commit, make_repository, make_user, sha256

pytestmark = pytest.mark.django_db
KB = 1000


@pytest.fixture(autouse=True)
def own_home(home: Path, settings: Settings) -> Path:
    settings.STORAGE_QUOTA_BYTES = 100 * KB
    return home


@pytest.fixture
def ann() -> User:
    return make_user("ann")


@pytest.fixture
def space(ann: User) -> Namespace:
    return ann.namespaces.get()


def some(size: int, fill: str = "a") -> bytes:
    return fill.encode() * size


def send(client: Client, data: bytes, headers: dict[str, str]) -> int:
    return client.put(
        f"/api/v1/blobs/{sha256(data)}", data, content_type="application/octet-stream", headers=headers
    ).status_code


def test_an_upload_over_the_quota_is_refused_before_it_is_stored(client: Client, ann: User) -> None:
    headers = bearer(ann)
    assert send(client, some(60 * KB), headers) == 201

    answer = client.put(f"/api/v1/blobs/{sha256(some(50 * KB, 'b'))}", some(50 * KB, "b"), headers=headers)

    assert (answer.status_code, answer.json()["code"]) == (413, "over-quota")
    assert "ann has 40,000 bytes left of 100,000" in answer.json()["detail"]
    assert Blob.objects.count() == Reservation.objects.count() == 1
    assert send(client, some(40 * KB, "b"), headers) == 201


def test_the_same_bytes_count_once(client: Client, ann: User, space: Namespace) -> None:
    for _ in range(3):
        assert send(client, some(60 * KB), bearer(ann)) == 201

    assert quotas.use_of(space).used == 60 * KB
    make_commit(make_repository(ann), {"a.txt": some(60 * KB), "b.txt": some(60 * KB)}, by=ann)
    make_commit(make_repository(ann), {"a.txt": some(60 * KB)}, by=ann)
    assert quotas.use_of(space) == quotas.Use(60 * KB, 100 * KB)


def test_a_broken_upload_gives_its_room_back(space: Namespace) -> None:
    def chunks() -> Iterator[bytes]:
        yield some(30 * KB)
        raise ConnectionError

    with pytest.raises(ConnectionError), quotas.reserved(space, 90 * KB) as room:
        put_blob(quotas.counted(chunks(), room), by=None)

    assert quotas.use_of(space).used == 0


def test_a_body_longer_than_announced_is_stopped_at_the_quota(space: Namespace) -> None:
    taken = []

    def chunks() -> Iterator[bytes]:
        for _ in range(20):
            taken.append(1)
            yield some(10 * KB)

    with pytest.raises(OverQuota), quotas.reserved(space) as room:
        for _ in quotas.counted(chunks(), room):
            pass

    assert len(taken) == 11
    assert quotas.use_of(space).used == 0


def test_the_room_of_a_dead_writer_comes_back(space: Namespace) -> None:
    quotas.Room(space, 90 * KB)
    assert quotas.use_of(space).left == 10 * KB

    Reservation.objects.update(expires_at=timezone.now() - timedelta(seconds=1))

    assert quotas.use_of(space).left == 100 * KB
    assert quotas.clean() == 1


def test_a_commit_of_bytes_that_were_never_reserved_is_refused_whole(ann: User, space: Namespace) -> None:
    repository = make_repository(ann)
    make_commit(repository, {"a.txt": some(90 * KB)}, by=ann)
    blob = make_blob(some(20 * KB, "b"), by=ann)

    with pytest.raises(OverQuota):
        commits.commit(repository=repository, changes=[Put("b.txt", blob.sha256)], message="", by=ann)

    assert quotas.use_of(space).used == 90 * KB
    assert repository.commits.count() == 1


def test_whoever_is_over_may_still_remove(ann: User, space: Namespace, settings: Settings) -> None:
    repository = make_repository(ann)
    make_commit(repository, {"a.txt": some(90 * KB), "b.txt": b"b"}, by=ann)
    settings.STORAGE_QUOTA_BYTES = 10 * KB

    commits.commit(repository=repository, changes=[Remove("b.txt")], message="", by=ann)
    delete_repository(repository, by=ann)

    assert quotas.use_of(space).used == 0


def test_a_namespace_may_have_a_quota_of_its_own_or_none_at_all(space: Namespace, settings: Settings) -> None:
    space.quota_bytes = 5
    assert quotas.use_of(space).left == 5
    space.quota_bytes, settings.STORAGE_QUOTA_BYTES = None, 0

    assert quotas.use_of(space).left is None
    quotas.Room(space, 1 << 50)
    assert not Reservation.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_parallel_uploads_never_store_more_than_the_quota(ann: User, space: Namespace) -> None:
    stored, start = [], threading.Barrier(20)

    def upload(number: int) -> None:
        data = some(10 * KB, chr(ord("a") + number))
        start.wait()
        try:
            with quotas.reserved(space, len(data)) as room:
                blob = put_blob(quotas.counted([data], room), by=ann)
                room.settle(blob.sha256, blob.size)
            stored.append(number)
        except OverQuota:
            pass
        finally:
            connection.close()

    threads = [threading.Thread(target=upload, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(stored) == Blob.objects.count() == 10
    assert quotas.use_of(space) == quotas.Use(100 * KB, 100 * KB)


def test_a_copy_over_the_quota_leaves_no_empty_repository(client: Client, ann: User, settings: Settings) -> None:
    source = make_repository(make_user("ben"), "big")
    settings.STORAGE_QUOTA_BYTES = 0
    make_commit(source, {"a.bin": some(150 * KB)})
    settings.STORAGE_QUOTA_BYTES = 100 * KB

    answer = client.post(
        "/api/models/ben/big/duplicate", {"repository": "ann/copy"}, content_type="application/json",
        headers=bearer(ann),
    )  # fmt: skip

    assert answer.status_code == 413, answer.content
    assert not Repository.objects.filter(name="copy").exists()


def test_bytes_announced_as_few_are_counted_as_they_come(client: Client, ann: User, space: Namespace) -> None:
    data, headers = some(90 * KB), bearer(ann)
    make_commit(make_repository(ann), {"a.bin": some(20 * KB, "b")}, by=ann)
    with quotas.reserved(space, 10, sha256=sha256(data)) as room:
        room.settle(sha256(data), 10)

    assert send(client, data, headers) == 413
    assert quotas.use_of(space).used == 20 * KB + 10


def test_files_added_to_a_pull_request_on_its_page_count_for_who_adds_them(client: Client, ann: User) -> None:
    repository, ben = make_repository(ann), make_user("ben")
    make_commit(repository, {"a": b"1"}, by=ann)
    pulls.open_pull(repository=repository, by=ben, title="More")
    client.force_login(ben)

    answer = client.post(f"/{repository}/discussions/1/files", {"uploads": SimpleUploadedFile("b.bin", some(120 * KB))})

    assert answer.status_code == 413
    assert not Blob.objects.filter(pk=sha256(some(120 * KB))).exists()


def propose(ann: User, size: int) -> tuple[Repository, User]:
    """A repository of ann's with a pull request of ben's that adds a file of so many bytes."""
    repository, ben = make_repository(ann), make_user("ben")
    make_commit(repository, {"a": b"1"}, by=ann)
    pull = pulls.open_pull(repository=repository, by=ben, title="More")
    make_commit(repository, {"b.bin": some(size, "b")}, by=ben, branch=pull.ref, replace=False)
    return repository, ben


def test_what_is_proposed_counts_for_who_proposed_it_until_it_is_merged(ann: User, space: Namespace) -> None:
    repository, ben = propose(ann, 60 * KB)

    assert (quotas.use_of(space).used, quotas.use_of(ben.namespaces.get()).used) == (1, 60 * KB)
    pulls.merge(pull=repository.discussions.get(), by=ann)
    assert (quotas.use_of(space).used, quotas.use_of(ben.namespaces.get()).used) == (60 * KB + 1, 0)


def test_nobody_proposes_more_than_they_may_store(ann: User) -> None:
    with pytest.raises(OverQuota, match="ben has"):
        propose(ann, 101 * KB)


def test_an_owner_without_room_cannot_merge(ann: User, space: Namespace) -> None:
    repository, ben = propose(ann, 60 * KB)
    make_commit(make_repository(ann), {"c.bin": some(50 * KB, "c")}, by=ann)

    with pytest.raises(OverQuota, match="ann has"):
        pulls.merge(pull=repository.discussions.get(), by=ann)

    assert quotas.use_of(ben.namespaces.get()).used == 60 * KB


@pytest.mark.parametrize("make", [services.create_branch, services.create_tag])
def test_an_owner_who_names_a_proposal_takes_it_over(ann: User, space: Namespace, make: Any) -> None:
    repository, ben = propose(ann, 60 * KB)

    make(repository=repository, name="theirs", rev="refs/pr/1")

    assert (quotas.use_of(space).used, quotas.use_of(ben.namespaces.get()).used) == (60 * KB + 1, 0)
