from __future__ import annotations

import string
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from hub.accounts import services
from hub.accounts.models import ApiToken, AuditEntry, SetupLink, User
from hub.accounts.tokens import new_token, well_formed
from hub.errors import BadName, BadRequest
from priors.errors import Conflict, NotAllowed
from tests.factories import make_token, make_user

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def own_home(home: Path) -> Path:
    return home


def whoami(client: Client, header: str) -> tuple[int, dict[str, Any]]:
    response = client.get("/api/v1/whoami", headers={"Authorization": header})
    return response.status_code, response.json()


def everything_stored() -> str:
    """All rows of all tables as text."""
    with connection.cursor() as cursor:
        rows = []
        for table in connection.introspection.table_names(cursor):
            cursor.execute(f"SELECT * FROM {connection.ops.quote_name(table)}")
            rows += cursor.fetchall()
    return repr(rows)


@given(st.integers(0, 40), st.sampled_from(string.ascii_letters + string.digits))
def test_one_wrong_character_is_noticed(place: int, char: str) -> None:
    token = new_token()
    typo = token[:place] + char + token[place + 1 :]

    assert well_formed(token)
    assert well_formed(typo) == (typo == token)


def test_a_token_is_nowhere_in_the_database() -> None:
    text = make_token(make_user())

    dump = everything_stored()

    assert text not in dump
    assert text[3:] not in dump
    assert ApiToken.objects.get().prefix == text[:8]


def test_a_good_token_says_who_it_is_and_is_remembered_as_used(client: Client) -> None:
    ann = make_user("ann")

    assert whoami(client, f"Bearer {make_token(ann, role='read')}") == (200, {"name": "ann", "scopes": ["read"]})
    assert ApiToken.objects.get().last_used_at is not None


def test_a_mistyped_token_costs_no_query(client: Client, django_assert_num_queries: Any) -> None:
    text = make_token(make_user())
    typo = text[:-1] + ("A" if text[-1] != "A" else "B")

    with django_assert_num_queries(0):
        status, problem = whoami(client, f"Bearer {typo}")

    assert (status, problem["code"]) == (401, "token-rejected")
    assert "checksum" in problem["detail"]


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda token: services.revoke_token(token), "revoked"),
        (lambda token: ApiToken.objects.update(expires_at=timezone.now() - timedelta(seconds=1)), "expired"),
        (lambda token: User.objects.update(is_active=False), "suspended"),
        (lambda token: token.delete(), "does not know"),
    ],
    ids=["revoked", "expired", "suspended", "deleted"],
)
def test_a_token_that_is_over_is_refused_with_its_reason(client: Client, change: Any, word: str) -> None:
    text, token = services.create_token(user=make_user(), name="t", role="write")
    change(token)

    status, problem = whoami(client, f"Bearer {text}")

    assert (status, problem["code"]) == (401, "token-rejected")
    assert word in problem["detail"]
    assert text not in str(problem)


@pytest.mark.parametrize("header", ["", "Bearer", "Basic YTpi", "Bearer ph_", "bearer " + "x" * 100_000, "Token ph_x"])
def test_other_authorization_is_refused_even_where_nobody_needs_it(client: Client, header: str) -> None:
    response = client.get("/api/v1/priors", headers={"Authorization": header})

    assert (response.status_code, response["WWW-Authenticate"]) == (401, "Bearer")


def revoke(client: Client, body: Any) -> Any:
    return client.post("/api/credentials/revoke", body, content_type="application/json")


def test_whoever_finds_a_token_can_end_it_and_learns_nothing(client: Client) -> None:
    leaked, other = make_token(make_user("ann")), make_token(make_user("bob"))

    known, unknown = revoke(client, {"tokens": [leaked]}), revoke(client, {"tokens": [new_token()]})
    again = revoke(client, {"tokens": [leaked]})

    assert (known.status_code, known.content) == (unknown.status_code, unknown.content) == (202, again.content)
    assert whoami(client, f"Bearer {leaked}")[0] == 401
    assert whoami(client, f"Bearer {other}")[0] == 200
    assert AuditEntry.objects.filter(action="token.revoked").count() == 1


@pytest.mark.parametrize(
    "body", ["", "[", "[]", {"tokens": "ph_x"}, {"tokens": [1]}, {"tokens": ["x"] * 101}, "[" * 99999]
)
def test_a_revocation_that_does_not_read_is_refused(client: Client, body: Any) -> None:
    assert revoke(client, body).status_code == 400
    assert client.get("/api/credentials/revoke").status_code == 405


def test_a_token_in_the_address_is_not_one(client: Client) -> None:
    assert client.get("/api/v1/whoami", {"token": make_token(make_user())}).status_code == 401


@pytest.mark.parametrize("name", ["", "a b", "ä", "api", "Static", "../x", "a" * 97, "-a", "a..b", "аnn"])
def test_a_name_that_would_mislead_or_hide_a_page_is_refused(name: str) -> None:
    with pytest.raises(BadName):
        services.create_user(name=name)


def test_a_name_is_taken_in_any_case() -> None:
    make_user("ann")

    with pytest.raises(Conflict):
        make_user("Ann")
    assert User.objects.count() == 1


def test_a_weak_password_is_refused_and_makes_no_user() -> None:
    with pytest.raises(BadRequest, match="too common"):
        make_user("ann", password="password123")
    assert User.objects.count() == 0


def test_the_setup_link_makes_one_administrator_once() -> None:
    secret = services.new_setup_link()
    assert services.setup_link_is_valid(secret)
    assert not services.setup_link_is_valid(secret + "x")

    with pytest.raises(BadRequest):
        services.consume_setup_link(secret, name="root", password="short")
    root = services.consume_setup_link(secret, name="root", password="seven horses in a row")

    assert root.is_superuser
    assert not services.needs_setup()
    assert not services.setup_link_is_valid(secret)
    with pytest.raises(NotAllowed):
        services.consume_setup_link(secret, name="eve", password="seven horses in a row")
    assert not User.objects.filter(username="eve").exists()


def test_a_newer_setup_link_replaces_the_older_and_old_ones_expire() -> None:
    older, newer = services.new_setup_link(), services.new_setup_link()

    assert not services.setup_link_is_valid(older)
    assert services.setup_link_is_valid(newer)
    assert newer not in everything_stored()
    SetupLink.objects.update(created_at=timezone.now() - timedelta(days=8))
    assert not services.setup_link_is_valid(newer)


def test_makeuser_prints_a_write_token_as_its_last_line(client: Client) -> None:
    for _ in range(2):  # the second time the user exists
        out = StringIO()
        call_command("makeuser", "ann", "--token", stdout=out)
        token = out.getvalue().splitlines()[-1]

        assert whoami(client, f"Bearer {token}") == (200, {"name": "ann", "scopes": ["read", "write"]})
    assert User.objects.count() == 1


def test_makeuser_refuses_a_bad_name_in_one_line() -> None:
    with pytest.raises(CommandError, match="is no name"):
        call_command("makeuser", "a b")
