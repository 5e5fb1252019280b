"""Whether files may leave the hub, and how that is taken away and given back.

Every way out asks `servable`: native files, resolve, LFS, Xet, git, and jobs that unpack a repository. What is held
stays visible with its reason; only its bytes do not leave.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from uuid import UUID

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from hub.accounts import audit
from hub.accounts.models import User
from hub.accounts.permissions import require
from hub.errors import BadRequest, Quarantined, ScanHeld, Yanked
from hub.repos import trees
from hub.repos.models import Commit, Repository, RepositoryBlob
from hub.safety.models import Hold
from priors.errors import NotFound, UserError

MAX_REASON = 500


def servable(what: Commit | Repository, files: Iterable[str] = ()) -> None:
    """Raises Quarantined, Yanked or ScanHeld, with the reason, where these bytes may not leave the hub now.

    what   the commit that is read; a repository stands for what is read across its revisions, as `git clone` does
    files  the SHA-256 of the files that are read

    One query, however many files.
    """
    if held := standing(what, files):
        raise _refusal(held[0], str(what if isinstance(what, Repository) else what.repository))


def refusals(what: Commit | Repository, files: Collection[str]) -> dict[str, UserError]:
    """What `servable` would raise for each of the files by itself, by SHA-256; the others may leave. One query."""
    held, where = standing(what, files), str(what if isinstance(what, Repository) else what.repository)
    first = {name: next((hold for hold in held if hold.sha256 in ("", name)), None) for name in files}
    return {name: _refusal(hold, where) for name, hold in first.items() if hold is not None}


def standing(what: Commit | Repository, files: Iterable[str] = ()) -> list[Hold]:
    """The holds that stand in the way, the heaviest first; `servable` raises the first of them."""
    if isinstance(what, Repository):
        place = Q(repository=what)
    else:
        place = Q(repository=what.repository_id) & (Q(commit=None) | Q(commit=what.pk))
    names = list(files)
    found = Hold.objects.standing().filter(
        place & Q(sha256="") | Q(sha256__in=names) & (place | Q(repository=None)) if names else place & Q(sha256="")
    )
    return sorted(found, key=lambda hold: _WEIGHT[Hold.Kind(hold.kind)])


def require_unlocked(repository: Repository) -> None:
    """Raises Quarantined when a moderator holds the whole repository: then it changes no more, either."""
    held = Hold.objects.standing().filter(repository=repository, commit=None, sha256="", kind=Hold.Kind.QUARANTINE)
    if (first := held.first()) is not None:
        raise _refusal(first, str(repository))


def held_repositories(repositories: Collection[Repository]) -> dict[object, Hold]:
    """Those of `repositories` of which not every file leaves, as a whole or at their head, by primary key, for lists.

    One query, and two more where a scan holds bytes of any.
    """
    heads = {repository.head_id: repository.pk for repository in repositories if repository.head_id}
    keys = [repository.pk for repository in repositories]
    found = Hold.objects.standing().filter(
        Q(repository__in=keys, commit=None) | Q(repository=None) | Q(commit__in=heads)
    )
    by_weight = sorted(found, key=lambda hold: -_WEIGHT[Hold.Kind(hold.kind)])
    held = _held_bytes(keys, [hold for hold in by_weight if hold.sha256])
    return held | {hold.repository_id: hold for hold in by_weight if not hold.sha256}


def _held_bytes(repositories: Collection[UUID], found: Collection[Hold]) -> dict[object, Hold]:
    """Those of `repositories` whose head has a file with bytes that a scan holds, there or anywhere."""
    place = [(hold.repository_id, hold.sha256) for hold in found]
    uses = RepositoryBlob.objects.filter(repository__in=repositories, blob__in={sha256 for _, sha256 in place})
    held: dict[object, Hold] = {}
    for repository, sha256, tree in uses.values_list("repository", "blob", "repository__head__tree") if place else ():
        here = {hold.sha256: hold for hold in found if hold.repository_id in (None, repository)}
        if sha256 in here and tree and any(entry.sha256 == sha256 for entry in trees.read(tree).values()):
            held[repository] = here[sha256]
    return held


@transaction.atomic
def quarantine(repository: Repository, *, reason: str, by: User, commit: Commit | None = None) -> Hold:
    """Takes files out of reach on suspicion. For moderators. Raises NotAllowed, BadRequest."""
    require(by, "moderate", repository)
    return _hold(Hold.Kind.QUARANTINE, repository, commit, reason, by)


@transaction.atomic
def yank(repository: Repository, *, reason: str, by: User, commit: Commit | None = None) -> Hold:
    """Takes files back, as who administers the repository may. Raises NotAllowed, BadRequest."""
    require(by, "admin", repository)
    return _hold(Hold.Kind.YANK, repository, commit, reason, by)


@transaction.atomic
def hold_bytes(repository: Repository | None, sha256: str, *, reason: str) -> Hold:
    """What a scan may do: files with these bytes leave no more, in one repository or (None) in any."""
    made, _ = Hold.objects.get_or_create(
        kind=Hold.Kind.SCAN, repository=repository, sha256=sha256, lifted_at=None,
        defaults={"reason": reason[:MAX_REASON], "by_name": ""},
    )  # fmt: skip
    return made


@transaction.atomic
def lift(hold: Hold, *, by: User) -> Hold:
    """Gives files back: who may place such a hold may lift it, and a moderator what a scan placed."""
    if hold.repository is not None:
        require(by, "admin" if hold.kind == Hold.Kind.YANK else "moderate", hold.repository)
    elif not by.is_staff:
        raise NotFound("There is no such hold here, or it is not yours to see.")
    changed = Hold.objects.filter(pk=hold.pk, lifted_at=None).update(
        lifted_at=timezone.now(), lifted_by_name=by.get_username()
    )
    hold.refresh_from_db()
    if changed:
        _tell(f"{hold.kind}.lifted", hold, by)
    return hold


def _hold(kind: Hold.Kind, repository: Repository, commit: Commit | None, reason: str, by: User) -> Hold:
    if not reason.strip():
        raise BadRequest(f"A {kind} needs a reason: those who depend on the files will read it. Give one.")
    made = Hold.objects.create(
        kind=kind, repository=repository, commit=commit, reason=" ".join(reason.split())[:MAX_REASON], by=by,
        by_name=by.get_username(),
    )  # fmt: skip
    _tell(f"{kind}.placed", made, by)
    return made


def _tell(action: str, hold: Hold, by: User) -> None:
    place = hold.repository
    audit.record(
        action, by=by, subject=place.prefixed_name if place is not None else hold.sha256,
        namespace=place.namespace if place is not None else "", reason=hold.reason,
        revision=hold.commit.oid if hold.commit is not None else None,
    )  # fmt: skip


def _refusal(hold: Hold, where: str) -> UserError:
    kind, message = _REFUSALS[Hold.Kind(hold.kind)]
    return kind(message.format(where=where, reason=hold.reason.rstrip(".")))


_WEIGHT = {Hold.Kind.QUARANTINE: 0, Hold.Kind.YANK: 1, Hold.Kind.SCAN: 2}
_REFUSALS: dict[Hold.Kind, tuple[type[UserError], str]] = {
    Hold.Kind.QUARANTINE: (Quarantined, "{where} is in quarantine: {reason}. Ask the moderators of this hub about it."),
    Hold.Kind.YANK: (
        Yanked,
        "{where} was taken back by its owner: {reason}. Use another revision, or another repository.",
    ),
    Hold.Kind.SCAN: (ScanHeld, "A file of {where} did not pass its scan: {reason}. Ask its owner to replace it."),
}
