"""The pages of organisations, owners, gates and the audit log: plain forms, no script."""

from __future__ import annotations

import re

import pytest
from django.http import HttpResponseBase
from django.test import Client

from hub.accounts import gating, organisations, rates
from hub.accounts.models import AccessRequest, ApiToken, Membership, User
from hub.accounts.permissions import can
from hub.repos import services as repos
from hub.repos.models import Namespace, Repository
from tests.factories import make_commit, make_organisation, make_repository, make_user

PASSWORD = "correct horse battery"


@pytest.fixture
def bob(db: None) -> User:
    return make_user("bob", password=PASSWORD)


@pytest.fixture
def lab(ada: User) -> Namespace:
    return make_organisation("lab", admin=ada)


def text(response: HttpResponseBase) -> str:
    html = response.content.decode()  # type: ignore[attr-defined]
    assert not re.findall(r"<script(?![^>]*\bsrc=)[^>]*>", html)
    assert not re.findall(r"\s(style|on\w+)=", html)
    return str(html)


def as_(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def act(client: Client, name: str, act: str, /, **fields: str | list[str]) -> int:
    return client.post(f"/organizations/{name}", {"act": act, **fields}).status_code


def test_from_founding_to_leaving(signed_in: Client, ada: User, bob: User) -> None:
    assert signed_in.post("/organizations/new", {"name": "lab"})["Location"] == "/organizations/lab"
    lab = Namespace.objects.get(name="lab")
    thing = make_repository(lab, "thing", private=True)

    assert act(signed_in, "lab", "invite", user="bob", role="read") == 302
    invited = as_(bob)
    assert "asks you to join" in text(invited.get("/account"))
    invited.post(f"/account/invitations/{bob.invitations.get().pk}", {"answer": "yes"})
    assert can(bob, "read", thing) and not can(bob, "write", thing)
    act(signed_in, "lab", "team", team="builders")
    act(signed_in, "lab", "team-members", team="builders", member=["bob"])
    act(signed_in, "lab", "grant", team="builders", repository=str(thing.pk), role="write")
    assert can(bob, "write", thing)
    page = text(signed_in.get("/organizations/lab"))
    assert "builders" in page and "Write on thing" in page
    act(signed_in, "lab", "grant", team="builders", repository=str(thing.pk), role="")
    assert not can(bob, "write", thing)
    act(signed_in, "lab", "role", user="bob", role="admin")
    assert can(bob, "admin", thing)

    assert act(invited, "lab", "remove", user="bob") == 302
    assert invited.get("/organizations/lab").status_code == 404


def test_a_refusal_is_shown_on_the_page(signed_in: Client, ada: User, lab: Namespace) -> None:
    answer = signed_in.post("/organizations/lab", {"act": "remove", "user": "ada"})

    assert answer.status_code == 422
    assert "last admin" in text(answer)
    assert signed_in.post("/organizations/new", {"name": "lab"}).status_code == 422
    assert act(signed_in, "lab", "invite", user="nobody", role="read") == 422
    assert act(signed_in, "lab", "grant", team="x", repository="rubbish", role="read") == 422
    assert act(signed_in, "lab", "nonsense") == 400


def test_a_member_sees_and_changes_nothing(ada: User, bob: User, lab: Namespace) -> None:
    Membership.objects.create(organisation=lab, user=bob, role="write")
    client = as_(bob)

    assert "Delete for good" not in text(client.get("/organizations/lab"))
    for name, fields in [
        ("invite", {"user": "bob", "role": "admin"}),
        ("role", {"user": "bob", "role": "admin"}),
        ("remove", {"user": "ada"}),
        ("team", {"team": "x"}),
        ("delete", {"name": "lab"}),
    ]:
        assert act(client, "lab", name, **fields) == 403
    assert lab.memberships.get(user=bob).role == "write"
    assert lab.memberships.count() == 2
    assert client.get("/organizations/lab/audit").status_code == 403


def test_others_do_not_learn_that_it_is_there(bob: User, lab: Namespace, client: Client) -> None:
    stranger = as_(bob)

    assert stranger.get("/organizations/lab").status_code == stranger.get("/organizations/none").status_code == 404
    assert client.get("/organizations/lab").status_code == 302


def test_an_owners_page_lists_what_the_visitor_may_see(client: Client, ada: User, bob: User, lab: Namespace) -> None:
    make_repository(lab, "open")
    make_repository(lab, "closed", private=True)

    page = text(client.get("/lab"))
    assert "open" in page and "closed" not in page and "1 repository" in page
    assert "closed" in text(as_(ada).get("/lab"))
    assert client.get("/nobody").status_code == 404


def test_reading_pages_writes_nothing(signed_in: Client, ada: User, lab: Namespace) -> None:
    repository = make_repository(lab, "thing")
    repos.change_settings(repository, gated="manual", by=ada)
    before = (Membership.objects.count(), AccessRequest.objects.count(), Repository.objects.get(pk=repository.pk).gated)

    for address in ("/organizations/lab", "/lab/thing/ask-access", "/lab/thing/access", "/account", "/account/delete"):
        assert signed_in.get(address, {"act": "delete", "gate": ""}).status_code == 200
    assert signed_in.get("/account/invite").status_code == 405

    after = (Membership.objects.count(), AccessRequest.objects.count(), Repository.objects.get(pk=repository.pk).gated)
    assert before == after


def test_asking_for_a_gated_repository_and_being_let_in(ada: User, bob: User) -> None:
    repository = make_repository(ada, "mail")
    make_commit(repository, {"a.txt": b"a"}, by=ada)
    owner, asking = as_(ada), as_(bob)
    owner.post("/ada/mail/access", {"act": "gate", "gate": "manual"})
    assert "Ask for access" in text(asking.get("/ada/mail"))

    asking.post("/ada/mail/ask-access", {"purpose": "<b>a study</b>"})
    assert "an answer is due by" in text(asking.get("/ada/mail/ask-access"))
    page = text(owner.get("/ada/mail/access"))
    assert "bob" in page and "&lt;b&gt;a study" in page
    made = AccessRequest.objects.get()
    assert asking.post("/ada/mail/access", {"act": "accepted", "request": str(made.pk)}).status_code == 403
    owner.post("/ada/mail/access", {"act": "accepted", "request": str(made.pk)})
    assert "You may read its files" in text(asking.get("/ada/mail/ask-access"))
    owner.post("/ada/mail/access", {"act": "rejected", "request": str(made.pk), "reason": "over"})
    assert "rejected. over" in text(asking.get("/ada/mail/ask-access"))

    assert owner.post("/ada/mail/access", {"act": "grant", "to": "nobody"}).status_code == 422
    assert owner.post("/ada/mail/access", {"act": "accepted", "request": "rubbish"}).status_code == 422
    assert asking.get("/ada/none/access").status_code == 404


def test_a_request_is_withdrawn_on_the_page(ada: User, bob: User) -> None:
    repository = make_repository(ada, "mail")
    repos.change_settings(repository, gated="manual", by=ada)
    gating.ask(repository=repository, by=bob)

    as_(bob).post("/ada/mail/ask-access", {"act": "withdraw"})

    assert not AccessRequest.objects.exists()


def test_the_audit_log_is_for_those_it_concerns(ada: User, bob: User, lab: Namespace) -> None:
    root = make_user("root", admin=True)
    organisations.create_team(organisation=lab, name="builders", by=ada)

    assert "team.made" in text(as_(ada).get("/organizations/lab/audit"))
    assert "team.made" in text(as_(root).get("/audit"))
    for address in ("/audit", "/organizations/lab/audit"):
        assert as_(bob).get(address).status_code in {403, 404}


def test_what_an_administrator_posts_is_logged(bob: User) -> None:
    root = as_(make_user("root", admin=True))
    fields = {"username": "bob", "date_joined_0": "2026-01-01", "date_joined_1": "00:00:00", "email": ""}

    assert root.post(f"/admin/accounts/user/{bob.pk}/change/", fields).status_code == 302

    page = text(root.get("/audit"))
    assert f"/admin/accounts/user/{bob.pk}/change/" in page


def test_a_fine_grained_token_is_made_on_the_page(signed_in: Client, ada: User) -> None:
    make_repository(ada, "mail", private=True)
    fields = {"name": "ci", "role": "fine_grained", "days": "30"}

    assert "names no role" in text(signed_in.post("/account", {**fields, "scopes": "rubbish"}))
    assert not ApiToken.objects.exists()
    page = text(signed_in.post("/account", {**fields, "scopes": "write:ada/mail\nread:ada/*"}))

    assert re.search(r"ph_\w{38}", page)
    assert ApiToken.objects.get().scopes == ["write:ada/mail", "read:ada/*"]


def test_an_account_is_deleted_with_name_and_password(bob: User) -> None:
    rates.forget()
    client = as_(bob)

    assert client.post("/account/delete", {"name": "bob", "password": "wrong"}).status_code == 422
    assert client.post("/account/delete", {"name": "bob", "password": PASSWORD}).status_code == 302

    assert not User.objects.filter(username="bob").exists()
    assert client.get("/account").status_code == 302


def test_a_sign_up_link_is_for_administrators_to_make(bob: User) -> None:
    assert as_(bob).post("/account/invite").status_code == 403
    assert "/signup/" in text(as_(make_user("root", admin=True)).post("/account/invite"))
