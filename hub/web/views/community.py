"""What people say about a repository: threads, pull requests with what they change, and likes."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.files.uploadedfile import UploadedFile
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_POST, require_safe

from hub.accounts.models import User
from hub.accounts.permissions import can
from hub.errors import BadRequest
from hub.repos import commits, diffs, discussions, likes, pulls, quotas
from hub.repos.commits import Put
from hub.repos.incoming import Incoming
from hub.repos.models import Commit, Discussion, DiscussionEvent
from hub.web.forms import FilesForm, ThreadForm
from hub.web.graph_changes import graph_changes
from hub.web.pages import find_repository, page, repository_bar

PAGE = 24
_MOST_EVENTS = 500
_STATUSES = {"open": ["open", "draft"], "closed": ["closed", "merged"]}
_TO_STATUS = {"close": "closed", "reopen": "open", "ready": "open", "draft": "draft"}


@require_safe
def index(request: HttpRequest, owner: str, name: str, type: str = "") -> HttpResponse:
    """The threads, newest first: open ones unless the others are asked for."""
    repository = find_repository(request, owner, name, type)
    status = request.GET.get("status", "open")
    status = status if status in _STATUSES else "open"
    threads = repository.discussions.select_related("author")
    context = {
        "repository": repository,
        "found": Paginator(threads.filter(status__in=_STATUSES[status]), PAGE).get_page(request.GET.get("page")),
        "status": status,
        "counts": {each: threads.filter(status__in=statuses).count() for each, statuses in _STATUSES.items()},
    }
    return page(request, "community/list.html", context | repository_bar(request.user, repository, "community"))


@login_required
def new(request: HttpRequest, owner: str, name: str, type: str = "") -> HttpResponse:
    """Opens a thread or a pull request."""
    repository = find_repository(request, owner, name, type)
    form = ThreadForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        given = form.cleaned_data
        texts = {"title": given["title"], "description": given["text"]}
        make = pulls.open_pull if given["changes"] else discussions.open_discussion
        return redirect(make(repository=repository, by=_user(request), **texts))
    context = {"repository": repository, "form": form} | repository_bar(request.user, repository, "community")
    return page(request, "community/new.html", context, status=422 if form.errors else 200)


@require_safe
def show(request: HttpRequest, owner: str, name: str, number: int, type: str = "") -> HttpResponse:
    """A thread: what was said and done in order; of a pull request also its commits and what it changes."""
    repository = find_repository(request, owner, name, type)
    thread = discussions.find(repository, number)
    events = list(thread.events.select_related("author")[:_MOST_EVENTS])
    changes = pulls.changes_of(thread) if thread.is_pull else None
    context = {
        "repository": repository,
        "thread": thread,
        "events": _in_order(events, changes.commits if changes else []),
        "changes": changes,
        "files": diffs.shown_to(request.user, repository, changes.files) if changes else [],
        "graph_changes": graph_changes(request.user, repository, changes.files) if changes else None,
        "may_speak": can(request.user, "discuss", repository),
        "may_steer": discussions.may_steer(request.user, thread),
        "may_write": can(request.user, "write", repository),
        "may_merge": pulls.may_merge(request.user, thread),
        "may_push": thread.is_pull and thread.is_live and discussions.may_steer(request.user, thread),
        "form": FilesForm(),
    }
    return page(request, "community/thread.html", context | repository_bar(request.user, repository, "community"))


@login_required
@require_POST
def act(request: HttpRequest, owner: str, name: str, number: int, type: str = "") -> HttpResponse:
    """What the buttons of a thread do: say something, close, reopen, rename, merge, change or hide a comment."""
    repository = find_repository(request, owner, name, type)
    thread, by = discussions.find(repository, number), _user(request)
    text, what = request.POST.get("text", ""), request.POST.get("do", "")
    match what:
        case "comment":
            discussions.comment(discussion=thread, by=by, text=text)
        case "close" | "reopen" | "ready" | "draft":
            discussions.set_status(discussion=thread, by=by, status=_TO_STATUS[what], text=text)
        case "rename":
            discussions.rename(discussion=thread, by=by, title=request.POST.get("title", ""))
        case "merge":
            made = pulls.merge(pull=thread, by=by, text=text)
            messages.success(request, f"Merged as {made.oid[:7]}.")
        case "edit":
            discussions.edit(event=_comment(request, thread), by=by, text=text)
        case "hide":
            discussions.hide(event=_comment(request, thread), by=by)
        case _:
            raise BadRequest(f"{what[:40]!r} is nothing that can be done with a thread.")
    return redirect(thread)


@login_required
@require_POST
def add_files(request: HttpRequest, owner: str, name: str, number: int, type: str = "") -> HttpResponse:
    """Commits uploaded files to a pull request's branch."""
    repository = find_repository(request, owner, name, type)
    by = _user(request)
    thread = pulls.require_push(by, repository, f"refs/pr/{number}")
    form = FilesForm(request.POST, request.FILES)
    if not form.is_valid():
        raise BadRequest(" ".join(str(error) for errors in form.errors.values() for error in errors))
    folder = form.cleaned_data["folder"].strip("/")
    uploads: list[UploadedFile[Any]] = form.cleaned_data["uploads"]
    named = {f"{folder}/{upload.name}" if folder else str(upload.name): upload for upload in uploads}
    with Incoming(by=by, place=quotas.payer(repository, by)) as incoming:
        kept = {path: incoming.keep(upload.chunks(), size=upload.size or 0) for path, upload in named.items()}
    puts = [Put(path, staged.sha256) for path, staged in kept.items()]
    message = form.cleaned_data["message"] or f"Upload {', '.join(named)}"[:200]
    commits.commit(repository=repository, changes=puts, message=message, by=by, branch=thread.ref)
    return redirect(thread)


@login_required
@require_POST
def like(request: HttpRequest, owner: str, name: str, type: str = "") -> HttpResponse:
    """Likes, or takes it back."""
    repository = find_repository(request, owner, name, type)
    change = likes.unlike if request.POST.get("do") == "unlike" else likes.like
    change(repository=repository, by=_user(request))
    return redirect(repository)


def _in_order(events: list[DiscussionEvent], brought: list[Commit]) -> list[DiscussionEvent | Commit]:
    """Both by time, in whole seconds as commits carry it; what was said in the same second stands before."""
    together: list[DiscussionEvent | Commit] = [*events, *brought]
    return sorted(together, key=lambda each: each.created_at.replace(microsecond=0))


def _comment(request: HttpRequest, thread: Discussion) -> DiscussionEvent:
    return discussions.find_comment(thread, request.POST.get("event", ""))


def _user(request: HttpRequest) -> User:
    """Whoever is signed in; `login_required` stands before it."""
    assert isinstance(request.user, User)  # noqa: S101 -- for the type checker
    return request.user
