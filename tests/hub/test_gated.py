from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser
from django.test import Client
from django.utils import timezone

from hub.accounts import gating, services
from hub.accounts.models import AccessRequest, Membership, User
from hub.accounts.permissions import can
from hub.errors import BadRequest, Gated
from hub.repos import services as repos
from hub.repos.models import Blob, Repository
from priors.errors import Conflict, NotAllowed, NotFound
from tests.factories import bearer, make_commit, make_organisation, make_prior, make_repository, make_user

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def own_home(home: Path) -> Path:
    return home


@pytest.fixture
def ann() -> User:
    return make_user("ann")


@pytest.fixture
def gated(ann: User) -> Repository:
    return make_gated(ann, "manual")


def make_gated(owner: User, gate: str) -> Repository:
    repository = make_repository(owner, "mail")
    make_commit(repository, {"a.txt": b"the contents"}, by=owner)
    repos.change_settings(repository, gated=gate, by=owner)
    return repository


def has_files(actor: Any, repository: Repository) -> bool:
    both = can(actor, "read_files", repository), Repository.objects.open_to(actor).filter(pk=repository.pk).exists()
    assert both[0] == both[1]
    return both[0]


def test_everybody_sees_it_and_nobody_else_reads_its_files(client: Client, ann: User, gated: Repository) -> None:
    address, bob = "/api/v1/repos/ann/mail", make_user("bob")

    assert client.get(address).status_code == 200
    assert client.get(f"{address}/tree/main").status_code == 200
    for headers in ({}, bearer(bob)):
        answer = client.get(f"{address}/files/main/a.txt", headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (403, "gated")
    assert client.get(f"{address}/files/main/a.txt", headers=bearer(ann)).status_code == 200
    assert not has_files(AnonymousUser(), gated)


def test_the_bytes_cannot_be_had_by_their_hash_either(ann: User, gated: Repository) -> None:
    bob = make_user("bob")

    assert not Blob.objects.usable_by(bob).exists()
    gating.grant(repository=gated, by=ann, to=bob)
    assert Blob.objects.usable_by(bob).exists()


def test_a_job_cannot_read_what_its_owner_may_not(ann: User) -> None:
    from hub.catalog.library import HubStorage

    prior = make_prior(ann).repository
    repos.change_settings(prior, gated="manual", by=ann)

    assert HubStorage(make_user("bob")).entries() == []
    assert len(HubStorage(ann).entries()) == 1


def test_the_catalogue_says_whose_files_one_may_have(client: Client, ann: User) -> None:
    repos.change_settings(make_prior(ann).repository, gated="manual")

    def open_to(**headers: Any) -> list[bool]:
        return [card["open"] for card in client.get("/api/v1/priors", headers=headers or None).json()["items"]]

    assert open_to() == open_to(**bearer(make_user("bob"))) == [False]
    assert open_to(**bearer(ann)) == [True]


def test_an_automatic_gate_lets_in_whoever_asks(ann: User) -> None:
    gated, bob = make_gated(ann, "auto"), make_user("bob")

    request = gating.ask(repository=gated, by=bob, fields={"affiliation": "a lab"})

    assert (request.status, request.due_at, request.fields) == ("accepted", None, {"affiliation": "a lab"})
    assert has_files(bob, gated)
    assert not has_files(make_user("eve"), gated)


def test_a_manual_gate_waits_for_the_owner(ann: User, gated: Repository) -> None:
    bob = make_user("bob")
    request = gating.ask(repository=gated, by=bob)
    assert (request.status, has_files(bob, gated)) == ("pending", False)
    assert gating.ask(repository=gated, by=bob) == request

    gating.handle(request, status="accepted", by=ann)
    assert has_files(bob, gated)
    gating.handle(request, status="rejected", by=ann, reason="not a researcher")

    assert not has_files(bob, gated)
    assert gating.ask(repository=gated, by=bob).status == "rejected"
    assert [each.reason for each in gating.requests_for(gated, by=ann, status="rejected")] == ["not a researcher"]


def test_only_who_administers_decides_grants_and_lists(ann: User, gated: Repository) -> None:
    bob = make_user("bob")
    request = gating.ask(repository=gated, by=bob)

    for act in (
        lambda: gating.handle(request, status="accepted", by=bob),
        lambda: gating.grant(repository=gated, by=bob, to=bob),
        lambda: gating.requests_for(gated, by=bob),
    ):
        with pytest.raises(NotAllowed):
            act()
    with pytest.raises(BadRequest, match="unknown"):
        gating.handle(request, status="maybe", by=ann)


def test_a_request_past_its_deadline_is_overdue_and_may_be_withdrawn(ann: User, gated: Repository) -> None:
    bob = make_user("bob")
    request = gating.ask(repository=gated, by=bob)
    assert not request.is_overdue
    AccessRequest.objects.update(due_at=timezone.now() - timedelta(seconds=1))
    request.refresh_from_db()
    assert request.is_overdue

    with pytest.raises(NotFound):
        gating.withdraw(request, by=make_user("eve"))
    gating.withdraw(request, by=bob)

    assert not AccessRequest.objects.exists()


def test_what_was_answered_cannot_be_withdrawn(ann: User, gated: Repository) -> None:
    bob = make_user("bob")
    request = gating.grant(repository=gated, by=ann, to=bob)

    with pytest.raises(Conflict, match="accepted already"):
        gating.withdraw(request, by=bob)


def test_a_grant_to_an_organisation_is_its_members_while_they_are(ann: User, gated: Repository) -> None:
    bob, carl = make_user("bob"), make_user("carl")
    lab = make_organisation("lab", admin=bob)
    Membership.objects.create(organisation=lab, user=carl, role="read")
    with pytest.raises(NotAllowed):
        gating.ask(repository=gated, by=carl, organisation=lab)

    gating.handle(gating.ask(repository=gated, by=bob, organisation=lab), status="accepted", by=ann)
    assert has_files(carl, gated)
    Membership.objects.filter(user=carl).delete()

    assert not has_files(carl, gated)
    assert has_files(bob, gated)


def test_a_fine_grained_token_reads_gated_files_only_with_the_scope_to(ann: User, gated: Repository) -> None:
    bob = make_user("bob")
    gating.grant(repository=gated, by=ann, to=bob)

    def by(*scopes: str) -> User:
        text, _ = services.create_token(user=bob, name="t", role="fine_grained", scopes=scopes)
        return services.authenticate(text).user

    assert not has_files(by("admin:bob/*"), gated)
    assert has_files(by("read:ann/mail"), gated)
    assert has_files(by("read:ann/*"), gated)


def test_a_private_repository_is_not_opened_by_a_grant(ann: User, gated: Repository) -> None:
    bob = make_user("bob")
    gating.grant(repository=gated, by=ann, to=bob)
    repos.change_settings(gated, private=True, by=ann)

    assert not has_files(bob, gated)
    assert not can(bob, "read", gated)
    with pytest.raises(NotFound):
        gating.ask(repository=gated, by=bob)


def test_what_is_not_gated_needs_no_asking(ann: User) -> None:
    with pytest.raises(BadRequest, match="not gated"):
        gating.ask(repository=make_repository(ann, "open"), by=make_user("bob"))
    with pytest.raises(BadRequest, match="is a person"):
        gating.grant(repository=make_gated(ann, "auto"), by=ann, to=make_user("eve").namespaces.get())


def test_gated_is_a_kind_of_not_allowed() -> None:
    assert issubclass(Gated, NotAllowed)
    assert Gated.status == 403
