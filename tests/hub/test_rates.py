from __future__ import annotations

import threading
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import connection
from django.test import Client, RequestFactory
from hypothesis import given
from hypothesis import strategies as st
from pytest_django import Settings

from hub.accounts import rates
from hub.accounts.models import RateWindow
from hub.env import env_rate
from hub.errors import TooManyRequests
from hub.jobs.models import Job
from tests.factories import bearer, make_repository, make_task, make_user

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("home")]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Any:
    class Clock:
        now = 1_000_000.0

        def time(self) -> float:
            return self.now

    made = Clock()
    monkeypatch.setattr(rates, "time", made)
    return made


def limit(settings: Settings, **changes: tuple[int, int]) -> None:
    settings.RATES = {**settings.RATES, **changes}


def tries(kind: Any, who: str, many: int) -> int:
    """How many of `many` were let through."""
    allowed = 0
    for _ in range(many):
        try:
            rates.spend(kind, who)
        except TooManyRequests:
            continue
        allowed += 1
    return allowed


def test_no_more_than_the_limit_a_window(settings: Settings, clock: Any) -> None:
    limit(settings, login=(10, 300))

    assert tries("login", "ip:1", 30) == 10
    clock.now += 299
    assert tries("login", "ip:1", 5) == 0
    assert tries("login", "ip:2", 5) == 5
    clock.now += 1
    assert tries("login", "ip:1", 30) == 10


def test_a_clock_that_jumps_back_does_not_lock_out(settings: Settings, clock: Any) -> None:
    limit(settings, login=(10, 300))
    tries("login", "ip:1", 10)

    clock.now -= 86_400

    assert tries("login", "ip:1", 30) == 10


def test_a_refusal_says_how_long_to_wait(settings: Settings, clock: Any) -> None:
    limit(settings, login=(1, 300))
    rates.spend("login", "ip:1")
    clock.now += 45

    with pytest.raises(TooManyRequests, match="Wait 5 minutes") as refused:
        rates.spend("login", "ip:1")

    assert refused.value.headers == {
        "RateLimit": '"login";r=0;t=255',
        "RateLimit-Policy": '"fixed window";"login";q=1;w=300',
        "Retry-After": "255",
    }


def test_many_requests_cost_few_writes(settings: Settings, django_assert_num_queries: Any) -> None:
    limit(settings, api=(5000, 300))
    rates.spend("api", "user:1")

    with django_assert_num_queries(0):
        assert tries("api", "user:1", 99) == 99
    assert RateWindow.objects.get().spent == 100
    assert tries("api", "user:1", 10_000) == 4900


def test_windows_that_are_over_are_swept(clock: Any) -> None:
    tries("login", "ip:1", 1)
    assert rates.clean() == 0
    clock.now += 100_000

    assert rates.clean() == 1


def test_what_processes_leased_never_exceeds_the_limit(settings: Settings) -> None:
    limit(settings, api=(100, 300))
    allowed = 0
    for _ in range(70):  # each forgets its lease, as a process that died does
        allowed += tries("api", "user:1", 1)
        rates.forget()

    assert allowed == 50  # in leases of two, of which one is lost
    assert tries("api", "user:1", 5) == 0


@pytest.mark.django_db(transaction=True)
def test_threads_count_together(settings: Settings) -> None:
    limit(settings, login=(10, 300))
    allowed: list[int] = []

    def run() -> None:
        try:
            allowed.append(tries("login", "ip:1", 5))
        finally:
            connection.close()

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sum(allowed) == 10


@pytest.mark.django_db(transaction=True)
def test_what_is_leased_already_is_spent_while_the_database_writes(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit(settings, api=(5000, 300))
    rates.spend("api", "user:1")
    writes, written = threading.Event(), threading.Event()
    lease = rates._lease

    def slow(*args: Any) -> Any:
        writes.set()
        assert written.wait(30)
        return lease(*args)

    def other() -> None:
        try:
            rates.spend("api", "user:2")
        finally:
            connection.close()

    monkeypatch.setattr(rates, "_lease", slow)
    thread = threading.Thread(target=other)
    thread.start()
    assert writes.wait(30)
    spender = threading.Thread(target=rates.spend, args=("api", "user:1"))
    spender.start()
    spender.join(5)
    waits = spender.is_alive()
    written.set()
    thread.join()
    spender.join()

    assert not waits


def test_what_two_threads_lease_of_a_window_adds_up(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    limit(settings, api=(100, 300))
    lease = rates._lease

    def twice(*args: Any) -> Any:
        monkeypatch.setattr(rates, "_lease", lease)
        rates.spend("api", "user:1")  # as if another thread came first
        return lease(*args)

    monkeypatch.setattr(rates, "_lease", twice)
    rates.spend("api", "user:1")

    assert RateWindow.objects.get().spent == 4
    assert tries("api", "user:1", 200) == 98


def test_the_api_tells_what_is_left_and_refuses_with_429(settings: Settings, client: Client) -> None:
    limit(settings, api=(3, 300))
    headers = bearer(make_user("ann"))

    answers = [client.get("/api/v1/whoami", headers=headers) for _ in range(4)]

    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert answers[0]["RateLimit"].startswith('"api";r=2;t=')
    assert answers[3]["RateLimit"].startswith('"api";r=0;t=')
    assert answers[3]["RateLimit-Policy"] == '"fixed window";"api";q=3;w=300'
    assert 0 < int(answers[3]["Retry-After"]) <= 300
    assert answers[3].json()["code"] == "too-many-requests"
    assert client.get("/api/v1/whoami", headers=bearer(make_user("bob"))).status_code == 200


def test_creating_has_a_limit_of_its_own(settings: Settings, client: Client) -> None:
    limit(settings, create=(2, 3600))
    headers = bearer(make_user("ann"))

    def create(name: str) -> int:
        body = {"name": f"ann/{name}", "kind": "plain"}
        return client.post("/api/v1/repos", body, "application/json", headers=headers).status_code

    assert [create(name) for name in ("a", "b", "c")] == [201, 201, 429]


def test_jobs_that_make_a_repository_count_as_making_it(settings: Settings, client: Client) -> None:
    limit(settings, create=(3, 3600))
    settings.IMPORT_ENDPOINTS = {"hf": "https://hub.example.org"}
    ann = make_user("ann")
    headers = bearer(ann)
    make_task(ann, "topics")
    make_repository(ann, "old", kind="composition")

    def ask(kind: str, **spec: str) -> int:
        body = {"kind": kind, "spec": spec, "again": True}
        return client.post("/api/v1/jobs", body, "application/json", headers=headers).status_code

    assert ask("import", source="hf:org/model", push_to="ann/a") == 202
    assert ask("import", source="hf:org/model", push_to="ann/a") == 202  # the same job, which makes nothing more
    assert ask("fit", task="ann/topics", push_to="ann/b") == 202
    assert ask("fit", task="ann/topics", push_to="ann/old") == 202  # another version of what is there
    assert ask("fit", task="ann/topics", push_to="ann/c") == 202
    assert [ask("fit", task="ann/topics", push_to="ann/d"), ask("import", source="hf:o/m", push_to="ann/e")] == [
        429
    ] * 2
    assert ask("recommend", task="ann/topics") == 202
    assert Job.objects.filter(spec__push_to__in=["ann/d", "ann/e"]).count() == 0


@pytest.mark.parametrize(
    ("proxies", "seen", "forwarded", "address"),
    [
        (0, "1.2.3.4", "9.9.9.9", "1.2.3.4"),
        (1, "10.0.0.1", "9.9.9.9, 1.2.3.4", "1.2.3.4"),
        (2, "10.0.0.1", "9.9.9.9, 1.2.3.4, 10.0.0.2", "1.2.3.4"),
        (1, "10.0.0.1", "", "10.0.0.1"),
        (1, "10.0.0.1", "rubbish", "unknown"),
        (0, "2001:db8::1:2:3:4", "", "2001:db8::"),
        (0, "::ffff:1.2.3.4", "", "1.2.3.4"),
        (0, "", "", "unknown"),
    ],
)
def test_whose_address_counts(settings: Settings, proxies: int, seen: str, forwarded: str, address: str) -> None:
    settings.TRUSTED_PROXIES = proxies
    request = RequestFactory().get("/", REMOTE_ADDR=seen, headers={"X-Forwarded-For": forwarded})

    assert rates.address_of(request) == address


@given(st.text(max_size=20))
def test_a_rate_that_does_not_read_stops_the_start(text: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        if "\0" in text or any("\ud800" <= char <= "\udfff" for char in text):
            return
        patch.setenv("RATE_API", text)
        try:
            many, seconds = env_rate("RATE_API", "1/1")
        except ImproperlyConfigured:
            return
        assert f"{many}/{seconds}" == text or text.startswith("0") or "/0" in text
