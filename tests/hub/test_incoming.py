"""Many small files of one request are stored together: as surely as one by one, and with few waits for the disk."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from hub.accounts.models import User
from hub.errors import OverQuota
from hub.repos import incoming
from hub.repos.blobs import drop_unused, put_blob
from hub.repos.incoming import Incoming
from hub.repos.models import Blob, BlobUpload, Namespace, Reservation
from hub.repos.services import read_file
from hub.repos.storage import store
from tests.factories import make_commit, make_repository, make_user, sha256

pytestmark = pytest.mark.django_db


@pytest.fixture
def ann(home: Path) -> User:
    return make_user("ann")


@pytest.fixture
def place(ann: User) -> Namespace:
    namespace = Namespace.objects.get(owner=ann)
    namespace.quota_bytes = 1200
    namespace.save()
    return namespace


def drafts(home: Path) -> list[Path]:
    return [path for path in home.rglob("*") if path.is_file() and path.parent.name == "tmp"]


def test_all_are_there_when_the_block_ends_and_each_may_be_committed(ann: User, home: Path) -> None:
    files = [b"%d" % number for number in range(30)] + [b"1", b"", b"x" * 200_000]
    with Incoming(by=ann) as taken:
        kept = [taken.keep(iter([data])).sha256 for data in files]
        assert Blob.objects.count() == 1  # the large one

    assert kept == [sha256(data) for data in files]
    for data in files:
        with store().open(sha256(data)) as file:
            assert file.read() == data
    assert BlobUpload.objects.filter(user=ann).count() == Blob.objects.count() == 32
    assert drafts(home) == []


def test_bytes_are_on_the_disk_before_their_names_and_rows(ann: User, monkeypatch: pytest.MonkeyPatch) -> None:
    synced, real = set(), os.fsync

    def fsync(descriptor: int) -> None:
        synced.add(os.fstat(descriptor).st_ino)
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    with Incoming(by=ann) as taken:
        kept = [taken.keep(iter([b"%d" % number])).sha256 for number in range(20)]

    for each in kept:
        path = store().path(each)
        assert {path.stat().st_ino, path.parent.stat().st_ino} <= synced


def test_a_block_that_fails_leaves_nothing_and_takes_no_room(ann: User, place: Namespace, home: Path) -> None:
    with pytest.raises(OverQuota), Incoming(by=ann, place=place) as taken:
        for number in range(20):
            taken.keep(iter([bytes([number]) * 100]))

    assert Blob.objects.count() == Reservation.objects.count() == 0
    assert drafts(home) == []


def test_what_waits_counts_once_until_a_commit_has_it(ann: User, place: Namespace) -> None:
    with Incoming(by=ann, place=place) as taken:
        for data in (b"a" * 400, b"b" * 300, b"a" * 400):
            taken.keep(iter([data]))
            with pytest.raises(OverQuota):
                taken.keep(iter([b"c" * 900]))

    assert dict(Reservation.objects.values_list("sha256", "size")) == {sha256(b"a" * 400): 400, sha256(b"b" * 300): 300}


def test_bytes_that_were_there_are_kept_as_they_are(ann: User) -> None:
    bob = make_user("bob")
    put_blob([b"old"], by=bob)
    Blob.objects.update(git_oid="as it was")

    with Incoming(by=ann) as taken:
        taken.keep(iter([b"old"]))
        taken.keep(iter([b"new"]))

    assert Blob.objects.get(pk=sha256(b"old")).git_oid == "as it was"
    assert set(BlobUpload.objects.filter(blob=sha256(b"old")).values_list("user__username", flat=True)) == {
        "ann",
        "bob",
    }


def test_a_thousand_cost_the_queries_of_a_few(ann: User, monkeypatch: pytest.MonkeyPatch) -> None:
    def pieces(number: int) -> Iterator[bytes]:
        yield b"%d" % number

    def queries(count: int) -> int:
        with CaptureQueriesContext(connection) as asked, Incoming(by=ann) as taken:
            for number in range(count):
                taken.keep(pieces(number + count * 1000))
        return len(asked)

    monkeypatch.setattr(incoming, "_MOST_WAITING", 200)

    assert queries(0) == 0
    assert queries(200) <= queries(20) + 5  # SQLite takes 999 values a statement
    assert queries(400) <= 2 * queries(20) + 10


def test_many_small_files_go_together_too_but_for_those_that_something_needs(ann: User, home: Path) -> None:
    files = [b"%d" % number for number in range(130)]
    kept = make_commit(make_repository(ann, "kept"), {"a.txt": files[0]}, by=ann)
    with Incoming(by=ann) as taken:
        hashes = [taken.keep(iter([data])).sha256 for data in files]

    with CaptureQueriesContext(connection) as queries:
        removed = drop_unused(hashes)

    assert removed == 129
    assert len(queries) < 130
    assert list(Blob.objects.filter(sha256__in=hashes).values_list("sha256", flat=True)) == [hashes[0]]
    assert [found for found, _ in store().stored() if found in hashes] == [hashes[0]]
    assert read_file(kept, "a.txt") == files[0]
