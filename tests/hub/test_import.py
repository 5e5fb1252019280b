"""Copying a repository from another hub: the job, what it keeps, what it leaves out, and what it survives."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as hub_settings
from django.db import connection
from django.test import Client
from pytest_django import Settings
from typer.testing import CliRunner

from composer.cli import app
from hub.accounts.models import User
from hub.errors import BadSpec
from hub.home import imports
from hub.jobs import services, tasks
from hub.jobs.models import Job
from hub.repos import commits
from hub.repos.models import Blob, Repository, Reservation
from hub.repos.services import files
from priors.errors import NotAllowed, NotFound, TokenRejected
from tests.factories import bearer, function_manifest, make_commit, make_repository, make_token, make_user
from tests.fake_source import COMMIT, FakeSource, serving
from tests.hub.test_hostile_files import NAMES
from tests.hub.test_killed_worker import database_url, wait_for

pytestmark = pytest.mark.django_db(transaction=True)

CARD = b"---\nlicense: apache-2.0\n---\n# A model\n"
FILES = {"README.md": CARD, "config.json": b'{"model_type": "bert"}', "vocab.txt": b"a\nb\n" * 40_000}
RUN = "import sys, django; django.setup(); from hub.jobs.tasks import run_job; run_job(sys.argv[1])"


@pytest.fixture
def fake(home: Path, settings: Settings) -> Iterator[FakeSource]:
    with serving(FakeSource()) as fake:
        settings.IMPORT_ENDPOINTS = {"hf": fake.url}
        settings.IMPORT_ALLOW_PRIVATE = True
        fake.add("org/model", FILES)
        yield fake


@pytest.fixture
def ann(home: Path) -> User:
    return make_user("ann")


def submit(owner: User, **spec: Any) -> Job:
    return services.submit(
        kind="import", spec={"source": "hf:org/model", "push_to": "ann/copy"} | spec, owner=owner, again=True
    )


def ran(job: Job) -> Job:
    tasks.run_job(str(job.pk))
    job.refresh_from_db()
    return job


def contents(name: str) -> dict[str, str]:
    return {file.path: file.sha256 for file in files(Repository.objects.named(name).get().head)}


# ── what comes of it ────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_model_is_copied_with_its_card_and_where_it_came_from(fake: FakeSource, ann: User) -> None:
    job = ran(submit(ann))

    copy = Repository.objects.named("ann/copy").get()
    assert (job.status, job.error) == ("done", None)
    assert set(contents("ann/copy")) == set(FILES)
    assert (copy.kind, copy.type, copy.private) == ("plain", "model", False)
    assert copy.head.title == f"Copy hf:org/model at {COMMIT}"
    assert copy.provenance | {"imported_at": ""} == {
        "source": "hf:org/model", "endpoint": fake.url, "repo": "org/model", "type": "model", "commit": COMMIT,
        "rev": "", "license": "apache-2.0", "skipped": {}, "imported_at": "",
    }  # fmt: skip
    assert job.result["source_commit"] == COMMIT
    assert (job.step, job.of) == (sum(map(len, FILES.values())),) * 2
    assert list(imports().glob("*.part")) == []


def test_a_dataset_is_copied_as_one(fake: FakeSource, ann: User) -> None:
    fake.add("org/rows", {"data.csv": b"a,b\n1,2\n"}, type="dataset")

    job = ran(submit(ann, source="hf:org/rows", type="dataset", private=True))

    assert job.error is None
    copy = Repository.objects.named("datasets/ann/copy").get()
    assert (copy.type, copy.private) == ("dataset", True)


def test_a_description_of_ours_makes_it_what_it_is(fake: FakeSource, ann: User) -> None:
    import json

    fake.add("org/grams", {"prior.json": json.dumps(function_manifest()).encode()})

    assert ran(submit(ann, source="hf:org/grams")).error is None
    assert Repository.objects.named("ann/copy").get().kind == "prior"


def test_copying_again_takes_what_is_new_and_fetches_nothing_else(fake: FakeSource, ann: User) -> None:
    first = ran(submit(ann))
    fake.add("org/model", FILES | {"new.txt": b"new"})
    fake.asked.clear()

    second = ran(submit(ann))

    assert fake.asked == [("new.txt", "")]
    assert first.pk != second.pk
    assert "new.txt" in contents("ann/copy")
    assert Repository.objects.named("ann/copy").get().commits.count() == 2


def test_pickles_are_left_out_by_name_and_by_content_and_named(fake: FakeSource, ann: User) -> None:
    pickled = pickle.dumps({"weights": list(range(1_000_000))})
    torch = b"PK\x03\x04" + bytes(26) + b"archive/data.pkl" + os.urandom(3_000_000)
    fake.seconds_a_piece = 0.001
    fake.add(
        "org/model",
        FILES | {"old.pt": b"x", "pytorch_model.bin": torch, "data.dat": pickled, "image.png": b"\x7fELF" * 100},
    )

    job = ran(submit(ann))

    assert job.error is None
    assert sorted(job.result["skipped"]) == ["data.dat", "image.png", "old.pt", "pytorch_model.bin"]
    assert "left out: data.dat, image.png, old.pt, pytorch_model.bin" in job.message
    assert set(contents("ann/copy")) == set(FILES)
    assert Repository.objects.named("ann/copy").get().provenance["skipped"] == job.result["skipped"]
    assert "old.pt" not in [path for path, _ in fake.asked]
    assert "pickle" in job.result["skipped"]["pytorch_model.bin"]
    assert list(imports().glob("*.part")) == []
    assert Blob.objects.filter(size__gt=1_000_000).count() == 0


def test_pickles_come_where_the_operator_allows_them(fake: FakeSource, ann: User, settings: Settings) -> None:
    settings.ALLOW_PICKLE = True
    fake.add("org/model", FILES | {"old.pt": pickle.dumps([1])})

    job = ran(submit(ann))

    assert (job.error, job.result["skipped"]) == (None, {})
    assert "old.pt" in contents("ann/copy")


def test_a_name_that_could_land_elsewhere_stops_it_before_a_byte(fake: FakeSource, ann: User, tmp_path: Path) -> None:
    before = set(tmp_path.rglob("*"))
    for name in ("../../evil", *NAMES):
        fake.add("org/model", {"fine.txt": b"1", name: b"x"})

        job = ran(submit(ann))

        assert job.error is not None, ascii(name)
        assert job.error["code"] in {"bad-name", "remote-failed"}, (ascii(name), job.error)
        assert fake.asked == []
    assert not Repository.objects.named("ann/copy").exists()
    after = {path.relative_to(tmp_path).as_posix() for path in set(tmp_path.rglob("*")) - before}
    assert {path for path in after if not path.startswith(("home/imports", "home/tmp", "home/broker"))} == set()


def test_more_than_the_hub_takes_stops_it_before_a_byte(fake: FakeSource, ann: User, settings: Settings) -> None:
    settings.IMPORT_MAX_BYTES = 1000

    job = ran(submit(ann))

    assert job.error["code"] == "too-large"
    assert fake.asked == []


def test_more_than_the_namespace_may_store_stops_it_before_a_byte(
    fake: FakeSource, ann: User, settings: Settings
) -> None:
    settings.STORAGE_QUOTA_BYTES = 100_000

    job = ran(submit(ann))

    assert job.error["code"] == "over-quota"
    assert fake.asked == []
    assert Reservation.objects.count() == 0


def test_the_other_hub_cannot_name_bytes_that_the_owner_may_not_use(fake: FakeSource, ann: User) -> None:
    """It lists the hash of somebody's private file, and has no such bytes."""
    secret = os.urandom(200_000)
    bob = make_user("bob")
    make_commit(make_repository(bob, "secret", private=True), {"w.bin": secret}, by=bob)
    fake.add("org/model", {"w.bin": secret})
    fake.tamper = lambda data: bytes(len(data))

    job = ran(submit(ann))

    assert job.error["code"] == "remote-failed"
    assert not Repository.objects.named("ann/copy").exists()


# ── who may, and from where ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("source", ["other:org/model", "http://127.0.0.1/x", "hf:../../etc", "hf:", "hf:a/b/c", "a/b"])
def test_only_listed_endpoints_and_plain_names_are_sources(fake: FakeSource, ann: User, source: str) -> None:
    with pytest.raises(BadSpec):
        submit(ann, source=source)
    assert Job.objects.count() == 0


def test_an_operator_who_lists_none_has_switched_it_off(fake: FakeSource, ann: User, settings: Settings) -> None:
    settings.IMPORT_ENDPOINTS = {}
    with pytest.raises(BadSpec, match="it has: none"):
        submit(ann)


def test_a_private_endpoint_is_not_connected_to_unless_allowed(fake: FakeSource, ann: User, settings: Settings) -> None:
    settings.IMPORT_ALLOW_PRIVATE = False

    job = ran(submit(ann))

    assert job.error["code"] == "address-refused"


def test_it_needs_the_right_to_create_in_the_namespace(fake: FakeSource, ann: User) -> None:
    bob = make_user("bob")
    with pytest.raises(NotAllowed):
        submit(bob)
    make_repository(ann, "mine")
    with pytest.raises(BadSpec, match="is no copy of"):
        submit(ann, push_to="ann/mine")
    with pytest.raises(NotFound):
        submit(ann, push_to="nobody/copy")


def test_rights_that_are_lost_while_it_runs_count_at_its_end(
    fake: FakeSource, ann: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = submit(ann)
    make_repository(ann, "copy")  # somebody was faster, and it is no copy of that

    assert ran(job).error["code"] == "bad-spec"


# ── stopping and going on ───────────────────────────────────────────────────────────────────────────────────────────


def large(fake: FakeSource) -> dict[str, bytes]:
    """Two large files, a few seconds each."""
    found = {"a.bin": os.urandom(2_000_000), "b.bin": os.urandom(2_100_000)}
    fake.add("org/model", FILES | found)
    fake.seconds_a_piece = 0.1
    return found


def worker(job: Job) -> subprocess.Popen[bytes]:
    environment = os.environ | {
        "PRIORHUB_HOME": str(hub_settings.PRIORHUB_HOME), "DATABASE_URL": database_url(), "SECRET_KEY": "for this test",
        "DJANGO_SETTINGS_MODULE": "hub.settings", "IMPORT_ALLOW_PRIVATE": "1",
        "IMPORT_ENDPOINTS": f"hf={hub_settings.IMPORT_ENDPOINTS['hf']}",
    }  # fmt: skip
    return subprocess.Popen([sys.executable, "-W", "ignore", "-c", RUN, str(job.pk)], env=environment)


def test_a_worker_that_is_killed_in_a_file_has_its_job_gone_on_with(fake: FakeSource, ann: User) -> None:
    large(fake)
    job = submit(ann)
    process = worker(job)
    wait_for(lambda: sum(path.stat().st_size for path in imports().glob("*.part")) > 500_000)
    process.send_signal(signal.SIGKILL)
    process.wait()
    fake.asked.clear()
    assert not Repository.objects.named("ann/copy").exists()
    (half,) = imports().glob("*.part")
    have = half.stat().st_size

    assert services.reap().requeued == 1
    fake.seconds_a_piece = 0
    job = ran(job)

    assert (job.status, job.error, job.attempt) == ("done", None, 2)
    assert set(contents("ann/copy")) == set(FILES) | {"a.bin", "b.bin"}
    assert fake.asked[0] == ("a.bin", f"bytes={have}-")
    assert {path for path, _ in fake.asked} == {"a.bin", "b.bin"}  # the small files were stored before
    assert list(imports().glob("*.part")) == []


def test_a_cancelled_import_stops_within_a_file_and_publishes_nothing(fake: FakeSource, ann: User) -> None:
    large(fake)
    fake.seconds_a_piece = 0.3
    job = submit(ann)
    process = worker(job)
    wait_for(lambda: sum(path.stat().st_size for path in imports().glob("*.part")) > 200_000)

    services.request_cancel(job)
    began = time.monotonic()
    wait_for(lambda: Job.objects.get(pk=job.pk).status == "cancelled")

    assert time.monotonic() - began < 8  # the file alone would take ten
    assert process.wait(20) == 0
    assert not Repository.objects.named("ann/copy").exists()


def test_progress_counts_bytes(fake: FakeSource, ann: User) -> None:
    found = large(fake)
    fake.seconds_a_piece = 0.05
    job = ran(submit(ann))

    seen = [event.data for event in job.events.filter(kind="progress")]
    total = sum(map(len, FILES.values())) + sum(map(len, found.values()))
    steps = [said["step"] for said in seen if said["of"]]
    assert {said["of"] for said in seen} <= {0, total}
    assert steps == sorted(steps)
    assert any(0 < step < total for step in steps)


# ── the API ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_api_takes_the_job_and_tells_where_a_copy_came_from(fake: FakeSource, ann: User, client: Client) -> None:
    body = {"kind": "import", "spec": {"source": "hf:org/model", "push_to": "ann/copy"}}
    refused = client.post("/api/v1/jobs", body, content_type="application/json")
    taken = client.post("/api/v1/jobs", body, content_type="application/json", headers=bearer(ann))
    ran(Job.objects.get(pk=taken.json()["id"]))

    shown = client.get("/api/v1/repos/ann/copy").json()

    assert refused.status_code == TokenRejected.status
    assert taken.status_code == 202
    assert shown["provenance"]["commit"] == COMMIT
    assert client.get("/api/v1/repos/ann/copy", headers=bearer(ann)).json()["provenance"]["license"] == "apache-2.0"
    assert Blob.objects.count() == len(FILES)
    assert commits.tip(Repository.objects.named("ann/copy").get(), "main") is not None


# ── the site and the command line ───────────────────────────────────────────────────────────────────────────────────


def test_the_page_starts_the_job_and_the_copy_says_where_it_came_from(
    fake: FakeSource, ann: User, client: Client
) -> None:
    assert "Sign in" in client.get("/import").content.decode()
    client.force_login(ann)
    assert fake.url in client.get("/import").content.decode()

    begun = client.post("/import", {"source": "hf", "repo": "org/model", "type": "model"})
    job = ran(Job.objects.get())

    assert begun["Location"] == f"/jobs/{job.pk}"
    assert job.spec["push_to"] == "ann/model"
    done = client.get(f"/jobs/{job.pk}").content.decode()
    assert 'href="/ann/model"' in done and "3 files of" in done
    page = client.get("/ann/model").content.decode()
    assert "Copied from <code>hf:org/model</code> at commit" in page
    assert "license there: apache-2.0" in page


def test_the_page_is_linked_where_something_is_missing_and_begins_filled_in(
    fake: FakeSource, ann: User, client: Client, settings: Settings
) -> None:
    searched = client.get("/priors?q=org/model").content.decode()
    strange = client.get("/ann").content.decode()
    client.force_login(ann)

    assert 'href="/import?repo=org/model"' in searched
    assert "/import" not in strange
    for page in ("/ann", "/jobs", "/account"):
        assert 'href="/import' in client.get(page).content.decode()
    assert 'value="org/model"' in client.get("/import?repo=org/model").content.decode()
    client.post("/import", {"source": "hf", "repo": "org/model", "type": "model", "to": "ann/"})
    assert Job.objects.get().spec["push_to"] == "ann/model"
    settings.IMPORT_ENDPOINTS = {}
    assert "/import" not in client.get("/priors?q=org/model").content.decode()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"source": "other"}, "other"),
        ({"repo": "https://huggingface.co/org/model"}, "without the address"),
        ({"to": "bob/model"}, "may not create"),
        ({"rev": "a b"}, "branch, tag or commit"),
    ],
)
def test_what_cannot_be_copied_is_explained_beside_the_form(
    fake: FakeSource, ann: User, client: Client, given: dict[str, str], said: str
) -> None:
    make_user("bob")
    client.force_login(ann)

    response = client.post("/import", {"source": "hf", "repo": "org/model", "type": "model"} | given)

    assert response.status_code == 422
    assert said in response.content.decode()
    assert Job.objects.count() == 0


def test_nobody_imports_without_an_account(fake: FakeSource, client: Client) -> None:
    client.post("/import", {"source": "hf", "repo": "org/model", "type": "model"})

    assert Job.objects.count() == 0


def test_the_command_line_copies_and_tells_what_came_of_it(
    fake: FakeSource, ann: User, live_server: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("PRIORHUB_URL", live_server.url)
    monkeypatch.setenv("PRIORHUB_TOKEN", make_token(ann))
    fake.add("org/model", FILES | {"old.pt": b"x"})

    def work() -> None:
        try:
            wait_for(lambda: Job.objects.exists())
            tasks.run_job(str(Job.objects.get().pk))
        finally:
            connection.close()

    thread = threading.Thread(target=work)
    thread.start()
    result = CliRunner().invoke(app, ["import", "hf:org/model", "--json"])
    thread.join()

    assert result.exit_code == 0, result.output
    said = json.loads(result.stdout)
    assert (said["repo"], said["source_commit"], list(said["skipped"])) == ("ann/model", COMMIT, ["old.pt"])
