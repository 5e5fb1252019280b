"""Signing in and up, with everything that must not work."""

from __future__ import annotations

import re
import time
from types import SimpleNamespace

import pytest
from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal.auth import hotp_value, yield_hotp_counters_from_time
from django.contrib.auth.hashers import MD5PasswordHasher
from django.core import mail
from django.core.exceptions import ImproperlyConfigured
from django.test import Client
from pytest_django import Settings

from hub import env
from hub.accounts import services
from hub.accounts.models import AuditEntry, User
from hub.repos.models import Namespace
from tests.factories import PASSWORD, make_user

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("home")]


def sign_in(client: Client, login: str = "ann", password: str = PASSWORD, **more: str) -> int:
    return client.post("/login", {"login": login, "password": password}, **more).status_code  # type: ignore[arg-type]


def is_in(client: Client) -> bool:
    return client.get("/account").status_code == 200


@pytest.mark.parametrize("login", ["ann", "ann@example.org", "ANN@example.org"])
def test_by_name_or_mail_and_it_is_kept_who_came(client: Client, ann: User, login: str) -> None:
    assert sign_in(client, login) == 302

    assert is_in(client)
    entry = AuditEntry.objects.get(action="sign-in")
    assert (entry.actor, entry.subject) == ("ann", "127.0.0.1")


def test_the_session_is_a_new_one(client: Client, ann: User) -> None:
    client.get("/login")
    client.cookies["sessionid"] = "planted"
    sign_in(client)

    assert client.cookies["sessionid"].value != "planted"
    assert client.cookies["sessionid"]["httponly"] and client.cookies["sessionid"]["samesite"] == "Lax"


def test_the_eleventh_try_for_a_name_is_refused_from_wherever_even_with_the_right_password(ann: User) -> None:
    for number in range(10):
        assert sign_in(Client(), password="wrong", REMOTE_ADDR=f"10.0.0.{number}") == 200

    client = Client()
    answer = client.post("/login", {"login": "Ann", "password": PASSWORD}, REMOTE_ADDR="10.0.1.1")

    assert answer.status_code == 429
    assert 0 < int(answer["Retry-After"]) <= 300
    assert not is_in(client)
    assert User.objects.get().last_login is None


def test_the_eleventh_try_from_an_address_is_refused_for_whoever(ann: User) -> None:
    for number in range(10):
        assert sign_in(Client(), login=f"user{number}", password="wrong") == 200

    assert sign_in(Client()) == 429
    assert sign_in(Client(), REMOTE_ADDR="10.0.0.1") == 302


def test_tries_are_counted_without_any_cache(ann: User, settings: Settings) -> None:
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.dummy.DummyCache"}}
    for _ in range(10):
        sign_in(Client(), password="wrong")

    assert sign_in(Client()) == 429


def test_an_unknown_name_reads_as_a_wrong_password(client: Client, ann: User) -> None:
    wrong = client.post("/login", {"login": "ann", "password": "x" * 12}).content.decode()
    unknown = client.post("/login", {"login": "eve", "password": "x" * 12}).content.decode()

    def without_what_differs(html: str) -> str:
        return re.sub(r'csrfmiddlewaretoken" value="\w+"', "", html.replace("eve", "ann"))

    assert without_what_differs(wrong) == without_what_differs(unknown)


@pytest.mark.parametrize("login", ["ann", "eve", "ann@example.org", "eve@example.org"])
def test_one_password_is_hashed_whether_the_account_is_known_or_not(
    client: Client, ann: User, login: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    twin = make_user("twin", password=PASSWORD)
    EmailAddress.objects.create(user=twin, email="ann@example.org", primary=True, verified=False)
    hashed: list[str] = []
    compute = MD5PasswordHasher.encode

    def counted(self: MD5PasswordHasher, password: str, salt: str) -> str:
        hashed.append(password)
        return compute(self, password, salt)

    monkeypatch.setattr(MD5PasswordHasher, "encode", counted)

    assert sign_in(client, login, password="wrong password") == 200

    assert hashed == ["wrong password"]


def test_a_suspended_account_stays_closed(client: Client, ann: User) -> None:
    User.objects.update(is_active=False)

    sign_in(client)

    assert not is_in(client)


def test_suspending_ends_the_session_at_once(client: Client, ann: User) -> None:
    sign_in(client)
    assert is_in(client)

    services.suspend(ann, by=make_user("root", admin=True))

    assert not is_in(client)


def test_a_huge_password_is_refused_before_it_is_hashed(client: Client, ann: User) -> None:
    answer = client.post("/login", {"login": "ann", "password": "x" * 5000})

    assert "at most 4096" in answer.content.decode()


@pytest.mark.parametrize("there", ["//evil.example", "https://evil.example/", "/\\evil.example", "javascript:alert(1)"])
def test_next_leads_nowhere_else(client: Client, ann: User, there: str) -> None:
    answer = client.post("/login", {"login": "ann", "password": PASSWORD, "next": there})

    assert answer["Location"] == "/"


def test_signing_in_needs_the_sites_own_form(ann: User) -> None:
    assert sign_in(Client(enforce_csrf_checks=True)) == 403


def test_the_operators_pages_have_no_second_way_in(client: Client, ann: User) -> None:
    answer = client.post("/admin/login/?next=/admin/", {"username": "ann", "password": PASSWORD})

    assert answer["Location"] == "/login?next=/admin/"


def test_signing_out_ends_the_session(client: Client, ann: User) -> None:
    sign_in(client)
    assert client.get("/logout").status_code == 200
    assert is_in(client)

    client.post("/logout")

    assert not is_in(client)


SIGNUP = {"username": "newbie", "email": "new@example.org", "password1": PASSWORD}


def test_a_fresh_hub_takes_no_sign_ups(client: Client) -> None:
    answer = client.post("/signup", SIGNUP)

    assert not User.objects.exists()
    assert "closed" in answer.content.decode().lower()
    assert "/signup" not in client.get("/login").content.decode()


def test_an_open_hub_makes_user_namespace_and_sends_a_link_to_confirm(client: Client, settings: Settings) -> None:
    settings.SIGNUP = "open"

    assert client.post("/signup", SIGNUP).status_code == 302

    user = User.objects.get(username="newbie")
    assert Namespace.objects.get(owner=user).name == "newbie"
    assert not EmailAddress.objects.get().verified
    link = re.search(r"http://testserver(/account/confirm-email/\S+)", str(mail.outbox[0].body))
    assert link
    client.post(link[1])
    assert EmailAddress.objects.get().verified


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"username": "api"}, "reserved"),
        ({"username": "a b"}, "is no name"),
        ({"username": "Ann"}, "already exists"),
        ({"password1": "password12"}, "too common"),
        ({"password1": "short"}, "too short"),
    ],
)
def test_what_is_wrong_with_a_sign_up_is_said(
    client: Client, settings: Settings, ann: User, change: dict[str, str], said: str
) -> None:
    settings.SIGNUP = "open"

    answer = client.post("/signup", SIGNUP | change)

    assert said in answer.content.decode()
    assert User.objects.count() == 1


def test_by_invitation_a_link_makes_one_account(client: Client, settings: Settings) -> None:
    settings.SIGNUP = "invite"
    root = make_user("root", admin=True)
    secret = services.new_signup_link(by=root)
    client.post("/signup", SIGNUP)
    assert User.objects.count() == 1

    assert client.get(f"/signup/{secret}").status_code == 302
    client.post("/signup", SIGNUP)
    assert User.objects.filter(username="newbie").exists()
    other = Client()
    other.get(f"/signup/{secret}")
    other.post("/signup", SIGNUP | {"username": "second", "email": "second@example.org"})

    assert not User.objects.filter(username="second").exists()


def test_whether_an_address_is_known_does_not_show(settings: Settings, ann: User) -> None:
    settings.SIGNUP = "open"

    known = Client().post("/signup", SIGNUP | {"email": "ann@example.org"})
    unknown = Client().post("/signup", SIGNUP | {"username": "second"})

    assert (known.status_code, known["Location"]) == (unknown.status_code, unknown["Location"])
    assert EmailAddress.objects.get(verified=True).user == ann
    client = Client()
    sign_in(client, login="ann@example.org")
    assert client.get("/account").context["user"] == ann


def test_a_password_is_reset_by_mail_once(client: Client, ann: User) -> None:
    known = client.post("/account/password/reset/", {"email": "ann@example.org"})
    unknown = client.post("/account/password/reset/", {"email": "nobody@example.org"})
    assert (known.status_code, known["Location"]) == (unknown.status_code, unknown["Location"])
    link = re.search(r"http://testserver(\S+/key/\S+)", str(mail.outbox[0].body))
    assert link
    form = client.get(link[1])["Location"]

    new = "another long password"
    client.post(form, {"password1": new, "password2": new})
    assert sign_in(Client()) == 200
    assert sign_in(Client(), password=new) == 302
    again = Client()
    used = again.get(link[1])

    assert used.status_code == 200
    assert "invalid" in used.content.decode() or "already been used" in used.content.decode()


def test_resets_for_one_address_are_few_a_day(client: Client, ann: User) -> None:
    def ask(address: str) -> int:
        return client.post("/account/password/reset/", {"email": "ann@example.org"}, REMOTE_ADDR=address).status_code

    answers = [ask(f"10.0.0.{number}") for number in range(7)]

    assert answers == [302] * 5 + [429] * 2
    assert len(mail.outbox) == 5


@pytest.fixture(autouse=True)
def half_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    """The codes of an app change twice a minute, and may do so between a test and the hub."""
    now = time.time()
    monkeypatch.setattr("allauth.mfa.totp.internal.auth.time", SimpleNamespace(time=lambda: now))


def code_of(ann: User) -> str:
    from allauth.mfa.adapter import get_adapter

    secret = get_adapter().decrypt(Authenticator.objects.get(user=ann, type="totp").data["secret"])
    return f"{hotp_value(secret, next(iter(yield_hotp_counters_from_time()))):06d}"


def enrol(client: Client, ann: User) -> str:
    """Adds an authenticator app over the pages; its secret."""
    sign_in(client)
    client.post("/account/reauthenticate/", {"password": PASSWORD})
    page = client.get("/account/2fa/totp/activate/")
    html = page.content.decode()
    secret = str(page.context["form"].secret)
    assert secret in html and "<svg" in html and "data:image" not in html
    code = f"{hotp_value(secret, next(iter(yield_hotp_counters_from_time()))):06d}"
    assert client.post("/account/2fa/totp/activate/", {"code": code}).status_code == 302
    return secret


def test_a_second_factor_is_asked_and_its_code_works_once_whatever_spaces(client: Client, ann: User) -> None:
    secret = enrol(client, ann)
    assert secret not in str(list(Authenticator.objects.values_list("data", flat=True)))
    code = code_of(ann)
    other = Client()
    assert sign_in(other) == 302
    assert not is_in(other)

    assert other.post("/account/2fa/authenticate/", {"code": "000000"}).status_code == 200
    assert not is_in(other)
    other.post("/account/2fa/authenticate/", {"code": f"{code[:3]} {code[3:]}"})
    assert is_in(other)
    for replayed in (code, f"{code[:3]} {code[3:]}", f" {code}"):
        third = Client()
        sign_in(third)
        third.post("/account/2fa/authenticate/", {"code": replayed})
        assert not is_in(third)


def test_second_steps_are_counted(client: Client, ann: User) -> None:
    enrol(client, ann)
    other = Client()
    sign_in(other)

    answers = [other.post("/account/2fa/authenticate/", {"code": "000000"}).status_code for _ in range(11)]

    assert answers == [200] * 10 + [429]


def test_a_recovery_code_works_once(client: Client, ann: User) -> None:
    enrol(client, ann)
    code = Authenticator.objects.get(user=ann, type="recovery_codes").wrap().get_unused_codes()[0]

    for again, expected in ((Client(), True), (Client(), False)):
        sign_in(again)
        again.post("/account/2fa/authenticate/", {"code": code})
        assert is_in(again) is expected


@pytest.mark.parametrize(
    "address",
    [
        "/account/email/",
        "/account/password/change/",
        "/account/password/reset/",
        "/account/reauthenticate/",
        "/account/sessions/",
        "/account/2fa/",
        "/account/2fa/recovery-codes/",
        "/account/2fa/webauthn/",
        "/account/2fa/webauthn/add/",
    ],
)
def test_every_page_of_the_account_has_the_sites_look_and_no_inline_script(
    client: Client, ann: User, address: str
) -> None:
    enrol(client, ann)

    html = client.get(address, follow=True).content.decode()

    assert 'class="brand"' in html
    assert not re.findall(r"<script(?![^>]*\bsrc=)[^>]*>", html)
    assert not re.findall(r"\s(style|on\w+)=", html)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("console:", {"EMAIL_BACKEND": "django.core.mail.backends.console.EmailBackend"}),
        ("file:///a/b", {"EMAIL_FILE_PATH": "/a/b"}),
        ("smtp://u%40x:p@mail:587?tls=1", {"EMAIL_HOST": "mail", "EMAIL_PORT": 587, "EMAIL_HOST_USER": "u@x"}),
        ("smtp://mail?tls=1", {"EMAIL_USE_TLS": True, "EMAIL_PORT": 25}),
        ("smtps://mail", {"EMAIL_PORT": 465, "EMAIL_USE_SSL": True, "EMAIL_USE_TLS": False}),
    ],
)
def test_where_mail_goes_is_one_variable(url: str, expected: dict[str, object]) -> None:
    assert expected.items() <= env.mail(url).items()


def test_a_mail_address_that_does_not_read_stops_the_start() -> None:
    with pytest.raises(ImproperlyConfigured, match="pigeon"):
        env.mail("pigeon://loft")
