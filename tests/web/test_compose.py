"""`/compose`: a graph is checked as it is written, with a script and without; the drawing and the table follow."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from hub.accounts.models import User
from hub.compose.starting import EXAMPLE
from tests.factories import make_prior
from tests.web import browser
from tests.web.world import World, body

CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), ""
)


def test_the_example_fits(client: Client, db: None) -> None:
    assert "composition: 1" in body(client.get("/compose"))  # type: ignore[arg-type]

    html = body(client.post("/compose", {"spec": EXAMPLE}))  # type: ignore[arg-type]

    assert "It fits" in html and "<svg xmlns" in html and "The same as a table" in html
    assert "Sharing: allowed" in html


def test_priors_in_the_address_begin_a_graph(client: Client, world: World) -> None:
    html = body(client.get("/compose?prior=ada/char-ngrams&prior=ada/word-ngrams"))  # type: ignore[arg-type]

    assert "prior://ada/char-ngrams" in html and "It fits" in html
    assert '<a href="/ada/char-ngrams">' in html
    assert "?prior=ada/char-ngrams" in body(client.get("/ada/char-ngrams"))  # type: ignore[arg-type]


def test_what_does_not_fit_is_said_with_its_place_and_the_graph_is_still_drawn(client: Client, db: None) -> None:
    spec = EXAMPLE.replace("op: concat, in: [chars, words]", "op: sum, in: [chars, text]")

    html = body(client.post("/compose", {"spec": spec}))  # type: ignore[arg-type]

    assert "It does not fit" in html and "What to do" in html and "as it is written, not typed" in html
    assert "<svg xmlns" in html
    assert html.count("graph-is-wrong") == 2 and "<title>both: wrong, sum" in html  # the two ends of the edge


def test_htmx_gets_the_answer_alone(client: Client, db: None) -> None:
    response = client.post("/compose", {"spec": EXAMPLE}, headers={"HX-Request": "true"})

    assert body(response).lstrip().startswith('<div id="checked"')  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "spec", ["", "\ud83d\ude00", "<script>alert(1)</script>: 1", "a" * 200_000, "{}", "nodes: {a: b}"]
)
def test_no_text_breaks_the_page(client: Client, db: None, spec: str) -> None:
    response = client.post("/compose", {"spec": spec.encode("utf-16", "surrogatepass").decode("utf-16")})

    assert response.status_code in (200, 413)
    assert "<script>alert" not in body(response)  # type: ignore[arg-type]


@pytest.mark.web
@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(not CHROMIUM, reason="no Chromium here: apt-get install chromium")
def test_a_visit(ada: User, live_server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_prior(ada, "char-ngrams")
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")  # Playwright keeps a loop in this thread

    with browser.open_visit(CHROMIUM, live_server.url, profile=tmp_path, shots=tmp_path) as visit:
        page = visit.page
        page.goto(f"{live_server.url}/compose?prior=ada/char-ngrams")
        page.get_by_role("heading", name="It fits").wait_for()
        visit.shoot("compose")

        field = page.get_by_label("Composition")
        field.fill(field.input_value().replace("in: [p1]", "in: [p7]"))  # checked while it is written
        page.get_by_role("heading", name="It does not fit").wait_for()
        assert page.get_by_text("which is not a node").is_visible()
        visit.shoot("compose-wrong")

        field.fill(field.input_value().replace("in: [p7]", "in: [p1]"))
        page.get_by_role("heading", name="It fits").wait_for()
        page.get_by_role("group", name="steps from data to prediction").get_by_role("link").first.focus()
        page.keyboard.press("Enter")  # a box of the drawing, by keyboard
        page.get_by_role("heading", level=1, name="ada/char-ngrams").wait_for()

        plain = visit.without_scripts()
        plain.goto(f"{live_server.url}/compose")
        plain.get_by_role("button", name="Check").click()
        plain.get_by_role("heading", name="It fits").wait_for()
        assert visit.problems == []
