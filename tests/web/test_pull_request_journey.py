"""A pull request from its opening to its merge, in a real browser."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.test import Client

from hub.accounts.models import User
from hub.repos import services
from tests.factories import make_commit, make_repository
from tests.web import browser

CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), ""
)
pytestmark = [
    pytest.mark.web,
    pytest.mark.skipif(not CHROMIUM, reason="no Chromium here: apt-get install chromium"),
    pytest.mark.django_db(transaction=True),
]


def test_a_change_is_proposed_discussed_and_merged(
    ada: User, live_server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = make_repository(ada, "notes")
    make_commit(repository, {"a.txt": b"one\ntwo\n", "d/b.txt": b"b\n"}, by=ada)
    client = Client()
    client.force_login(ada)
    session = client.cookies[settings.SESSION_COOKIE_NAME].value
    better = tmp_path / "a.txt"
    better.write_bytes(b"one\n2\n")
    shots = Path(os.environ.get("PRIORHUB_SCREENSHOTS", tmp_path))
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")  # Playwright keeps a loop in this thread

    with browser.open_visit(CHROMIUM, live_server.url, profile=tmp_path, shots=shots) as visit:
        page, home = visit.page, f"{live_server.url}/ada/notes"
        visit.context.add_cookies([{"name": settings.SESSION_COOKIE_NAME, "value": session, "url": live_server.url}])
        page.goto(home)
        page.get_by_role("link", name="Community").click()
        page.get_by_role("link", name="New discussion").click()
        page.get_by_label("Title").fill("Numbers as numbers")
        page.get_by_label("I propose changes").check()
        visit.shoot("thread-new")
        page.get_by_role("button", name="Open").click()

        page.get_by_label("Files").set_input_files(better)
        page.get_by_role("button", name="Commit to refs/pr/1").click()
        page.get_by_text("+2", exact=False).first.wait_for()
        page.get_by_label("Your comment").fill("Looks **right**")
        page.get_by_role("button", name="Comment").click()
        page.get_by_text("Looks right").wait_for()
        visit.shoot("pull-request")
        page.get_by_role("button", name="Merge into main").click()
        page.get_by_text("merged this").wait_for()

        page.get_by_role("button", name="Like").click()
        page.get_by_role("button", name="Liked 1").wait_for()
        for tab in ("tree/main", "tree/main/d", "blob/main/a.txt", "commits/main", "commit/main", "refs", "settings"):
            page.goto(f"{home}/{tab}")
            visit.shoot(f"repository-{tab.replace('/', '-')}")
        assert visit.problems == []
    assert services.read_file(services.resolve(repository), "a.txt") == b"one\n2\n"
