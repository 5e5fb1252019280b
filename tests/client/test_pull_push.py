"""Files between a hub and this machine: cached by content, verified, complete or not there at all."""

import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from priors.client import Cache, Hub
from priors.client.hub import verify
from priors.errors import Conflict, HubError, HubUnreachable, NotFound, StorageFull

from .conftest import TOKEN, problem, sha256

FILES = {"config.json": b"{}", "sub/weights.bin": bytes(range(256)) * 1000, "empty.txt": b""}


def contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def downloads(fake) -> list[str]:
    return [path for method, path, _ in fake.requests if "/files/" in path]


def test_a_pull_gives_the_files_and_a_second_one_asks_for_no_bytes(fake, hub):
    commit = fake.commit("me/thing", FILES)

    first = hub.pull("me/thing")
    asked = len(downloads(fake))
    second = hub.pull("me/thing@main")

    assert contents(first) == FILES
    assert first == second == hub.cache.root / "snapshots/me/thing" / commit
    assert len(downloads(fake)) == asked == 3


def test_equal_files_of_two_commits_are_stored_and_fetched_once(fake, hub):
    fake.commit("me/thing", FILES)
    old = hub.pull("me/thing")
    fake.requests.clear()
    fake.commit("me/thing", FILES | {"config.json": b'{"v": 2}'})

    new = hub.pull("me/thing")

    assert len(downloads(fake)) == 1
    assert (old / "sub/weights.bin").samefile(new / "sub/weights.bin")
    assert contents(old)["config.json"] == b"{}"


def test_large_files_come_in_ranges_and_add_up(fake, hub, monkeypatch):
    monkeypatch.setattr("priors.client._download.RANGE_BYTES", 100_000)
    fake.commit("me/thing", FILES)
    steps = []

    folder = hub.pull("me/thing", report=lambda step, of, what: steps.append((step, of)))

    assert contents(folder) == FILES
    assert sum("range" in headers for _, _, headers in fake.requests) == 3
    assert steps[-1] == (256_002, 256_002)
    assert [step for step, _ in steps] == sorted(step for step, _ in steps)


def test_a_hub_that_ignores_ranges_is_read_correctly_all_the_same(fake, hub, monkeypatch):
    monkeypatch.setattr("priors.client._download.RANGE_BYTES", 100_000)
    monkeypatch.setattr(type(fake), "_ranged", lambda self, content, headers: (200, {}, content))
    fake.commit("me/thing", FILES)

    assert contents(hub.pull("me/thing")) == FILES


def test_a_pull_into_a_folder_copies_and_leaves_other_files_alone(fake, hub, tmp_path):
    fake.commit("me/thing", FILES)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").write_text("mine")
    (tmp_path / "out" / "config.json").write_text("old")

    folder = hub.pull("me/thing", to=tmp_path / "out")

    assert contents(folder) == FILES | {"notes.txt": b"mine"}
    assert os.access(folder / "config.json", os.W_OK)
    (folder / "config.json").write_text("changed here only")
    assert contents(hub.pull("me/thing")) == FILES


@pytest.mark.parametrize(
    "tamper",
    [
        lambda content: content[:-1] + b"X" if content else content,
        lambda content: content[: len(content) // 2],
        lambda content: content + b"more",
        lambda content: b"<html>Sign in to the network</html>",
    ],
    ids=["changed", "shorter", "longer", "page"],
)
def test_other_bytes_than_promised_are_refused_and_never_placed(fake, hub, tamper, monkeypatch):
    monkeypatch.setattr("priors.client._transfer.time.sleep", lambda seconds: None)
    fake.commit("me/thing", {"weights.bin": bytes(50_000)})
    fake.tamper = tamper

    with pytest.raises(HubError):
        hub.pull("me/thing")

    assert [path for path in hub.cache.root.rglob("*") if path.is_file() and path.parent.name != "locks"] == []

    fake.tamper = lambda content: content
    assert contents(hub.pull("me/thing")) == {"weights.bin": bytes(50_000)}


@pytest.mark.parametrize(
    "path",
    [
        "../evil",
        "a/../../evil",
        "/etc/cron.d/evil",
        "a//b",
        "./a",
        "a/.",
        "..\\evil",
        "C:\\evil",
        "c:evil",
        "a\0b",
        "a\nb",
        "dot.",
        "space ",
        "CON",
        "aux.txt",
        ".git/config",
        "x" * 600,
        "\u202egnp.exe",
        "e\u0301",
        "",
    ],
)
def test_names_that_could_land_outside_are_refused_before_a_byte_is_asked_for(fake, hub, path, tmp_path):
    fake.commit("me/thing", {"fine.txt": b"x", path: b"evil"})
    before = {p for p in tmp_path.rglob("*") if p.is_file()}

    with pytest.raises(HubError, match="names a file"):
        hub.pull("me/thing", to=tmp_path / "out")

    assert {p for p in tmp_path.rglob("*") if p.is_file()} == before
    assert downloads(fake) == []


@pytest.mark.parametrize("paths", [("a.txt", "A.txt"), ("a", "a/b"), ("x/Y", "X/y")])
def test_names_that_are_one_file_on_some_disks_are_refused(fake, hub, paths):
    fake.commit("me/thing", {path: path.encode() for path in paths})

    with pytest.raises(HubError, match="Nothing was written"):
        hub.pull("me/thing")


@pytest.mark.parametrize(("commit", "digest"), [("../../x", None), ("main", None), (None, "../../x"), (None, "ABC")])
def test_commits_and_hashes_that_are_none_are_refused(fake, hub, commit, digest):
    fake.commit("me/thing", {"a": b"x"})
    fake.repos["me/thing"][0]["oid"] = commit or "0" * 40
    fake.repos["me/thing"][0]["files"][0]["sha256"] = digest or sha256(b"x")

    with pytest.raises(HubError, match="Nothing was written"):
        hub.pull("me/thing")


@pytest.mark.parametrize("repo", ["thing", "me/thing/more", "../x", "me/..", "a b/c", "", "me/", "é/x"])
def test_a_repository_name_that_is_none_is_refused_without_asking_the_hub(fake, hub, repo):
    with pytest.raises(HubError, match="no repository name"):
        hub.pull(repo)
    assert fake.requests == []


def test_a_damaged_cache_mends_itself(fake, hub):
    fake.commit("me/thing", FILES)
    folder = hub.pull("me/thing")
    weights = folder / "sub/weights.bin"
    weights.chmod(0o644)
    with weights.open("ab") as file:
        file.write(b"appended by somebody")
    (folder / "config.json").unlink()

    again = hub.pull("me/thing")

    assert again == folder
    assert contents(again) == FILES
    assert contents(hub.cache.root / "blobs").keys() == {sha256(content) for content in FILES.values()}


def test_a_link_in_place_of_a_cached_file_is_not_followed(fake, hub, tmp_path):
    fake.commit("me/thing", FILES)
    folder = hub.pull("me/thing")
    (tmp_path / "elsewhere").write_bytes(FILES["config.json"])
    (folder / "config.json").unlink()
    (folder / "config.json").symlink_to(tmp_path / "elsewhere")

    assert not (hub.pull("me/thing") / "config.json").is_symlink()


def test_cached_files_cannot_be_written_by_accident(fake, hub):
    fake.commit("me/thing", FILES)

    mode = (hub.pull("me/thing") / "config.json").stat().st_mode

    assert not mode & (stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH)


def test_without_the_hub_a_pull_takes_what_the_revision_last_meant(fake, hub, monkeypatch):
    commit = fake.commit("me/thing", FILES)
    folder = hub.pull("me/thing")
    fake.before = lambda method, path, headers: problem(503, "hub-unreachable", "away. Try later.")

    assert hub.pull("me/thing") == folder
    assert hub.pull("me/thing", commit) == folder
    with pytest.raises(HubUnreachable):
        hub.pull("me/other")


def test_a_full_disk_says_so_and_leaves_nothing_behind(fake, hub, monkeypatch):
    fake.commit("me/thing", FILES)
    real = os.pwrite

    def full(handle, data, at):
        if len(data) > 1000:
            raise OSError(28, "No space left on device")
        return real(handle, data, at)

    monkeypatch.setattr("priors.client._draft.os.pwrite", full)

    with pytest.raises(StorageFull, match="is full"):
        hub.pull("me/thing")
    assert list((hub.cache.root / "tmp").iterdir()) == []


def test_leftovers_of_killed_processes_go_after_a_day_and_fresh_ones_stay(fake, hub):
    tmp = hub.cache.root / "tmp"
    tmp.mkdir(parents=True)
    for name, age in (("blob.old", 2 * 86_400), ("blob.fresh", 60)):
        (tmp / name).write_bytes(b"half a file")
        os.utime(tmp / name, (time.time() - age,) * 2)
    fake.commit("me/thing", FILES)

    hub.pull("me/thing")

    assert [path.name for path in tmp.iterdir()] == ["blob.fresh"]


PULL = """
import sys
from priors.client import Hub
print(Hub(sys.argv[1]).pull("me/thing"))
"""


def pulling(address: str) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-c", PULL, address], stdout=subprocess.PIPE, text=True)


def test_eight_processes_pulling_at_once_all_get_the_same_files_fetched_once(fake, served):
    fake.commit("me/thing", {f"{i}.bin": os.urandom(300_000) for i in range(4)})

    processes = [pulling(served) for _ in range(8)]
    folders = {process.communicate(timeout=60)[0].strip() for process in processes}

    assert [process.returncode for process in processes] == [0] * 8
    (folder,) = folders
    assert verify(folder, Hub(served).tree("me/thing")) is None
    assert len(downloads(fake)) == 4
    assert list((Cache().root / "tmp").iterdir()) == []


def test_a_pull_killed_in_the_middle_leaves_nothing_a_later_one_could_mistake(fake, served):
    content = {f"{i}.bin": os.urandom(400_000) for i in range(6)}
    fake.commit("me/thing", content)
    slow = fake.tamper
    fake.tamper = lambda blob: (time.sleep(0.4), blob)[1]

    process = pulling(served)
    deadline = time.monotonic() + 20
    while len(downloads(fake)) < 5 and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    fake.tamper = slow

    for blob in (Cache().root / "blobs").iterdir():
        assert sha256(blob.read_bytes()) == blob.name
    assert contents(Hub(served).pull("me/thing")) == content


# ---- push


def test_a_push_sends_only_what_the_hub_lacks_and_commits_once(fake, hub, tmp_path):
    folder = tmp_path / "model"
    for name, content in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    (folder / ".secret").write_text("stays here")
    (folder / ".git").mkdir()
    (folder / ".git" / "config").write_text("stays here")

    first = hub.push(folder, "me/thing", "first")
    (folder / "config.json").write_text('{"v": 2}')
    fake.requests.clear()
    steps = []
    second = hub.push(folder, "me/thing", "second", report=lambda step, of, what: steps.append((step, of, what)))

    assert first != second
    assert [commit["message"] for commit in fake.repos["me/thing"]] == ["first", "second"]
    assert [f["path"] for f in fake.repos["me/thing"][0]["files"]] == ["config.json", "empty.txt", "sub/weights.bin"]
    assert sum(method == "PUT" for method, _, _ in fake.requests) == 1
    assert steps == [(8, 8, "pushing me/thing")]
    assert contents(hub.pull("me/thing", second)) == FILES | {"config.json": b'{"v": 2}'}


def test_a_push_that_changes_nothing_makes_no_commit(fake, hub, tmp_path):
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "a").write_text("x")

    assert hub.push(tmp_path / "d", "me/x", "once") == hub.push(tmp_path / "d", "me/x", "twice")
    assert len(fake.repos["me/x"]) == 1


@pytest.mark.parametrize(("marker", "kind"), [("task.json", "task"), ("prior.json", "prior"), ("notes.md", "plain")])
def test_the_kind_of_a_repository_follows_from_its_files(fake, hub, tmp_path, marker, kind):
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / marker).write_text("{}")
    bodies = []
    original = fake.handle

    def spy(method, target, headers, body):
        if target.endswith("/api/v1/repos"):
            bodies.append(body)
        return original(method, target, headers, body)

    fake.handle = spy
    hub.push(tmp_path / "d", "me/x", private=True)

    assert b'"kind": "%s"' % kind.encode() in bodies[0]
    assert b'"private": true' in bodies[0]


def test_somebody_elses_push_in_between_is_a_conflict(fake, hub, tmp_path):
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "a").write_text("mine")
    fake.commit("me/x", {"a": b"theirs"})

    def before(method, path, headers):
        if method == "POST" and path.endswith("/commits"):
            fake.commit("me/x", {"a": b"theirs, newer"})

    fake.before = before

    with pytest.raises(Conflict, match="in between"):
        hub.push(tmp_path / "d", "me/x")
    assert fake.repos["me/x"][-1]["files"][0]["sha256"] == sha256(b"theirs, newer")


def test_nothing_and_links_that_lead_out_are_not_pushed(fake, hub, tmp_path):
    (tmp_path / "d").mkdir()
    with pytest.raises(HubError, match="holds no files"):
        hub.push(tmp_path / "d", "me/x")
    (tmp_path / "secret").write_text("s")
    (tmp_path / "d" / "link").symlink_to(tmp_path / "secret")
    with pytest.raises(HubError, match="leads out"):
        hub.push(tmp_path / "d", "me/x")
    with pytest.raises(HubError, match="is not a folder"):
        hub.push(tmp_path / "none", "me/x")
    assert fake.requests == []


def test_an_upload_is_sent_again_when_the_hub_was_away_for_a_moment(fake, hub, tmp_path, monkeypatch):
    monkeypatch.setattr("priors.client._transfer.time.sleep", lambda seconds: None)
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "a").write_text("x")
    failures = iter([problem(503, "hub-unreachable", "restarting. Wait.")] * 2)
    fake.before = lambda method, path, headers: next(failures, None) if method == "PUT" else None

    hub.push(tmp_path / "d", "me/x")

    assert contents(hub.pull("me/x")) == {"a": b"x"}


def test_verify_names_what_is_missing_or_differs(fake, hub, tmp_path):
    fake.commit("me/thing", FILES)
    folder = hub.pull("me/thing", to=tmp_path / "out")
    tree = hub.tree("me/thing")
    assert verify(folder, tree) is None
    (folder / "config.json").write_text("[]")
    (folder / "empty.txt").unlink()

    with pytest.raises(HubError, match=r"config.json \(differs\), empty.txt \(is missing\)"):
        verify(folder, tree)


def test_a_deleted_repository_is_gone(fake, hub):
    fake.commit("me/thing", FILES)
    hub.delete("me/thing")

    with pytest.raises(NotFound):
        hub.pull("me/thing")


def test_the_client_sends_the_token_with_every_request(fake, hub):
    fake.commit("me/thing", FILES)
    hub.pull("me/thing")

    assert {headers.get("authorization") for _, _, headers in fake.requests} == {f"Bearer {TOKEN}"}
