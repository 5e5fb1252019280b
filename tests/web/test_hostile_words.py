"""What strangers write, seen by a real browser: nothing runs, nothing is asked elsewhere, no policy has to step in.

The policy is the second line of defence. It must never be needed, so a violation that it stopped fails here too.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.test import Client

from hub.accounts.models import User
from hub.catalog import derive
from hub.catalog.models import Item
from hub.repos import discussions
from hub.repos.commits import Put, commit
from tests.factories import make_blob, make_prior, make_repository
from tests.hub.test_catalog import ATTACKS
from tests.web import browser
from tests.web.test_svg import HOSTILE

CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), ""
)
pytestmark = [
    pytest.mark.web,
    pytest.mark.skipif(not CHROMIUM, reason="no Chromium here: apt-get install chromium"),
    pytest.mark.django_db(transaction=True),
]
SINK = """
window.violations = [];
document.addEventListener('securitypolicyviolation', (event) =>
  window.violations.push(`${event.violatedDirective} ${event.blockedURI} ${event.sample}`));
"""
WORDS = HOSTILE.replace("\x00", "").replace("\x1b", "")


@pytest.fixture
def shown(ada: User) -> list[str]:
    """Addresses of pages that show as much of a stranger's text as there is."""
    card = "---\ntags: ['<script>alert(1)</script>']\nlicense: '<img src=x onerror=alert(1)>'\n---\n# Card\n\n"
    make_prior(ada, "words", card=card + "\n\n".join(ATTACKS), summary=WORDS)
    plain = make_repository(ada, "plain")
    plain.description = WORDS
    plain.save()
    for path, text in (("README.md", card + "\n\n".join(ATTACKS)), ("d/'onload='alert(1) b.txt", WORDS)):
        change = Put(path, make_blob(text.encode(), by=ada).sha256)
        commit(repository=plain, changes=[change], message=f"{WORDS}\n\n{WORDS}", by=ada)
    for item in Item.objects.all():
        derive.derive(item.pk)
    thread = discussions.open_discussion(repository=plain, by=ada, title=WORDS, description="\n\n".join(ATTACKS))
    return [
        "/", "/priors", "/priors?q=%3Cscript%3Ealert(1)%3C/script%3E", "/ada", "/ada/words", "/ada/plain",
        "/ada/plain/tree/main/d", "/ada/plain/blob/main/README.md", "/ada/plain/commits/main", "/ada/plain/commit/main",
        "/ada/plain/compare", "/ada/plain/compare?to=%3Cimg%20src=x%20onerror=alert(1)%3E&with=%22%3E",
        f"/ada/plain/discussions/{thread.number}", "/ada/plain/discussions", "/ada/plain/settings", "/nobody/<script>",
    ]  # fmt: skip


@pytest.mark.slow
def test_hostile_words_only_show(
    ada: User, shown: list[str], live_server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = Client()
    client.force_login(ada)
    session = client.cookies[settings.SESSION_COOKIE_NAME].value
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")  # Playwright keeps a loop in this thread
    happened: list[str] = []

    with browser.open_visit(CHROMIUM, live_server.url, profile=tmp_path, shots=tmp_path) as visit:
        visit.context.add_cookies([{"name": settings.SESSION_COOKIE_NAME, "value": session, "url": live_server.url}])
        visit.page.add_init_script(SINK)
        visit.page.on("dialog", lambda dialog: (happened.append(f"dialog {dialog.message}"), dialog.dismiss()))
        for address in shown:
            answer = visit.page.goto(live_server.url + address)
            assert answer.status == (404 if "nobody" in address or "with=" in address else 200), address
            assert "default-src 'none'" in answer.headers["content-security-policy"]
            visit.page.wait_for_load_state("networkidle")
            happened += [f"{address}: {each}" for each in visit.page.evaluate("window.violations")]
            for element in visit.page.query_selector_all("main a, main summary"):
                assert not (element.get_attribute("href") or "").strip().lower().startswith(("javascript", "data"))

        assert happened == []
        assert [problem for problem in visit.problems if "404" not in problem] == []


def test_the_sink_hears_of_a_violation(live_server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")

    with browser.open_visit(CHROMIUM, live_server.url, profile=tmp_path, shots=tmp_path) as visit:
        visit.page.add_init_script(SINK)
        visit.page.goto(f"{live_server.url}/docs")
        visit.page.evaluate("document.body.insertAdjacentHTML('beforeend', '<img src=\"http://127.0.0.1:9/x.png\">')")
        visit.page.wait_for_function("window.violations.length > 0")

        assert "img-src" in visit.page.evaluate("window.violations")[0]
