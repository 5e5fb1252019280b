"""Threads of a repository: opening one, saying something, changing its title or status. Permissions are checked here.

Whoever reads a repository may open a thread and speak in it; its author and those who may write in the repository may
rename, close and reopen it. A comment is changed by its author alone, and hidden by them or by who may write.
"""

from __future__ import annotations

from django.db import transaction
from django.db.models import Max
from django.utils import timezone
from django.utils.html import escape

from hub.accounts.access import Actor
from hub.accounts.models import User
from hub.accounts.permissions import can, require
from hub.errors import BadRequest
from hub.repos.models import Discussion, DiscussionEvent, Repository
from priors.errors import Conflict, NotAllowed, NotFound

MAX_TITLE = 200
MAX_TEXT = 20_000
_MOST_SIGNS = {"[": 600, "*_~": 2000, "|": 1500, "`<&": 3000}
"""More of these in one text and it is shown as it was written: what they cost grows with their square."""
"""Characters of a comment: it is made into HTML while its writer waits."""
MAX_EDITS_KEPT = 20

Status = Discussion.Status
Kind = DiscussionEvent.Kind


@transaction.atomic
def open_discussion(
    *, repository: Repository, by: User, title: str, description: str = "", is_pull: bool = False, draft: bool = False
) -> Discussion:
    """A new thread with the next number of its repository. Raises NotFound, NotAllowed, BadRequest."""
    require(by, "discuss", repository)
    title, description = _title(title), _text(description, may_be_empty=True)
    Repository.objects.lock(repository)  # one number each, also for two at once
    last = repository.discussions.aggregate(last=Max("number"))["last"] or 0
    made = Discussion.objects.create(
        repository=repository, number=last + 1, title=title, author=by, is_pull=is_pull,
        status=Status.DRAFT if draft else Status.OPEN,
    )  # fmt: skip
    if description:
        _say(made, by, description)
    return made


@transaction.atomic
def comment(*, discussion: Discussion, by: User, text: str) -> DiscussionEvent:
    """Says something. Raises NotFound, NotAllowed, BadRequest for an empty or endless text."""
    require(by, "discuss", discussion.repository)
    return _say(discussion, by, _text(text))


@transaction.atomic
def edit(*, event: DiscussionEvent, by: User, text: str) -> DiscussionEvent:
    """Says it otherwise; what was said before stays readable. Raises NotAllowed for another's, Conflict when hidden."""
    require(by, "discuss", event.discussion.repository)
    found = DiscussionEvent.objects.select_for_update(of=("self",)).get(pk=event.pk)
    if found.author_id != by.pk:
        raise NotAllowed("A comment is changed by its author alone. Write one of your own.")
    if found.hidden_at is not None:
        raise Conflict("The comment is hidden, which is for good. Write a new one.")
    text = _text(text)
    said_at = found.edited_at or found.created_at
    before = {"raw": found.text, "updatedAt": said_at.isoformat(), "author": by.username}
    found.edits = [*found.edits, before][-MAX_EDITS_KEPT:]
    found.text, found.html = text, _html(text)
    found.edited_at, found.edited_by = timezone.now(), by
    found.save(update_fields=["text", "html", "edits", "edited_at", "edited_by"])
    _touch(found.discussion)
    return found


@transaction.atomic
def hide(*, event: DiscussionEvent, by: User) -> DiscussionEvent:
    """Removes what a comment said, also what it said before. Raises NotAllowed."""
    require(by, "discuss", event.discussion.repository)
    if event.author_id != by.pk and not can(by, "write", event.discussion.repository):
        raise NotAllowed("A comment is hidden by its author or by who may write in the repository.")
    found = DiscussionEvent.objects.select_for_update(of=("self",)).get(pk=event.pk)
    found.text, found.html, found.edits = "", "", []
    found.hidden_at = found.hidden_at or timezone.now()
    found.edited_at, found.edited_by = timezone.now(), by
    found.save(update_fields=["text", "html", "edits", "hidden_at", "edited_at", "edited_by"])
    return found


@transaction.atomic
def rename(*, discussion: Discussion, by: User, title: str) -> DiscussionEvent:
    """Gives the thread another title. Raises NotAllowed, BadRequest."""
    require_steer(by, discussion)
    title = _title(title)
    found = Discussion.objects.select_for_update().get(pk=discussion.pk)
    event = DiscussionEvent.objects.create(
        discussion=discussion, kind=Kind.TITLE, author=by, before=found.title, after=title
    )
    discussion.title = found.title = title
    found.save(update_fields=["title", "updated_at"])
    return event


@transaction.atomic
def set_status(*, discussion: Discussion, by: User, status: str, text: str = "") -> DiscussionEvent:
    """Closes or reopens a thread; `open` also takes a pull request out of draft. Raises NotAllowed, Conflict."""
    require_steer(by, discussion)
    allowed = {Status.OPEN, Status.CLOSED, Status.DRAFT} if discussion.is_pull else {Status.OPEN, Status.CLOSED}
    if status not in allowed:
        raise BadRequest(f"Status {status[:20]!r} cannot be set. Use one of {', '.join(sorted(allowed))}.")
    found = Discussion.objects.select_for_update().get(pk=discussion.pk)
    if found.status == Status.MERGED:
        raise Conflict(f"{found} is merged, which is for good. Open another pull request.")
    if found.status == status:
        raise Conflict(f"{found} is {status} already.")
    if text.strip():
        _say(found, by, _text(text))
    return record_status(found, by, Status(status), shown=discussion)


def record_status(discussion: Discussion, by: User, status: Status, *, shown: Discussion) -> DiscussionEvent:
    """Writes the status and that it changed. The caller locked the row and knows that `by` may."""
    event = DiscussionEvent.objects.create(
        discussion=discussion, kind=Kind.STATUS, author=by, before=discussion.status, after=status
    )
    discussion.status = shown.status = status
    discussion.save(update_fields=["status", "merge_commit", "updated_at"])
    return event


def may_steer(by: Actor, discussion: Discussion) -> bool:
    """Whether `by` may rename, close and reopen it: its author, or who may write."""
    if not can(by, "discuss", discussion.repository):
        return False
    return discussion.author_id == by.pk or can(by, "write", discussion.repository)


def require_steer(by: User, discussion: Discussion) -> None:
    """Raises NotFound for who cannot see it, NotAllowed unless `may_steer`."""
    require(by, "discuss", discussion.repository)
    if not may_steer(by, discussion):
        raise NotAllowed(f"{discussion} is changed by its author or by who may write in {discussion.repository}.")


def find(repository: Repository, number: int) -> Discussion:
    """Raises NotFound. The caller made sure that the repository may be read."""
    found = repository.discussions.select_related("author", "merge_commit").filter(number=number).first()
    if found is None:
        raise NotFound(f"{repository} has no discussion {number}.")
    found.repository = repository  # with its namespace, which is selected already
    return found


def find_comment(discussion: Discussion, event_id: str) -> DiscussionEvent:
    """A comment by the hex digits of its id. Raises NotFound."""
    digits = event_id.replace("-", "").lower()
    if len(digits) == 32 and set(digits) <= set("0123456789abcdef"):
        found = discussion.events.filter(pk=digits, kind=Kind.COMMENT).first()
        if found is not None:
            found.discussion = discussion
            return found
    raise NotFound(f"{discussion} has no comment {event_id[:40]!r}.")


def _say(discussion: Discussion, by: User, text: str) -> DiscussionEvent:
    event = DiscussionEvent.objects.create(
        discussion=discussion, kind=Kind.COMMENT, author=by, text=text, html=_html(text)
    )
    _touch(discussion)
    return event


def _touch(discussion: Discussion) -> None:
    Discussion.objects.filter(pk=discussion.pk).update(updated_at=timezone.now())


def _title(text: str) -> str:
    title = " ".join(text.split())
    if not title:
        raise BadRequest("A discussion needs a title. Say in a few words what it is about.")
    if len(title) > MAX_TITLE:
        raise BadRequest(f"The title has {len(title)} characters; {MAX_TITLE} are allowed. Put the rest into the text.")
    return title


def _text(text: str, *, may_be_empty: bool = False) -> str:
    text = text.strip()
    if not text and not may_be_empty:
        raise BadRequest("The comment is empty. Say something.")
    if len(text) > MAX_TEXT:
        raise BadRequest(f"The text has {len(text)} characters; {MAX_TEXT} are allowed. Put the rest into a file.")
    return text


def _html(text: str) -> str:
    if any(sum(map(text.count, signs)) > most for signs, most in _MOST_SIGNS.items()):
        return f"<pre>{escape(text)}</pre>"  # it is rendered within the request, and could take it seconds
    from hub.catalog.cards import render  # and with it a parser, which nothing else in a web process needs

    return render(text)
