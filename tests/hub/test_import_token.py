"""A token for what is private or gated at the other hub: who gets to see it, where it lies, and when it is gone."""

from __future__ import annotations

import io
import json
import logging
import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as hub_settings
from django.core.management import call_command
from django.db import connection
from django.test import Client
from pytest_django import Settings
from typer.testing import CliRunner

from composer.cli import app
from hub.accounts.models import AuditEntry, User
from hub.errors import BadSpec
from hub.jobs import secret, services, tasks
from hub.jobs.models import Job, SourceToken
from hub.repos.models import Repository
from priors.sources import egress
from tests.factories import bearer, make_token, make_user
from tests.fake_source import FakeSource, serving
from tests.hub.test_killed_worker import wait_for

pytestmark = pytest.mark.django_db(transaction=True)

TOKEN = "hf_AbCdEfGhIjKlMnOpQrStUvWxYz012345"
FILES = {"README.md": b"---\nlicense: mit\n---\n# Hidden\n", "vocab.txt": b"a\nb\n" * 40_000}


@pytest.fixture
def fake(home: Path, settings: Settings) -> Iterator[FakeSource]:
    with serving(FakeSource(token=TOKEN)) as fake:
        settings.IMPORT_ENDPOINTS = {"hf": fake.url}
        settings.IMPORT_ALLOW_PRIVATE = True
        fake.add("org/model", FILES)
        yield fake


@pytest.fixture
def ann(home: Path) -> User:
    return make_user("ann")


def submit(owner: User, token: str | None = TOKEN, **spec: Any) -> Job:
    whole = {"source": "hf:org/model", "push_to": "ann/copy"} | spec
    return services.submit(kind="import", spec=whole, owner=owner, again=True, source_token=token)


def ran(job: Job) -> Job:
    tasks.run_job(str(job.pk))
    job.refresh_from_db()
    return job


def written_down() -> str:
    """Everything the hub keeps of a job and of what came of it, as text."""
    dumped = io.StringIO()
    call_command("dumpdata", "jobs", "repos", "accounts.auditentry", stdout=dumped)
    return dumped.getvalue()


def test_what_only_a_token_opens_is_copied_and_private_here(fake: FakeSource, ann: User) -> None:
    job = ran(submit(ann))

    assert job.error is None
    copy = Repository.objects.named("ann/copy").get()
    assert copy.private
    assert "a new copy is private" in job.message
    assert set(fake.shown) == {f"Bearer {TOKEN}"}


def test_a_token_that_was_not_needed_leaves_the_copy_as_it_was_asked_for(fake: FakeSource, ann: User) -> None:
    fake.token = ""

    assert ran(submit(ann)).error is None
    assert not Repository.objects.named("ann/copy").get().private


def test_without_the_token_there_is_nothing_to_copy(fake: FakeSource, ann: User) -> None:
    assert ran(submit(ann, None)).error["code"] == "not-found"
    assert fake.shown == []


def test_it_lies_encrypted_and_is_gone_when_the_job_ends(fake: FakeSource, ann: User) -> None:
    job = submit(ann)

    assert TOKEN not in written_down()
    assert SourceToken.objects.get().sealed.startswith("gAAAA")
    ran(job)
    assert SourceToken.objects.count() == 0
    assert TOKEN not in written_down()


def test_a_job_that_fails_or_is_cancelled_leaves_no_token(fake: FakeSource, ann: User) -> None:
    fake.repos.clear()
    assert ran(submit(ann)).status == "failed"
    assert SourceToken.objects.count() == 0

    waiting = submit(ann)
    assert SourceToken.objects.count() == 1
    services.request_cancel(waiting)
    assert SourceToken.objects.count() == 0


def test_a_job_whose_worker_died_still_has_it_and_one_that_is_given_up_has_not(fake: FakeSource, ann: User) -> None:
    job = submit(ann)
    gone = subprocess.Popen(["true"])
    gone.wait()
    for attempt, left in ((1, 1), (2, 0)):
        services.claim(str(job.pk))
        Job.objects.filter(pk=job.pk).update(worker=f"{os.uname().nodename}:{gone.pid}", attempt=attempt)
        services.reap()
        assert SourceToken.objects.count() == left
    job.refresh_from_db()
    assert job.status == "failed"


def test_a_token_that_comes_while_the_job_waits_takes_the_place_of_the_one_before(fake: FakeSource, ann: User) -> None:
    first = submit(ann, "hf_wrong_and_old")
    second = submit(ann)

    assert first.pk == second.pk
    assert ran(second).error is None


def test_what_the_source_repeats_of_it_stands_nowhere(
    fake: FakeSource, ann: User, caplog: pytest.LogCaptureFixture
) -> None:
    """It answers `Invalid credentials: Bearer hf_…`."""
    wrong = "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"
    with caplog.at_level(logging.DEBUG):
        job = ran(submit(ann, wrong))

    assert job.error["code"] == "not-allowed"
    assert "this token does not open it" in job.error["detail"]
    assert fake.shown[0] == f"Bearer {wrong}"
    assert wrong not in written_down()
    assert wrong not in caplog.text


def test_a_source_that_lists_the_token_as_a_file_is_not_copied(fake: FakeSource, ann: User) -> None:
    fake.add("org/model", FILES | {f"notes/{TOKEN}.txt": b"x"})

    job = ran(submit(ann))

    assert job.error["code"] == "remote-failed"
    assert TOKEN not in written_down()
    assert not Repository.objects.named("ann/copy").exists()


def test_an_unforeseen_error_that_holds_it_is_told_without_it(
    fake: FakeSource, ann: User, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*args: Any, **kwargs: Any) -> None:
        try:
            raise ValueError(f"cannot encode Bearer {TOKEN}")
        except ValueError as error:
            raise RuntimeError("while sending") from error

    monkeypatch.setattr("priors.sources.huggingface.Source.look", broken)

    job = ran(submit(ann))

    assert job.status == "failed"
    assert TOKEN not in written_down() + caplog.text


def test_it_does_not_go_along_with_a_redirect(fake: FakeSource, ann: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(egress, "is_public", lambda address: True)  # the other host is on this machine, too
    with serving(FakeSource()) as elsewhere:
        elsewhere.add("org/model", FILES)
        fake.files_at = elsewhere.url

        job = ran(submit(ann))

    assert job.error is None
    assert {path for path, _ in elsewhere.asked} == set(FILES)
    assert elsewhere.shown == []


def test_it_is_not_shown_to_an_address_it_was_not_meant_for(fake: FakeSource, ann: User, settings: Settings) -> None:
    job = submit(ann)
    with serving(FakeSource()) as other:
        other.add("org/model", FILES)
        settings.IMPORT_ENDPOINTS = {"hf": other.url}

        job = ran(job)

    assert job.error["code"] == "token-rejected"
    assert other.shown == other.asked == []


def test_a_row_that_is_copied_to_another_job_opens_nothing(fake: FakeSource, ann: User) -> None:
    mine, other = submit(ann), submit(make_user("eve"), None, push_to="eve/copy")
    SourceToken.objects.create(job=other, sealed=SourceToken.objects.get(job=mine).sealed)

    assert ran(other).error["code"] == "token-rejected"
    assert fake.shown == []


def test_an_address_in_the_clear_gets_no_token(fake: FakeSource, ann: User, settings: Settings) -> None:
    settings.IMPORT_ALLOW_PRIVATE = False

    with pytest.raises(BadSpec, match="not encrypted"):
        submit(ann)
    assert Job.objects.count() == SourceToken.objects.count() == 0


@pytest.mark.parametrize(
    "token", ["", "short", "with a space inside", "line\nbreak-in-it", "x" * 1025, "ключ-ключ-ключ"]
)
def test_what_is_no_token_is_refused_and_not_repeated(fake: FakeSource, ann: User, client: Client, token: str) -> None:
    body = {"kind": "import", "spec": {"source": "hf:org/model", "push_to": "ann/copy"}, "source_token": token}

    refused = client.post("/api/v1/jobs", body, content_type="application/json", headers=bearer(ann))

    assert (refused.status_code, refused.json()["code"]) == (422, "bad-spec")
    assert not token or token not in refused.json()["detail"]


def test_other_jobs_take_none(fake: FakeSource, ann: User) -> None:
    with pytest.raises(BadSpec, match="shows no token"):
        secret.check("fit", {}, TOKEN)


def test_the_api_takes_it_and_shows_it_to_nobody(fake: FakeSource, ann: User, client: Client) -> None:
    body = {"kind": "import", "spec": {"source": "hf:org/model", "push_to": "ann/copy"}, "source_token": TOKEN}

    taken = client.post("/api/v1/jobs", body, content_type="application/json", headers=bearer(ann))
    job = ran(Job.objects.get(pk=taken.json()["id"]))
    shown = client.get(f"/api/v1/jobs/{job.pk}", headers=bearer(ann))
    told = b"".join(client.get(f"/api/v1/jobs/{job.pk}/events", headers=bearer(ann)).streaming_content)

    assert job.error is None
    assert TOKEN not in taken.content.decode() + shown.content.decode() + told.decode()
    assert TOKEN not in json.dumps(list(AuditEntry.objects.values("subject", "detail")))


def test_the_page_takes_it_and_does_not_show_it_again(fake: FakeSource, ann: User, client: Client) -> None:
    client.force_login(ann)
    form = {"source": "hf", "repo": "org/model", "type": "model", "token": TOKEN}

    wrong = client.post("/import", form | {"rev": "a b"})
    client.post("/import", form)

    assert wrong.status_code == 422
    assert TOKEN not in wrong.content.decode()
    assert ran(Job.objects.get()).error is None
    assert TOKEN not in client.get(f"/jobs/{Job.objects.get().pk}").content.decode()


@pytest.mark.parametrize("by", ["environment", "pipe"])
def test_the_command_line_reads_it_from_where_no_list_of_processes_shows_it(
    fake: FakeSource, ann: User, live_server: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, by: str
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("PRIORHUB_URL", live_server.url)
    monkeypatch.setenv("PRIORHUB_TOKEN", make_token(ann))
    if by == "environment":
        monkeypatch.setenv("PRIORHUB_SOURCE_TOKEN", TOKEN)

    def work() -> None:
        try:
            wait_for(lambda: Job.objects.exists())
            tasks.run_job(str(Job.objects.get().pk))
        finally:
            connection.close()

    thread = threading.Thread(target=work)
    thread.start()
    options = ["--ask-token"] if by == "pipe" else []
    result = CliRunner().invoke(app, ["import", "hf:org/model", "--json", *options], input=f"{TOKEN}\n")
    thread.join()

    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["repo"] == "ann/model"
    assert TOKEN not in result.output
    assert hub_settings.IMPORT_ENDPOINTS["hf"] == fake.url and set(fake.shown) == {f"Bearer {TOKEN}"}
