"""What a browser can be talked into, and what a hub must not believe of a request: origins, hosts, methods, cookies."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import pytest
from allauth.account.models import EmailAddress
from django.conf import settings as hub_settings
from django.contrib.auth.tokens import PasswordResetTokenGenerator
from django.core import mail
from django.http import HttpResponse
from django.http.response import BadHeaderError
from django.test import Client
from django.utils import timezone

from hub.accounts.models import User
from hub.api.files import _with_headers
from hub.jobs.models import Job, JobEvent
from hub.repos.models import Repository
from tests.factories import PASSWORD, bearer, make_commit, make_repository

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("home")]


def signed_in(**options: bool) -> Client:
    browser = Client(**options)  # type: ignore[arg-type]
    browser.get("/login")
    headers = {"X-CSRFToken": browser.cookies["csrftoken"].value} if options else {}
    assert browser.post("/login", {"login": "ann", "password": PASSWORD}, headers=headers).status_code == 302
    return browser


def is_in(browser: Client) -> bool:
    return browser.get("/account").status_code == 200


NEW = json.dumps({"name": "ann/new", "kind": "plain"})


@pytest.mark.parametrize("origin", ["https://evil.example", "http://testserver.evil.example", "null", "http://testserver:81"])  # fmt: skip # noqa: E501
@pytest.mark.parametrize("address", ["/api/v1/repos", "/api/repos/create", "/account/theme"])
def test_a_page_elsewhere_changes_nothing_even_with_the_right_token(ann: User, address: str, origin: str) -> None:
    browser = signed_in(enforce_csrf_checks=True)
    headers = {"X-CSRFToken": browser.cookies["csrftoken"].value, "Origin": origin}

    answer = browser.post(address, NEW, content_type="application/json", headers=headers)

    assert answer.status_code == 403
    assert not Repository.objects.exists()


def test_the_token_of_before_signing_in_is_worth_nothing_afterwards(ann: User) -> None:
    browser = Client(enforce_csrf_checks=True)
    browser.get("/login")
    old = browser.cookies["csrftoken"].value
    browser.post("/login", {"login": "ann", "password": PASSWORD}, headers={"X-CSRFToken": old})

    late = browser.post("/api/v1/repos", NEW, content_type="application/json", headers={"X-CSRFToken": old})
    fresh = {"X-CSRFToken": browser.cookies["csrftoken"].value}
    meant = browser.post("/api/v1/repos", NEW, content_type="application/json", headers=fresh)

    assert (late.status_code, meant.status_code) == (403, 201)


@pytest.mark.parametrize("origin", ["null", "https://evil.example"])
@pytest.mark.parametrize("address", ["/api/v1/whoami", "/api/whoami-v2", "/ann/mail/resolve/main/a.txt", "/account"])
def test_no_other_origin_may_read_an_answer(ann: User, address: str, origin: str) -> None:
    make_commit(make_repository(ann, "mail"), {"a.txt": b"1"}, by=ann)
    browser = signed_in()

    for method in ("GET", "OPTIONS"):
        asked = {"Origin": origin, "Access-Control-Request-Method": "GET"}
        answer = browser.generic(method, address, headers=asked)
        assert [name for name in answer.headers if name.lower().startswith("access-control")] == []


@pytest.mark.parametrize("address", ["/", "/login", "/api/v1/health", "/api/models", "/ann.git/info/refs"])
@pytest.mark.parametrize("host", ["evil.example", "testserver.evil.example", "testserver@evil.example", "a b"])
def test_a_host_that_is_not_ours_is_refused(address: str, host: str) -> None:
    assert Client().get(address, headers={"Host": host}).status_code == 400


def test_a_reset_goes_to_the_hub_whatever_the_request_says_of_hosts(ann: User) -> None:
    asked = {"email": "ann@example.org"}
    assert Client().post("/account/password/reset/", asked, headers={"Host": "evil.example"}).status_code == 400
    forwarded = {"X-Forwarded-Host": "evil.example", "Forwarded": "host=evil.example", "X-Original-URL": "/x"}
    Client().post("/account/password/reset/", asked, headers=forwarded)

    assert len(mail.outbox) == 1
    assert re.findall(r"https?://([^/\s]+)", str(mail.outbox[0].body)) == ["testserver"]


@pytest.mark.parametrize("name", ["X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"])
def test_a_method_is_what_the_request_line_says(client: Client, ann: User, name: str) -> None:
    make_repository(ann, "mail")
    headers = bearer(ann) | {name: "DELETE"}

    for address in ("/api/v1/repos/ann/mail", "/api/v1/repos/ann/mail?_method=DELETE", "/ann/mail/delete"):
        for method in (client.get, client.post):
            method(address, headers=headers)

    assert Repository.objects.filter(name="mail").exists()


@pytest.mark.parametrize("address", ["/account/x.css", "/account;x.css", "/account%2fx.css", "/account/%2e%2e/x.css", "/account/email/x.js", "/account/sessions/x.png"])  # fmt: skip # noqa: E501
def test_a_private_page_has_no_second_address_that_looks_like_a_file(ann: User, address: str) -> None:
    answer = signed_in().get(address)

    assert answer.status_code == 404
    assert b"ann@example.org" not in answer.content


@pytest.mark.parametrize("address", ["/account", "/account/email/", "/jobs", "/account/sessions/", "/api/v1/whoami"])
def test_what_is_somebodys_own_is_kept_by_no_shared_cache(ann: User, address: str) -> None:
    answer = signed_in().get(address)

    assert answer.status_code == 200
    said = answer.headers.get("Cache-Control", "")
    assert "no-store" in said or "private" in said or "cookie" in answer.headers.get("Vary", "").lower()


def test_behind_tls_cookies_are_of_this_host_alone(tmp_path: Path) -> None:
    asked = (
        "import django; from django.conf import settings as s; django.setup();"
        "print(s.SESSION_COOKIE_NAME, s.CSRF_COOKIE_NAME, s.SESSION_COOKIE_SECURE, s.CSRF_COOKIE_SECURE,"
        " s.SESSION_COOKIE_HTTPONLY, s.SESSION_COOKIE_SAMESITE, s.CSRF_COOKIE_SAMESITE, s.SESSION_COOKIE_DOMAIN,"
        " s.SESSION_COOKIE_PATH, s.SECURE_HSTS_SECONDS > 0)"
    )
    environment = {**os.environ, "HTTPS": "1", "PRIORHUB_HOME": str(tmp_path), "DJANGO_SETTINGS_MODULE": "hub.settings"}
    environment["DATABASE_URL"] = f"sqlite:///{tmp_path / 'db.sqlite3'}"

    done = subprocess.run(
        [sys.executable, "-c", asked], env=environment, cwd=hub_settings.BASE_DIR, capture_output=True, text=True,
        check=True,
    )  # fmt: skip

    assert done.stdout.split() == [
        "__Host-sessionid", "__Host-csrftoken", "True", "True", "True", "Lax", "Lax", "None", "/", "True",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "address", ["/", "/login", "/nobody/here", "/api/v1/health", "/api/v1/none", "/api/models/none"]
)
def test_every_answer_forbids_what_a_page_does_not_need(address: str) -> None:
    answer = Client().get(address)

    policy = {line.partition(" ")[0]: line.partition(" ")[2] for line in answer["Content-Security-Policy"].split("; ")}
    assert policy == {
        "default-src": "'none'", "script-src": "'self'", "style-src": "'self'", "img-src": "'self'",
        "connect-src": "'self'", "form-action": "'self'", "frame-ancestors": "'none'", "base-uri": "'none'",
    }  # fmt: skip
    assert answer["X-Frame-Options"] == "DENY"
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert answer["Referrer-Policy"] == "same-origin"


def test_a_new_password_ends_every_other_session(ann: User) -> None:
    here, elsewhere = signed_in(), signed_in()
    new = "another long password"

    here.post("/account/reauthenticate/", {"password": PASSWORD})
    sent = {"oldpassword": PASSWORD, "password1": new, "password2": new}
    assert here.post("/account/password/change/", sent).status_code == 302

    assert not is_in(elsewhere)


def test_other_sessions_are_ended_from_their_list(ann: User) -> None:
    here, elsewhere = signed_in(), signed_in()
    here.get("/account")
    elsewhere.get("/account")

    here.post("/account/sessions/")

    assert is_in(here)
    assert not is_in(elsewhere)


def reset_link(client: Client) -> str:
    client.post("/account/password/reset/", {"email": "ann@example.org"})
    found = re.search(r"http://testserver(\S+/key/\S+)", str(mail.outbox[-1].body))
    assert found
    return found[1]


def test_a_reset_link_lives_an_hour(client: Client, ann: User, monkeypatch: pytest.MonkeyPatch) -> None:
    link = reset_link(client)
    now = PasswordResetTokenGenerator._now
    for minutes, works in ((59, True), (61, False)):
        later = timezone.timedelta(minutes=minutes)
        monkeypatch.setattr(PasswordResetTokenGenerator, "_now", lambda self, later=later: now(self) + later)
        assert (Client().get(link).status_code == 302) is works


def test_a_reset_link_ends_with_the_password_it_was_for(client: Client, ann: User) -> None:
    link = reset_link(client)
    assert Client().get(link).status_code == 302

    ann.set_password("yet another password")
    ann.save()

    assert Client().get(link).status_code == 200


def test_an_address_is_changed_only_by_its_own_mail(ann: User) -> None:
    browser = signed_in()
    browser.post("/account/reauthenticate/", {"password": PASSWORD})

    browser.post("/account/email/", {"action_add": "", "email": "new@example.org"})

    assert EmailAddress.objects.get(primary=True).email == "ann@example.org"
    assert not EmailAddress.objects.filter(email="new@example.org", verified=True).exists()
    [link] = re.findall(r"http://testserver(/account/confirm-email/\S+)", "".join(str(m.body) for m in mail.outbox))
    assert EmailAddress.objects.get(primary=True).email == "ann@example.org"
    browser.post(link)
    assert EmailAddress.objects.get(primary=True).email == "new@example.org"
    assert any("ann@example.org" in message.to for message in mail.outbox)


HOSTILE = (
    "\x1b[2J\x1b]8;;http://evil.example\x07click\x1b]8;;\x07 <script>alert(1)</script> <img src=x onerror=alert(1)>"
)


def test_a_log_shows_what_a_job_wrote_and_runs_none_of_it(ann: User) -> None:
    job = Job.objects.create(
        kind="recommend", owner=ann, queue="train", spec={"task": "ann/topics"}, key="k", status=Job.Status.FAILED,
        error={"code": "bad-task", "detail": HOSTILE}, message=HOSTILE,
    )  # fmt: skip
    JobEvent.objects.create(job=job, kind=JobEvent.Kind.PROGRESS, data={"message": HOSTILE})
    browser = signed_in()

    for address in (f"/jobs/{job.pk}", "/jobs"):
        html = browser.get(address).content.decode()
        assert "&lt;script&gt;" in html
        assert "<script>alert" not in html and "<img src=x" not in html
    events = Client(headers=bearer(ann)).get(f"/api/v1/jobs/{job.pk}/events")
    assert events["Content-Type"].startswith("text/event-stream")
    assert b"\x1b" not in events.getvalue()


@pytest.mark.parametrize(
    "name", ["a;b=c.bin", "a'b.bin", "ä ö.bin", "數據.bin", "a%b.bin", "a,b.bin", "x" * 200 + ".bin"]
)
def test_a_file_name_is_one_field_of_its_header(client: Client, ann: User, name: str) -> None:
    make_commit(make_repository(ann, "mail"), {name: b"1"}, by=ann)
    for address in (f"/ann/mail/resolve/main/{quote(name)}", f"/api/v1/repos/ann/mail/files/main/{quote(name)}"):
        answer = client.get(address)
        assert answer.status_code == 200, answer.content
        said = answer["Content-Disposition"]
        assert re.fullmatch(r"""attachment; (filename="[^"\\\r\n]*"|filename\*=utf-8''[A-Za-z0-9._~%'!*()-]+)""", said), said  # fmt: skip # noqa: E501


@pytest.mark.parametrize("name", ['a"b', "a\r\nSet-Cookie: x=1", 'a"; filename="b.exe', "a\\b", "\r\n\r\n<script>"])
def test_a_name_that_slipped_by_could_still_not_end_its_header(name: str) -> None:
    try:
        said = _with_headers(HttpResponse(), '"x"', f"d/{name}")["Content-Disposition"]
    except BadHeaderError:
        return
    assert "\r" not in said and "\n" not in said
    assert len(re.findall(r"filename", said)) == 1 or '\\"' in said
