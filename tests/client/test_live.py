"""The client against the hub itself: real HTTP, real database, real files."""

import json
import os
import pickle
from datetime import timedelta

import pytest
from django.utils import timezone

from hub.accounts.services import create_token, create_user
from priors.client import Cache, Hub, HubLibrary
from priors.client.hub import verify
from priors.client.records import Filter
from priors.errors import BadManifest, Conflict, HubError, NotAllowed, NotFound, TokenRejected
from priors.manifest import parse_manifest
from priors.tasks import Task

from .test_library import prior

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def ada(home):
    return create_user(name="ada")


@pytest.fixture
def live(live_server, ada):
    text, _ = create_token(user=ada, name="test", role="write")
    with Hub(live_server.url, text) as hub:
        yield hub


def write(folder, files):
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def contents(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_who_where_and_whether_it_runs(live):
    assert live.whoami()["name"] == "ada"
    assert live.health()["status"] == "ok"


def test_of_a_first_push_that_is_refused_no_repository_stays_and_its_name_is_free(live, tmp_path):
    folder = write(tmp_path / "d", {"weights.safetensors": pickle.dumps({"run": os.getcwd})})

    with pytest.raises(HubError, match="is a pickle"):
        live.push(folder, "ada/things")

    with pytest.raises(NotFound):
        live.show("ada/things")
    (folder / "weights.safetensors").unlink()
    assert live.push(write(folder, {"notes.txt": b"hello"}), "ada/things")
    write(folder, {"weights.safetensors": pickle.dumps({"run": os.getcwd})})
    with pytest.raises(HubError, match="is a pickle"):
        live.push(folder, "ada/things")
    assert [file.path for file in live.tree("ada/things").files] == ["notes.txt"]


def test_what_is_pushed_is_pulled_bit_for_bit_through_ranges(live, tmp_path, monkeypatch):
    monkeypatch.setattr("priors.client._download.RANGE_BYTES", 100_000)
    files = {"notes.txt": b"hello\n", "sub/data.bin": os.urandom(350_000), "empty.txt": b""}

    commit = live.push(write(tmp_path / "d", files), "ada/things", "first")
    again = live.push(tmp_path / "d", "ada/things", "nothing new")
    folder = live.pull("ada/things")

    assert commit == again == live.tree("ada/things").commit
    assert contents(folder) == files
    verify(folder, live.tree("ada/things"))

    (tmp_path / "d" / "notes.txt").write_text("bye\n")
    second = live.push(tmp_path / "d", "ada/things", "second")
    assert [c["oid"] for c in live.commits("ada/things")] == [second, commit]
    assert contents(live.pull("ada/things", commit)) == files
    assert contents(live.pull(f"ada/things@{second}"))["notes.txt"] == b"bye\n"


def test_a_task_goes_there_and_comes_back_as_the_same_task(live, tmp_path):
    task = Task.from_table({"text": [f"text {i} of it" for i in range(8)], "y": ["a", "b"] * 4}, "y", name="t")

    live.push(task.save(tmp_path / "task", portable=True), "ada/task")

    assert live.show("ada/task")["kind"] == "task"
    assert Task.from_dir(live.pull("ada/task", to=tmp_path / "back")).fingerprint == task.fingerprint


def test_a_prior_is_published_found_and_resolved_through_the_library(live, tmp_path):
    files = prior("grams") | {"README.md": b"---\nlicense: apache-2.0\n---\n# Grams\n"}
    live.push(write(tmp_path / "p", files), "ada/grams")

    (listing,) = live.search("grams", modality="text", kind="function")
    (entry,) = HubLibrary(live).entries()
    folder = HubLibrary(live).directory(entry.ref)

    identity = parse_manifest(files["prior.json"]).identity()
    assert listing.repo == "ada/grams"
    assert str(entry.ref) == listing.ref == f"prior://ada/grams@{identity}"
    assert contents(folder) == files
    assert live.show("ada/grams")["manifest"] == json.loads(files["prior.json"])
    assert live.search("nothing like it") == []


def test_a_search_takes_the_catalogues_filters(live, tmp_path):
    live.push(write(tmp_path / "p", prior("grams")), "ada/grams")
    live.push(write(tmp_path / "q", prior("words", tags=["rare"])), "ada/words")

    def found(**filters):
        return {listing.repo for listing in live.search(where=Filter(**filters), sort="updated")}

    assert found() == {"ada/grams", "ada/words"}
    assert found(tag=("rare", "rarer")) == {"ada/words"}
    assert found(license=("Apache-2.0",), may=("sell",)) == {"ada/grams", "ada/words"}
    assert found(license=("MIT",)) == found(min_parameters=1e6) == set()
    assert found(gives=("vec.feat",), max_parameters=10) == {"ada/grams", "ada/words"}
    assert live.search("grams")[0].may_sell is True


def test_a_prior_that_is_none_is_refused_whole_with_the_reason(live, tmp_path):
    broken = prior("grams", kind="network")

    with pytest.raises((BadManifest, HubError)) as refused:
        live.push(write(tmp_path / "p", broken), "ada/grams")

    assert "prior.json" in str(refused.value)
    with pytest.raises(NotFound):
        live.tree("ada/grams")


def test_the_token_decides_what_may_be_done(live, live_server, ada, tmp_path):
    write(tmp_path / "d", {"a.txt": b"x"})
    live.push(tmp_path / "d", "ada/secret", private=True)
    reading, _ = create_token(user=ada, name="r", role="read")
    expired, _ = create_token(user=ada, name="e", role="write", expires_at=timezone.now() - timedelta(seconds=1))
    other, _ = create_token(user=create_user(name="bob"), name="b", role="write")

    with pytest.raises(NotAllowed):
        Hub(live_server.url, reading).push(tmp_path / "d", "ada/more")
    with pytest.raises(TokenRejected):
        Hub(live_server.url, expired).whoami()
    with pytest.raises(TokenRejected):
        Hub(live_server.url, "ph_" + "0" * 38).whoami()
    for stranger in (Hub(live_server.url, other), Hub(live_server.url)):
        with pytest.raises(NotFound):
            stranger.pull("ada/secret")
    with pytest.raises((NotAllowed, NotFound)):
        Hub(live_server.url, other).push(tmp_path / "d", "ada/secret")
    assert contents(Hub(live_server.url, reading).pull("ada/secret")) == {"a.txt": b"x"}


def test_a_push_onto_an_older_commit_is_a_conflict(live, tmp_path, monkeypatch):
    write(tmp_path / "d", {"a.txt": b"1"})
    live.push(tmp_path / "d", "ada/things")
    stale = live.tree("ada/things")
    write(tmp_path / "d", {"a.txt": b"2"})
    live.push(tmp_path / "d", "ada/things")
    write(tmp_path / "d", {"a.txt": b"3"})
    monkeypatch.setattr(Hub, "_head", lambda self, repo, branch: stale)

    with pytest.raises(Conflict):
        live.push(tmp_path / "d", "ada/things")


def test_a_deleted_repository_is_gone_for_the_client_too(live, tmp_path):
    live.push(write(tmp_path / "d", {"a.txt": b"1"}), "ada/things")

    live.delete("ada/things")

    with pytest.raises(NotFound):
        live.pull("ada/things")


def test_a_job_is_queued_once_and_can_be_cancelled(live, tmp_path):
    task = Task.from_table({"text": [f"text {i} of it" for i in range(8)], "y": ["a", "b"] * 4}, "y", name="t")
    live.push(task.save(tmp_path / "task"), "ada/task")

    job = live.submit("recommend", {"task": "ada/task@main"})
    same = live.submit("recommend", {"task": "ada/task@main"})

    assert job.id == same.id
    assert job.status == "queued"
    assert live.cancel(job.id).status == "cancelled"
    with pytest.raises(HubError, match="is cancelled"):
        live.wait(job.id)


def test_a_second_machine_pulls_into_its_own_empty_cache(live, live_server, tmp_path):
    live.push(write(tmp_path / "d", {"a.txt": b"1"}), "ada/things")

    there = Hub(live_server.url, cache=Cache(tmp_path / "elsewhere"))

    assert contents(there.pull("ada/things")) == {"a.txt": b"1"}
