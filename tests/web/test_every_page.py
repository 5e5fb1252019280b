"""What holds for every page: small, asks nobody else, reads well without a mouse, takes few queries."""

from __future__ import annotations

import re

import pytest
from django.db import connection, transaction
from django.http import HttpResponse
from django.template.loader import render_to_string
from django.test import Client
from django.test.utils import CaptureQueriesContext, override_settings
from django.urls import URLPattern, get_resolver
from pytest_django import DjangoDbBlocker

from hub.accounts.models import User
from hub.repos.names import RESERVED
from hub.web.urls import urlpatterns
from tests.factories import make_board, make_prior, make_task, make_user
from tests.web.world import World, body, make_job, make_result, make_world

KB = 1000

PUBLIC = {
    "home": "/",
    "search": "/priors?q=ngrams&modality=text",
    "prior": "/ada/char-ngrams",
    "composition": "/ada/topics-model",
    "task": "/ada/topics",
    "tasks": "/tasks",
    "results": "/results",
    "boards": "/boards",
    "board": "/ada/judged/board",
    "try": "/try",
    "import": "/import",
    "compose": "/compose?prior=ada/char-ngrams&prior=ada/word-ngrams",
    "login": "/login",
    "docs": "/docs",
    "missing": "/ada/no-such-thing",
}


@pytest.fixture(scope="module")
def public_pages(
    django_db_setup: None, django_db_blocker: DjangoDbBlocker, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, HttpResponse]:
    """Each as nobody gets it. Asked once, since five tests read them."""
    folder = tmp_path_factory.mktemp("public")
    own = override_settings(PRIORHUB_HOME=folder, STORAGE_URL=f"file://{folder / 'blobs'}")
    with django_db_blocker.unblock(), own, transaction.atomic():
        make_world(make_user("ada"))
        found = {name: Client().get(address) for name, address in PUBLIC.items()}
        transaction.set_rollback(True)
    return found  # type: ignore[return-value]


@pytest.fixture(params=PUBLIC)
def public_page(request: pytest.FixtureRequest, public_pages: dict[str, HttpResponse]) -> HttpResponse:
    return public_pages[request.param]


def test_a_page_is_there_and_small(public_page: HttpResponse) -> None:
    assert public_page.status_code in {200, 404}
    assert len(public_page.content) < 60 * KB


def test_a_page_asks_nobody_else_for_anything(public_page: HttpResponse) -> None:
    loaded = re.findall(r'(?:src|href|action|srcset)="([^"]*)"', body(public_page))

    assert not [url for url in loaded if re.match(r"(https?:)?//", url)]


def test_a_page_has_no_inline_script_or_style(public_page: HttpResponse) -> None:
    html = body(public_page)

    assert not re.findall(r"<script(?![^>]*\bsrc=)[^>]*>", html)
    assert not re.findall(r"<style|\sstyle=|\son[a-z]+=|javascript:", html)
    assert "unsafe" not in public_page["Content-Security-Policy"]


def test_a_page_has_one_heading_a_title_and_landmarks(public_page: HttpResponse) -> None:
    html = body(public_page)

    assert html.count("<h1") == 1
    assert html.count("<main") == html.count("<header") == html.count("<footer") == 1
    assert re.search(r"<title>[^<]+Priorhub|<title>Priorhub", html)
    assert 'href="#main"' in html


def test_every_field_has_a_label(public_page: HttpResponse) -> None:
    html = body(public_page)

    for field in re.findall(r"<(?:input|select|textarea)\b[^>]*>", html):
        if re.search(r'type="(hidden|radio|file)"', field):
            continue
        name = re.search(r'id="([^"]+)"', field)
        assert name and f'for="{name[1]}"' in html, field


def test_every_first_segment_is_a_name_no_namespace_can_take() -> None:
    routes = [str(each.pattern) for each in urlpatterns if isinstance(each, URLPattern)]
    first = {route.split("/")[0] for route in routes if route and not route.startswith("<")}

    assert first <= RESERVED, f"add {sorted(first - RESERVED)} to RESERVED in hub/repos/names.py"


def test_the_stylesheet_is_small_and_asks_nobody() -> None:
    from django.contrib.staticfiles.finders import find

    with open(find("site.css"), "rb") as file:  # noqa: PTH123 -- finders give strings
        css = file.read()

    assert len(css) < 40 * KB
    assert b"@import" not in css and b"http" not in css and b"@font-face" not in css


@pytest.mark.parametrize("address", ["/", "/priors", "/tasks", "/results", "/boards", "/jobs"])
def test_the_number_of_queries_is_constant(signed_in: Client, ada: User, world: World, address: str) -> None:
    with CaptureQueriesContext(connection) as few:
        signed_in.get(address)
    for number in range(8):
        make_prior(ada, f"more-{number}")
        task = make_task(ada, f"task-{number}").repository
        make_result(ada, task)
        make_job(ada, "fit", "running")
        make_board(ada, f"judged-{number}")

    with CaptureQueriesContext(connection) as many:
        signed_in.get(address)

    assert len(many) <= len(few) + 1 <= 16  # one more where a first page becomes one of several


@pytest.mark.parametrize(
    "address", ["/ada/char-ngrams", "/ada/topics", "/ada/topics-model", "/results/{result}", "/ada/judged/board"]
)
def test_a_page_of_one_thing_takes_few_queries(client: Client, world: World, address: str) -> None:
    with CaptureQueriesContext(connection) as queries:
        response = client.get(address.format(result=world["result"].pk))

    assert response.status_code == 200
    assert len(queries) <= 15


def test_every_page_is_reachable_by_its_name() -> None:
    assert {"home", "priors", "repository", "job", "result", "own", "account"} <= set(get_resolver().reverse_dict)


@pytest.mark.parametrize("status", [400, 500])
def test_the_page_of_last_resort_needs_nothing(status: int) -> None:
    html = render_to_string(f"{status}.html")

    assert "<h1>" in html and "/static/site" in html
