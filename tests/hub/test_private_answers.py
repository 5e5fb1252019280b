"""What caches between the hub and somebody may keep of their answers: nothing, unless the view says so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from hub.accounts.models import User
from tests.factories import bearer, make_commit, make_repository, make_user

pytestmark = pytest.mark.django_db


@pytest.fixture
def ann(home: Path) -> User:
    return make_user("ann", password="a long pass phrase")


@pytest.mark.parametrize("path", ["/", "/account", "/account/x.css", "/api/v1/whoami", "/api/v1/whoami/x.css"])
def test_no_cache_keeps_what_somebody_signed_in_is_answered(client: Client, ann: User, path: str) -> None:
    client.force_login(ann)

    assert "no-store" in client.get(path)["Cache-Control"]


@pytest.mark.parametrize("path", ["/api/whoami-v2", "/api/v1/whoami", "/api/models", "/api/v1/priors"])
def test_no_cache_keeps_what_a_token_is_answered(client: Client, ann: User, path: str) -> None:
    assert "no-store" in client.get(path, headers=bearer(ann))["Cache-Control"]


def test_what_anybody_may_see_is_left_to_caches(client: Client, ann: User) -> None:
    assert "no-store" not in client.get("/api/models").get("Cache-Control", "")


def test_signing_in_leaves_nothing_in_a_cache(client: Client, ann: User) -> None:
    answer = client.post("/login", {"login": "ann", "password": "a long pass phrase"})

    assert answer.cookies["sessionid"]
    assert "no-store" in answer["Cache-Control"]


def test_a_view_that_says_what_may_be_kept_is_not_overruled(client: Client, ann: User) -> None:
    make_commit(make_repository(ann, "things"), {"a.txt": b"one"}, by=ann)
    client.force_login(ann)

    def kept(path: str) -> Any:
        return client.get(path)["Cache-Control"]

    assert kept("/api/v1/repos/ann/things/files/main/a.txt") == "private, no-cache"
    assert "no-store" not in kept("/static/site.css")
