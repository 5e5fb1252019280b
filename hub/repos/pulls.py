"""Pull requests: a discussion with a branch `refs/pr/<number>` that starts at the tip of main and may end in it.

Files are merged whole (three ways, by their bytes): one that only the pull request changed is taken over, one that both
sides changed to different bytes is a conflict.
"""

from __future__ import annotations

from dataclasses import dataclass

from django.db import transaction

from hub.accounts.access import Actor
from hub.accounts.models import User
from hub.accounts.permissions import can, require
from hub.errors import BadRequest, ParentMoved
from hub.repos import commits, discussions, history, trees
from hub.repos.commits import MAIN, Change, Put, Remove
from hub.repos.models import Commit, Discussion, Ref, Repository
from hub.repos.trees import FileEntry
from priors.errors import Conflict, NotAllowed, NotFound

_TRIES = 5
Status = Discussion.Status
_Changed = dict[str, tuple[FileEntry | None, FileEntry | None]]


@transaction.atomic
def open_pull(
    *, repository: Repository, by: User, title: str, description: str = "", draft: bool = False
) -> Discussion:
    """A pull request whose branch is main as it is now; commit to `Discussion.ref` next. Raises Conflict when main has
    no commit, and what `open_discussion` raises."""
    main = commits.tip(repository, MAIN)
    if main is None:
        raise Conflict(f"{repository} has no commit yet that a pull request could start from. Commit to main first.")
    made = discussions.open_discussion(
        repository=repository, by=by, title=title, description=description, is_pull=True, draft=draft
    )
    Ref.objects.create(repository=repository, kind=Ref.Kind.PULL, name=made.ref, commit=main)
    return made


def require_push(by: User, repository: Repository, ref: str) -> Discussion:
    """The pull request whose branch `ref` is, if `by` may commit to it: its author, or who may write.

    Raises NotFound, NotAllowed, and Conflict for one that is closed or merged.
    """
    number = ref.removeprefix("refs/pr/")
    require(by, "read", repository)
    if not (number.isascii() and number.isdecimal() and len(number) < 10):
        raise NotFound(f"{repository} has no pull request {ref[:40]!r}.")
    found = discussions.find(repository, int(number))
    if not found.is_pull:
        raise NotFound(f"{found} of {repository} is a discussion and has no branch.")
    if not discussions.may_steer(by, found):
        raise NotAllowed(f"Only its author and who may write in {repository} commit to {ref}. Open one of your own.")
    if not found.is_live:
        raise Conflict(f"{found} is {found.status}. Reopen it, or open another pull request.")
    return found


@dataclass(frozen=True)
class Changes:
    """What a pull request brings, against the commit it started from."""

    base: Commit | None
    tip: Commit
    files: _Changed
    commits: list[Commit]
    conflicts: list[str]
    """Files that main changed too meanwhile, to something else. Of one that is merged or closed: none."""


def changes_of(pull: Discussion) -> Changes:
    """What it brings now; of a merged one, what it brought. Raises NotFound when its branch is gone."""
    tip = _tip(pull)
    main = pull.merge_commit.parent if pull.merge_commit is not None else commits.tip(pull.repository, MAIN)
    base = history.merge_base(main, tip) if main is not None else None
    files = trees.changed(_tree(base), _tree(tip))
    conflicts = _conflicts(files, trees.changed(_tree(base), _tree(main))) if pull.is_live else []
    return Changes(base, tip, files, history.commits_between(base, tip), conflicts)


def merge(*, pull: Discussion, by: User, text: str = "") -> Commit:
    """Takes the pull request's files into main with a commit that names both lines.

    Raises NotAllowed, BadRequest for a discussion, Conflict for one that is not open, brings nothing, or changes files
    that main changed too: the message names them.
    """
    require(by, "write", pull.repository)
    if not pull.is_pull:
        raise BadRequest(f"{pull} is a discussion: there is nothing to merge.")
    for _ in range(_TRIES):
        pull.refresh_from_db(fields=["status", "merge_commit"])
        _require_open(pull)
        main, tip = commits.tip(pull.repository, MAIN), _tip(pull)
        base = history.merge_base(main, tip) if main is not None else None
        if base == tip:
            made = Commit.objects.filter(repository=pull.repository, merged=tip).first()
            if made is None or not history.commits_between(made.parent, tip):
                raise Conflict(f"{pull} brings nothing that main lacks. Commit to {pull.ref} first, or close it.")
            return _merged(pull, by, made, text)  # whoever made this commit was stopped before they could say so
        try:
            made = commits.commit(
                repository=pull.repository, changes=_merge(pull, base, main, tip), message=_message(pull), by=by,
                parent=main.oid if main else None, skip_unchanged=False, merges=tip,
            )  # fmt: skip
        except ParentMoved:
            continue
        return _merged(pull, by, made, text)
    raise Conflict(f"main of {pull.repository} moves too fast to merge {pull}. Try again.")


def may_merge(by: Actor, pull: Discussion) -> bool:
    """Whether the page should offer it."""
    return pull.is_pull and pull.status == Status.OPEN and can(by, "write", pull.repository)


def _require_open(pull: Discussion) -> None:
    if pull.status == Status.DRAFT:
        raise Conflict(f"{pull} is a draft. Set its status to open, then merge it.")
    if pull.status != Status.OPEN:
        raise Conflict(f"{pull} is {pull.status} already.")


def _merge(pull: Discussion, base: Commit | None, main: Commit | None, tip: Commit) -> list[Change]:
    theirs, ours = trees.changed(_tree(base), _tree(tip)), trees.changed(_tree(base), _tree(main))
    if conflicts := _conflicts(theirs, ours):
        named = ", ".join(conflicts[:10]) + (f" and {len(conflicts) - 10} more" if len(conflicts) > 10 else "")
        raise Conflict(f"main changed the same files meanwhile: {named}. Commit to {pull.ref} what they should be.")
    return [
        Put(path, after.sha256, after.lfs) if after is not None else Remove(path)
        for path, (_, after) in theirs.items()
        if path not in ours
    ]


def _conflicts(theirs: _Changed, ours: _Changed) -> list[str]:
    """Paths that both changed, not to the same; and those where one has a file and the other a folder."""
    both = {path for path, (_, after) in theirs.items() if path in ours and ours[path][1] != after}
    for some, others in ((theirs, ours), (ours, theirs)):
        files = {path for path, (_, after) in some.items() if after is not None}
        folders = {folder for path, (_, after) in others.items() if after is not None for folder in _folders(path)}
        both |= files & folders
    return sorted(both)


def _folders(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[:end]) for end in range(1, len(parts))]


@transaction.atomic
def _merged(pull: Discussion, by: User, made: Commit, text: str) -> Commit:
    found = Discussion.objects.select_for_update().get(pk=pull.pk)
    if found.status != Status.MERGED:
        if text.strip():
            discussions.comment(discussion=found, by=by, text=text)
        found.merge_commit = made
        discussions.record_status(found, by, Status.MERGED, shown=pull)
    pull.merge_commit = made
    return made


def _message(pull: Discussion) -> str:
    return f"{pull.title} (#{pull.number})\n\nMerges {pull.ref}."


def _tip(pull: Discussion) -> Commit:
    found = commits.tip(pull.repository, pull.ref, Ref.Kind.PULL)
    if found is None:
        raise NotFound(f"The branch {pull.ref} of {pull.repository} is gone.")
    return found


def _tree(commit: Commit | None) -> str | None:
    return commit.tree_id if commit is not None else None
