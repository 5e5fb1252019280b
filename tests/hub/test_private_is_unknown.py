"""What is private answers an outsider as what does not exist, byte for byte, whatever the matrix says of the row."""

from __future__ import annotations

import re

import pytest

from tests.factories import sha256 as sha256_of
from tests.hub.matrix import ROWS, Row
from tests.hub.matrix_world import Answer, World

pytestmark = pytest.mark.django_db  # for its database; what is in it comes from `matrix`

OUTSIDERS = ("anonymous", "stranger", "ex", "suspended", "moderator")
NAMING = [row for row in ROWS if ":state}" in row.path or "{state}" in row.path + row.body or row.body == "@job"]


@pytest.mark.parametrize("row", NAMING, ids=str)
def test_what_is_private_answers_outsiders_as_what_does_not_exist(matrix: World, row: Row) -> None:
    for who in OUTSIDERS:
        private, unknown = matrix.ask(row, who, "private"), matrix.ask(row, who, "private", repository="unknown")
        assert private.status == unknown.status, who
        assert told(private, "private") == told(unknown, "unknown"), who


LEAKS = [
    ("HEAD", {}), ("OPTIONS", {}), ("POST", {}), ("GET", {"Range": "bytes=0-3"}), ("GET", {"If-None-Match": "*"}),
    ("GET", {"If-None-Match": f'"{sha256_of(b"# Hello")}"'}), ("GET", {"HX-Request": "true"}),
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("row", [row for row in NAMING if row.method == "GET"], ids=str)
def test_no_other_way_of_asking_tells_what_is_private_apart(matrix: World, row: Row) -> None:
    for method, headers in LEAKS:
        for who in OUTSIDERS:
            private = matrix.ask(row, who, "private", method=method, **headers)
            unknown = matrix.ask(row, who, "private", repository="unknown", method=method, **headers)
            assert private.status == unknown.status, (who, method, headers)
            assert told(private, "private") == told(unknown, "unknown"), (who, method, headers)


def told(response: Answer, name: str) -> tuple[dict[str, str], bytes]:
    """Everything a response says, with the repository's name taken out of it, and what is new in each response."""
    headers = {
        key: re.sub(r"runs/[\w-]{36}", "runs/ID", value.replace(f"/{name}", "/NAME"))
        for key, value in response.headers.items()
    }
    for changing in ("Content-Length", "RateLimit"):
        headers.pop(changing, None)
    content = response.content.replace(f"lab/{name}".encode(), b"lab/NAME").replace(
        f"lab%2F{name}".encode(), b"lab/NAME"
    )
    content = re.sub(rb"results(/|%2F)\d+", b"results/ID", content)
    content = re.sub(rb"runs(/|%2F)[\w-]{36}", b"runs/ID", content)
    content = re.sub(rb"boards(/|%2F)deleted(/|%2F)\d+", b"boards/deleted/ID", content)
    content = re.sub(rb'name="csrfmiddlewaretoken" value="\w+"', b"", content)
    return headers, re.sub(rb'"X-CSRFToken": "\w+"|X-CSRFToken&quot;: &quot;\w+', b"", content)
