from __future__ import annotations

import threading
from pathlib import Path

import pytest
from django.db import connection

from hub.accounts import organisations, services
from hub.accounts.models import Invitation, Membership, Team, User
from hub.accounts.permissions import can
from hub.errors import BadName, BadRequest
from hub.repos.models import Namespace
from priors.errors import Conflict, NotAllowed, NotFound
from tests.factories import make_organisation, make_repository, make_user

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def own_home(home: Path) -> Path:
    return home


@pytest.fixture
def ann() -> User:
    return make_user("ann")


@pytest.fixture
def lab(ann: User) -> Namespace:
    return make_organisation("lab", admin=ann)


def join(lab: Namespace, ann: User, name: str, role: str = "read") -> User:
    user = make_user(name)
    organisations.accept(organisations.invite(organisation=lab, user=user, role=role, by=ann), by=user)
    return user


def test_whoever_makes_an_organisation_administers_it(ann: User, lab: Namespace) -> None:
    assert can(ann, "admin", lab)
    assert make_repository(lab).full_name.startswith("lab/")


@pytest.mark.parametrize("name", ["ann", "Ann", "LAB"])
def test_users_and_organisations_share_their_names(ann: User, lab: Namespace, name: str) -> None:
    with pytest.raises(Conflict):
        organisations.create_organisation(name=name, by=ann)


@pytest.mark.parametrize("name", ["api", "../x", ""])
def test_an_organisation_may_not_hide_a_page(ann: User, name: str) -> None:
    with pytest.raises(BadName):
        organisations.create_organisation(name=name, by=ann)


def test_nobody_is_a_member_before_they_agree(ann: User, lab: Namespace) -> None:
    bob = make_user("bob")
    invitation = organisations.invite(organisation=lab, user=bob, role="write", by=ann)
    assert not can(bob, "create", lab)

    with pytest.raises(NotFound):
        organisations.accept(invitation, by=make_user("eve"))
    organisations.accept(invitation, by=bob)

    assert can(bob, "create", lab)
    with pytest.raises(NotFound):
        organisations.accept(invitation, by=bob)


@pytest.mark.parametrize("role", ["read", "write", "admin"])
def test_who_does_not_administer_can_neither_invite_nor_raise_anybody(ann: User, lab: Namespace, role: str) -> None:
    bob, carl, eve = join(lab, ann, "bob", "write"), join(lab, ann, "carl"), make_user("eve")

    for by in (bob, carl, eve):
        with pytest.raises(NotAllowed):
            organisations.invite(organisation=lab, user=make_user(), role=role, by=by)
        with pytest.raises(NotAllowed):
            organisations.set_role(organisation=lab, user=by, role="admin", by=by)
        with pytest.raises(NotAllowed):
            organisations.create_team(organisation=lab, name="mine", by=by)
        with pytest.raises(NotAllowed):
            organisations.remove_member(organisation=lab, user=ann, by=by)


def test_an_invitation_is_worth_no_more_than_the_one_who_sent_it(ann: User, lab: Namespace) -> None:
    bob, carl, dora = join(lab, ann, "bob", "admin"), make_user("carl"), make_user("dora")
    to_carl = organisations.invite(organisation=lab, user=carl, role="admin", by=bob)
    organisations.set_role(organisation=lab, user=bob, role="read", by=ann)

    with pytest.raises(NotAllowed, match="bob no longer administers lab"):
        organisations.accept(to_carl, by=carl)
    organisations.set_role(organisation=lab, user=bob, role="admin", by=ann)
    organisations.invite(organisation=lab, user=dora, role="admin", by=bob)
    organisations.remove_member(organisation=lab, user=bob, by=ann)

    assert not Invitation.objects.exists()


def test_an_invitation_can_be_declined_or_withdrawn(ann: User, lab: Namespace) -> None:
    bob = make_user("bob")
    for by in (bob, ann):
        invitation = organisations.invite(organisation=lab, user=bob, role="read", by=ann)
        with pytest.raises(NotAllowed):
            organisations.decline(invitation, by=make_user())
        organisations.decline(invitation, by=by)
        assert not Invitation.objects.exists()


def test_the_last_admin_can_neither_leave_nor_step_down(ann: User, lab: Namespace) -> None:
    bob = join(lab, ann, "bob", "write")

    with pytest.raises(Conflict, match="last admin"):
        organisations.remove_member(organisation=lab, user=ann, by=ann)
    with pytest.raises(Conflict, match="last admin"):
        organisations.set_role(organisation=lab, user=ann, role="write", by=ann)
    organisations.set_role(organisation=lab, user=bob, role="admin", by=ann)
    organisations.remove_member(organisation=lab, user=ann, by=ann)

    assert not can(ann, "admin", lab)


def test_a_suspended_admin_does_not_count_as_one_who_stays(ann: User, lab: Namespace) -> None:
    bob = join(lab, ann, "bob", "admin")
    bob.is_active = False
    bob.save()

    with pytest.raises(Conflict, match="last admin"):
        organisations.remove_member(organisation=lab, user=ann, by=ann)


def test_a_member_leaves_by_themselves_and_loses_their_teams(ann: User, lab: Namespace) -> None:
    bob, thing = join(lab, ann, "bob"), make_repository(lab, "thing", private=True)
    team = organisations.create_team(organisation=lab, name="builders", by=ann)
    organisations.set_team_members(team, [bob], by=ann)
    organisations.grant(team, repository=thing, role="admin", by=ann)
    assert can(bob, "admin", thing)

    organisations.remove_member(organisation=lab, user=bob, by=bob)
    assert not can(bob, "read", thing)
    organisations.accept(organisations.invite(organisation=lab, user=bob, role="read", by=ann), by=bob)

    assert not can(bob, "write", thing)
    assert not team.members.exists()


def test_a_team_takes_members_only_and_gives_on_its_own_repositories_only(ann: User, lab: Namespace) -> None:
    team = organisations.create_team(organisation=lab, name="builders", by=ann)

    with pytest.raises(NotFound, match="eve is not in lab"):
        organisations.set_team_members(team, [make_user("eve")], by=ann)
    with pytest.raises(BadRequest, match="does not belong to lab"):
        organisations.grant(team, repository=make_repository(ann, "mine"), role="write", by=ann)
    with pytest.raises(Conflict):
        organisations.create_team(organisation=lab, name="Builders", by=ann)
    organisations.delete_team(team, by=ann)
    assert not Team.objects.exists()


def test_a_token_changes_an_organisation_only_with_the_scope_to(ann: User, lab: Namespace) -> None:
    def by(*scopes: str) -> User:
        text, _ = services.create_token(user=ann, name="t", role="fine_grained", scopes=scopes)
        return services.authenticate(text).user

    with pytest.raises(NotAllowed):
        organisations.create_team(organisation=lab, name="a", by=by("write:lab/*"))
    with pytest.raises(NotAllowed):
        organisations.create_organisation(name="other", by=by("admin:ann/*"))
    assert organisations.create_team(organisation=lab, name="a", by=by("admin:lab/*"))


def test_a_user_is_no_organisation(ann: User) -> None:
    with pytest.raises(NotFound, match="is no organisation"):
        organisations.invite(organisation=Namespace.objects.get(name="ann"), user=make_user("bob"), role="read", by=ann)


@pytest.mark.django_db(transaction=True)
def test_of_two_admins_who_leave_at_once_one_stays(ann: User, lab: Namespace) -> None:
    for _ in range(10):
        bob = make_user()
        Membership.objects.create(organisation=lab, user=bob, role="admin")
        start, refused = threading.Barrier(2), []

        def leave(user: User, start: threading.Barrier = start, refused: list[User] = refused) -> None:
            start.wait()
            try:
                organisations.remove_member(organisation=lab, user=user, by=user)
            except Conflict:
                refused.append(user)
            finally:
                connection.close()

        threads = [threading.Thread(target=leave, args=(user,)) for user in (ann, bob)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert [member.user for member in lab.memberships.select_related("user")] == refused
        Membership.objects.get_or_create(organisation=lab, user=ann, defaults={"role": "admin"})
        lab.memberships.exclude(user=ann).delete()
