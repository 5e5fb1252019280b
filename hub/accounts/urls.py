"""allauth's pages, below /account/; signing in, out and up have short addresses of their own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from allauth.account import urls as account
from allauth.account import views
from allauth.usersessions import urls as sessions
from django.http import HttpRequest, HttpResponseBase
from django.urls import URLPattern, URLResolver, include, path
from django.utils.module_loading import import_string

from hub.web.pages import explained

_SHORT = {"account_login", "account_logout", "account_signup"}
_SECOND_FACTOR = {
    "": "base.views.index",
    "authenticate/": "base.views.authenticate",
    "reauthenticate/": "base.views.reauthenticate",
    "totp/activate/": "totp.views.activate_totp",
    "totp/deactivate/": "totp.views.deactivate_totp",
    "recovery-codes/": "recovery_codes.views.view_recovery_codes",
    "recovery-codes/generate/": "recovery_codes.views.generate_recovery_codes",
    "recovery-codes/download/": "recovery_codes.views.download_recovery_codes",
    "webauthn/": "webauthn.views.list_webauthn",
    "webauthn/add/": "webauthn.views.add_webauthn",
    "webauthn/reauthenticate/": "webauthn.views.reauthenticate_webauthn",
    "webauthn/keys/<int:pk>/remove/": "webauthn.views.remove_webauthn",
    "webauthn/keys/<int:pk>/edit/": "webauthn.views.edit_webauthn",
    "webauthn/login/": "webauthn.views.login_webauthn",
}
"""allauth.mfa.urls, by name: importing its views loads fido2 and cryptography, 0.1 s of every management command."""


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


def _when_asked(view: str) -> Any:
    def imported(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        return import_string(f"allauth.mfa.{view}")(request, *args, **kwargs)  # type: ignore[no-any-return]

    return explained(imported)


urlpatterns = [
    path("login", explained(views.login), name="account_login"),
    path("logout", explained(views.logout), name="account_logout"),
    path("signup", explained(views.signup), name="account_signup"),
    path("account/", include(_explained(account.urlpatterns))),
    *(
        path(f"account/2fa/{route}", _when_asked(view), name=f"mfa_{view.rpartition('.')[2]}")
        for route, view in _SECOND_FACTOR.items()
    ),
    path("account/sessions/", include(_explained(sessions.urlpatterns))),
]
