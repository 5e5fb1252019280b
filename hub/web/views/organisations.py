"""Organisations: making one, its members and teams, its part of the audit log; and `/owner`, what they publish."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.db.models import Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_POST, require_safe

from hub.accounts import organisations, rates
from hub.accounts.access import administers
from hub.accounts.models import AuditEntry, Invitation, Membership, Role, Team, User
from hub.accounts.permissions import can, require
from hub.accounts.renaming import rename_namespace
from hub.errors import BadRequest
from hub.repos import retired
from hub.repos.models import Namespace, Repository
from hub.web.pages import page
from priors.errors import NotAllowed, NotFound, UserError

_PAGE = 50


@require_safe
def owner(request: HttpRequest, owner: str) -> HttpResponse:
    """What a person or an organisation has here, as far as the visitor may see it."""
    renamed = retired.renamed_to(owner)
    if renamed is not None:
        return redirect("owner", renamed.name)
    namespace = _find(owner)
    mine = Repository.objects.visible_to(request.user).for_cards().filter(namespace=namespace)
    context = {
        "namespace": namespace,
        "found": Paginator(mine, _PAGE).get_page(request.GET.get("page")),
        "members": namespace.memberships.select_related("user") if namespace.kind == Namespace.Kind.ORG else [],
        "may_create": can(request.user, "create", namespace),
        "may_change": namespace.kind == Namespace.Kind.ORG and can(request.user, "admin", namespace),
    }
    return page(request, "accounts/owner.html", context)


@login_required
def new(request: HttpRequest) -> HttpResponse:
    """Makes an organisation."""
    error, name = "", request.POST.get("name", "").strip()
    if request.method == "POST":
        rates.charge(request, "create", request.user)
        try:
            made = organisations.create_organisation(name=name, by=request.user)  # type: ignore[arg-type]
            return redirect("organisation", made.name)
        except UserError as refused:
            error = str(refused)
    return page(request, "accounts/new_organisation.html", {"error": error, "name": name}, status=422 if error else 200)


@login_required
def show(request: HttpRequest, name: str) -> HttpResponse:
    """Members, invitations, teams and grants of an organisation, for its members; its admins change them here."""
    organisation = _find(name)
    is_member = organisation.memberships.filter(user=request.user.pk).exists()
    if organisation.kind != Namespace.Kind.ORG or not (is_member or administers(request.user)):
        raise NotFound(f"There is no organisation {name} here, or you are not in it.")
    error = ""
    if request.method == "POST":
        act = _ACTS.get(request.POST.get("act", ""))
        if act is None:
            raise BadRequest("This form has no such button.")
        try:
            act(request, organisation)
        except NotAllowed:
            raise
        except UserError as refused:
            error = str(refused)
        else:
            messages.success(request, "Done.")
            name = Namespace.objects.get(pk=organisation.pk).name if act is _rename else name
            inside = Membership.objects.filter(organisation__name=name, user=request.user.pk).exists()
            return redirect("organisation", name) if inside else redirect("owner", name)
    context = {
        "organisation": organisation,
        "error": error,
        "roles": Role.choices,
        "members": organisation.memberships.select_related("user"),
        "invitations": organisation.invitations.select_related("user", "invited_by"),
        "teams": organisation.teams.prefetch_related("members__user", "grants__repository__namespace"),
        "repositories": organisation.repositories.order_by("name")[:500],
        "may_change": can(request.user, "admin", organisation),
    }
    return page(request, "accounts/organisation.html", context, section="account", status=422 if error else 200)


@login_required
@require_POST
def answer_invitation(request: HttpRequest, invitation_id: int) -> HttpResponse:
    """Joins, or says no."""
    invitation = (
        Invitation.objects.select_related("organisation").filter(pk=invitation_id, user=request.user.pk).first()
    )
    if invitation is None:
        raise NotFound("There is no such invitation, or it was withdrawn.")
    if request.POST.get("answer") == "yes":
        organisations.accept(invitation, by=request.user)  # type: ignore[arg-type]
        return redirect("organisation", invitation.organisation.name)
    organisations.decline(invitation, by=request.user)  # type: ignore[arg-type]
    return redirect("account")


@login_required
@require_safe
def log(request: HttpRequest, name: str = "") -> HttpResponse:
    """The audit log: an organisation's for its admins, the whole for administrators of the hub."""
    entries = AuditEntry.objects.order_by("-pk")
    if name:
        organisation = _find(name)
        require(request.user, "admin", organisation)
        mine = Q(namespace=name)
        for former in organisation.former_names.values_list("key", flat=True):
            mine |= Q(namespace__iexact=former)
        entries = entries.filter(mine)
    elif not administers(request.user, Role.READ):
        raise NotFound("There is nothing here.")
    found = Paginator(entries, _PAGE).get_page(request.GET.get("page"))
    return page(request, "accounts/log.html", {"found": found, "name": name}, section="account")


def _find(name: str) -> Namespace:
    found = Namespace.objects.filter(name=name).first()
    if found is None:
        raise NotFound(f"There is no {name} here.")
    return found


def _user(name: str) -> User:
    found = User.objects.filter(username=name.strip(), is_active=True).first()
    if found is None:
        raise NotFound(f"There is no user {name.strip()[:100]!r}.")
    return found


def _team(request: HttpRequest, organisation: Namespace) -> Team:
    found = Team.objects.filter(organisation=organisation, name=request.POST.get("team", "")).first()
    if found is None:
        raise NotFound(f"{organisation} has no such team.")
    return found


def _invite(request: Any, organisation: Namespace) -> None:
    user = _user(request.POST.get("user", ""))
    organisations.invite(organisation=organisation, user=user, role=request.POST.get("role", ""), by=request.user)


def _withdraw(request: Any, organisation: Namespace) -> None:
    invitation = organisation.invitations.filter(user__username=request.POST.get("user", "")).first()
    if invitation is not None:
        organisations.decline(invitation, by=request.user)


def _set_role(request: Any, organisation: Namespace) -> None:
    user = _user(request.POST.get("user", ""))
    organisations.set_role(organisation=organisation, user=user, role=request.POST.get("role", ""), by=request.user)


def _remove(request: Any, organisation: Namespace) -> None:
    member = organisation.memberships.select_related("user").filter(user__username=request.POST.get("user", "")).first()
    if member is None:
        raise NotFound("There is no such member.")
    organisations.remove_member(organisation=organisation, user=member.user, by=request.user)


def _add_team(request: Any, organisation: Namespace) -> None:
    organisations.create_team(organisation=organisation, name=request.POST.get("team", ""), by=request.user)


def _remove_team(request: Any, organisation: Namespace) -> None:
    organisations.delete_team(_team(request, organisation), by=request.user)


def _set_team_members(request: Any, organisation: Namespace) -> None:
    users = User.objects.filter(username__in=request.POST.getlist("member"))
    organisations.set_team_members(_team(request, organisation), list(users), by=request.user)


def _grant(request: Any, organisation: Namespace) -> None:
    chosen = request.POST.get("repository", "")
    repository = next((each for each in organisation.repositories.all() if str(each.pk) == chosen), None)
    if repository is None:
        raise NotFound(f"{organisation} has no such repository.")
    role = request.POST.get("role") or None
    organisations.grant(_team(request, organisation), repository=repository, role=role, by=request.user)


def _delete(request: Any, organisation: Namespace) -> None:
    if request.POST.get("name") != organisation.name:
        raise BadRequest(f"Type {organisation} to delete it.")
    organisations.delete_organisation(organisation, by=request.user)


def _rename(request: Any, organisation: Namespace) -> None:
    rates.charge(request, "create", request.user)
    rename_namespace(organisation, request.POST.get("to", "").strip(), by=request.user)


_ACTS: dict[str, Callable[[HttpRequest, Namespace], None]] = {
    "invite": _invite,
    "withdraw": _withdraw,
    "role": _set_role,
    "remove": _remove,
    "team": _add_team,
    "team-remove": _remove_team,
    "team-members": _set_team_members,
    "grant": _grant,
    "rename": _rename,
    "delete": _delete,
}
