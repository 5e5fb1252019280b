"""Rights that end while something is under way, that are left behind, or that somebody tries to give themselves."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from django.forms.models import model_to_dict
from django.test import Client

from hub.accounts import organisations, services
from hub.accounts.models import Membership, TeamGrant, User
from hub.accounts.permissions import can
from hub.repos.models import Commit, Namespace, Repository
from tests.factories import bearer, make_commit, make_organisation, make_repository, make_token, make_user

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def own_home(home: Path) -> Path:
    return home


@pytest.fixture
def boss() -> User:
    return make_user("boss")


@pytest.fixture
def lab(boss: User) -> Namespace:
    return make_organisation("lab", admin=boss)


class Arriving(BytesIO):
    """A body that arrives in pieces, and something that happens when half of it is there."""

    def __init__(self, body: bytes, happens: Callable[[], object]) -> None:
        super().__init__(body)
        self._half, self._happens = len(body) // 2, happens

    def read(self, size: int | None = -1, /) -> bytes:
        if self.tell() >= self._half and self._happens is not None:
            self._happens()
            self._happens = None  # type: ignore[assignment]
        return super().read(min(size or 1024, 1024) if size is None or size >= 0 else 1024)


def upload(client: Client, happens: Callable[[], object], **headers: str) -> Any:
    content = base64.b64encode(b"x" * 20_000).decode()
    lines = [
        {"key": "header", "value": {"summary": "s"}},
        {"key": "file", "value": {"path": "a.txt", "content": content, "encoding": "base64"}},
    ]
    body = "\n".join(json.dumps(line) for line in lines).encode()
    return client.generic(
        "POST", "/api/models/lab/thing/commit/main", body, content_type="application/x-ndjson", headers=headers,
        **{"wsgi.input": Arriving(body, happens)},
    )  # fmt: skip


LOSSES: dict[str, tuple[Callable[[User, Namespace, User], object], int]] = {
    "nothing": (lambda ann, lab, boss: None, 200),
    "token revoked": (lambda ann, lab, boss: [services.revoke_token(token) for token in ann.tokens.all()], 401),
    "suspended": (lambda ann, lab, boss: User.objects.filter(pk=ann.pk).update(is_active=False), 401),
    "removed": (lambda ann, lab, boss: organisations.remove_member(organisation=lab, user=ann, by=boss), 404),
    "may only read": (
        lambda ann, lab, boss: organisations.set_role(organisation=lab, user=ann, role="read", by=boss),
        403,
    ),
}


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("by", ["token", "session"])
def test_what_is_lost_while_a_commit_arrives_counts_at_its_end(boss: User, lab: Namespace, loss: str, by: str) -> None:
    ann = make_user("ann")
    make_commit(make_repository(lab, "thing", private=True), {"first.txt": b"1"}, by=boss)
    Membership.objects.create(organisation=lab, user=ann, role="write")
    happens, code = LOSSES[loss]
    client, headers = Client(), {}
    if by == "token":
        headers = {"Authorization": f"Bearer {make_token(ann)}"}
    else:
        client.force_login(ann)
        client.cookies["csrftoken"] = "a" * 32
        headers = {"X-CSRFToken": "a" * 32}
        code = {"token revoked": 200, "suspended": 404}.get(loss, code)

    answer = upload(client, lambda: happens(ann, lab, boss), **headers)

    assert answer.status_code == code, answer.content
    assert Commit.objects.filter(repository__name="thing").count() == (2 if code == 200 else 1)


def test_a_moved_repository_leaves_its_old_teams_behind_for_good(client: Client, boss: User, lab: Namespace) -> None:
    make_organisation("works", admin=boss)
    thing = make_repository(lab, "thing", private=True)
    make_commit(thing, {"a.txt": b"1"}, by=boss)
    ann = make_user("ann")
    Membership.objects.create(organisation=lab, user=ann, role="read")
    team = organisations.create_team(organisation=lab, name="builders", by=boss)
    organisations.set_team_members(team, [ann], by=boss)
    organisations.grant(team, repository=thing, role="admin", by=boss)
    hers, his = bearer(ann), bearer(boss)
    changed = client.patch("/api/v1/repos/lab/thing", {"description": "x"}, "application/json", headers=hers)
    assert changed.status_code == 200

    def move(to: str, name: str) -> int:
        return client.post(f"/api/v1/repos/{name}/move", {"to": to}, "application/json", headers=his).status_code

    assert move("works/thing", "lab/thing") == 200
    assert client.get("/api/v1/repos/works/thing", headers=hers).status_code == 404
    assert client.get("/api/v1/repos/lab/thing", headers=hers).status_code == 404
    assert not TeamGrant.objects.exists()
    assert move("lab/thing", "works/thing") == 200
    thing.refresh_from_db()

    assert can(ann, "read", thing)  # as a member again
    assert not can(ann, "write", thing)


EXTRA = {
    "owner": "ann", "namespace": "ann", "price": 1, "is_staff": True, "is_superuser": True, "is_active": True,
    "verified": True, "likes": 99, "provenance": {"license": "mit"}, "head": "0" * 40, "id": 1, "pk": 1,
    "author": "ann", "created_at": "2000-01-01", "quota_bytes": 1 << 50, "downloads": 99, "sha": "0" * 40,
    "role": "admin",
}  # fmt: skip


def state_of(row: Any) -> dict[str, Any]:
    row = type(row).objects.get(pk=row.pk)
    return {**model_to_dict(row), "pk": row.pk, "created": getattr(row, "created_at", None)}


@pytest.mark.parametrize("field", sorted(EXTRA))
def test_a_field_that_is_not_for_callers_is_refused_and_changes_nothing(
    client: Client, boss: User, lab: Namespace, field: str
) -> None:
    thing = make_repository(lab, "thing")
    make_commit(thing, {"a.txt": b"1"}, by=boss)
    before, headers = (state_of(thing), state_of(lab), state_of(boss)), bearer(boss)

    for method, address, said in (
        ("PATCH", "/api/v1/repos/lab/thing", {}),
        ("POST", "/api/v1/repos", {"name": "lab/new", "kind": "plain"}),
        ("POST", "/api/v1/repos/lab/thing/move", {"to": "lab/new"}),
        ("POST", "/api/v1/repos/lab/thing/tags", {"name": "v1"}),
        ("POST", "/api/v1/repos/lab/thing/commits", {"files": [], "replace": False}),
        ("POST", "/api/v1/repos/lab/thing/holds", {"kind": "yank", "reason": "old"}),
        ("POST", "/api/v1/jobs", {"kind": "recommend", "spec": {}}),
    ):
        body = json.dumps({**said, field: EXTRA[field]})
        answer = client.generic(method, address, body, content_type="application/json", headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (422, "bad-request"), address

    assert (state_of(thing), state_of(lab), state_of(boss)) == before
    assert Repository.objects.count() == 1


def test_what_a_client_of_the_protocol_or_a_form_says_besides_is_passed_over(
    client: Client, boss: User, lab: Namespace, settings: Any
) -> None:
    thing = make_repository(lab, "thing")
    make_commit(thing, {"a.txt": b"1"}, by=boss)
    settings.SIGNUP = "open"
    headers, browser = bearer(boss), Client()
    browser.force_login(boss)
    before = (state_of(thing), state_of(lab), state_of(boss))
    extra = {key: json.dumps(value) if isinstance(value, dict) else value for key, value in EXTRA.items()}

    said = {**EXTRA, "private": False}
    put = client.put("/api/models/lab/thing/settings", said, "application/json", headers=headers)
    form = browser.post("/lab/thing/settings", {**extra, "do": "settings", "description": ""})
    made = client.post(
        "/api/repos/create", {**EXTRA, "name": "new", "organization": "lab"}, "application/json", headers=headers
    )
    token = browser.post("/account", {**extra, "name": "t", "role": "read", "days": "30", "user": "ann"})
    joined = Client().post(
        "/signup", {**extra, "username": "newbie", "email": "n@example.org", "password1": "correct horse battery"}
    )

    assert [answer.status_code for answer in (put, form, made, token, joined)] == [200, 302, 200, 200, 302]
    assert (state_of(thing), state_of(lab), state_of(boss)) == before
    new, newbie = Repository.objects.get(name="new"), User.objects.get(username="newbie")
    assert (new.namespace, new.likes, new.provenance, new.kind) == (lab, 0, {}, "plain")
    assert boss.tokens.exclude(role="write").get().role == "read"
    assert not (newbie.is_staff or newbie.is_superuser)
    assert Namespace.objects.get(owner=newbie).quota_bytes is None
