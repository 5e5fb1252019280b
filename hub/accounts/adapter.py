"""What allauth asks of the hub: who may sign up, what a name may be, how often somebody may try, where secrets lie."""

from __future__ import annotations

from typing import Any

from allauth.account.adapter import DefaultAccountAdapter
from allauth.account.forms import ResetPasswordForm
from allauth.mfa.adapter import DefaultMFAAdapter
from allauth.mfa.base.forms import AuthenticateForm, ReauthenticateForm
from django.conf import settings
from django.contrib.auth.models import AbstractBaseUser
from django.core.exceptions import ValidationError
from django.http import HttpRequest

from hub.accounts import audit, rates
from hub.accounts.models import User
from hub.accounts.sealing import seal, unseal
from hub.accounts.services import check_resemblance, consume_signup_link, create_user, signup_link_is_valid
from hub.repos.names import check_namespace
from priors.errors import UserError

MOST_PASSWORD = 4096
"""Characters; hashing more would only cost time."""
_PURPOSE = "second factors"
INVITED = "signup_link"
"""Under which a session keeps the sign-up link it came with."""


class Adapter(DefaultAccountAdapter):  # type: ignore[misc]
    """Accounts. allauth's own limits are off (its cache may be down or per process); ours are in the database."""

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        """By SIGNUP: everybody, whoever came with a link that an administrator made, or nobody."""
        if settings.SIGNUP == "invite":
            return signup_link_is_valid(request.session.get(INVITED, ""))
        return settings.SIGNUP == "open"

    def clean_username(self, username: str, shallow: bool = False) -> str:
        """A name that may be a namespace. Whether it is taken is asked when it is made."""
        try:
            check_namespace(username)
            check_resemblance(username)
        except UserError as error:
            raise ValidationError(str(error)) from error
        return str(super().clean_username(username, shallow))

    def save_user(self, request: HttpRequest, user: AbstractBaseUser, form: Any, commit: bool = True) -> User:
        """Makes the account in the one way there is."""
        if settings.SIGNUP == "invite":
            consume_signup_link(request.session.pop(INVITED, ""))
        data = form.cleaned_data
        return create_user(name=data["username"], password=data["password1"], email=data.get("email", ""))

    def pre_authenticate(self, request: HttpRequest, **credentials: Any) -> None:
        """Counts the try for the address it comes from and for the account it is for, before the password is looked at:
        while either is used up, the right password is refused like a wrong one. Raises TooManyRequests."""
        rates.charge(request, "login")
        rates.charge(request, "login", name=credentials.get("username") or credentials.get("email") or "")
        if len(credentials.get("password") or "") > MOST_PASSWORD:
            raise ValidationError(f"A password has at most {MOST_PASSWORD} characters.")

    def post_login(self, request: HttpRequest, user: AbstractBaseUser, **options: Any) -> Any:
        """After every way of signing in has come to its end."""
        audit.record("sign-in", by=user, subject=rates.address_of(request), namespace=user.get_username())
        return super().post_login(request, user, **options)

    def get_client_ip(self, request: HttpRequest) -> str:
        return rates.address_of(request)


class MFAAdapter(DefaultMFAAdapter):  # type: ignore[misc]
    """Second factors. Secrets of authenticator apps are encrypted: a copy of the database does not hold them."""

    def encrypt(self, text: str) -> str:
        return seal(_PURPOSE, text)

    def decrypt(self, encrypted_text: str) -> str:
        return unseal(_PURPOSE, encrypted_text)


class CountedAuthenticate(AuthenticateForm):  # type: ignore[misc]
    """The second step of signing in: six digits must not be guessed."""

    def clean_code(self) -> str:
        _charge_code(self.user)
        return str(super().clean_code())


class CountedReauthenticate(ReauthenticateForm):  # type: ignore[misc]
    """The same before something that matters."""

    def clean_code(self) -> str:
        _charge_code(self.user)
        return str(super().clean_code())


class CountedReset(ResetPasswordForm):  # type: ignore[misc]
    """Asking for a new password sends mail: so often to one address, and so often from one."""

    def save(self, request: HttpRequest, **options: Any) -> str:
        rates.charge(request, "login")
        rates.charge(request, "reset", name=self.cleaned_data["email"])
        return str(super().save(request, **options))


def _charge_code(user: AbstractBaseUser) -> None:
    from allauth.core import context

    rates.charge(context.request, "login", name=f"code of {user.pk}")
