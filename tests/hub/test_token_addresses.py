"""A token that two machines use within minutes: its owner is told, nothing stops, and requests cost no more writes."""

from __future__ import annotations

import threading
from datetime import timedelta
from pathlib import Path

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from hub.accounts.models import ApiToken, AuditEntry, User
from tests.factories import make_token, make_user

HOME, AWAY, THIRD = "203.0.113.7", "198.51.100.9", "2001:db8:1:2::3"


@pytest.fixture(autouse=True)
def own_home(home: Path) -> Path:
    return home


@pytest.fixture
def ann(db: None) -> User:
    return make_user("ann")


def use(text: str, address: str, path: str = "/api/v1/whoami") -> int:
    return Client(REMOTE_ADDR=address).get(path, headers={"Authorization": f"Bearer {text}"}).status_code


def told() -> list[AuditEntry]:
    return list(AuditEntry.objects.filter(action="token.two-addresses"))


def earlier(by: timedelta) -> None:
    """Everything that was noted of the token, that much longer ago."""
    row = ApiToken.objects.get()
    assert row.last_used_at is not None
    before = row.two_addresses_at
    row.last_used_at, row.two_addresses_at = row.last_used_at - by, before - by if before else None
    row.save()


def writes(queries: CaptureQueriesContext) -> list[str]:
    said = [str(query["sql"]) for query in queries]
    return [sql for sql in said if sql.startswith(("UPDATE", "INSERT")) and "ratewindow" not in sql]


def test_two_addresses_within_minutes_are_told_once_a_day(ann: User) -> None:
    text = make_token(ann)

    assert [use(text, address) for address in (HOME, HOME, AWAY, HOME, AWAY, THIRD)] == [200] * 6

    (entry,) = told()
    assert (entry.namespace, entry.subject, entry.detail["address"]) == ("ann", ApiToken.objects.get().name, AWAY)
    assert text not in str(vars(entry))
    earlier(timedelta(days=1, minutes=1))
    use(text, HOME)
    use(text, AWAY)
    assert len(told()) == 2


def test_one_machine_that_goes_from_one_network_to_another_is_not_told_of(ann: User) -> None:
    text = make_token(ann)
    use(text, HOME)
    earlier(timedelta(minutes=11))
    use(text, AWAY)
    earlier(timedelta(minutes=11))
    use(text, HOME)

    assert told() == []


def test_two_tokens_on_two_machines_are_as_it_should_be(ann: User) -> None:
    for text, address in ((make_token(ann), HOME), (make_token(ann), AWAY)):
        use(text, address)
        use(text, address)

    assert told() == []


@pytest.mark.parametrize("path", ["/api/whoami-v2", "/ann/none.git/info/refs?service=git-upload-pack"])
def test_every_way_in_counts(ann: User, path: str) -> None:
    text = make_token(ann)
    use(text, HOME)
    use(text, AWAY, path)

    assert len(told()) == 1


def test_addresses_that_take_turns_cost_no_write_each(ann: User) -> None:
    text = make_token(ann)
    for address in (HOME, AWAY):
        use(text, address)

    with CaptureQueriesContext(connection) as queries:
        for address in (HOME, AWAY, THIRD) * 5:
            use(text, address)

    assert writes(queries) == []


def test_the_address_is_kept_as_a_digest_that_says_nothing_elsewhere(ann: User) -> None:
    first, second = make_token(ann), make_token(ann)
    use(first, HOME)
    use(second, HOME)

    kept = list(ApiToken.objects.values_list("last_address", flat=True))
    assert [len(each) for each in kept] == [16, 16]
    assert kept[0] != kept[1]
    assert HOME not in str(list(ApiToken.objects.values()))


def test_the_account_page_says_which_token_and_what_to_do(ann: User, client: Client) -> None:
    text = make_token(ann)
    client.force_login(ann)
    use(text, HOME)
    assert "two addresses at once" not in client.get("/account").content.decode()

    use(text, AWAY)

    page = client.get("/account").content.decode()
    assert "two addresses at once" in page
    assert "If one was not yours, revoke it" in page


@pytest.mark.django_db(transaction=True)
def test_of_many_at_once_one_tells() -> None:
    text = make_token(make_user("ann"))
    use(text, HOME)
    start = threading.Barrier(6)

    def go(address: str) -> None:
        try:
            start.wait()
            use(text, address)
        finally:
            connection.close()

    threads = [threading.Thread(target=go, args=(f"198.51.100.{n}",)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(told()) == 1
