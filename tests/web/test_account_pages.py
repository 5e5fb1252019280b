"""Setting up a hub, signing in, tokens, and the colors that a visitor likes."""

from __future__ import annotations

import re

from django.test import Client

from hub.accounts.models import ApiToken, User
from hub.accounts.services import new_setup_link
from tests.factories import make_user
from tests.web.world import body


def test_the_setup_link_makes_the_first_administrator_once(client: Client, db: None) -> None:
    secret = new_setup_link()
    answers = {"token": secret, "name": "root", "password": "correct horse battery"}

    assert "Set up this hub" in body(client.get(f"/setup?token={secret}"))  # type: ignore[arg-type]
    assert client.post("/setup", answers)["Location"] == "/"
    assert User.objects.get().is_superuser
    assert client.get(f"/setup/{secret}").status_code == 404


def test_a_weak_password_keeps_the_name_that_was_typed(client: Client, db: None) -> None:
    answers = {"token": new_setup_link(), "name": "root", "password": "12345"}

    response = client.post("/setup", answers)

    assert response.status_code == 422
    assert 'value="root"' in body(response) and "12345" not in body(response)  # type: ignore[arg-type]
    assert not User.objects.exists()


def test_a_token_is_shown_once(signed_in: Client, ada: User) -> None:
    html = body(signed_in.post("/account", {"name": "laptop", "role": "write", "days": "30"}))  # type: ignore[arg-type]
    token = re.search(r"ph_\w{38}", html)

    assert token and ApiToken.objects.get().expires_at is not None
    assert token[0] not in body(signed_in.get("/account"))  # type: ignore[arg-type]
    assert token[0][:8] in body(signed_in.get("/account"))  # type: ignore[arg-type]

    signed_in.post(f"/account/tokens/{ApiToken.objects.get().pk}/revoke")
    assert not ApiToken.objects.get().is_usable


def test_tokens_of_others_cannot_be_revoked(client: Client, signed_in: Client, ada: User) -> None:
    signed_in.post("/account", {"name": "laptop", "role": "read", "days": "0"})
    client.force_login(make_user("eve"))

    assert client.post(f"/account/tokens/{ApiToken.objects.get().pk}/revoke").status_code == 404
    assert ApiToken.objects.get().is_usable


def test_colors_are_kept_in_a_cookie_and_in_the_first_byte(client: Client, db: None) -> None:
    response = client.post("/account/theme", {"theme": "dark", "next": "/docs"})

    assert response["Location"] == "/docs"
    assert 'data-theme="dark"' in body(client.get("/docs"))  # type: ignore[arg-type]


def test_the_color_switch_leads_nowhere_else(client: Client, db: None) -> None:
    assert client.post("/account/theme", {"theme": "dark", "next": "https://evil.example/"})["Location"] == "/"


def test_sign_in_comes_back_to_where_it_was_asked(client: Client, ada: User) -> None:
    answers = {"login": "ada", "password": "correct horse battery", "next": "/jobs"}

    assert client.post("/login", answers)["Location"] == "/jobs"
    client.post("/logout")
    assert "not correct" in body(client.post("/login", {"login": "ada", "password": "wrong"}))  # type: ignore[arg-type]


def test_a_page_of_ours_answers_an_old_form(ada: User) -> None:
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(ada)

    response = strict.post("/account", {"name": "x"})

    assert response.status_code == 403
    assert "This form is too old" in body(response)  # type: ignore[arg-type]
