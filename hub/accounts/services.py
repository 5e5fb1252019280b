"""Making users and tokens, and telling who a token acts for."""

from __future__ import annotations

import secrets
from datetime import datetime, timedelta

from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.db.models import QuerySet
from django.utils import timezone

from hub.accounts.models import ApiToken, SetupLink, User
from hub.accounts.tokens import PREFIX_LENGTH, digest, new_token, well_formed
from hub.errors import BadRequest
from hub.repos.models import Namespace
from hub.repos.names import check_namespace
from priors.errors import Conflict, NotAllowed, TokenRejected

SETUP_LINK_DAYS = 7
_LAST_USED_EVERY = timedelta(minutes=1)  # reading must not cost a write each


@transaction.atomic
def create_user(*, name: str, password: str | None = None, email: str = "", admin: bool = False) -> User:
    """A user and the namespace of the same name. Raises BadName, Conflict, and BadRequest for a weak password."""
    check_namespace(name)
    user = User(username=name, email=email, is_staff=admin, is_superuser=admin)
    if password is not None:
        try:
            validate_password(password, user)
        except ValidationError as err:
            raise BadRequest(" ".join(err.messages)) from err
    user.set_password(password)  # None: no password opens the account, only tokens do
    try:
        with transaction.atomic():
            user.save()
            Namespace.objects.create(name=name, kind=Namespace.Kind.USER, owner=user)
    except IntegrityError as err:
        raise Conflict(f"The name {name!r} is taken. Choose another.") from err
    return user


def create_token(
    *, user: User, name: str, scope: str = ApiToken.Scope.READ, expires_at: datetime | None = None
) -> tuple[str, ApiToken]:
    """A new token: its text, which is never shown again, and its row."""
    if scope not in ApiToken.Scope.values:
        raise BadRequest(f"Scope {scope!r} is unknown. Use read or write.")
    text = new_token()
    row = ApiToken.objects.create(
        user=user, name=name[:100], prefix=text[:PREFIX_LENGTH], digest=digest(text), scope=scope, expires_at=expires_at
    )
    return text, row


def authenticate(text: str) -> ApiToken:
    """The token's row, with its user. Raises TokenRejected; a mistyped token costs no query."""
    if not well_formed(text):
        raise TokenRejected("This is not a token of a hub: its checksum does not match. Copy the whole of it again.")
    token = ApiToken.objects.select_related("user").filter(digest=digest(text)).first()
    if token is None:
        raise TokenRejected(
            "This hub does not know this token. Make one here: account page, or manage.py makeuser --token."
        )
    if not token.user.is_active:
        raise TokenRejected("The account of this token is suspended. Ask the operator of the hub.")
    if not token.is_usable:
        how = "was revoked" if token.revoked_at else "has expired"
        raise TokenRejected(f"The token {token.prefix}… {how}. Make a new one and log in again.")
    now = timezone.now()
    if token.last_used_at is None or now - token.last_used_at > _LAST_USED_EVERY:
        ApiToken.objects.filter(pk=token.pk).update(last_used_at=now)
    return token


def revoke_token(token: ApiToken) -> None:
    """Makes the token useless from now on; its row stays for the record."""
    ApiToken.objects.filter(pk=token.pk, revoked_at=None).update(revoked_at=timezone.now())


def needs_setup() -> bool:
    """Whether nobody administers this hub yet."""
    return not User.objects.filter(is_superuser=True, is_active=True).exists()


def new_setup_link() -> str:
    """The secret of a fresh set-up link; earlier ones stop working. Only its hash is stored."""
    secret = secrets.token_urlsafe(32)
    with transaction.atomic():
        SetupLink.objects.filter(consumed_at=None).delete()
        SetupLink.objects.create(digest=digest(secret))
    return secret


def setup_link_is_valid(secret: str) -> bool:
    """Whether `secret` may still make the first administrator."""
    return needs_setup() and _open_links(secret).exists()


@transaction.atomic
def consume_setup_link(secret: str, *, name: str, password: str, email: str = "") -> User:
    """The first administrator. Works once: of two at the same time one gets NotAllowed."""
    # The conditional UPDATE is the lock: whoever changes the row has the link.
    if not _open_links(secret).update(consumed_at=timezone.now()) or not needs_setup():
        raise NotAllowed("This set-up link was used or replaced. `manage.py up` prints a new one while it is needed.")
    return create_user(name=name, password=password, email=email, admin=True)


def _open_links(secret: str) -> QuerySet[SetupLink]:
    newest = timezone.now() - timedelta(days=SETUP_LINK_DAYS)
    return SetupLink.objects.filter(digest=digest(secret), consumed_at=None, created_at__gt=newest)
