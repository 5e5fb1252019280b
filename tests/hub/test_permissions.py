"""Permissions that no route shows; test_matrix.py has every route."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from django.contrib.auth.models import AnonymousUser
from django.test import Client

from hub.accounts.permissions import can, require
from hub.accounts.services import create_token
from hub.jobs.models import Job
from hub.repos.models import Namespace, Repository
from priors.errors import NotAllowed
from tests.factories import make_repository, make_user

pytestmark = pytest.mark.django_db


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
    with pytest.raises(NotAllowed, match=r"You may not create a repository in priorhub\."):
        require(ann, "create", namespace)


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
