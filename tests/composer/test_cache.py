"""Features on disk: computed once, whoever asks and however they end."""

import errno
import multiprocessing
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from composer import cache as module
from composer.cache import FeatureCache, data_hash
from priors.errors import BadTable, UserError

A, B, DATA = "a" * 64, "b" * 64, "d" * 64


class Counting:
    """Computes a (3, 2) array a node, and remembers what it was asked for."""

    def __init__(self):
        self.asked = []

    def __call__(self, missing):
        self.asked.append(list(missing))
        return {node: np.full((3, 2), float(ord(node[0])), np.float32) for node in missing}


def files(root: Path) -> list[str]:
    return sorted(path.name for path in root.glob("*/*") if path.suffix != ".lock")


def test_what_was_computed_is_read_the_next_time(tmp_path):
    compute = Counting()
    first = FeatureCache(tmp_path).get([A, B], DATA, compute)
    again = FeatureCache(tmp_path).get([B, A], DATA, compute)

    assert compute.asked == [[A, B]]
    assert set(first) == set(again) == {A, B}
    for node in (A, B):
        assert np.array_equal(first[node], again[node])
        assert again[node].dtype == np.float32
        assert not again[node].flags.writeable


def test_only_what_is_missing_is_computed_and_once_each(tmp_path):
    compute, cache = Counting(), FeatureCache(tmp_path)
    cache.get([A], DATA, compute)
    cache.get([A, B, B], DATA, compute)
    cache.get([A], "e" * 64, compute)

    assert compute.asked == [[A], [B], [A]]


@pytest.mark.parametrize(
    "content", [b"", b"\x93NUM", b"not an array", b"\x93NUMPY\x01\x00v\x00{'descr': (\n" + b" " * 120, None]
)
def test_a_broken_file_is_computed_again(tmp_path, content):
    compute, cache = Counting(), FeatureCache(tmp_path)
    cache.get([A], DATA, compute)
    [path] = tmp_path.glob("*/*.npy")
    path.write_bytes(path.read_bytes()[:-5] if content is None else content)

    found = cache.get([A], DATA, compute)

    assert compute.asked == [[A], [A]]
    assert (found[A] == ord("a")).all()
    assert np.array_equal(np.load(path), found[A])


def test_work_that_fails_leaves_nothing_behind(tmp_path):
    def fail(missing):
        raise RuntimeError("no")

    cache = FeatureCache(tmp_path)
    with pytest.raises(RuntimeError):
        cache.get([A], DATA, fail)

    assert files(tmp_path) == []
    assert cache.get([A], DATA, Counting())[A].shape == (3, 2)


def _slowly(root, log, ready):
    def compute(missing):
        with Path(log).open("a") as file:
            file.write(f"{os.getpid()}\n")
        time.sleep(0.3)
        return {node: np.ones((2, 2), np.float32) for node in missing}

    ready.wait()
    found = FeatureCache(root).get([A], DATA, compute)
    raise SystemExit(0 if (found[A] == 1).all() else 1)


def test_two_processes_that_want_the_same_compute_it_once(tmp_path):
    context = multiprocessing.get_context("fork")
    ready = context.Event()
    arguments = (tmp_path / "cache", tmp_path / "log", ready)
    workers = [context.Process(target=_slowly, args=arguments) for _ in range(2)]
    for worker in workers:
        worker.start()
    ready.set()
    for worker in workers:
        worker.join(20)

    assert [worker.exitcode for worker in workers] == [0, 0]
    assert len((tmp_path / "log").read_text().split()) == 1


def _killed_while_writing(root):
    def save_half(file, array, allow_pickle):
        file.write(b"\x93NUMPY half of it")
        file.flush()
        os.kill(os.getpid(), signal.SIGKILL)

    module.np.save = save_half
    FeatureCache(root).get([A], DATA, Counting())


def test_a_writer_that_is_killed_leaves_nothing_to_be_read_and_no_lock(tmp_path):
    worker = multiprocessing.get_context("fork").Process(target=_killed_while_writing, args=(tmp_path,))
    worker.start()
    worker.join(20)
    assert worker.exitcode == -signal.SIGKILL
    [left] = files(tmp_path)

    compute = Counting()
    found = FeatureCache(tmp_path).get([A], DATA, compute)

    assert compute.asked == [[A]]
    assert (found[A] == ord("a")).all()
    long_ago = time.time() - module.STALE_SECONDS - 60
    os.utime(next(tmp_path.glob(f"*/{left}")), (long_ago, long_ago))
    FeatureCache(tmp_path).get([B], DATA, compute)
    assert left not in files(tmp_path)


def test_what_was_not_read_for_longest_leaves_first(tmp_path):
    size = 3 * 2 * 4 + 128
    cache, compute = FeatureCache(tmp_path, max_bytes=2 * size), Counting()
    for age, node in ((300, A), (200, B)):
        cache.get([node], DATA, compute)
        [path] = (tmp_path / node).glob("*.npy")
        os.utime(path, (time.time() - age,) * 2)
    cache.get([A], DATA, compute)  # read: now B is the oldest
    cache.get(["c" * 64], DATA, compute)

    assert sorted(path.parent.name[0] for path in tmp_path.glob("*/*.npy")) == ["a", "c"]


def test_more_than_the_cache_holds_is_given_all_the_same(tmp_path):
    found = FeatureCache(tmp_path, max_bytes=1).get([A, B], DATA, Counting())

    assert (found[A] == ord("a")).all()
    assert files(tmp_path) == []


def test_an_array_that_was_evicted_while_in_use_stays_readable(tmp_path):
    cache = FeatureCache(tmp_path)
    cache.get([A], DATA, Counting())
    held = cache.get([A], DATA, Counting())[A]
    for path in tmp_path.glob("*/*.npy"):
        path.unlink()

    assert (held == ord("a")).all()


def test_the_place_is_the_one_given_or_the_users(tmp_path, monkeypatch):
    monkeypatch.setenv("PRIORHUB_CACHE", str(tmp_path / "mine"))
    given = FeatureCache(tmp_path)

    assert FeatureCache.of(None).root == tmp_path / "mine" / "features"
    assert FeatureCache.of(tmp_path / "x").root == tmp_path / "x"
    assert FeatureCache.of(given) is given


def test_data_is_known_by_its_content(tmp_path):
    (tmp_path / "one.png").write_bytes(b"picture")
    (tmp_path / "copy.png").write_bytes(b"picture")
    (tmp_path / "other.png").write_bytes(b"another")
    columns = [
        ["ab", "c"],
        ["a", "bc"],
        ["abc"],
        ["c", "ab"],
        ["ab", "c", ""],
        np.array([1.0, 2.0]),
        np.array([1.0, 2.0], np.float32),
        np.array([[1.0, 2.0]]),
        np.array([2.0, 1.0]),
        [tmp_path / "one.png"],
        [tmp_path / "other.png"],
        ["\ud800"],
    ]

    hashes = [data_hash({"x": column}) for column in columns]

    assert len(set(hashes)) == len(columns)
    assert all(len(one) == 64 for one in hashes)
    assert hashes == [data_hash({"x": column}) for column in columns]
    assert data_hash({"x": [tmp_path / "one.png"]}) == data_hash({"x": [tmp_path / "copy.png"]})
    assert data_hash({"x": ["a"], "y": ["b"]}) != data_hash({"x": ["a", "b"], "y": []})


def test_a_file_that_went_away_is_said(tmp_path):
    with pytest.raises(BadTable, match=r"gone\.wav cannot be read \(No such file"):
        data_hash({"x": [tmp_path / "gone.wav"]})


@pytest.mark.parametrize(("said", "limit"), [("", 4 << 30), ("1000", 1000), ("500M", 500 << 20), ("20g", 20 << 30)])
def test_the_environment_says_how_large_the_cache_may_grow(tmp_path, monkeypatch, said, limit):
    monkeypatch.setenv("PRIORHUB_FEATURES_MAX", said)
    assert FeatureCache(tmp_path).max_bytes == limit


def test_a_limit_that_is_none_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("PRIORHUB_FEATURES_MAX", "lots")
    with pytest.raises(UserError, match="PRIORHUB_FEATURES_MAX is 'lots'"):
        FeatureCache(tmp_path)


class CountingRows:
    """Computes rows of (5, 2) arrays, and remembers what it was asked for."""

    def __init__(self):
        self.asked = []

    def __call__(self, missing, rows):
        self.asked.append((list(missing), rows.tolist()))
        return {node: np.stack([rows, rows + ord(node[0])], axis=1).astype(np.float32) for node in missing}


def test_rows_are_kept_in_parts_until_all_are_known_and_none_is_computed_twice(tmp_path):
    compute, cache = CountingRows(), FeatureCache(tmp_path)
    cache.get_rows([A], DATA, np.array([1, 3]), 5, compute)
    found = cache.get_rows([A, B], DATA, np.array([0, 1, 3]), 5, compute)
    assert files(tmp_path) == [f"{DATA}.npz", f"{DATA}.npz"]
    every = cache.get_rows([A, B], DATA, np.arange(5), 5, compute)

    assert compute.asked == [([A], [1, 3]), ([A], [0]), ([B], [0, 1, 3]), ([A, B], [2, 4])]
    assert found[A][:, 0].tolist() == found[B][:, 0].tolist() == [0, 1, 3]
    assert every[B][:, 1].tolist() == [98, 99, 100, 101, 102]
    assert files(tmp_path) == [f"{DATA}.npy", f"{DATA}.npy"]
    assert cache.get([A], DATA, Counting())[A][:, 0].tolist() == [0, 1, 2, 3, 4]
    assert cache.get_rows([A], DATA, np.array([2, 4]), 5, compute)[A][:, 0].tolist() == [2, 4]
    assert len(compute.asked) == 4


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 not an archive", None])
def test_a_broken_part_is_computed_again(tmp_path, content):
    compute, cache = CountingRows(), FeatureCache(tmp_path)
    cache.get_rows([A], DATA, np.array([1]), 5, compute)
    [path] = tmp_path.glob("*/*.npz")
    path.write_bytes(path.read_bytes()[:-30] if content is None else content)

    assert cache.get_rows([A], DATA, np.array([1]), 5, compute)[A][:, 0].tolist() == [1]
    assert len(compute.asked) == 2


def test_a_full_disk_keeps_nothing_and_ends_nothing(tmp_path, monkeypatch):
    def full(file, array, **options):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module.np, "save", full)

    found = FeatureCache(tmp_path).get([A], DATA, Counting())

    assert found[A].shape == (3, 2)
    assert files(tmp_path) == []


def test_parts_leave_when_the_cache_is_full(tmp_path):
    compute, cache = CountingRows(), FeatureCache(tmp_path, max_bytes=0)
    cache.get_rows([A], DATA, np.array([1]), 5, compute)

    assert files(tmp_path) == []
