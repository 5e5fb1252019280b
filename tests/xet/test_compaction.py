"""Xorbs of which little is needed are rewritten, and nobody who reads or writes at that moment is led astray."""

from __future__ import annotations

import io
import os
import random
import signal
import threading
import time
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any

import hf_xet
import httpx
import numpy as np
import pytest
from django.db import connection, connections, transaction
from django.test import Client
from django.utils import timezone
from pytest_django.live_server_helper import LiveServer

from hub.accounts.models import User
from hub.ops.fsck import fsck
from hub.repos.blobs import put_blob, sweep
from hub.repos.models import Blob
from hub.repos.objects import objects
from hub.repos.storage import chunks_of, store
from hub.xet import assembled, chunkstore, compact
from hub.xet.models import Chunk, KnownXorb, Scope, Segment, Xorb
from hub.xet.reader import read_blob
from hub.xet.tokens import grant
from priors.chunks import cut
from tests.factories import make_blob, make_commit, make_repository, make_user, sha256
from tests.rounds import rounds

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def own_home(home: Path) -> Path:
    return home


@pytest.fixture
def ann() -> User:
    return make_user("ann")


def noise(size: int, seed: int = 0) -> bytes:
    return np.random.default_rng(seed).bytes(size)


LONG = noise(4_000_000)
KEPT = b"".join(chunk.data for chunk in list(cut([LONG]))[:14])
"""A file that goes, and its first chunks, which stay."""


def forget_whole_files() -> None:
    for name in list(assembled.hashes()):
        assembled.drop(name)


def stored_bytes() -> int:
    return sum(xorb.size for xorb in Xorb.objects.all())


def age() -> None:
    """Everything was touched long ago, and what was emptied, too."""
    long_ago = timezone.now() - timedelta(days=2)
    Blob.objects.update(touched_at=long_ago)
    Xorb.objects.update(touched_at=long_ago)
    Xorb.objects.exclude(retired_at=None).update(retired_at=long_ago)


def tidy() -> int:
    """A sweep a day later; how many bytes of xorbs it rewrote."""
    age()
    return sweep(grace_s=24 * 3600).compacted_bytes


def thin(ann: User) -> str:
    """A xorb of which a repository's file needs a quarter; the file's hash."""
    make_blob(LONG)
    make_commit(make_repository(ann), {"a.bin": KEPT}, by=ann)
    return sha256(KEPT)


def test_a_thin_xorb_is_rewritten_and_what_is_needed_reads_back(ann: User, home: Path) -> None:
    kept = thin(ann)
    [old] = Xorb.objects.exclude(chunks=None).order_by("pk")[:1]
    before = stored_bytes()

    freed = tidy()

    assert freed > 0.6 * before
    forget_whole_files()
    assert store().verify(kept)
    assert fsck(print) == 0
    old.refresh_from_db()
    assert old.retired_at is not None and objects().path(old.key) is not None  # for those who still read it
    assert tidy() == 0
    assert stored_bytes() <= 0.4 * before
    assert {path.relative_to(home / "blobs").as_posix() for path in (home / "blobs" / "xorbs").rglob("*.*")} == set(
        Xorb.objects.values_list("key", flat=True)
    )
    assert store().verify(kept) and fsck(print) == 0


def test_a_xorb_that_is_half_in_use_stays_and_is_not_counted_again(ann: User) -> None:
    make_blob(LONG)
    make_commit(make_repository(ann), {"a.bin": LONG[:2_500_000]}, by=ann)

    assert tidy() == 0

    assert not Xorb.objects.filter(may_be_thin=True, retired_at=None).exists()
    assert fsck(print) == 0


def test_a_xorb_that_was_touched_lately_stays(ann: User) -> None:
    thin(ann)
    age()
    Blob.objects.exclude(pk=sha256(KEPT)).delete()
    Xorb.objects.update(touched_at=timezone.now())

    assert sweep(grace_s=24 * 3600).compacted_bytes == 0


def test_what_is_left_of_several_xorbs_becomes_one(ann: User) -> None:
    contents = [noise(3_000_000, seed) for seed in range(4)]
    for content in contents:
        make_blob(content)
    middles = b"".join(content[1_000_000:1_600_000] for content in contents)
    make_commit(make_repository(ann), {"a.bin": middles, "b.bin": contents[2][1_000_000:1_600_000]}, by=ann)

    assert tidy() > 0

    assert Xorb.objects.filter(retired_at=None).count() < 5
    assert Segment.objects.filter(xorb__retired_at=None).count() == Segment.objects.count()
    forget_whole_files()
    assert store().verify(sha256(middles)) and fsck(print) == 0


def test_a_reader_in_the_middle_of_a_file_goes_on(ann: User) -> None:
    kept = thin(ann)
    forget_whole_files()
    by_file, by_chunks, begun = store().open(kept), read_blob(kept), read_blob(kept)
    first = by_file.read(10), next(begun)

    assert tidy() > 0

    assert first[0] + by_file.read() == KEPT
    assert first[1] + b"".join(begun) == KEPT
    assert b"".join(by_chunks) == KEPT


def test_a_segment_that_was_read_before_the_chunks_moved_is_looked_up_again(ann: User) -> None:
    from hub.xet.reader import chunks_at

    kept = thin(ann)
    [segment] = Segment.objects.filter(chunked=kept).select_related("xorb")
    old = segment.xorb_id
    assert tidy() > 0
    tidy()  # the old object is gone as well

    _, rows = chunks_at(segment)

    assert segment.xorb_id != old
    assert sum(row.raw_size for row in rows) == len(KEPT)


def test_an_address_given_before_is_good_until_it_expires(ann: User, client: Client) -> None:
    kept = thin(ann)
    repository = ann.namespaces.get().repositories.get()
    given = grant(ann, repository, "read")
    name = chunkstore.xet_hashes([kept])[kept]
    where, headers = f"{given.path}/v1/reconstructions/{name}", {"Authorization": f"Bearer {given.token}"}
    before = client.get(where, headers=headers).json()

    assert tidy() > 0

    after = client.get(where, headers=headers).json()
    assert set(before["fetch_info"]).isdisjoint(after["fetch_info"])
    for told in (before, after):
        [[way]] = told["fetch_info"].values()
        asked = "bytes={start}-{end}".format(**way["url_range"])
        got = client.get(way["url"].removeprefix("http://testserver"), headers={"Range": asked})
        assert got.status_code == 206
        assert len(got.getvalue()) == way["url_range"]["end"] + 1 - way["url_range"]["start"]


@pytest.mark.usefixtures("a_bucket")
def test_it_is_the_same_in_a_bucket(ann: User) -> None:
    kept = thin(ann)
    [old] = Xorb.objects.exclude(chunks=None).order_by("pk")[:1]
    address = objects().range_url(old.key, 0, 100)
    assert address is not None

    assert tidy() > 0

    assert httpx.get(address, headers={"Range": "bytes=0-99"}).status_code == 206
    assert store().verify(kept) and fsck(print) == 0
    tidy()
    assert len(list(objects().listing("xorbs/"))) == Xorb.objects.count()
    assert httpx.get(address, headers={"Range": "bytes=0-99"}).status_code == 404


def known(ann: User, name: str, *, all_of: str | None = None) -> KnownXorb:
    """A list that the scope of ann may name: the chunks of a file, or all there are."""
    scope, _ = Scope.objects.get_or_create(user=ann, namespace=ann.namespaces.get(), token=None)
    chunks = Chunk.objects.all()
    if all_of is not None:
        [segment] = Segment.objects.filter(chunked=all_of)
        chunks = chunks.filter(xorb=segment.xorb, number__gte=segment.start, number__lt=segment.stop)
    packed = b"".join(bytes(chunk.hash) + chunk.raw_size.to_bytes(4, "little") for chunk in chunks)
    row = KnownXorb.objects.create(scope=scope, hash=name, chunks=packed)
    row.lie_in.set(Xorb.objects.filter(chunks__in=chunks).distinct())
    return row


def test_clients_forget_lists_with_chunks_that_go_and_only_those(ann: User) -> None:
    kept = thin(ann)
    stays = known(ann, "1" * 64, all_of=kept)
    assert tidy() > 0
    assert list(KnownXorb.objects.all()) == [stays]
    assert Scope.objects.get().epoch == 1
    assert list(stays.lie_in.values_list("retired_at", flat=True)) == [None]
    assert fsck(print) == 0


def test_clients_begin_anew_when_a_chunk_they_may_name_has_gone(ann: User) -> None:
    thin(ann)
    known(ann, "2" * 64)

    assert tidy() > 0

    assert (KnownXorb.objects.count(), Scope.objects.get().epoch) == (0, 2)
    assert fsck(print) == 0


@pytest.mark.django_db(transaction=True)
def test_the_stock_client_names_nothing_that_has_gone(
    ann: User, live_server: LiveServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_XET_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_XET_CLIENT_RETRY_MAX_ATTEMPTS", "1")
    repository = make_repository(ann)

    def upload(content: bytes) -> None:
        given = grant(ann, repository, "write")
        with hf_xet.XetSession().new_upload_commit(
            endpoint=live_server.url + given.path, token=given.token, token_expiry_unix_secs=int(time.time()) + 3600
        ) as work:
            work.start_upload_bytes(content, sha256=hf_xet.COMPUTE_SHA256)

    upload(LONG)
    make_commit(repository, {"a.bin": KEPT}, by=ann)
    assert tidy() > 0

    upload(LONG)  # from the same memory

    assert store().verify(sha256(LONG))
    forget_whole_files()
    assert store().verify(sha256(KEPT))
    assert fsck(print) == 0


def test_a_writer_who_looked_the_places_up_before_finds_them_again(ann: User, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = thin(ann)
    places, calls = chunkstore.places, []

    def slow(hashes: Iterable[bytes]) -> Any:
        found = places(hashes)
        calls.append(1)
        if len(calls) == 1:
            Blob.objects.filter(pk=sha256(LONG)).delete()
            Xorb.objects.update(touched_at=timezone.now() - timedelta(days=2), may_be_thin=True)
            assert compact.compact(before=timezone.now() - timedelta(days=1)) > 0
        return found

    monkeypatch.setattr(chunkstore, "places", slow)
    longer = make_blob(KEPT + noise(300_000, 9))

    assert len(calls) > 1
    forget_whole_files()
    assert store().verify(longer.sha256) and store().verify(kept)
    assert fsck(print) == 0


def test_a_blob_that_comes_between_the_copy_and_the_rows_stops_it(ann: User, monkeypatch: pytest.MonkeyPatch) -> None:
    thin(ann)
    original = compact._move

    def late(*args: Any) -> Any:
        make_blob(LONG[1_000_000:2_000_000])
        return original(*args)

    monkeypatch.setattr(compact, "_move", late)

    assert tidy() == 0
    assert not Xorb.objects.exclude(retired_at=None).exists()
    assert len(list(objects().listing("xorbs/"))) == Xorb.objects.count()
    assert fsck(print) == 0


def test_a_damaged_xorb_is_not_copied(ann: User) -> None:
    thin(ann)
    [old] = Xorb.objects.exclude(chunks=None).order_by("pk")[:1]
    path = objects().path(old.key)
    assert path is not None
    content = bytearray(path.read_bytes())
    content[100] ^= 1
    path.chmod(0o644)
    path.write_bytes(content)

    assert tidy() == 0
    assert not Xorb.objects.exclude(retired_at=None).exists()


def test_chunks_that_went_can_be_sent_again(ann: User) -> None:
    thin(ann)
    tidy()

    make_blob(LONG)

    forget_whole_files()
    assert store().verify(sha256(LONG))
    names = [bytes(name) for name in Chunk.objects.values_list("hash", flat=True)]
    assert len(names) == len(set(names))
    assert fsck(print) == 0


@pytest.mark.django_db(transaction=True)
def test_writers_and_readers_beside_it_all_succeed() -> None:
    parts = [noise(700_000, seed) for seed in range(6)]
    draw, failed, over = random.Random(5), [], threading.Event()
    contents = [b"".join(draw.sample(parts, 4)) + bytes([turn]) for turn in range(12)]

    def guarded(work: Any, *args: Any) -> threading.Thread:
        def run() -> None:
            try:
                work(*args)
            except BaseException as err:
                failed.append(err)
            finally:
                connection.close()

        return threading.Thread(target=run)

    def write(mine: list[bytes]) -> None:
        for content in mine:
            put_blob(chunks_of(io.BytesIO(content)), by=None)
            assert b"".join(read_blob(sha256(content))) == content

    def upkeep() -> None:
        while not over.is_set():
            with transaction.atomic():
                Xorb.objects.filter(pk__in=chunkstore.locked(Xorb.objects.all())).update(may_be_thin=True)
            compact.compact(before=timezone.now())
            chunkstore.collect(before=timezone.now())
            time.sleep(0.01)

    make_blob(b"".join(parts))
    writers = [guarded(write, contents[turn::3]) for turn in range(3)]
    others = [guarded(upkeep)]
    for thread in [*writers, *others]:
        thread.start()
    for thread in writers:
        thread.join()
    Blob.objects.filter(pk__in=[sha256(content) for content in contents[:10]]).delete()
    time.sleep(0.3)
    over.set()
    for thread in others:
        thread.join()

    assert failed == []
    Xorb.objects.update(may_be_thin=True)
    compact.compact(before=timezone.now() + timedelta(seconds=1))
    forget_whole_files()
    assert fsck(print) == 0
    assert all(store().verify(sha256(content)) for content in contents[10:])


@pytest.mark.soak
@pytest.mark.django_db(transaction=True)
def test_a_kill_at_any_moment_leaves_nothing_wrong(home: Path) -> None:
    draw = random.Random(time.time_ns())
    kept: list[bytes] = []
    for turn in rounds(6, 50):
        whole = noise(3_000_000, 100 + turn)
        make_blob(whole)
        kept.append(whole[1_000_000:1_700_000])
        make_blob(kept[-1])
        Blob.objects.filter(pk=sha256(whole)).delete()
        Xorb.objects.update(may_be_thin=True, touched_at=timezone.now() - timedelta(days=2))
        connections.close_all()  # a child must not speak through its parent's connection
        child = os.fork()
        if child == 0:
            try:
                compact.compact(before=timezone.now() - timedelta(days=1))
            finally:
                os._exit(0)
        time.sleep(draw.uniform(0.0, 0.15))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        assert fsck(print) == 0
        forget_whole_files()
        assert all(store().verify(sha256(content)) for content in kept)

    age()
    Blob.objects.update(touched_at=timezone.now())
    for path in (home / "blobs").rglob("*"):
        os.utime(path, (1_000_000, 1_000_000))
    for _ in range(2):
        sweep(grace_s=3600)
        age()
        Blob.objects.update(touched_at=timezone.now())
        for path in (home / "blobs").rglob("*"):
            os.utime(path, (1_000_000, 1_000_000))
    sweep(grace_s=3600)
    left = {path.relative_to(home / "blobs").as_posix() for path in (home / "blobs").rglob("*") if path.is_file()}
    assert left == set(Xorb.objects.values_list("key", flat=True))
    assert stored_bytes() < 1.6 * sum(map(len, kept))
    assert fsck(print) == 0
