"""Patterns that strangers write: what is none is left out, and none takes minutes."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from django.test import Client

from hub.repos.lfs import wants_lfs
from hub.repos.patterns import spec_of
from tests.factories import bearer, make_commit, make_repository, make_user


@pytest.mark.parametrize("line", ["!", "! ", "a\\", "[z-a]"])
def test_what_is_no_pattern_is_left_out(line: str) -> None:
    spec = spec_of([line, "# said", "", "*.tmp", "!kept.tmp"])

    assert [spec.match_file(path) for path in ("a.tmp", "kept.tmp", "a")] == [True, False, False]


@pytest.mark.parametrize(("pattern", "path"), [("*a" * 12 + "b", "a" * 255), ("**/a/" * 12 + "b", "a/" * 250 + "c")])
def test_a_winding_pattern_is_left_out(pattern: str, path: str) -> None:
    began = time.monotonic()

    assert not spec_of([pattern]).match_file(path)
    assert time.monotonic() - began < 1


def test_attributes_that_are_none_decide_nothing() -> None:
    assert not wants_lfs("a.txt", 10, attributes="! filter=lfs\n[z-a] filter=lfs\n")
    assert wants_lfs("a.txt", 10, attributes="! filter=lfs\n*.txt filter=lfs\n")


@pytest.mark.django_db
def test_hostile_patterns_in_a_repository_stop_neither_preupload_nor_commit(home: Path) -> None:
    ann = make_user("ann")
    repository = make_repository(ann, "m")
    hostile = b"!\n[z-a]\n" + b"*a" * 12 + b"b\n*.log\n"
    make_commit(repository, {".gitignore": hostile, ".secretsignore": hostile, "a.txt": b"1"}, by=ann)
    asked = [{"path": path, "size": 1, "sample": ""} for path in ("a" * 255, "b.log")]

    answer = Client(headers=bearer(ann)).post(
        "/api/models/ann/m/preupload/main", json.dumps({"files": asked}), content_type="application/json"
    )

    assert [each["shouldIgnore"] for each in answer.json()["files"]] == [False, True]


@pytest.mark.django_db
def test_preupload_takes_no_endless_path(home: Path) -> None:
    ann = make_user("ann")
    make_repository(ann, "m")
    asked = [{"path": "a" * 100_000, "size": 1, "sample": ""}]

    answer = Client(headers=bearer(ann)).post(
        "/api/models/ann/m/preupload/main", json.dumps({"files": asked}), content_type="application/json"
    )

    assert (answer.status_code, "is longer than 512 characters" in answer.json()["error"]) == (400, True)
