"""Chunks are the truth on disk: what is shared is stored once, what is read is checked, what is unused goes."""

from __future__ import annotations

import hashlib
import io
import os
import random
import threading
from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.db import connection
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pytest_django import Settings

from hub.errors import BlobLost
from hub.ops.fsck import fsck
from hub.repos import blobs
from hub.repos.blobs import drop_unused, put_blob, sweep
from hub.repos.models import Blob
from hub.repos.storage import chunks_of, store
from hub.xet import assembled, chunkstore
from hub.xet.models import Chunk, KnownXorb, Scope, Segment, Xorb
from hub.xet.xorbs import pack
from priors.chunks import cut
from tests.factories import make_blob, make_commit, make_repository, make_user, sha256

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def own_home(home: Path) -> Path:
    return home


def noise(size: int, seed: int = 0) -> bytes:
    return np.random.default_rng(seed).bytes(size)


def stored_bytes(home: Path) -> int:
    return sum(path.stat().st_size for path in (home / "blobs").rglob("*") if path.is_file())


def forget_whole_files() -> None:
    for name in list(assembled.hashes()):
        assembled.drop(name)


def weights(*, changed: float = 0.0) -> bytes:
    """Two tensors of float32 behind a header; the last part of the second one differs."""
    draw = np.random.default_rng(7)
    first = draw.standard_normal(1_500_000).astype(np.float32)
    second = draw.standard_normal(1_500_000).astype(np.float32)
    if changed:
        start = int(len(second) * (1 - changed))
        second[start:] += np.float32(0.5)
    return b'{"a":[0,6000000],"b":[6000000,12000000]}'.ljust(64) + first.tobytes() + second.tobytes()


def test_a_large_blob_lies_in_chunks_and_reads_back(home: Path) -> None:
    data = noise(3_000_000)
    blob = make_blob(data)
    forget_whole_files()

    assert not (home / "blobs" / "sha256").exists()
    assert Segment.objects.filter(chunked=blob.sha256).count() == Xorb.objects.count() == 1
    with store().open(blob.sha256) as file:
        assert file.read() == data
    assert store().path(blob.sha256).read_bytes() == data
    assert store().verify(blob.sha256)
    assert fsck(print) == 0


def test_a_small_blob_lies_whole(home: Path) -> None:
    make_blob(noise(chunkstore.WHOLE_MAX_BYTES))

    assert (Xorb.objects.count(), stored_bytes(home)) == (0, chunkstore.WHOLE_MAX_BYTES)


def test_sending_the_same_again_costs_nothing(home: Path) -> None:
    make_blob(weights())
    before = stored_bytes(home), Chunk.objects.count()

    make_blob(weights())
    Blob.objects.all().delete()  # the rows go, the chunks stay: only those count
    make_blob(weights())

    assert (stored_bytes(home), Chunk.objects.count()) == before


def test_one_percent_of_a_tensor_changed_costs_less_than_five_percent(home: Path) -> None:
    make_blob(weights())
    before = stored_bytes(home)

    blob = make_blob(weights(changed=0.01))

    assert stored_bytes(home) - before <= 0.05 * len(weights())
    forget_whole_files()
    with store().open(blob.sha256) as file:
        assert file.read() == weights(changed=0.01)


def test_bytes_put_into_the_middle_cost_a_few_chunks(home: Path) -> None:
    data = noise(4_000_000)
    make_blob(data)
    before = stored_bytes(home)

    make_blob(data[:1_000_000] + b"inserted" + data[1_000_000:])

    assert stored_bytes(home) - before <= 3 * 128 * 1024


def test_floats_and_text_take_less_than_their_size(home: Path) -> None:
    make_blob(weights())
    assert stored_bytes(home) < 0.95 * len(weights())


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(start=st.integers(0, 1_200_000), length=st.integers(0, 400_000))
def test_any_range_reads_as_from_a_file(start: int, length: int) -> None:
    data = noise(1_000_000, 1)
    blob = make_blob(data + noise(3_000, 2) + data[:200_000])  # repeats itself: several segments
    forget_whole_files()
    whole = data + noise(3_000, 2) + data[:200_000]

    with store().open(blob.sha256) as file:
        file.seek(start)
        assert file.read(length) == whole[start : start + length]
        assert file.tell() == max(start, min(start + length, len(whole))) if start <= len(whole) else True
        file.seek(-10, io.SEEK_END)
        assert file.read() == whole[-10:]


def test_a_changed_byte_is_never_read_and_is_found_by_fsck(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ann = make_user()
    commit = make_commit(make_repository(ann), {"a.bin": noise(2_000_000)}, by=ann)
    forget_whole_files()
    [xorb] = (home / "blobs" / "xorbs").rglob("*.*")
    content = bytearray(xorb.read_bytes())
    content[1_000_000] ^= 1
    xorb.chmod(0o644)
    xorb.write_bytes(content)
    name = commit.tree.entries.get(name="a.bin").blob_id

    with pytest.raises(BlobLost, match="has changed"), store().open(name) as file:
        file.read()
    with pytest.raises(BlobLost):
        store().path(name)
    assert not store().verify(name)
    assert list(assembled.hashes()) == []
    assert fsck(print) == 2
    assert f"blob {name}" in (out := capsys.readouterr().out) and "xorb " in out


def test_fsck_finds_rows_that_were_changed() -> None:
    make_blob(noise(1_000_000))
    Chunk.objects.filter(number=3).update(offset=5)
    assert fsck(print) > 0


def test_whole_files_are_a_cache_of_bounded_size(settings: Settings) -> None:
    made = [make_blob(noise(1_000_000, seed)) for seed in range(3)]
    for age, blob in enumerate(made):
        path = assembled.cached(blob.sha256)
        assert path is not None  # an upload leaves its file there
        os.utime(path, (1_000_000 - age, 1_000_000 - age))
    settings.ASSEMBLED_MAX_BYTES = 2_100_000

    assert assembled.evict() == 1
    assert {blob.sha256 for blob in made[:2]} == set(assembled.hashes())
    assert store().path(made[2].sha256).read_bytes() == noise(1_000_000, 2)
    assert set(assembled.hashes()) == {made[0].sha256, made[2].sha256}


def test_chunks_go_when_no_blob_needs_them(home: Path) -> None:
    ann = make_user()
    shared = noise(1_000_000)
    kept = make_commit(make_repository(ann), {"a.bin": shared}, by=ann)
    make_blob(shared + noise(500_000, 1))
    Blob.objects.update(touched_at=timezone.now() - timedelta(days=2))
    Xorb.objects.update(touched_at=timezone.now() - timedelta(days=2))

    swept = sweep(grace_s=24 * 3600)

    assert (swept.blobs, swept.xorbs) == (1, 1)
    assert Xorb.objects.count() == len(list((home / "blobs" / "xorbs").rglob("*.*"))) == 1
    forget_whole_files()
    assert store().verify(kept.tree.entries.get(name="a.bin").blob_id)
    assert fsck(print) == 0


def test_fresh_chunks_wait_for_their_blob() -> None:
    data = noise(500_000)
    chunkstore.keep(lambda: _incoming(data))

    assert sweep(grace_s=3600).xorbs == 0
    assert sweep(grace_s=0).xorbs == 1


def _incoming(data: bytes) -> list[chunkstore.Incoming]:
    return [chunkstore.Incoming(chunk.hash, len(chunk.data), partial(pack, chunk.data)) for chunk in cut([data])]


def test_what_its_owner_deletes_leaves_the_disk_at_once(home: Path) -> None:
    blob = make_blob(noise(1_000_000))

    assert drop_unused([blob.sha256]) == 1
    assert [path for path in home.rglob("*") if path.is_file() and path.stat().st_size > 100_000] == []


def test_a_sweep_between_the_chunks_and_the_blob_does_no_harm(monkeypatch: pytest.MonkeyPatch) -> None:
    put_pieces, calls = blobs.put_pieces, []

    def swept_before(*args: Any, **options: Any) -> Blob:
        calls.append(1)
        if len(calls) <= 2:
            chunkstore.collect(before=timezone.now())
        return put_pieces(*args, **options)

    monkeypatch.setattr(blobs, "put_pieces", swept_before)
    blob = make_blob(noise(1_000_000))

    assert len(calls) == 3
    assert store().verify(blob.sha256)


def test_clients_forget_what_was_collected() -> None:
    ann = make_user()
    scope = Scope.objects.create(user=ann, namespace=ann.namespaces.get())
    chunkstore.keep(lambda: _incoming(noise(500_000)))
    known = KnownXorb.objects.create(scope=scope, hash="0" * 64, chunks=b"")
    known.lie_in.set(Xorb.objects.all())

    sweep(grace_s=0)

    scope.refresh_from_db()
    assert (scope.epoch, KnownXorb.objects.count()) == (2, 0)


def test_strays_of_dead_writers_are_swept_and_fresh_ones_are_not(home: Path) -> None:
    for age in (0, 1_000_000):
        path = home / "blobs" / "xorbs" / "00" / f"{age}.stray"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"no row")
        if age:
            os.utime(path, (age, age))

    assert sweep(grace_s=0).strays == 1
    assert [path.name for path in (home / "blobs" / "xorbs").rglob("*.stray")] == ["0.stray"]


@pytest.mark.django_db(transaction=True)
def test_many_writers_of_overlapping_bytes_beside_a_sweep_all_succeed(home: Path) -> None:
    parts = [noise(300_000, seed) for seed in range(5)]
    draw = random.Random(3)
    contents = [b"".join(draw.sample(parts, 3)) for _ in range(12)]
    failed: list[BaseException] = []

    def work(mine: Sequence[bytes]) -> None:
        try:
            for content in mine:
                put_blob(chunks_of(io.BytesIO(content)), by=None)
        except BaseException as err:
            failed.append(err)
        finally:
            connection.close()

    def clean() -> None:
        try:
            for _ in range(10):
                chunkstore.collect(before=timezone.now())
        finally:
            connection.close()

    threads = [threading.Thread(target=work, args=(contents[turn::4],)) for turn in range(4)]
    threads.append(threading.Thread(target=clean))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert failed == []
    forget_whole_files()
    for content in contents:
        assert store().verify(sha256(content))
    assert fsck(print) == 0
    names = [bytes(name) for name in Chunk.objects.values_list("hash", flat=True)]
    assert len(names) == len(set(names))


def test_uploads_and_the_hash_of_their_bytes_agree() -> None:
    data = noise(200_000)
    assert make_blob(data).sha256 == hashlib.sha256(data).hexdigest()
    assert blobs.put_blob([data], by=None) == make_blob(data)
