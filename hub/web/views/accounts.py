"""Signing in, the first administrator, and one's tokens."""

from __future__ import annotations

from django.conf import settings
from django.contrib import messages
from django.contrib.auth import login, logout
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.views.decorators.http import require_POST

from hub.accounts import rates
from hub.accounts.adapter import INVITED
from hub.accounts.models import ApiToken, Invitation, Membership
from hub.accounts.renaming import WAIT, rename_namespace
from hub.accounts.services import (
    consume_setup_link,
    create_token,
    delete_account,
    needs_setup,
    new_signup_link,
    revoke_token,
    setup_link_is_valid,
)
from hub.repos.models import Namespace
from hub.web.forms import SetupForm, TokenForm
from hub.web.pages import page
from priors.errors import NotFound, UserError


def setup(request: HttpRequest, token: str = "") -> HttpResponse:
    """The page behind the link that `manage.py up` prints. Works once."""
    secret = token or request.POST.get("token") or request.GET.get("token", "")
    if not setup_link_is_valid(secret):
        return page(request, "accounts/setup_gone.html", {"needs_setup": needs_setup()}, status=404)
    form = SetupForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            user = consume_setup_link(secret, **form.cleaned_data)
            login(request, user, backend="hub.accounts.backends.OneCheck")
            return redirect("home")
        except UserError as error:
            form.add_error("password" if "password" in str(error).lower() else "name", str(error))
    context = {"form": form, "token": secret}
    # Referrer-Policy stays same-origin: with no-referrer browsers send "Origin: null", which the CSRF check refuses.
    return page(request, "accounts/setup.html", context, status=422 if form.errors else 200)


def invited(request: HttpRequest, secret: str) -> HttpResponse:
    """A sign-up link. It goes into the session, so that it stands in no address of the pages that follow."""
    request.session[INVITED] = secret
    return redirect("account_signup")


@login_required
@require_POST
def invite(request: HttpRequest) -> HttpResponse:
    """A sign-up link, shown once, for administrators."""
    secret = new_signup_link(by=request.user)  # type: ignore[arg-type]
    link = request.build_absolute_uri(reverse("signup-link", args=[secret]))
    response = page(request, "accounts/invite.html", {"link": link}, section="account")
    response["Cache-Control"] = "no-store"
    return response


@login_required
def delete(request: HttpRequest) -> HttpResponse:
    """Deletes one's account, after its name was typed and the password entered again."""
    error, user = "", request.user
    if request.method == "POST":
        rates.charge(request, "login", name=user.get_username())
        if request.POST.get("name") != user.get_username() or not user.check_password(request.POST.get("password", "")):
            error = "That is not your name and password."
        else:
            try:
                delete_account(user, by=user)  # type: ignore[arg-type]
                logout(request)
                return redirect("home")
            except UserError as refused:
                error = str(refused)
    return page(request, "accounts/delete.html", {"error": error}, section="account", status=422 if error else 200)


@login_required
def rename(request: HttpRequest) -> HttpResponse:
    """Gives oneself another name, after the password was entered again."""
    error, user = "", request.user
    to = request.POST.get("to", "").strip()
    if request.method == "POST":
        rates.charge(request, "login", name=user.get_username())
        if not user.check_password(request.POST.get("password", "")):
            error = "That is not your password."
        else:
            try:
                mine = Namespace.objects.get(owner=user.pk, kind=Namespace.Kind.USER, name=user.get_username())
                rename_namespace(mine, to, by=user)  # type: ignore[arg-type]
                messages.success(request, f"You are called {to} now.")
                return redirect("account")
            except UserError as refused:
                error = str(refused)
    context = {"error": error, "to": to, "days": WAIT.days}
    return page(request, "accounts/rename.html", context, section="account", status=422 if error else 200)


@login_required
def account(request: HttpRequest) -> HttpResponse:
    """One's tokens and organisations. A new token is shown in the answer to the form that made it, and never again."""
    form, fresh = TokenForm(request.POST or None), ""
    if request.method == "POST" and form.is_valid():
        try:
            fresh, _ = create_token(user=request.user, **form.options())  # type: ignore[arg-type]
            form = TokenForm()
        except UserError as refused:
            form.add_error("scopes", str(refused))
    tokens = list(ApiToken.objects.visible_to(request.user))
    context = {
        "memberships": Membership.objects.filter(user=request.user.pk).select_related("organisation"),
        "invitations": Invitation.objects.filter(user=request.user.pk).select_related("organisation", "invited_by"),
        "may_invite": request.user.is_superuser,
        "signup": settings.SIGNUP,
        "form": form,
        "fresh": fresh,
        "tokens": tokens,
        "doubted": any(token.two_addresses_at and token.is_usable for token in tokens),
        "address": request.build_absolute_uri("/").rstrip("/"),
    }
    response = page(request, "accounts/account.html", context, section="account", status=422 if form.errors else 200)
    response["Cache-Control"] = "no-store"
    return response


@login_required
@require_POST
def revoke(request: HttpRequest, token_id: int) -> HttpResponse:
    """Makes one of one's tokens useless."""
    token = ApiToken.objects.visible_to(request.user).filter(pk=token_id).first()
    if token is None:
        raise NotFound("There is no such token, or it is not yours.")
    revoke_token(token, by=request.user)
    messages.success(request, f"The token {token.prefix}… works no more.")
    return redirect("account")
