"""What may happen to a cache: processes that race, are killed or interrupted, entries somebody changed, disks that end.

Processes here are real ones, pulling from a real socket.
"""

from __future__ import annotations

import errno
import hashlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

from priors.client import Cache, Hub, _download
from priors.errors import HubError, HubUnreachable, StorageFull
from tests.rounds import rounds

from .conftest import TOKEN, problem, sha256

RANGE = 50_000
PATIENCE = 300.0  # seconds a process may take to start beside others that leave it no processor
PULL = f"""
import sys
from priors.client import Hub, _download
_download.RANGE_BYTES = {RANGE}
print(Hub(sys.argv[1]).pull("me/thing"))
"""


@pytest.fixture(autouse=True)
def small_ranges(monkeypatch):
    monkeypatch.setattr(_download, "RANGE_BYTES", RANGE)


def contents(folder: Path | str) -> dict[str, bytes]:
    folder = Path(folder)
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def pulling(address: str, before: str = "") -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", before + PULL, address], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def ranges(fake, *, second: bool = False) -> list[str]:
    """What was asked for; by the `second` alone, which is the one with a token."""
    asked = [headers for _, path, headers in fake.requests if "/files/" in path and "range" in headers]
    return [headers["range"] for headers in asked if not second or "authorization" in headers]


def note_of(content: bytes) -> Path:
    return Cache().root / "tmp" / f"{sha256(content)}.done"


def noted(content: bytes) -> set[str]:
    """The ranges whose arrival is on disk, as a request names them."""
    try:
        lines = note_of(content).read_text().splitlines(keepends=True)
    except FileNotFoundError:
        return set()
    pairs = [line.split() for line in lines if line.endswith("\n") and len(line.split()) == 2]
    return {f"bytes={begin}-{int(end) - 1}" for begin, end in pairs}


def wait_for(condition, seconds: float = PATIENCE) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.005)


# ---- processes


@pytest.mark.soak
def test_eight_processes_of_which_some_are_killed_never_leave_a_wrong_byte(fake, served):
    """Ten rounds: each begins with another cache state, as the one before left it."""
    files = {f"{i}.bin": os.urandom(RANGE * 6 + i) for i in range(3)} | {"config.json": b"{}"}
    fake.commit("me/thing", files)
    fake.tamper = lambda blob: (time.sleep(random.random() / 50), blob)[1]
    for number in rounds(5, 200):
        draw = random.Random(number)
        processes = [pulling(served) for _ in range(8)]
        for doomed in draw.sample(processes, 3):
            time.sleep(draw.random() / 4)
            doomed.send_signal(signal.SIGKILL)
        ended = [(process.communicate(timeout=PATIENCE), process.returncode) for process in processes]

        for (out, err), code in ended:
            assert code in {0, -signal.SIGKILL}, err
            assert code != 0 or contents(out.strip()) == files
        assert sum(code == 0 for _, code in ended) >= 5
        for blob in (Cache().root / "blobs").iterdir():
            assert sha256(blob.read_bytes()) == blob.name
        assert list((Cache().root / "tmp").glob("*.part")) == []
        victim = draw.choice(sorted((Cache().root / "blobs").iterdir()))
        victim.chmod(0o600)  # the next round finds a damaged entry and races to mend it
        victim.write_bytes(draw.randbytes(victim.stat().st_size))
    assert contents(Hub(served).pull("me/thing")) == files


@pytest.mark.soak
def test_a_pull_that_was_killed_goes_on_and_asks_for_no_finished_range_again(fake, served):
    """Finished is what is noted: bytes that arrived just before the kill, and were not noted yet, may come again.

    The hub holds the killed process's requests back after some, so that it cannot end before it is killed, however
    late this process gets to see its note. The second pull shows a token: what the first asked may be heard after it.
    """
    content = os.urandom(RANGE * 40 + 17)
    fake.commit("me/thing", {"weights.bin": content})
    everything = {f"bytes={begin}-{min(begin + RANGE, len(content)) - 1}" for begin in range(0, len(content), RANGE)}
    for number in rounds(3, 50):
        draw = random.Random(number)
        answered = draw.randint(1, 40)
        enough, tickets, killed = draw.randint(1, answered), threading.Semaphore(answered), threading.Event()

        def hold_back(method, path, headers, tickets=tickets, killed=killed):
            if "range" in headers and "authorization" not in headers and not tickets.acquire(blocking=False):
                killed.wait()

        fake.before = hold_back
        process = pulling(served)
        try:
            wait_for(lambda enough=enough: len(noted(content)) >= enough)
        finally:
            process.send_signal(signal.SIGKILL)
            process.communicate()
            killed.set()
        finished = noted(content)
        fake.requests.clear()
        steps: list[int] = []
        with Hub(served, TOKEN) as second:
            folder = second.pull("me/thing", report=lambda step, of, what, steps=steps: steps.append(step))

        assert contents(folder) == {"weights.bin": content}
        assert finished
        assert set(ranges(fake, second=True)) == everything - finished
        assert steps[-1] == len(content)
        assert list((Cache().root / "tmp").iterdir()) == []
        for place in ("snapshots", "blobs"):
            subprocess.run(["rm", "-rf", str(Cache().root / place)], check=True)


DYING = """
import os, signal, threading
from priors.client import _draft, cache
Draft, calls, turn = _draft.Draft, 0, threading.Lock()
arrived, write, place = Draft.arrived, Draft.write, cache._place

def die():
    os.kill(os.getpid(), signal.SIGKILL)

def half_written(self, content, at):
    global calls
    with turn:
        calls += 1
        if calls == 5:
            write(self, content[: len(content) // 2], at)
            die()
    write(self, content, at)

def at_the_note(before=b"", after=False):
    def noting(self, begin, end):
        global calls
        with turn:
            calls += 1
            if calls == 5 and not after:
                with self._note.open("ab") as note:
                    note.write(before)
                die()
            arrived(self, begin, end)
            if calls == 5:
                die()
    return noting

def at_the_place(after):
    def placing(fresh, where, *, mode):
        if where.parent.name != "blobs":
            return place(fresh, where, mode=mode)
        if after:
            place(fresh, where, mode=mode)
        die()
    return placing
"""
MOMENTS = {
    "half a range is written": "Draft.write = half_written",
    "a range is written and not noted": "Draft.arrived = at_the_note()",
    "a note is cut short": "Draft.arrived = at_the_note(before=b'\\n1')",  # followed by 50000 it would read 150000
    "a range is noted": "Draft.arrived = at_the_note(after=True)",
    "every range is noted": "cache._place = at_the_place(after=False)",
    "the file is placed": "cache._place = at_the_place(after=True)",
}


@pytest.mark.parametrize("moment", MOMENTS.values(), ids=MOMENTS)
def test_whatever_a_pull_was_doing_when_it_was_killed_two_more_know_what_it_had_noted(fake, served, moment):
    """It dies twice, then a third goes on from both: the second writes behind what the first left."""
    content = os.urandom(RANGE * 20)
    fake.commit("me/thing", {"weights.bin": content})
    everything = {f"bytes={begin}-{begin + RANGE - 1}" for begin in range(0, len(content), RANGE)}
    placed = Cache().root / "blobs" / sha256(content)
    before: set[str] = set()
    for _ in range(2):
        process = pulling(served, DYING + moment)
        _, err = process.communicate(timeout=PATIENCE)
        assert process.returncode == (0 if before and placed.exists() else -signal.SIGKILL), err
        now = noted(content) if not placed.exists() else everything
        assert before <= now <= everything
        before = now
    fake.requests.clear()

    with Hub(served, TOKEN) as third:
        assert contents(third.pull("me/thing")) == {"weights.bin": content}

    assert set(ranges(fake, second=True)) == everything - before
    assert set((Cache().root / "tmp").iterdir()) <= {note_of(content)}


def test_ctrl_c_ends_a_pull_soon_and_the_next_one_goes_on(fake, served):
    content = os.urandom(RANGE * 200)
    fake.commit("me/thing", {"weights.bin": content})
    quick = threading.Semaphore(20)
    fake.tamper = lambda blob: (time.sleep(0.01 if quick.acquire(blocking=False) else 0.4), blob)[1]

    process = pulling(served)
    wait_for(lambda: len(noted(content)) >= 10)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=PATIENCE)

    assert process.returncode != 0
    assert len(ranges(fake)) < 120  # soon, on a machine of whatever speed: most was never begun
    assert not (Cache().root / "blobs").exists()
    fake.tamper = lambda blob: blob
    assert contents(Hub(served).pull("me/thing")) == {"weights.bin": content}


def test_one_large_file_is_fetched_by_several_connections_and_never_too_many(fake, served):
    running, most, lock = 0, 0, threading.Lock()

    def slowly(blob: bytes) -> bytes:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.02)
        with lock:
            running -= 1
        return blob

    fake.tamper = slowly
    fake.commit("me/thing", {"large.bin": os.urandom(RANGE * 20)})
    Hub(served).pull("me/thing")
    assert 4 <= most <= 8

    most = 0
    fake.commit("me/thing", {f"{i}.bin": os.urandom(RANGE * 5) for i in range(6)})
    Hub(served).pull("me/thing")
    assert 4 <= most <= 8


# ---- entries that somebody changed


def _as_link(path: Path, content: bytes) -> None:
    elsewhere = Path(tempfile.mkdtemp()) / "elsewhere"
    elsewhere.write_bytes(content)
    path.unlink()
    path.symlink_to(elsewhere)


CHANGES = {
    "truncated": lambda path, content: path.write_bytes(content[:-1]),
    "appended": lambda path, content: path.write_bytes(content + b"more"),
    "flipped": lambda path, content: path.write_bytes(content[:-1] + bytes([content[-1] ^ 1])),
    "emptied": lambda path, content: path.write_bytes(b""),
    "gone": lambda path, content: path.unlink(),
    "symlinked": _as_link,
}


@pytest.fixture
def apart(fake, hub) -> tuple[bytes, Path, Path]:
    """A pulled file, its blob and its place in the snapshot as two files: so it is without hard links."""
    content = os.urandom(RANGE * 2)
    fake.commit("me/thing", {"weights.bin": content})
    path = hub.pull("me/thing") / "weights.bin"
    path.unlink()
    path.write_bytes(content)
    blob = hub.cache.blob(sha256(content))
    blob.chmod(0o644)
    return content, blob, path


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_changed_blob_and_snapshot_are_named_by_the_audit_refused_offline_and_mended_online(fake, hub, apart, change):
    content, blob, path = apart
    change(blob, content)
    change(path, content)

    damaged = hub.cache.audit().damaged
    assert [name.partition("/")[0] for name in damaged] == (["blobs"] if blob.is_symlink() or blob.exists() else []) + [
        "snapshots"
    ]
    fake.before = lambda method, path, headers: problem(503, "hub-unreachable", "away. Try later.")
    with pytest.raises(HubError, match="damaged in the cache"):
        hub.pull("me/thing")
    fake.before = lambda method, path, headers: None

    assert contents(hub.pull("me/thing")) == {"weights.bin": content}
    assert not blob.is_symlink()
    assert not path.is_symlink()
    assert hub.cache.audit().damaged == ()


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("which", ["blob", "snapshot"])
def test_while_one_of_the_two_is_good_a_pull_works_without_the_hub(fake, hub, apart, which, change):
    content, blob, path = apart
    change(blob if which == "blob" else path, content)
    fake.before = lambda method, path, headers: problem(503, "hub-unreachable", "away. Try later.")

    assert contents(hub.pull("me/thing")) == {"weights.bin": content}


@pytest.mark.parametrize("where", ["part", "done", "lock"])
def test_a_link_where_a_pull_wants_to_write_is_not_written_through(fake, hub, tmp_path, where):
    content = os.urandom(RANGE * 3)
    fake.commit("me/thing", {"weights.bin": content})
    (target := tmp_path / "target").write_bytes(bytes(len(content)))
    digest = sha256(content)
    link = (
        hub.cache.root / ("locks" if where == "lock" else "tmp") / (digest if where == "lock" else f"{digest}.{where}")
    )
    link.parent.mkdir(parents=True)
    link.symlink_to(target)
    if where == "done":
        link.with_suffix(".part").write_bytes(bytes(len(content)))

    if where == "lock":
        with pytest.raises(HubError, match="cannot be written"):
            hub.pull("me/thing")
    else:
        assert contents(hub.pull("me/thing")) == {"weights.bin": content}
    assert target.read_bytes() == bytes(len(content))


def test_ranges_noted_as_arrived_whose_bytes_a_power_cut_took_are_fetched_again(fake, hub):
    content = os.urandom(RANGE * 4)
    fake.commit("me/thing", {"weights.bin": content})
    tmp = hub.cache.root / "tmp"
    tmp.mkdir(parents=True)
    (tmp / f"{sha256(content)}.part").write_bytes(bytes(len(content)))
    (tmp / f"{sha256(content)}.done").write_text(f"0 {RANGE}\n{RANGE} {2 * RANGE}\n{2 * RANGE} 1")
    steps: list[int] = []

    folder = hub.pull("me/thing", report=lambda step, of, what: steps.append(step))

    assert contents(folder) == {"weights.bin": content}
    assert steps[-1] == max(steps) == len(content)
    assert list(tmp.iterdir()) == []


def test_a_lost_connection_keeps_what_arrived_for_the_next_pull(fake, hub, monkeypatch):
    monkeypatch.setattr("priors.client._transfer.time.sleep", lambda seconds: None)
    content = os.urandom(RANGE * 10)
    fake.commit("me/thing", {"weights.bin": content})
    fake.before = lambda method, path, headers: (
        problem(503, "hub-unreachable", "away. Try later.") if headers.get("range", "").startswith("bytes=4") else None
    )
    with pytest.raises(HubUnreachable):
        hub.pull("me/thing")
    fake.before = lambda method, path, headers: None
    fake.requests.clear()

    assert contents(hub.pull("me/thing")) == {"weights.bin": content}
    assert 0 < len(ranges(fake)) < 10


# ---- disks


def test_a_cache_that_cannot_be_written_serves_what_it_holds_and_says_one_clear_line_otherwise(fake, hub, monkeypatch):
    commit = fake.commit("me/thing", {"a.bin": os.urandom(RANGE * 2), "b.txt": b"small"})
    folder = hub.pull("me/thing")
    opened = os.open

    def read_only(path, flags, *args, **kwargs):
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        return opened(path, flags, *args, **kwargs)

    def no_temporary(*args, **kwargs):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(os, "open", read_only)
    monkeypatch.setattr(tempfile, "mkstemp", no_temporary)
    monkeypatch.setattr(tempfile, "mkdtemp", no_temporary)

    assert hub.pull("me/thing", commit) == folder
    fake.commit("me/thing", {"new.bin": os.urandom(10)})
    with pytest.raises(HubError, match=r"cannot be written: Read-only file system. Check its rights, or set PRIORHUB_"):
        hub.pull("me/thing")


@pytest.mark.parametrize("size", [RANGE // 2, RANGE * 4], ids=["small", "large"])
def test_a_full_disk_is_one_clear_line_whatever_the_size_of_the_file(fake, hub, monkeypatch, size):
    content = os.urandom(size)
    fake.commit("me/thing", {"weights.bin": content})
    written, room, real, one_at_a_time = 0, size // 2, os.pwrite, threading.Lock()

    def full(handle, data, at):
        nonlocal written
        with one_at_a_time:  # several threads write ranges
            if written + len(data) > room:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            written += (done := real(handle, data, at))
            return done

    monkeypatch.setattr("priors.client._draft.os.pwrite", full)
    with pytest.raises(StorageFull, match=r"is full\. Free some, or move the cache with PRIORHUB_CACHE") as told:
        hub.pull("me/thing")
    assert "\n" not in str(told.value)
    assert not (hub.cache.root / "blobs").exists()

    room = 2 * size
    assert contents(hub.pull("me/thing")) == {"weights.bin": content}


def test_a_file_where_the_cache_should_be_is_one_clear_line(fake, tmp_path):
    (tmp_path / "file").write_text("x")
    fake.commit("me/thing", {"a": b"1"})

    with (
        Hub("http://hub.test", cache=tmp_path / "file", transport=fake.transport()) as hub,
        pytest.raises(HubError, match="cannot be written: Not a directory"),
    ):
        hub.pull("me/thing")


def test_without_the_hub_a_commit_is_served_only_when_every_byte_is_right(fake, hub):
    files = {"a.bin": os.urandom(1000), "b/c.bin": os.urandom(2000)}
    commit = fake.commit("me/thing", files)
    folder = hub.pull("me/thing")
    fake.before = lambda method, path, headers: problem(503, "hub-unreachable", "away. Try later.")

    assert contents(hub.pull("me/thing", commit)) == files
    (folder / "b/c.bin").unlink()
    assert contents(hub.pull("me/thing")) == files  # made again from the blobs
    hub.cache.blob(hashlib.sha256(files["a.bin"]).hexdigest()).unlink()
    (folder / "a.bin").unlink()
    with pytest.raises(HubError, match="damaged in the cache"):
        hub.pull("me/thing")
