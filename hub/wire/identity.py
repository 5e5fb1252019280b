"""Who a token acts for, and what may be read with it."""

from __future__ import annotations

from typing import Any

from allauth.account.models import EmailAddress
from django.http import HttpResponse, JsonResponse

from hub.accounts.models import ApiToken
from hub.repos.models import Namespace
from hub.wire.calls import Call
from hub.wire.errors import BAD_TOKEN
from hub.wire.shapes import iso
from priors.errors import TokenRejected

_ROLES = {ApiToken.Role.READ: "read", ApiToken.Role.WRITE: "write", ApiToken.Role.FINE_GRAINED: "fineGrained"}


def whoami(call: Call) -> HttpResponse:
    """The account, its organisations, and what the token is called."""
    if not call.actor.is_authenticated:
        raise TokenRejected(BAD_TOKEN)
    user, token = call.user, call.user.token
    organisations = Namespace.objects.filter(memberships__user=user).order_by("name").values_list(
        "name", "memberships__role"
    )  # fmt: skip
    auth: dict[str, Any] = {"type": "session"}
    if token is not None:
        shown = {
            "displayName": token.name,
            "role": _ROLES[ApiToken.Role(token.role)],
            "createdAt": iso(token.created_at),
        }
        auth = {"type": "access_token", "accessToken": shown}
    return JsonResponse(
        {
            "type": "user",
            "id": str(user.pk),
            "name": user.username,
            "fullname": user.get_full_name() or user.username,
            "email": user.email or None,
            "emailVerified": EmailAddress.objects.filter(user=user, email__iexact=user.email, verified=True).exists(),
            "canPay": False,
            "isPro": False,
            "periodEnd": None,
            "avatarUrl": "",
            "orgs": [
                {"type": "org", "id": name, "name": name, "fullname": name, "roleInOrg": role, "isEnterprise": False}
                for name, role in organisations
            ],
            "auth": auth,
        }
    )


def auth_check(call: Call, type: str, ns: str, name: str) -> HttpResponse:
    """Whether the caller may read the files."""
    call.repository(type, ns, name, "read_files")
    return JsonResponse({"success": True})


def auth_check_write(call: Call, type: str, ns: str, name: str) -> HttpResponse:
    """Whether the caller may commit."""
    call.repository(type, ns, name, "write")
    return JsonResponse({"success": True})
