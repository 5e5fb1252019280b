"""Gated repositories: everybody sees them, whoever was granted gets the files.

`auto` grants to whoever asks; with `manual` the owner decides, and an answer is due within GATE_ANSWER_DAYS. Who may
have the files is decided in access.py (`open_to`).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from hub.accounts import audit
from hub.accounts.access import acts
from hub.accounts.models import AccessRequest, Role, User
from hub.accounts.permissions import can, require
from hub.errors import BadRequest
from hub.repos.models import Namespace, Repository
from priors.errors import Conflict, NotAllowed, NotFound

Status = AccessRequest.Status
_MAX_FIELDS, _MAX_KEY, _MAX_VALUE = 20, 100, 2000


@transaction.atomic
def ask(
    *,
    repository: Repository,
    by: User,
    organisation: Namespace | None = None,
    fields: Mapping[str, str] | None = None,
) -> AccessRequest:
    """Asks for the files, for oneself or for an organisation one administers. Asking again changes nothing.

    Raises NotFound for what `by` cannot see, BadRequest for what is not gated, NotAllowed.
    """
    require(by, "read", repository)
    if not repository.gated:
        raise BadRequest(f"{repository} is not gated: everybody who sees it may read its files.")
    if organisation is not None:
        _require_organisation(organisation)
        require(by, "admin", organisation)
    elif not acts(by, Role.WRITE):
        raise NotAllowed("This token cannot ask in your name. Use the site, or a token that may write.")
    answers = {key[:_MAX_KEY]: value[:_MAX_VALUE] for key, value in list((fields or {}).items())[:_MAX_FIELDS]}
    automatic = repository.gated == Repository.Gate.AUTO
    now = timezone.now()
    made, is_new = AccessRequest.objects.get_or_create(
        repository=repository,
        **_holder(by, organisation),
        defaults={
            "status": Status.ACCEPTED if automatic else Status.PENDING,
            "fields": answers,
            "due_at": None if automatic else now + timedelta(days=settings.GATE_ANSWER_DAYS),
            "decided_at": now if automatic else None,
        },
    )
    if not is_new and automatic and made.status == Status.PENDING:  # asked while the gate was manual
        _decide(made, Status.ACCEPTED)
    if is_new:
        _record("access.asked", made, by)
    return made


@transaction.atomic
def withdraw(request: AccessRequest, *, by: User) -> None:
    """Takes back a request that nobody answered. Raises NotFound, Conflict."""
    found = AccessRequest.objects.select_for_update().filter(pk=request.pk).first()
    if found is None or not _is_requester(found, by):
        raise NotFound("There is no such request, or it is not yours.")
    if found.status != Status.PENDING:
        raise Conflict(f"The request was {found.status} already.")
    _record("access.withdrawn", found, by)
    found.delete()


@transaction.atomic
def handle(request: AccessRequest, *, status: str, by: User, reason: str = "") -> AccessRequest:
    """The owner's answer, which may change later; `pending` reopens it. Raises NotFound, NotAllowed, BadRequest."""
    found = AccessRequest.objects.select_for_update().filter(pk=request.pk).first()
    if found is None:
        raise NotFound("There is no such request any more: it was withdrawn.")
    require(by, "admin", found.repository)
    if status not in Status.values:
        raise BadRequest(f"Status {status!r} is unknown. Use one of {', '.join(Status.values)}.")
    _decide(found, status, reason)
    _record(f"access.{status}", found, by)
    return found


@transaction.atomic
def grant(*, repository: Repository, by: User, to: User | Namespace) -> AccessRequest:
    """Gives somebody the files without their asking. Raises NotAllowed."""
    require(by, "admin", repository)
    if isinstance(to, Namespace):
        _require_organisation(to)
    holder = {"user": to, "organisation": None} if isinstance(to, User) else {"user": None, "organisation": to}
    made, _ = AccessRequest.objects.get_or_create(repository=repository, **holder)
    _decide(made, Status.ACCEPTED)
    _record("access.granted", made, by)
    return made


def requests_for(repository: Repository, *, by: User, status: str = "") -> QuerySet[AccessRequest]:
    """Who asked, newest first; with `status` only those. Raises NotAllowed unless `by` administers the repository."""
    require(by, "admin", repository)
    found = repository.access_requests.select_related("user", "organisation", "repository__namespace")
    return found.filter(status=status) if status else found


def own_request(repository: Repository, user: User) -> AccessRequest | None:
    """What the user asked for themselves."""
    return AccessRequest.objects.filter(repository=repository, user=user).first()


def find_request(repository: Repository, number: str) -> AccessRequest:
    """A request by its id. Raises BadRequest, NotFound."""
    rows = repository.access_requests.select_related("user", "organisation", "repository__namespace")
    try:
        found = rows.filter(pk=UUID(number)).first()
    except ValueError as err:
        raise BadRequest(f"{number[:60]!r} is no requestId. Take one from the list.") from err
    if found is None:
        raise NotFound("There is no such request, or it was withdrawn.")
    return found


def find_holder(name: str) -> User | Namespace:
    """A person or an organisation that may be let in. Raises NotFound."""
    user = User.objects.filter(username=name, is_active=True).first()
    found = user or Namespace.objects.filter(name=name, kind=Namespace.Kind.ORG).first()
    if found is None:
        raise NotFound(f"There is no user or organisation {name[:100]!r} here.")
    return found


def _decide(request: AccessRequest, status: str, reason: str = "") -> None:
    request.status = status
    request.reason = reason[:500]
    request.decided_at = None if status == Status.PENDING else timezone.now()
    request.save(update_fields=["status", "reason", "decided_at"])


def _holder(by: User, organisation: Namespace | None) -> dict[str, User | Namespace | None]:
    return {"user": None if organisation else by, "organisation": organisation}


def _is_requester(request: AccessRequest, by: User) -> bool:
    if request.organisation is not None:
        return can(by, "admin", request.organisation)
    return request.user_id == by.pk and acts(by, Role.WRITE)


def _require_organisation(namespace: Namespace) -> None:
    if namespace.kind != Namespace.Kind.ORG:
        raise BadRequest(f"{namespace} is a person. Access is given to persons or organisations by name.")


def _record(action: str, request: AccessRequest, by: User) -> None:
    holder = str(request.user or request.organisation)
    audit.record(action, by=by, subject=request.repository, namespace=request.repository.namespace, to=holder)
