"""Whoever only reads changes nothing: every GET, HEAD and OPTIONS of the matrix, by the statements they run."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection

from tests.hub.matrix import ROWS, Row
from tests.hub.matrix_world import World

pytestmark = pytest.mark.django_db

READING = [row for row in ROWS if row.method == "GET"]
WRITE = re.compile(r"\s*(INSERT|UPDATE|DELETE|REPLACE|ALTER|DROP|CREATE|TRUNCATE)\b", re.IGNORECASE)
COUNTERS = re.compile(
    r"""\s*(
      (INSERT\ INTO|UPDATE|DELETE\ FROM)\ "django_session"        # who is signed in, and until when
    | (INSERT\ (OR\ \w+\ )?INTO|UPDATE)\ "accounts_ratewindow"     # how often somebody asked
    | UPDATE\ "accounts_apitoken"\ SET\ "last_used_at"             # when a token was used last, and from where
    | INSERT\ (OR\ \w+\ )?INTO\ "catalog_download"\                # that a file was fetched
    | (INSERT\ INTO|UPDATE)\ "usersessions_usersession"            # allauth's list of where one is signed in
    | INSERT\ INTO\ "xet_scope"                                    # the name under which chunks will be known
    )""",
    re.IGNORECASE | re.VERBOSE,
)


class Statements:
    """Everything sent to the database that writes and is no counter."""

    def __init__(self) -> None:
        self.found: list[str] = []

    def __call__(self, execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
        if WRITE.match(sql) and not COUNTERS.match(sql):
            self.found.append(sql[:200])
        return execute(sql, params, many, context)


def writes(matrix: World, row: Row, who: str, method: str) -> list[str]:
    statements = Statements()
    with connection.execute_wrapper(statements):
        matrix.ask(row, who, "public", method=method)
    return statements.found


@pytest.mark.parametrize("row", READING, ids=str)
def test_reading_changes_no_row_but_counters(matrix: World, row: Row) -> None:
    for who in ("anonymous", "admin", "root"):
        assert writes(matrix, row, who, "GET") == [], who
    for method in ("HEAD", "OPTIONS"):
        assert writes(matrix, row, "admin", method) == [], method


def test_a_change_would_be_seen(matrix: World) -> None:
    [tag] = [row for row in ROWS if row.method == "POST" and row.path.endswith("repos/lab/{state}/tags")]

    assert any("repos_ref" in statement for statement in writes(matrix, tag, "admin", "POST"))
