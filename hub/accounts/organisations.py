"""Organisations: making one, who is in it with which role, and its teams. Permissions are checked here, by `by`.

Whoever changes a membership first locks the organisation's row, so of two owners who leave at once one stays.
"""

from __future__ import annotations

from django.db import IntegrityError, transaction

from hub.accounts import audit
from hub.accounts.access import acts
from hub.accounts.models import Invitation, Membership, Role, Team, TeamGrant, User
from hub.accounts.permissions import can, require
from hub.accounts.services import check_resemblance
from hub.errors import BadName, BadRequest
from hub.repos import retired
from hub.repos.models import Namespace, Repository
from hub.repos.names import check_namespace
from priors.errors import Conflict, NotAllowed, NotFound


@transaction.atomic
def create_organisation(*, name: str, by: User) -> Namespace:
    """An organisation of which `by` is the first admin. Raises BadName, Conflict, NotAllowed."""
    check_namespace(name)
    check_resemblance(name)
    if not acts(by, Role.WRITE):
        raise NotAllowed("A token that is read-only or fine-grained makes no organisations. Use the site.")
    try:
        with transaction.atomic():
            made = Namespace.objects.create(name=name, kind=Namespace.Kind.ORG)
            retired.require_free(name)
    except IntegrityError as err:
        raise Conflict(f"The name {name!r} is taken. Choose another.") from err
    Membership.objects.create(organisation=made, user=by, role=Role.ADMIN)
    _record("organisation.made", made, by)
    return made


@transaction.atomic
def delete_organisation(organisation: Namespace, *, by: User) -> None:
    """Removes an organisation; nobody gets its name again. Raises Conflict while it has repositories."""
    _lock(organisation, by)
    if organisation.repositories.exists():
        raise Conflict(f"{organisation} still has repositories. Move or delete them first.")
    retired.retire(organisation.name)
    _record("organisation.deleted", organisation, by)
    organisation.delete()


@transaction.atomic
def invite(*, organisation: Namespace, user: User, role: str, by: User) -> Invitation:
    """Asks `user` to join. Raises NotAllowed unless `by` administers it, Conflict for a member."""
    _lock(organisation, by)
    _check_role(role)
    if not user.is_active:
        raise Conflict(f"{user} is suspended.")
    if Membership.objects.filter(organisation=organisation, user=user).exists():
        raise Conflict(f"{user} is in {organisation} already. Change their role instead.")
    made, _ = Invitation.objects.update_or_create(
        organisation=organisation, user=user, defaults={"role": role, "invited_by": by}
    )
    _record("member.invited", organisation, by, member=user.username, role=role)
    return made


@transaction.atomic
def accept(invitation: Invitation, *, by: User) -> Membership:
    """Joins. The invitation is void once the one who sent it no longer administers the organisation."""
    found = Invitation.objects.select_for_update().filter(pk=invitation.pk, user=by).first()
    if found is None or not acts(by, Role.WRITE):
        raise NotFound("There is no such invitation, or it was withdrawn.")
    if not can(found.invited_by, "admin", found.organisation):
        raise NotAllowed(f"{found.invited_by} no longer administers {found.organisation}. Ask for a new invitation.")
    made = Membership.objects.create(organisation=found.organisation, user=by, role=found.role)
    found.delete()
    _record("member.joined", made.organisation, by, member=by.username, role=made.role)
    return made


@transaction.atomic
def decline(invitation: Invitation, *, by: User) -> None:
    """Removes an invitation: the invited say no, or an admin takes it back."""
    if invitation.user_id != by.pk:
        require(by, "admin", invitation.organisation)
    invitation.delete()


@transaction.atomic
def set_role(*, organisation: Namespace, user: User, role: str, by: User) -> None:
    """Changes a member's role. Raises NotAllowed, NotFound, and Conflict for the last admin."""
    _lock(organisation, by)
    _check_role(role)
    member = _member(organisation, user)
    if role != Role.ADMIN:
        _keep_an_admin(member)
    member.role = role
    member.save(update_fields=["role"])
    _record("member.role", organisation, by, member=user.username, role=role)


@transaction.atomic
def remove_member(*, organisation: Namespace, user: User, by: User) -> None:
    """Takes a member out, with their places in teams; they may leave by themselves. The last admin stays: Conflict."""
    leaving = user.pk == by.pk and acts(by, Role.WRITE)
    _lock(organisation, by, ask=not leaving)
    member = _member(organisation, user)
    _keep_an_admin(member)
    member.delete()
    # What they sent out must not bring in people after they left.
    Invitation.objects.filter(organisation=organisation, invited_by=user).delete()
    _record("member.removed", organisation, by, member=user.username)


@transaction.atomic
def create_team(*, organisation: Namespace, name: str, by: User) -> Team:
    """An empty team. Raises NotAllowed, BadName, Conflict."""
    _lock(organisation, by)
    if not name.strip() or len(name) > 96 or not name.isprintable():
        raise BadName("A team needs a name of at most 96 printable characters.")
    try:
        with transaction.atomic():
            made = Team.objects.create(organisation=organisation, name=name.strip())
    except IntegrityError as err:
        raise Conflict(f"{organisation} has a team {name!r} already.") from err
    _record("team.made", organisation, by, team=made.name)
    return made


@transaction.atomic
def delete_team(team: Team, *, by: User) -> None:
    """Removes a team with its grants."""
    _lock(team.organisation, by)
    team.delete()
    _record("team.deleted", team.organisation, by, team=team.name)


@transaction.atomic
def set_team_members(team: Team, users: list[User], *, by: User) -> None:
    """Makes exactly these members of the organisation the team's. Raises NotFound for somebody who is no member."""
    _lock(team.organisation, by)
    members = Membership.objects.filter(organisation=team.organisation, user__in=users)
    if len(members) != len({user.pk for user in users}):
        known = {member.user_id for member in members}
        other = next(user for user in users if user.pk not in known)
        raise NotFound(f"{other} is not in {team.organisation}. Invite them first.")
    team.members.set(members)
    _record("team.members", team.organisation, by, team=team.name, members=sorted(user.username for user in users))


@transaction.atomic
def grant(team: Team, *, repository: Repository, role: str | None, by: User) -> None:
    """Gives a team `role` on a repository of its organisation; None takes it away."""
    _lock(team.organisation, by)
    if repository.namespace_id != team.organisation_id:
        raise BadRequest(f"{repository} does not belong to {team.organisation}, so its teams get no say there.")
    if role is None:
        TeamGrant.objects.filter(team=team, repository=repository).delete()
    else:
        _check_role(role)
        TeamGrant.objects.update_or_create(team=team, repository=repository, defaults={"role": role})
    _record("team.grant", team.organisation, by, team=team.name, repository=repository.full_name, role=role or "none")


def _lock(organisation: Namespace, by: User, *, ask: bool = True) -> None:
    """Locks the organisation's row, then (so that nothing changes in between) checks that `by` administers it."""
    locked = Namespace.objects.select_for_update().filter(pk=organisation.pk, kind=Namespace.Kind.ORG).first()
    if locked is None:
        raise NotFound(f"{organisation} is no organisation.")
    if ask:
        require(by, "admin", locked)


def _member(organisation: Namespace, user: User) -> Membership:
    found = Membership.objects.filter(organisation=organisation, user=user).first()
    if found is None:
        raise NotFound(f"{user} is not in {organisation}.")
    return found


def _keep_an_admin(without: Membership) -> None:
    others = Membership.objects.filter(organisation=without.organisation_id, role=Role.ADMIN, user__is_active=True)
    if without.role == Role.ADMIN and not others.exclude(pk=without.pk).exists():
        raise Conflict(f"{without.user} is the last admin of {without.organisation}. Make somebody else one first.")


def _check_role(role: str) -> None:
    if role not in Role.values:
        raise BadRequest(f"Role {role!r} is unknown. Use one of {', '.join(Role.values)}.")


def _record(action: str, organisation: Namespace, by: User, **detail: object) -> None:
    audit.record(action, by=by, subject=organisation, namespace=organisation, **detail)
