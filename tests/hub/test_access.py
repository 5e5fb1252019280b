"""Who reaches what: written out by hand, for everybody who may ask, and for the token they ask with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser
from django.test import Client

from hub.accounts import organisations, services
from hub.accounts.access import Actor
from hub.accounts.models import ApiToken, Membership, Role, TokenScope, User
from hub.accounts.permissions import can, require
from hub.errors import BadRequest
from hub.jobs.models import Job
from hub.repos.models import Blob, Namespace, Repository
from priors.errors import NotAllowed, NotFound
from tests.factories import make_blob, make_commit, make_organisation, make_repository, make_token, make_user, sha256

pytestmark = pytest.mark.django_db

ACTIONS = ("read", "discuss", "write", "admin", "delete")
# What each may do with a public and with a private repository of the organisation `lab`: initials of ACTIONS.
MATRIX: dict[str, tuple[str, str]] = {
    "anonymous": ("r....", "....."),
    "stranger": ("rd...", "....."),
    "other member": ("rd...", "....."),
    "reader": ("rd...", "rd..."),
    "writer": ("rdw..", "rdw.."),
    "admin": ("rdwad", "rdwad"),
    "team writer": ("rdw..", "rdw.."),
    "team admin": ("rdwad", "rdwad"),
    "ex-member": ("rd...", "....."),
    "suspended admin": ("r....", "....."),
    "administrator": ("rdwad", "rdwad"),
    "suspended administrator": ("r....", "....."),
    "admin by read token": ("r....", "r...."),
    "admin by write token": ("rdwad", "rdwad"),
    "admin by token of elsewhere": ("r....", "....."),
    "admin by read:lab/*": ("r....", "r...."),
    "admin by write:lab/*": ("rdw..", "rdw.."),
    "admin by admin:lab/*": ("rdwad", "rdwad"),
    "admin by write:lab/thing": ("rdw..", "rdw.."),
    "reader by admin:lab/*": ("rd...", "rd..."),
    "stranger by write:lab/thing": ("rd...", "....."),
    "administrator by read:lab/*": ("r....", "r...."),
    "administrator by token of elsewhere": ("r....", "....."),
}


@pytest.fixture(autouse=True)
def own_home(home: Path) -> Path:
    return home


def acting(user: User, role: str = "fine_grained", scopes: list[str] | None = None) -> User:
    """The user as a request with a token brings them."""
    text, _ = services.create_token(user=user, name="t", role=role, scopes=scopes or [])
    return services.authenticate(text).user


def in_team(lab: Namespace, repository: Repository, root: User, role: str) -> User:
    user = make_user()
    Membership.objects.create(organisation=lab, user=user, role="read")
    team = organisations.create_team(organisation=lab, name=f"team-{role}", by=root)
    organisations.set_team_members(team, [user], by=root)
    organisations.grant(team, repository=repository, role=role, by=root)
    return user


@pytest.fixture
def lab() -> Namespace:
    return make_organisation("lab", admin=make_user("lab-admin"))


def cast(who: str, lab: Namespace, thing: Repository) -> Actor:
    root = User.objects.filter(is_superuser=True).first() or make_user("root", admin=True)

    def member(role: str) -> User:
        user = make_user()
        Membership.objects.create(organisation=lab, user=user, role=role)
        return user

    match who.split(" by "):
        case ["anonymous"]:
            return AnonymousUser()
        case [("stranger" | "other member") as kind, *token]:
            user = make_user()
            if kind == "other member":
                make_organisation("elsewhere", admin=user)
            if token:  # what a token names need not be the user's
                row = services.create_token(user=user, name="t", role="read")[1]
                ApiToken.objects.filter(pk=row.pk).update(role="fine_grained")
                TokenScope.objects.create(token=row, role="write", repository=thing)
                user.token = ApiToken.objects.get(pk=row.pk)
            return user
        case ["reader" | "writer" as role, *token]:
            user = member({"reader": "read", "writer": "write"}[role])
            return acting(user, scopes=token) if token else user
        case ["team writer" | "team admin" as role]:
            return in_team(lab, thing, root, {"team writer": "write", "team admin": "admin"}[role])
        case ["ex-member"]:
            user = in_team(lab, thing, root, "admin")
            organisations.set_role(organisation=lab, user=user, role="admin", by=root)
            organisations.remove_member(organisation=lab, user=user, by=root)
            return user
        case ["suspended admin" | "suspended administrator" as role]:
            user = member("admin") if role == "suspended admin" else root
            user.is_active = False
            user.save()
            return user
        case ["admin" | "administrator" as role, *token]:
            user = member("admin") if role == "admin" else root
            match token:
                case []:
                    return user
                case ["read token" | "write token" as kind]:
                    return acting(user, kind.split()[0])
                case ["token of elsewhere"]:
                    make_organisation("elsewhere", admin=user)
                    return acting(user, scopes=["admin:elsewhere/*"])
                case scopes:
                    return acting(user, scopes=scopes)
    raise AssertionError(who)


@pytest.mark.parametrize("private", [False, True], ids=["public", "private"])
@pytest.mark.parametrize("who", MATRIX)
def test_who_may_do_what(lab: Namespace, who: str, private: bool) -> None:
    thing = make_repository(lab, "thing", private=private)
    other = make_repository(lab, "other", private=True)
    actor = cast(who, lab, thing)

    may = "".join(action[0] if can(actor, action, thing) else "." for action in ACTIONS)

    assert may == MATRIX[who][private]
    assert (thing in Repository.objects.visible_to(actor)) == ("r" in may)
    if who.startswith("team"):
        assert not can(actor, "write", other)
        assert can(actor, "read", other)
    if who.endswith("lab/thing"):
        assert not can(actor, "read", other)


CREATE: dict[str, tuple[bool, bool]] = {  # create in the organisation; change it
    "anonymous": (False, False),
    "stranger": (False, False),
    "reader": (False, False),
    "writer": (True, False),
    "admin": (True, True),
    "team admin": (False, False),
    "ex-member": (False, False),
    "suspended admin": (False, False),
    "administrator": (True, True),
    "admin by read token": (False, False),
    "admin by write token": (True, True),
    "admin by write:lab/*": (True, False),
    "admin by admin:lab/*": (True, True),
    "admin by write:lab/thing": (False, False),
    "admin by token of elsewhere": (False, False),
}


@pytest.mark.parametrize("who", CREATE)
def test_who_may_create_in_an_organisation_and_change_it(lab: Namespace, who: str) -> None:
    actor = cast(who, lab, make_repository(lab, "thing"))

    assert (can(actor, "create", lab), can(actor, "admin", lab)) == CREATE[who]


def test_what_is_taken_away_is_gone_at_once_also_for_tokens(lab: Namespace, client: Client) -> None:
    thing, root, ann = make_repository(lab, "thing", private=True), make_user("root", admin=True), make_user("ann")
    Membership.objects.create(organisation=lab, user=ann, role="write")
    headers = {"Authorization": f"Bearer {make_token(ann, role='fine_grained', scopes=['write:lab/thing'])}"}
    address = "/api/v1/repos/lab/thing"
    assert client.get(address, headers=headers).status_code == 200

    organisations.set_role(organisation=lab, user=ann, role="read", by=root)
    assert client.post(f"{address}/tags", {"name": "v1"}, "application/json", headers=headers).status_code == 403
    organisations.remove_member(organisation=lab, user=ann, by=root)

    assert client.get(address, headers=headers).status_code == 404
    assert not can(ann, "read", thing)


def test_a_moved_repository_keeps_no_rights_of_its_old_teams(lab: Namespace) -> None:
    thing, root = make_repository(lab, "thing", private=True), make_user("root", admin=True)
    ann = in_team(lab, thing, root, "admin")
    assert can(ann, "admin", thing)

    thing.namespace = make_organisation("other-lab")
    thing.save()

    assert not can(ann, "admin", thing)
    assert not can(ann, "read", thing)


def test_a_fine_grained_token_reaches_neither_jobs_nor_tokens(client: Client) -> None:
    ann = make_user("ann")
    Job.objects.create(kind="recommend", owner=ann, queue="train", spec={}, key="k")
    headers = {"Authorization": f"Bearer {make_token(ann, role='fine_grained', scopes=['admin:ann/*'])}"}

    assert client.get("/api/v1/jobs", headers=headers).json()["items"] == []
    answer = client.post("/api/v1/jobs", {"kind": "recommend", "spec": {}}, "application/json", headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (403, "not-allowed")
    assert not ApiToken.objects.visible_to(acting(ann, scopes=["admin:ann/*"])).exists()


def test_a_fine_grained_token_commits_what_it_sent_and_not_what_its_user_sent_elsewhere(client: Client) -> None:
    ann = make_user("ann")
    make_commit(make_repository(ann, "diary", private=True), {"a.txt": b"dear diary"}, by=ann)
    make_blob(b"not committed yet", by=ann)
    make_repository(ann, "open")
    headers = {"Authorization": f"Bearer {make_token(ann, role='fine_grained', scopes=['write:ann/open'])}"}

    def commit(data: bytes) -> int:
        body = {"message": "Add", "files": [{"path": "a.txt", "sha256": sha256(data)}]}
        return client.post("/api/v1/repos/ann/open/commits", body, "application/json", headers=headers).status_code

    refused = [commit(b"dear diary"), commit(b"not committed yet")]
    sent = client.put(
        f"/api/v1/blobs/{sha256(b'not committed yet')}",
        b"not committed yet",
        "application/octet-stream",
        headers=headers,
    )

    assert refused == [422, 422]
    assert (sent.status_code, commit(b"not committed yet")) == (201, 201)
    assert Blob.objects.usable_by(ann).count() == 2
    assert not Blob.objects.usable_by(acting(ann, scopes=["write:ann/open"])).filter(size=10).exists()


def test_whoami_spells_out_the_scopes(client: Client) -> None:
    ann = make_user("ann")
    make_repository(ann, "mail", private=True)
    headers = {
        "Authorization": f"Bearer {make_token(ann, role='fine_grained', scopes=['write:ann/mail', 'read:ann/*'])}"
    }

    assert client.get("/api/v1/whoami", headers=headers).json()["scopes"] == ["write:ann/mail", "read:ann/*"]


@pytest.mark.parametrize(
    ("role", "scopes", "error"),
    [
        ("fine_grained", [], BadRequest),
        ("write", ["read:ann/*"], BadRequest),
        ("all", [], BadRequest),
        ("fine_grained", ["ann/*"], BadRequest),
        ("fine_grained", ["root:ann/*"], BadRequest),
        ("fine_grained", ["read:nobody/*"], NotFound),
        ("fine_grained", ["read:bob/hidden"], NotFound),
        ("fine_grained", ["read:"], NotFound),
    ],
)
def test_a_token_with_senseless_scopes_is_not_made(role: str, scopes: list[str], error: type[Exception]) -> None:
    make_repository(make_user("bob"), "hidden", private=True)

    with pytest.raises(error):
        services.create_token(user=make_user("ann"), name="t", role=role, scopes=scopes)
    assert not ApiToken.objects.exists()


def test_a_refusal_names_the_token_and_what_it_may(lab: Namespace) -> None:
    ann = make_user("ann")
    thing = make_repository(ann, "mail")

    with pytest.raises(NotAllowed, match=r"may not write ann/mail: it may read:ann/\*"):
        require(acting(ann, scopes=["read:ann/*"]), "write", thing)


def test_one_question_is_one_query(lab: Namespace, django_assert_num_queries: Any) -> None:
    thing, root = make_repository(lab, "thing", private=True), make_user("root", admin=True)
    ann = in_team(lab, thing, root, "write")
    bob = acting(ann, scopes=["write:lab/*"])

    with django_assert_num_queries(2):
        assert can(ann, "write", thing)
        assert can(bob, "write", thing)


def test_a_role_includes_those_before_it() -> None:
    assert Role.at_least("read") == ["read", "write", "admin"]
    assert Role.at_least("admin") == ["admin"]
