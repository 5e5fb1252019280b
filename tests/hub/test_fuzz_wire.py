"""Nonsense at every route of the Hugging Face protocol and of the chunk service: refused, never answered with a 5xx.

OpenAPI does not describe these routes, so the nonsense is made here: the shapes clients send, with some parts replaced.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from typing import Any
from uuid import UUID
from zlib import crc32

import pytest
from django.core.signals import request_finished
from django.db import close_old_connections, transaction
from django.test import Client
from django.urls import URLPattern

from hub.accounts.models import User
from hub.repos import discussions, services
from hub.repos.models import Repository
from hub.wire import urls as wire
from hub.xet import urls as xet
from tests.factories import bearer, make_commit, make_repository, make_user, sha256
from tests.rounds import rounds

pytestmark = pytest.mark.django_db

ROUTES: list[URLPattern] = [*wire.urlpatterns, *xet.urlpatterns]
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
WEIGHTS = b"\x00weights" * 100

# What is asked of: mostly things that are there, or hardly a request would come past its first refusal.
KNOWN = {
    "type": ["models", "datasets", "spaces"], "ns": ["ann"], "name": ["mail", "rows", "gated", "none"],
    "rev": ["main", "v1", "refs%2Fpr%2F1", "dev%2Fx"], "branch": ["main", "dev/x", "new", "refs/pr/1"], "path":
    ["a.txt", "w.bin", "d/e.txt", "d", ""], "number": ["1", "2", "9"], "event": ["0" * 32, "1"], "user": ["ann", "bob"],
    "organisation_name": ["lab"], "status": ["pending", "accepted", "x"], "rest": ["x", "settings/y", "spaces/a/b"],
    "note": ["none", "eyJrIjoicHV0In0:1abc:def"], "ticket": ["none"], "place": [str(UUID(int=0))],
    "epoch": ["1"],
}  # fmt: skip
ODD_TEXTS = [
    "", " ", "\0", "\ud800", "..", "../../x", "/", "a\nb", "%00", "%2e%2e", "é\u0301", "\u202e", "x" * 5000, "a/" * 400,
    "null", "-1", "1e999", "main", "refs/pr/1", "ann/mail", "ann/none", "../a.txt", "a.txt", "{}", "=" * 9, "None",
]  # fmt: skip
IN_A_QUERY = ["", "\0", "..", "/", "é", "x" * 5000, "null", "-1", "1e999", "9" * 30]
ODD = [
    None, True, False, 0, -1, 1.5, 1e308, 2**31, 2**63, 2**64, 10**40, [], {}, [[]], [None], {"a": None}, [{}] * 3,
    {"a": [{"b": {}}]}, ["x"] * 1100, *ODD_TEXTS,
]  # fmt: skip
SHA = sha256(WEIGHTS)
BODIES: list[dict[str, Any]] = [
    {"name": "new", "organization": "ann", "type": "model", "private": True, "sdk": "gradio", "visibility": "public"},
    {"fromRepo": "ann/mail", "toRepo": "ann/moved", "type": "model"},
    {"private": False, "gated": "manual", "visibility": "private"},
    {"repository": "ann/copy", "private": None},
    {"content": "---\nlicense: mit\n---\n", "repoType": "model"},
    {"paths": ["a.txt", "d"], "expand": True},
    {"files": [{"path": "a.txt", "size": 3, "sample": "YQ=="}], "gitIgnore": "*.log\n"},
    {"startingPoint": "main"}, {"tag": "v2", "message": "m"}, {"message": "squashed"},
    {"operation": "upload", "transfers": ["basic", "multipart"], "hash_algo": "sha256", "ref": {"name": "main"},
     "objects": [{"oid": SHA, "size": len(WEIGHTS)}, {"oid": "0" * 64, "size": 10}]},
    {"operation": "download", "transfers": ["basic"], "objects": [{"oid": SHA, "size": len(WEIGHTS)}]},
    {"oid": SHA, "size": len(WEIGHTS), "parts": [{"partNumber": 1, "etag": "x"}]},
    {"deletions": {"sha": [SHA], "rewriteHistory": True}},
    {"target": {"type": "model", "name": "ann/rows"}, "files": [{"sha256": SHA, "filename": "w.bin"}]},
    {"title": "t", "description": "d", "pullRequest": True}, {"comment": "words *here*", "status": "closed"},
    {"user": "bob", "status": "accepted", "rejectionReason": "no"}, {"tokens": ["x"]},
]  # fmt: skip
LINES: list[dict[str, Any]] = [
    {"key": "header", "value": {"summary": "s", "description": "d", "parentCommit": "0" * 40}},
    {"key": "header", "value": {"summary": "s"}},
    {"key": "file", "value": {"path": "n.txt", "content": "YQ==", "encoding": "base64"}},
    {"key": "file", "value": {"path": "prior.json", "content": "W10=", "encoding": "base64"}},
    {"key": "lfsFile", "value": {"path": "w.bin", "algo": "sha256", "oid": SHA, "size": len(WEIGHTS)}},
    {"key": "deletedFile", "value": {"path": "a.txt"}}, {"key": "deletedFolder", "value": {"path": "d/"}},
]  # fmt: skip
QUERIES = {
    "limit": ["1", "0", "x"], "cursor": ["0", "a.txt", "zzz", "-1"], "p": ["0", "1", "99"], "sort": ["likes", "x"],
    "expand": ["tags", "siblings", "x"], "search": ["mail"], "author": ["ann"], "filter": ["license:mit"],
    "num_parameters": ["min:1M,max:2B", "min:"], "blobs": ["1"], "securityStatus": ["true"], "recursive": ["true"],
    "create_pr": ["1"], "diff": ["1"], "type": ["all", "x"], "status": ["open"], "include_prs": ["1"], "gated": ["1"],
}  # fmt: skip
HEADERS = {
    "Range": ["bytes=0-3", "bytes=-1", "bytes=9-1", "bytes=0-1,3-4", "x", "bytes=" + "9" * 40 + "-"],
    "If-None-Match": ["*", '"x"', "W/"], "If-Range": ['"x"', "x"], "If-Modified-Since": ["x"], "Accept": ["x", ""],
    "Host": ["testserver", "testserver:99"], "Git-Protocol": ["version=2", "\xff"], "Accept-Language": ["x" * 3000],
    "X-Forwarded-For": ["x", "1.2.3.4,,"], "X-HTTP-Method-Override": ["DELETE"],
}  # fmt: skip
TYPES = ("application/json", "application/x-ndjson", "application/x-www-form-urlencoded", "text/plain", "",
         "multipart/form-data; boundary=x", "application/vnd.git-lfs+json")  # fmt: skip


@pytest.fixture
def ann(home: object) -> Iterator[User]:
    """Two repositories and a gated one, with a branch, a tag, a thread, a pull request and an LFS file."""
    ann = make_user("ann")
    make_user("bob")
    mail = make_repository(ann, "mail")
    make_commit(
        mail, {"a.txt": b"1", "w.bin": WEIGHTS, "d/e.txt": b"2", "README.md": b"---\nlicense: mit\n---\n"}, by=ann
    )
    services.create_branch(repository=mail, name="dev/x", rev="main")
    services.create_tag(repository=mail, name="v1", rev="main")
    discussions.open_discussion(repository=mail, by=ann, title="A question", description="Why?")
    made = services.create_repository(name="ann/rows", kind="plain", type="dataset")
    make_commit(made, {"a.txt": b"1"}, by=ann)
    make_commit(make_repository(ann, "gated"), {"a.txt": b"1"}, by=ann)
    Repository.objects.filter(name="gated").update(gated="manual")
    yield ann


class Nonsense:
    """Draws requests."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)

    def changed(self, value: Any, likely: float = 0.25) -> Any:
        """The value with some of its parts replaced, left out or doubled."""
        chance = self.chance
        if chance.random() < likely / 2:
            return chance.choice(ODD)
        match value:
            case dict():
                kept = {key: self.changed(each, likely) for key, each in value.items() if chance.random() > likely / 4}
                return kept | ({chance.choice(ODD_TEXTS): chance.choice(ODD)} if chance.random() < likely / 4 else {})
            case list():
                made = [self.changed(each, likely) for each in value]
                return made * chance.choice([1, 1, 1, 2])
        return value

    def body(self) -> bytes:
        """JSON, lines of it, a form, or bytes that are none of these."""
        chance = self.chance
        match chance.randrange(12):
            case 0:
                return chance.choice(
                    [b"", b"{", b"[" * 50_000, b"\xff\xfe", b'{"a": NaN}', b'"x"', b"9" * 5000, b"0000"]
                )
            case 1:
                return chance.randbytes(chance.randrange(200))
            case 2:
                return f"paths={chance.choice(ODD_TEXTS[5:])}&expand=1&name={chance.choice(ODD_TEXTS[5:])}".encode()
            case 3 | 4 | 5 | 6:
                lines = [self.changed(chance.choice(LINES), 0.15) for _ in range(chance.randrange(1, 5))]
                return b"\n".join(json.dumps(line).encode() for line in [LINES[1], *lines])
        return json.dumps(self.changed(chance.choice(BODIES))).encode()

    def path(self, route: URLPattern) -> str:
        """An address of the route, quoted in part as clients quote."""
        chance = self.chance

        def part(name: str) -> str:
            if name in KNOWN and chance.random() < 0.9:
                return chance.choice(KNOWN[name])
            return re.sub(r"[\0\ud800?#\n]", "%00", chance.choice(ODD_TEXTS)) or "x"

        pattern = str(route.pattern)
        if not pattern.startswith("^"):
            return re.sub(r"<(?:\w+:)?(\w+)>", lambda found: part(found[1]), pattern)
        found = (
            pattern.removeprefix("^")
            .removesuffix("$")
            .replace(r"(?:-merkledb)?", "")
            .replace("(?:", "")
            .replace(")?", "")
        )
        found = re.sub(r"\(\?P<place>[^)]*\)", part("place"), found)
        found = re.sub(r"\(\?P<epoch>[^)]*\)", part("epoch"), found)
        return re.sub(r"\(\?P<name>[^)]*\)", chance.choice([SHA, "0" * 64, "f" * 64]), found)

    def content_type(self) -> str:
        """One of those that clients send, mostly."""
        return self.chance.choice(TYPES[:3] if self.chance.random() < 0.9 else TYPES)

    def some(self, choices: dict[str, list[str]], most: int) -> dict[str, str]:
        """A few of these."""
        names = self.chance.sample(sorted(choices), self.chance.randrange(most + 1))
        return {name: self.chance.choice(choices[name] + IN_A_QUERY * (choices is QUERIES)) for name in names}


def test_every_route_of_both_is_asked() -> None:
    assert {route.name for route in ROUTES} > {"commit", "lfs-batch", "resolve", "xet-shards", "xet-reconstruction"}


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: str(route.name or route.pattern))
def test_no_nonsense_makes_it_fail(ann: User, route: URLPattern) -> None:
    draw = Nonsense(seed=crc32(str(route.pattern).encode()))
    client, headers = Client(raise_request_exception=False), bearer(ann)
    methods = sorted(set(getattr(route.callback, "methods", METHODS)) - {"HEAD"}) or METHODS
    for _ in rounds(few=15, many=300):
        method = draw.chance.choice(methods if draw.chance.random() < 0.9 else METHODS)
        path, body = f"/{draw.path(route)}", b"" if method in {"GET", "HEAD"} else draw.body()
        extra = draw.some(HEADERS, 2) | (headers if draw.chance.random() < 0.95 else {})
        before = transaction.savepoint()
        try:
            response = client.generic(
                method, path.replace("\r", ""), body, content_type=draw.content_type(), headers=extra,
                query_params=draw.some(QUERIES, 3), RAW_URI=path if "%" in path else "",
            )  # fmt: skip
            said = _read(response)
        finally:
            transaction.savepoint_rollback(before)
        where = (method, path[:200], extra, body[:600])
        assert response.status_code < 500 or response.status_code == 501, (*where, said)
        assert response.status_code != 429, "the rate limit hides what was to be tested"


def _read(response: Any) -> bytes:
    """What was said. Closing a response says that a request is over, which closes the test's database."""
    request_finished.disconnect(close_old_connections)
    try:
        return bytes(response.getvalue()[:500])
    finally:
        request_finished.disconnect(close_old_connections)  # again: the end of a stream connected it
        response.close()
        request_finished.connect(close_old_connections)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/repos/create", {"name": "new", "type": {"a": 1}}),
        ("/api/repos/create", {"name": "new", "type": "space", "sdk": ["gradio"]}),
        ("/ann/mail.git/info/lfs/objects/batch", {"operation": "upload", "transfers": 5, "objects": []}),
    ],
)
def test_a_value_of_the_wrong_kind_is_no_mistake_of_the_hub(ann: User, path: str, body: dict[str, Any]) -> None:
    answer = Client(raise_request_exception=False).post(
        path, body, content_type="application/json", headers=bearer(ann)
    )

    assert answer.status_code in {200, 400}, answer.content
