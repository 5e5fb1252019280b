"""Making users and tokens, and telling who a token acts for."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.db.models import QuerySet
from django.utils import timezone

from hub.accounts import audit, sightings
from hub.accounts.access import Actor, acts, administers
from hub.accounts.models import ApiToken, Membership, Role, SetupLink, SignUpLink, TokenScope, User
from hub.accounts.tokens import PREFIX_LENGTH, digest, new_token, well_formed
from hub.errors import BadName, BadRequest
from hub.repos import retired
from hub.repos.lookalikes import resembled
from hub.repos.models import Namespace, Repository
from hub.repos.names import check_namespace
from priors.errors import Conflict, NotAllowed, NotFound, TokenRejected

SETUP_LINK_DAYS = 7


@transaction.atomic
def create_user(
    *, name: str, password: str | None = None, email: str = "", admin: bool = False, vouched: bool = False
) -> User:
    """A user and the namespace of the same name. Raises BadName, Conflict, and BadRequest for a weak password.

    vouched  an operator chose the name: it may resemble another
    """
    check_namespace(name)
    if not vouched:
        check_resemblance(name)
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
            retired.require_free(name)
    except IntegrityError as err:
        raise Conflict(f"The name {name!r} is taken. Choose another.") from err
    return user


@transaction.atomic
def create_token(
    *,
    user: User,
    name: str,
    role: str = ApiToken.Role.READ,
    scopes: Sequence[str] = (),
    expires_at: datetime | None = None,
) -> tuple[str, ApiToken]:
    """A new token: its text, which is never shown again, and its row.

    scopes  of a fine-grained one: `read:ann/mail`, `write:lab/*`, `admin:ann/*`; what the user may not do there now or
            later, the token may not either. Raises BadRequest, NotFound
    """
    if role not in ApiToken.Role.values:
        raise BadRequest(f"Role {role!r} is unknown. Use one of {', '.join(ApiToken.Role.values)}.")
    if (role == ApiToken.Role.FINE_GRAINED) != bool(scopes):
        raise BadRequest("A fine-grained token needs scopes such as read:ann/mail or write:ann/*; others take none.")
    text = new_token()
    row = ApiToken.objects.create(
        user=user, name=name[:100], prefix=text[:PREFIX_LENGTH], digest=digest(text), role=role, expires_at=expires_at
    )
    TokenScope.objects.bulk_create([_scope(row, scope) for scope in dict.fromkeys(scopes)])
    audit.record("token.made", by=user, subject=row.name, namespace=user.username, prefix=row.prefix, may=row.scopes)
    return text, row


def _scope(token: ApiToken, text: str) -> TokenScope:
    role, _, place = text.strip().partition(":")
    if role not in Role.values:
        raise BadRequest(
            f"The scope {text[:200]!r} names no role. Write it as read:ann/mail, write:ann/* or admin:ann/*."
        )
    if place.endswith("/*"):
        namespace = Namespace.objects.filter(name=place.removesuffix("/*")).first()
        if namespace is None:
            raise NotFound(f"There is no namespace {place[:-2][:100]!r}. A scope names yours or your organisation's.")
        return TokenScope(token=token, role=role, namespace=namespace)
    repository = Repository.objects.visible_to(token.user).named(place).first()
    if repository is None:
        raise NotFound(f"There is no repository {place[:200]!r} here, or it is not yours to see.")
    return TokenScope(token=token, role=role, repository=repository)


def authenticate(text: str, *, address: str = "") -> ApiToken:
    """The token's row, with its user, who from then on acts with it: `token.user.token`.

    Raises TokenRejected; a mistyped token costs no query.

    address  where it is used from, to tell its owner of two at once
    """
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
    sightings.note(token, address)
    token.user.token = token
    return token


@transaction.atomic
def revoke_token(token: ApiToken, *, by: Actor | None = None) -> None:
    """Makes the token useless from now on; its row stays for the record."""
    if ApiToken.objects.filter(pk=token.pk, revoked_at=None).update(revoked_at=timezone.now()):
        owner = token.user.username
        audit.record("token.revoked", by=by, subject=token.name, namespace=owner, prefix=token.prefix)


def revoke_leaked(texts: Iterable[str]) -> None:
    """Revokes tokens that somebody found. Whoever holds one could use it, so whoever holds one may end it."""
    digests = [digest(text) for text in texts if well_formed(text)]
    for token in ApiToken.objects.filter(digest__in=digests, revoked_at=None).select_related("user"):
        revoke_token(token)


@transaction.atomic
def suspend(user: User, *, by: User) -> None:
    """Closes an account until an administrator opens it again: passwords and tokens open nothing from now on."""
    if not administers(by):
        raise NotAllowed("Only administrators of the hub suspend accounts.")
    User.objects.filter(pk=user.pk).update(is_active=False)
    audit.record("user.suspended", by=by, subject=user, namespace=user.username)


@transaction.atomic
def delete_account(user: User, *, by: User) -> None:
    """Removes an account and its namespace; nobody gets the name again. Raises Conflict while it owns anything."""
    if by.pk != user.pk and not administers(by):
        raise NotAllowed("Only its owner and administrators of the hub delete an account.")
    if not acts(by, Role.ADMIN):
        raise NotAllowed("This token cannot delete an account. Use the site.")
    namespaces = list(Namespace.objects.select_for_update().filter(owner=user))
    if Repository.objects.filter(namespace__in=namespaces).exists():
        raise Conflict(f"{user} still has repositories. Move or delete them first.")
    for membership in Membership.objects.filter(user=user, role=Role.ADMIN).select_related("organisation"):
        others = membership.organisation.memberships.filter(role=Role.ADMIN, user__is_active=True).exclude(user=user)
        if not others.exists():
            raise Conflict(f"{user} is the last admin of {membership.organisation}. Make somebody else one first.")
    for namespace in namespaces:
        retired.retire(namespace.name)
        namespace.delete()
    name = user.username
    user.delete()
    audit.record("user.deleted", by=by, subject=name, namespace=name)


def check_resemblance(name: str, *, besides: str = "") -> None:
    """Raises BadName for a new name that could be taken for one that is there, other than `besides`."""
    others = Namespace.objects.exclude(name=besides)
    known = list(others.values_list("name", flat=True))
    publishing = others.filter(repositories__private=False).distinct()
    other = resembled(name, known, publishing.values_list("name", flat=True))
    if other is not None:
        raise BadName(f"{name!r} is easily taken for {other!r}, which is there already. Choose another.")


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
    return create_user(name=name, password=password, email=email, admin=True, vouched=True)


@transaction.atomic
def new_signup_link(*, by: User) -> str:
    """The secret of a link with which one account can be made. Raises NotAllowed."""
    if not administers(by):
        raise NotAllowed("Only administrators of the hub invite people.")
    secret = secrets.token_urlsafe(32)
    SignUpLink.objects.create(digest=digest(secret), made_by=by)
    audit.record("signup.invited", by=by)
    return secret


def signup_link_is_valid(secret: str) -> bool:
    """Whether `secret` may still make an account."""
    return _open_signup_links(secret).exists()


def consume_signup_link(secret: str) -> None:
    """Uses the link up; of two at the same time one gets NotAllowed."""
    if not _open_signup_links(secret).update(consumed_at=timezone.now()):
        raise NotAllowed("This link was used already, or is too old. Ask for another one.")


def _open_signup_links(secret: str) -> QuerySet[SignUpLink]:
    newest = timezone.now() - timedelta(days=SETUP_LINK_DAYS)
    return SignUpLink.objects.filter(
        digest=digest(secret), consumed_at=None, created_at__gt=newest, made_by__is_superuser=True
    )


def _open_links(secret: str) -> QuerySet[SetupLink]:
    newest = timezone.now() - timedelta(days=SETUP_LINK_DAYS)
    return SetupLink.objects.filter(digest=digest(secret), consumed_at=None, created_at__gt=newest)
