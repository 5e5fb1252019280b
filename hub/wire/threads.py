"""Discussions and pull requests."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db.models import QuerySet
from django.http import HttpResponse, JsonResponse

from hub.accounts.models import User
from hub.errors import BadRequest
from hub.repos import diffs, discussions, pulls
from hub.repos.commits import MAIN
from hub.repos.models import Commit, Discussion, DiscussionEvent, Repository
from hub.wire.calls import Call
from hub.wire.shapes import iso

PAGE = 50
_MOST_EVENTS = 2000
_KINDS = {"all": {}, "discussion": {"is_pull": False}, "pull_request": {"is_pull": True}}
_STATUSES = {"all": {}, "open": {"status__in": ["open", "draft"]}, "closed": {"status__in": ["closed", "merged"]}}
_STATUSES |= {status: {"status__in": [status]} for status in ("draft", "merged")}


def index(call: Call, type: str, ns: str, name: str) -> HttpResponse:
    """The threads of a repository, newest first; `p` counts pages from 0."""
    repository = call.repository(type, ns, name)
    found = filtered(repository, call.query.get("type") or "all", call.query.get("status") or "all")
    if author := call.query.get("author"):
        found = found.filter(author__username=author)
    page = call.query.get("p") or "0"
    if not (page.isascii() and page.isdecimal() and len(page) < 8):
        raise BadRequest(f"p={page[:20]!r} is no page. They count from 0.")
    start = int(page) * PAGE
    shown = [_head(each, repository) for each in found[start : start + PAGE]]
    return JsonResponse({"count": found.count(), "start": start, "discussions": shown})


def filtered(repository: Repository, kind: str, status: str) -> QuerySet[Discussion]:
    """Threads of one kind and status; what is neither is all. Raises BadRequest."""
    if kind not in _KINDS or status not in _STATUSES:
        raise BadRequest(f"type is one of {', '.join(_KINDS)}; status one of {', '.join(_STATUSES)}.")
    found = Discussion.objects.filter(repository=repository, **_KINDS[kind], **_STATUSES[status])
    return found.select_related("author").order_by("-number")


def create(call: Call, type: str, ns: str, name: str) -> HttpResponse:
    """A thread; with `pullRequest` a draft of a pull request, to be committed to."""
    repository, said = call.repository(type, ns, name, "discuss"), call.json()
    title, description = _text(said, "title"), _text(said, "description", needed=False)
    if said.get("pullRequest") is True:
        made = pulls.open_pull(repository=repository, by=call.user, title=title, description=description, draft=True)
    else:
        made = discussions.open_discussion(repository=repository, by=call.user, title=title, description=description)
    where = f"{call.endpoint}{made.get_absolute_url()}"
    return JsonResponse({"num": made.number, "pullRequest": made.is_pull, "url": where})


def show(call: Call, type: str, ns: str, name: str, number: int) -> HttpResponse:
    """A thread with all that was said and done; of a pull request also what it changes."""
    found = _find(call, type, ns, name, number)
    events = [_event(each) for each in found.events.select_related("author", "edited_by")[:_MOST_EVENTS]]
    shown = _head(found, found.repository) | {"events": events}
    if found.is_pull:
        changes = pulls.changes_of(found)
        events += [_commit_event(each) for each in changes.commits[-_MOST_EVENTS:]]
        # By whole seconds, which is what commits carry: one made right after opening would stand before it.
        events.sort(key=lambda event: event["createdAt"][:19])
        shown |= {"changes": {"base": f"refs/heads/{MAIN}"}, "filesWithConflicts": changes.conflicts}
        if found.merge_commit is not None:
            shown["changes"] |= {"mergeCommitId": found.merge_commit.oid}
        if call.flag("diff"):
            shown["diff"] = diffs.as_text(diffs.shown_to(call.actor, found.repository, changes.files))
    return JsonResponse(shown)


def comment(call: Call, type: str, ns: str, name: str, number: int) -> HttpResponse:
    """Says something."""
    said = _text(call.json(), "comment")
    made = discussions.comment(discussion=_find(call, type, ns, name, number), by=call.user, text=said)
    return JsonResponse({"newMessage": _event(made)})


def title(call: Call, type: str, ns: str, name: str, number: int) -> HttpResponse:
    """Renames."""
    said = _text(call.json(), "title")
    made = discussions.rename(discussion=_find(call, type, ns, name, number), by=call.user, title=said)
    return JsonResponse({"newTitle": _event(made)})


def status(call: Call, type: str, ns: str, name: str, number: int) -> HttpResponse:
    """Closes or opens."""
    said = call.json()
    made = discussions.set_status(
        discussion=_find(call, type, ns, name, number), by=call.user, status=_text(said, "status"),
        text=_text(said, "comment", needed=False),
    )  # fmt: skip
    return JsonResponse({"newStatus": _event(made)})


def merge(call: Call, type: str, ns: str, name: str, number: int) -> HttpResponse:
    """Merges a pull request into main."""
    pull = _find(call, type, ns, name, number)
    made = pulls.merge(pull=pull, by=call.user, text=_text(call.json(), "comment", needed=False))
    return JsonResponse({"merged": True, "mergeCommitId": made.oid})


def edit(call: Call, type: str, ns: str, name: str, number: int, event: str) -> HttpResponse:
    """Says it otherwise."""
    said = _text(call.json(), "content")
    found = discussions.find_comment(_find(call, type, ns, name, number), event)
    return JsonResponse({"updatedComment": _event(discussions.edit(event=found, by=call.user, text=said))})


def hide(call: Call, type: str, ns: str, name: str, number: int, event: str) -> HttpResponse:
    """Removes what was said."""
    found = discussions.find_comment(_find(call, type, ns, name, number), event)
    return JsonResponse({"updatedComment": _event(discussions.hide(event=found, by=call.user))})


def _find(call: Call, type: str, ns: str, name: str, number: int) -> Discussion:
    return discussions.find(call.repository(type, ns, name), number)


def _text(said: dict[str, Any], name: str, *, needed: bool = True) -> str:
    value = said.get(name)
    if value is None and not needed:
        return ""
    if not isinstance(value, str):
        raise BadRequest(f"{name!r} is not a text. Send one.")
    return value


def _head(found: Discussion, repository: Repository) -> dict[str, Any]:
    return {
        "num": found.number,
        "title": found.title,
        "status": found.status,
        "isPullRequest": found.is_pull,
        "createdAt": iso(found.created_at),
        "repo": {"name": repository.full_name, "type": repository.type},
        "repoOwner": {"name": repository.namespace.name, "type": repository.namespace.kind},
    } | _author(found.author)


def _author(user: User | None) -> dict[str, Any]:
    """Who it was; nothing when the account is gone, which clients show as deleted."""
    return {"author": _person(user)} if user is not None else {}


def _person(user: User) -> dict[str, Any]:
    return {"name": user.username, "fullname": user.get_full_name() or user.username, "avatarUrl": "", "type": "user"}


def _event(event: DiscussionEvent) -> dict[str, Any]:
    data: dict[str, Any] = {}
    match event.kind:
        case DiscussionEvent.Kind.COMMENT:
            updated: datetime = event.edited_at or event.created_at
            latest = {"raw": event.text, "html": event.html, "updatedAt": iso(updated)}
            data = {
                "edited": bool(event.edits),
                "hidden": event.hidden_at is not None,
                "latest": latest | _author(event.edited_by or event.author),
                "history": event.edits,
                "numEdits": len(event.edits),
            }
        case DiscussionEvent.Kind.STATUS:
            data = {"status": event.after}
        case DiscussionEvent.Kind.TITLE:
            data = {"from": event.before, "to": event.after}
    return {"id": event.pk.hex, "type": event.kind, "createdAt": iso(event.created_at), "data": data} | _author(
        event.author
    )


def _commit_event(commit: Commit) -> dict[str, Any]:
    return {
        "id": commit.oid[:24],
        "type": "commit",
        "createdAt": iso(commit.created_at),
        "author": {"name": commit.author_name, "fullname": commit.author_name, "avatarUrl": "", "type": "user"},
        "data": {"subject": commit.title, "oid": commit.oid},
    }
