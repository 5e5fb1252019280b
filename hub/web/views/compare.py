"""`/owner/name/compare?from=…&to=…&with=other/name`: two revisions side by side, of one repository or of two."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_safe

from hub.errors import BadRequest
from hub.repos import services as repos
from hub.repos.commits import MAIN
from hub.repos.models import Commit, Ref, Repository
from hub.web.comparing import compare_context
from hub.web.pages import find_repository, page, repository_bar
from priors.errors import NotFound, UserError

_MOST_NAMES = 100
_RECENT = 20


@require_safe
def compare(request: HttpRequest, owner: str, name: str, type: str = "") -> HttpResponse:
    """The form, and what differs. Without `from`: the parent of `to`, or main of the other repository."""
    repository = find_repository(request, owner, name, type)
    asked = {key: request.GET.get(key, "").strip()[:200] for key in ("from", "to", "with")}
    context: dict[str, Any] = {"repository": repository, "asked": asked, "revisions": _revisions(repository)}
    status = 200
    if repository.head is not None:
        try:
            before, after = _two(request, repository, asked)
        except (NotFound, BadRequest) as error:
            context["wrong"], status = str(error), error.status
        else:
            context |= {"before": before, "after": after, "two": before and before.repository_id != repository.pk}
            if before is not None:
                asked["from"] = asked["from"] or before.oid
                context |= compare_context(request.user, before, after)
    bar = repository_bar(request.user, repository, "history")
    return page(request, "code/compare.html", context | bar, status=status)


def _two(request: HttpRequest, repository: Repository, asked: dict[str, str]) -> tuple[Commit | None, Commit]:
    """The commits; None for the one before the first. Raises NotFound and BadRequest, in words for the form."""
    after = repos.resolve(repository, asked["to"] or MAIN)
    other = repository
    if asked["with"] and asked["with"] != repository.full_name:
        owner, slash, name = asked["with"].partition("/")
        if not slash or not owner or not name or "/" in name:
            raise BadRequest(f"{asked['with'][:100]!r} names no repository. Write it as namespace/name.")
        try:
            other = find_repository(request, owner, name)
        except UserError as error:  # also of one that was moved, whose new name its own page tells
            raise NotFound(f"No repository {asked['with'][:100]} is here for you to see.") from error
        if other.kind != repository.kind:
            raise BadRequest(f"{other} is a {other.kind}, {repository} a {repository.kind}. Compare two of one kind.")
    if asked["from"] or other != repository:
        return repos.resolve(other, asked["from"] or MAIN), after
    return after.parent, after


def _revisions(repository: Repository) -> list[tuple[str, str]]:
    """What may be chosen: branches and tags, then the newest commits; each with a word on it."""
    names = repository.refs.exclude(kind=Ref.Kind.PULL).order_by("kind", "name")
    refs = [(ref.name, ref.kind) for ref in names[:_MOST_NAMES]]
    commits = repository.commits.order_by("-pk")[:_RECENT]
    return refs + [(commit.oid[:12], commit.title[:60]) for commit in commits]
