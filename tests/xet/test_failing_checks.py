"""A check of an upload that fails by a fault of ours: tried again, later each time, then given up with a reason."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import httpx
import numpy as np
import pytest
from django.test import Client
from django.utils import timezone

from hub.accounts.models import User
from hub.errors import CheckFailed, HashMismatch, StillChecking, StorageDown
from hub.repos.models import Blob
from hub.repos.objects import objects
from hub.xet import direct, taking
from hub.xet.models import DirectUpload
from tests.factories import bearer, make_repository, make_user, sha256

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("a_bucket")]

Told = list[tuple[str, str]]
DATA = np.random.default_rng(4).bytes(400_000)


@pytest.fixture
def ann() -> User:
    return make_user("ann")


def upload(user: User) -> DirectUpload:
    begun = direct.begin(user=user, sha256=sha256(DATA), size=len(DATA), parts=False)
    assert begun is not None
    httpx.put(begun.urls[0], content=DATA).raise_for_status()
    direct.arrived(begun.upload)
    return begun.upload


def failing(monkeypatch: pytest.MonkeyPatch, error: BaseException, *, times: int = 10**9) -> list[int]:
    """From now on the check of a file raises, that many times; when it did."""
    original, calls = taking.keep, []

    def keep(*args: Any) -> Any:
        calls.append(1)
        if len(calls) <= times:
            raise error
        return original(*args)

    monkeypatch.setattr(taking, "keep", keep)
    return calls


def work(told: Told) -> None:
    """A worker takes every message that waits."""
    while told:
        _, argument = told.pop(0)
        direct.settle(argument)


def attempt_when_due(told: Told, row: DirectUpload) -> float:
    """Waits for the next attempt's time, and makes it; how long that was, in seconds."""
    row.refresh_from_db()
    pause = (row.due_at - timezone.now()).total_seconds()
    assert direct.wake() == 0  # not before
    DirectUpload.objects.filter(pk=row.pk).update(due_at=timezone.now())
    assert direct.wake() == 1
    work(told)
    return pause


def test_a_mistake_of_ours_is_tried_five_times_with_growing_pauses_and_then_told(
    ann: User, told: Told, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    calls = failing(monkeypatch, KeyError("a mistake"))
    begun = upload(ann)

    work(told)
    with pytest.raises(StillChecking):
        direct.wait(begun, seconds=0)
    pauses = [attempt_when_due(told, begun) for _ in range(direct.MOST_ATTEMPTS - 1)]

    assert [round(pause, -1) for pause in pauses] == [30, 60, 120, 240]
    assert len(calls) == direct.MOST_ATTEMPTS
    with pytest.raises(CheckFailed, match=f"KeyError, in 5 attempts.*Tell its operator.*{begun.pk}.*again later"):
        direct.wait(begun, seconds=0)
    DirectUpload.objects.update(due_at=timezone.now() - timedelta(days=1))
    assert direct.wake() == 0  # for ever
    assert not Blob.objects.exists()
    given_up = [record.getMessage() for record in caplog.records if "given up" in record.getMessage()]
    assert len(given_up) == 1 and str(begun.pk) in given_up[0]
    assert sum(record.exc_info is not None for record in caplog.records) == direct.MOST_ATTEMPTS


def test_an_attempt_that_goes_well_ends_it(ann: User, told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    failing(monkeypatch, KeyError("a mistake"), times=2)
    begun = upload(ann)

    work(told)
    for _ in range(2):
        attempt_when_due(told, begun)

    direct.wait(begun, seconds=0)
    assert Blob.objects.usable_by(ann).get().pk == sha256(DATA)


def test_a_bucket_that_is_down_is_waited_for_longer_than_a_mistake(
    ann: User, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(monkeypatch, StorageDown("no answer"), times=direct.MOST_ATTEMPTS + 3)
    begun = upload(ann)

    work(told)
    pauses = [attempt_when_due(told, begun) for _ in range(direct.MOST_ATTEMPTS + 3)]

    direct.wait(begun, seconds=0)
    assert max(pauses) <= 1800


def test_a_bucket_that_stays_down_ends_it_too(ann: User, told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    failing(monkeypatch, StorageDown("no answer"))
    monkeypatch.setattr(direct, "MOST_PATIENCE", 2)
    begun = upload(ann)

    work(told)
    attempt_when_due(told, begun)

    with pytest.raises(CheckFailed, match="StorageDown"):
        direct.wait(begun, seconds=0)


def test_a_file_that_kills_its_worker_is_given_up(ann: User, told: Told) -> None:
    begun = upload(ann)
    for _ in range(direct.MOST_ATTEMPTS):  # each time the row stays as a killed worker leaves it
        direct._turn(DirectUpload.objects.filter(status="arrived"), "checking", attempts=direct.F("attempts") + 1)
        told.clear()
        DirectUpload.objects.update(changed_at=timezone.now() - timedelta(hours=1))
        direct.wake()

    assert told == []
    with pytest.raises(CheckFailed, match="worker died"):
        direct.wait(begun, seconds=0)


def test_a_worker_that_is_told_to_stop_costs_no_attempt(ann: User, told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    failing(monkeypatch, SystemExit(0), times=1)
    begun = upload(ann)

    with pytest.raises(SystemExit):
        work(told)

    begun.refresh_from_db()
    assert (begun.status, begun.attempts) == ("arrived", 0)
    direct.settle(str(begun.pk))
    direct.wait(begun, seconds=0)


def test_a_worker_that_was_taken_for_dead_changes_nothing_when_it_comes_back(
    ann: User, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = taking.keep

    def slow(*args: Any) -> Any:
        monkeypatch.setattr(taking, "keep", original)
        DirectUpload.objects.update(changed_at=timezone.now() - timedelta(hours=1))
        direct.wake()
        direct.settle(str(begun.pk))  # another worker, meanwhile
        raise KeyError("late")

    monkeypatch.setattr(taking, "keep", slow)
    begun = upload(ann)

    direct.settle(str(begun.pk))

    direct.wait(begun, seconds=0)


def test_what_was_sent_is_refused_at_once_and_not_tried_again(ann: User, told: Told) -> None:
    begun = direct.begin(user=ann, sha256=sha256(b"other"), size=len(DATA), parts=False)
    assert begun is not None
    httpx.put(begun.urls[0], content=DATA).raise_for_status()
    direct.arrived(begun.upload)

    work(told)

    with pytest.raises(HashMismatch):
        direct.wait(begun.upload, seconds=0)
    assert [*objects().listing("assembled/"), *objects().listing("arriving/")] == []


def test_the_bytes_of_a_failed_check_stay_for_a_day_and_go_then(
    ann: User, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(monkeypatch, KeyError("a mistake"))
    begun = upload(ann)
    DirectUpload.objects.update(attempts=direct.MOST_ATTEMPTS - 1)
    work(told)

    assert direct.forget_old(grace_s=24 * 3600) == 0
    begun.refresh_from_db()
    assert [key for key, _ in objects().listing("assembled/")] == [begun.key]
    DirectUpload.objects.update(changed_at=timezone.now() - timedelta(days=2))
    assert direct.forget_old(grace_s=24 * 3600) == 1
    assert list(objects().listing("assembled/")) == []


def test_a_git_lfs_client_reads_the_reason_and_may_send_again(
    client: Client, ann: User, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_repository(ann, "mine")
    wanted = {"oid": sha256(DATA), "size": len(DATA)}

    def post(path: str, body: Any) -> Any:
        return client.post(path, body, content_type="application/json", headers=bearer(ann))

    def send() -> Any:
        asked = {"operation": "upload", "transfers": ["basic"], "objects": [wanted]}
        [answer] = post("/ann/mine.git/info/lfs/objects/batch", asked).json()["objects"]
        httpx.put(answer["actions"]["upload"]["href"], content=DATA).raise_for_status()
        verify = answer["actions"]["verify"]["href"].removeprefix("http://testserver")
        monkeypatch.setattr("hub.wire.lfs._WAIT_S", 0.0)
        post(verify, wanted)  # the worker is told
        DirectUpload.objects.filter(status="arrived").update(attempts=direct.MOST_ATTEMPTS - 1)
        work(told)
        return post(verify, wanted)

    failing(monkeypatch, ZeroDivisionError(), times=1)
    refused = send()

    assert refused.status_code == 400  # what the protocol makes of our 422
    assert "ZeroDivisionError" in refused.headers["X-Error-Message"]
    assert "fault of the hub" in refused.json()["error"]
    assert send().status_code == 200
