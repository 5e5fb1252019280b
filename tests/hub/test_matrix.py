"""Who gets what: every route of every urlconf, for everybody who may ask, in every state of a repository.

The rows are in matrix.py. A route that no row reaches fails the suite, and so does a method of the API.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.urls import URLPattern, URLResolver, get_resolver, resolve

from hub.api.urls import api
from tests.hub.matrix import PEOPLE, ROWS, STATES, Row
from tests.hub.matrix_world import World, filled

pytestmark = pytest.mark.django_db  # for its database; what is in it comes from `matrix`

CODES = {"a": 401, "f": 403, "n": 404, "g": 410, "l": 302, "r": 302, "u": 422}
SIGN_IN = ("/login", "/admin/login")


@pytest.mark.parametrize(
    "states", [STATES[:2], pytest.param(STATES[2:], marks=pytest.mark.slow)], ids=lambda states: "+".join(states)
)
@pytest.mark.parametrize("row", ROWS, ids=str)
def test_who_gets_what(matrix: World, row: Row, states: tuple[str, ...]) -> None:
    wrong = []
    for state in states:
        for who, letter in zip(PEOPLE, row.letters(state), strict=True):
            if letter in ".-":
                continue
            response = matrix.ask(row, who, state)
            expected = CODES.get(letter, row.code)
            if response.status != expected:
                said = b"a page" if response.content.startswith(b"<!doctype") else response.content[:300]
                wrong.append(f"{who} on {state}: {response.status}, expected {expected}: {said!r}")
            if row.path.startswith("api/v1/") and response.status >= 400 and row.method != "HEAD":
                problem = json.loads(response.content)
                assert response.headers["Content-Type"] == "application/problem+json"
                assert problem.keys() == {"type", "title", "status", "code", "detail"}
                assert problem["status"] == response.status
            if response.status == 302 and response.headers["Location"].startswith(SIGN_IN) != (letter == "l"):
                wrong.append(f"{who} on {state}: sent to {response.headers['Location']}")
    assert not wrong, "\n".join(wrong)


def routes(patterns: list[Any], prefix: str = "") -> Iterator[str]:
    """Every route of a urlconf, spelled as Django resolves it; the operator's admin is one."""
    for each in patterns:
        route = prefix + (str(each.pattern).removeprefix("^") if prefix else str(each.pattern))
        if isinstance(each, URLResolver):
            if each.app_name == "admin":
                yield f"{route}"
            else:
                yield from routes(each.url_patterns, route)
        else:
            yield route


def test_every_route_of_every_urlconf_has_a_row() -> None:
    reached = {resolve(f"/{filled(row.path).partition('?')[0]}").route for row in ROWS}

    assert set(routes(get_resolver().url_patterns)) - reached == set()


def test_every_method_of_the_api_has_a_row() -> None:
    described = set()
    for path, methods in api.get_openapi_schema(path_prefix="/")["paths"].items():
        described |= {(method.upper(), re.sub(r"\{\w+\}", "*", path.replace("//", "/"))) for method in methods}
    rows = {(row.method, row.path) for row in ROWS if row.path.startswith("api/v1/")}

    def has(method: str, path: str) -> bool:
        pattern = re.compile("api/v1" + re.escape(path).replace(r"\*", "[^/]+") + "$")
        return any(method == known and pattern.match(address) for known, address in rows)

    assert [f"{method} {path}" for method, path in sorted(described) if not has(method, path)] == []


def test_every_method_of_a_route_that_names_its_methods_has_a_row() -> None:
    """Routes of the Hugging Face protocol carry the methods they answer."""

    def patterns(found: list[Any]) -> Iterator[URLPattern]:
        for each in found:
            if isinstance(each, URLResolver):
                yield from patterns(each.url_patterns)
            else:
                yield each

    asked: dict[Any, set[str]] = {}
    for row in ROWS:
        asked.setdefault(resolve(f"/{filled(row.path).partition('?')[0]}").func, set()).add(row.method)
    for each in patterns(get_resolver().url_patterns):
        named = set(getattr(each.callback, "methods", ())) - {"HEAD", "OPTIONS"}
        assert named <= asked.get(each.callback, set()), f"{each.pattern}: {named - asked.get(each.callback, set())}"
