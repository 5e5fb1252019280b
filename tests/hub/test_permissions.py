"""Every route of the API, for everybody who may ask. A route without a row here fails."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser
from django.test import Client

from hub.accounts.permissions import can
from hub.accounts.services import create_token
from hub.api.urls import api
from hub.jobs import services
from hub.jobs.models import Job
from hub.repos.models import Namespace, Repository
from tests.factories import make_prior, make_repository, make_task, make_token, make_user, sha256

pytestmark = pytest.mark.django_db

WHO = ("anonymous", "stranger", "reader", "owner", "admin")
# What each of WHO gets. {r} is a private prior of the owner's with one file, {j} a waiting job of the owner's.
MATRIX: dict[tuple[str, str], tuple[int, int, int, int, int]] = {
    ("GET", "/health"): (200, 200, 200, 200, 200),
    ("GET", "/whoami"): (401, 200, 200, 200, 200),
    ("GET", "/priors"): (200, 200, 200, 200, 200),
    ("GET", "/priors/{ns}/{name}/manifest"): (404, 404, 200, 200, 200),
    ("POST", "/repos"): (401, 403, 403, 201, 201),
    ("GET", "/repos/{ns}/{name}"): (404, 404, 200, 200, 200),
    ("DELETE", "/repos/{ns}/{name}"): (401, 404, 403, 204, 204),
    ("PATCH", "/repos/{ns}/{name}"): (401, 404, 403, 200, 200),
    ("POST", "/repos/{ns}/{name}/move"): (401, 404, 403, 200, 200),
    ("POST", "/repos/{ns}/{name}/branches"): (401, 404, 403, 201, 201),
    ("DELETE", "/repos/{ns}/{name}/branches/{branch}"): (401, 404, 403, 409, 409),
    ("DELETE", "/repos/{ns}/{name}/tags/{tag}"): (401, 404, 403, 404, 404),
    ("GET", "/repos/{ns}/{name}/tree/{rev}"): (404, 404, 200, 200, 200),
    ("GET", "/repos/{ns}/{name}/commits"): (404, 404, 200, 200, 200),
    ("GET", "/repos/{ns}/{name}/refs"): (404, 404, 200, 200, 200),
    ("POST", "/repos/{ns}/{name}/tags"): (401, 404, 403, 201, 201),
    ("POST", "/repos/{ns}/{name}/commits"): (401, 404, 403, 422, 422),
    ("GET", "/repos/{ns}/{name}/files/{rev}/{path}"): (404, 404, 200, 200, 200),
    ("HEAD", "/repos/{ns}/{name}/files/{rev}/{path}"): (404, 404, 200, 200, 200),
    ("GET", "/repos/{ns}/{name}/holds"): (404, 404, 200, 200, 200),
    ("POST", "/repos/{ns}/{name}/holds"): (401, 404, 403, 201, 201),
    ("POST", "/repos/{ns}/{name}/holds/{hold_id}/lift"): (401, 404, 403, 404, 404),
    ("POST", "/repos/{ns}/{name}/chunks/missing"): (401, 404, 403, 200, 200),
    ("PUT", "/repos/{ns}/{name}/chunks/{xorb}"): (401, 404, 403, 400, 400),
    ("PUT", "/repos/{ns}/{name}/chunks/files/{sha256}"): (401, 404, 403, 400, 400),
    ("POST", "/blobs/missing"): (401, 200, 403, 200, 200),
    ("PUT", "/blobs/{sha256}"): (401, 201, 403, 201, 201),
    ("POST", "/jobs"): (401, 404, 403, 202, 202),
    ("GET", "/jobs"): (401, 200, 200, 200, 200),
    ("GET", "/jobs/{job_id}"): (404, 404, 200, 200, 200),
    ("POST", "/jobs/{job_id}/cancel"): (401, 404, 403, 202, 202),
    ("GET", "/jobs/{job_id}/events"): (404, 404, 200, 200, 200),
    ("GET", "/jobs/{job_id}/file"): (404, 404, 404, 404, 404),
    ("HEAD", "/jobs/{job_id}/file"): (404, 404, 404, 404, 404),
}


def routes() -> Iterator[tuple[str, str]]:
    for path, methods in api.get_openapi_schema(path_prefix="/")["paths"].items():
        for method in methods:
            yield method.upper(), path.replace("//", "/")


def test_every_route_has_a_row() -> None:
    assert set(routes()) == set(MATRIX)


@pytest.mark.parametrize(("method", "route"), MATRIX, ids=[f"{method} {route}" for method, route in MATRIX])
@pytest.mark.parametrize("who", WHO)
def test_who_gets_what(home: Path, client: Client, who: str, method: str, route: str) -> None:
    owner, stranger = make_user("owner"), make_user("stranger")
    make_prior(owner, "prior", private=True)
    make_task(owner, "topics", private=True)
    job = services.submit(kind="recommend", spec={"task": "owner/topics"}, owner=owner)
    if route.endswith("events"):
        services.request_cancel(job)  # the stream of an ended job ends
    tokens = {
        "stranger": make_token(stranger),
        "reader": make_token(owner, role="read"),
        "owner": make_token(owner),
        "admin": make_token(make_user("root", admin=True)),
    }
    path = route.format(
        ns="owner",
        name="prior",
        rev="main",
        path="prior.json",
        branch="main",
        tag="none",
        xorb=sha256(b"y"),
        job_id=job.pk,
        sha256=sha256(b"x"),
        hold_id=1,
    )
    body: dict[str, Any] = {
        "/repos": {"name": "owner/new", "kind": "plain"},
        "/repos/{ns}/{name}/tags": {"name": "v1"},
        "/repos/{ns}/{name}/branches": {"name": "next"},
        "/repos/{ns}/{name}/move": {"to": "owner/moved"},
        "/repos/{ns}/{name}/commits": {"files": []},
        "/repos/{ns}/{name}/holds": {"kind": "yank", "reason": "old"},
        "/repos/{ns}/{name}/chunks/missing": {"chunks": []},
        "/blobs/missing": {"sha256": []},
        "/jobs": {"kind": "recommend", "spec": {"task": "owner/topics", "rows": [0]}},
    }.get(route, {})
    data = b"x" if method == "PUT" else json.dumps(body).encode()
    headers = {"Authorization": f"Bearer {tokens[who]}"} if who != "anonymous" else {}

    response = client.generic(
        method,
        f"/api/v1{path}",
        data if method in {"POST", "PUT", "PATCH"} else b"",
        content_type="application/json",
        headers=headers,
    )

    assert response.status_code == MATRIX[method, route][WHO.index(who)]
    if response.status_code >= 400 and method != "HEAD":
        assert response["Content-Type"] == "application/problem+json"
        assert set(response.json()) == {"type", "title", "status", "code", "detail"}
        assert response.json()["status"] == response.status_code


def test_what_is_private_answers_as_what_does_not_exist(home: Path, client: Client) -> None:
    make_prior(make_user("owner"), "hidden", private=True)

    private, unknown = (client.get(f"/api/v1/repos/owner/{name}") for name in ("hidden", "absent"))

    assert private.status_code == unknown.status_code == 404
    assert private.content.replace(b"hidden", b"absent") == unknown.content
    assert client.get("/api/v1/priors", {"q": "char"}).json()["items"] == []


def test_a_session_needs_the_csrf_token_to_change_something(home: Path) -> None:
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(make_user("ann"))
    repository = json.dumps({"name": "ann/new", "kind": "plain"})

    forged = browser.post("/api/v1/repos", repository, content_type="application/json")
    browser.cookies["csrftoken"] = "a" * 32
    meant = browser.post(
        "/api/v1/repos", repository, content_type="application/json", headers={"X-CSRFToken": "a" * 32}
    )

    assert browser.get("/api/v1/whoami").json() == {"name": "ann", "scopes": ["read", "write"]}
    assert (forged.status_code, forged.json()["code"]) == (403, "not-allowed")
    assert meant.status_code == 201


def test_nobody_owns_the_hubs_own_namespace_but_administrators(home: Path) -> None:
    namespace = Namespace.objects.create(name="priorhub", kind="org")
    ann, root = make_user("ann"), make_user("root", admin=True)

    assert not can(AnonymousUser(), "create", namespace)
    assert not can(ann, "create", namespace)
    assert can(root, "create", namespace)


def test_a_suspended_owner_may_nothing(home: Path) -> None:
    ann = make_user("ann")
    repository = make_repository(ann)
    ann.is_active = False
    ann.save()

    assert not can(ann, "write", Repository.objects.get(pk=repository.pk))
    assert not can(ann, "create", Namespace.objects.get(name="ann"))


def test_pairs_that_no_rule_names_are_refused(home: Path) -> None:
    root = make_user("root", admin=True)
    _, token = create_token(user=root, name="t")

    assert not can(root, "write", token)
    assert not can(root, "write", Job(owner=root))
