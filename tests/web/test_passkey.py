"""A passkey from end to end, in a real browser with an authenticator that Chromium plays."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from allauth.mfa.models import Authenticator

from hub.accounts.models import AuditEntry, User
from tests.web import browser

CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), ""
)
pytestmark = [
    pytest.mark.web,
    pytest.mark.skipif(not CHROMIUM, reason="no Chromium here: apt-get install chromium"),
    pytest.mark.django_db(transaction=True),
]
PASSWORD = "correct horse battery"


def test_a_passkey_is_added_and_signs_in_without_name_or_password(
    ada: User, live_server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")  # Playwright keeps a loop in this thread
    with browser.open_visit(CHROMIUM, live_server.url, profile=tmp_path, shots=tmp_path) as visit:
        page = visit.page
        devtools = visit.context.new_cdp_session(page)
        devtools.send("WebAuthn.enable")
        options = {
            "protocol": "ctap2", "transport": "internal", "hasResidentKey": True, "hasUserVerification": True,
            "isUserVerified": True, "automaticPresenceSimulation": True,
        }  # fmt: skip
        devtools.send("WebAuthn.addVirtualAuthenticator", {"options": options})

        page.goto(f"{live_server.url}/login?next=/account/2fa/webauthn/add/")
        page.get_by_label("Username").or_(page.get_by_label("Login")).first.fill("ada")
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Sign in", exact=True).click()
        page.get_by_label("Password").fill(PASSWORD)  # once more, before something that matters
        page.locator("main button").first.click()
        page.get_by_label("Name").fill("laptop")
        page.get_by_label("Passwordless").check()
        page.get_by_role("button", name="Add", exact=True).click()
        page.wait_for_url("**/account/2fa/**recovery**")
        visit.shoot("recovery-codes")
        page.get_by_role("button", name="Sign out").click()
        page.wait_for_url(f"{live_server.url}/")

        page.goto(f"{live_server.url}/login")
        page.get_by_role("button", name="Sign in with a passkey").click()
        page.get_by_role("link", name="ada", exact=True).wait_for()

        assert Authenticator.objects.filter(user=ada, type="webauthn").count() == 1
        assert AuditEntry.objects.filter(action="sign-in", actor="ada").count() == 2
        for address in ("/account", "/account/2fa/", "/account/2fa/webauthn/", "/account/sessions/", "/account/email/"):
            page.goto(live_server.url + address)
            visit.shoot(address.strip("/").replace("/", "-"))
        assert visit.problems == []
        plain = visit.without_scripts()
        plain.goto(f"{live_server.url}/login")
        assert not plain.get_by_role("button", name="Sign in with a passkey").is_visible()
