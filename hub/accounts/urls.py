"""allauth's pages, below /account/; signing in, out and up have short addresses of their own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from allauth.account import urls as account
from allauth.account import views
from allauth.mfa import urls as mfa
from allauth.usersessions import urls as sessions
from django.urls import URLPattern, URLResolver, include, path

from hub.web.pages import explained

_SHORT = {"account_login", "account_logout", "account_signup"}


def _explained(patterns: Sequence[URLPattern | URLResolver]) -> list[Any]:
    """The same addresses, with our refusals shown as pages there, too."""
    made: list[Any] = []
    for each in patterns:
        if isinstance(each, URLPattern):
            if each.name not in _SHORT:
                made.append(URLPattern(each.pattern, explained(each.callback), each.default_args, each.name))
        else:
            made.append(URLResolver(each.pattern, _explained(each.url_patterns), each.default_kwargs))
    return made


urlpatterns = [
    path("login", explained(views.login), name="account_login"),
    path("logout", explained(views.logout), name="account_logout"),
    path("signup", explained(views.signup), name="account_signup"),
    path("account/", include(_explained(account.urlpatterns))),
    path("account/2fa/", include(_explained(mfa.urlpatterns))),
    path("account/sessions/", include(_explained(sessions.urlpatterns))),
]
