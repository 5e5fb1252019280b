"""What two commits differ in: lines of small texts, sizes of everything else. Bounded, whatever is in the files."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from hub.accounts.access import Actor
from hub.accounts.permissions import can
from hub.repos import trees
from hub.repos.lines import Hunk, hunks
from hub.repos.models import Commit, Repository
from hub.repos.storage import store
from hub.repos.trees import FileEntry
from hub.safety.holds import standing

MAX_TEXT_BYTES = 256 * 1024
MAX_SHOWN_BYTES = 2 * 1024 * 1024
MAX_SHOWN_FILES = 100
"""Of further files only the names are given, as of files that are not shown as text."""


@dataclass(frozen=True)
class FileDiff:
    """A file that is not the same. `hidden` says why its lines are not shown; empty when they are."""

    path: str
    before: FileEntry | None
    after: FileEntry | None
    hunks: tuple[Hunk, ...] = ()
    hidden: str = ""

    @property
    def status(self) -> Literal["added", "removed", "changed"]:
        """What happened to it."""
        return "added" if self.before is None else "removed" if self.after is None else "changed"

    @property
    def added(self) -> int:
        """Lines that came."""
        return sum(line.sign == "+" for hunk in self.hunks for line in hunk.lines)

    @property
    def removed(self) -> int:
        """Lines that went."""
        return sum(line.sign == "-" for hunk in self.hunks for line in hunk.lines)


Pairs = Mapping[str, tuple[FileEntry | None, FileEntry | None]]


def between(before: Commit | None, after: Commit) -> list[FileDiff]:
    """The files that differ, by path."""
    return of_files(trees.changed(before.tree_id if before else None, after.tree_id))


def shown_to(actor: Actor, repository: Repository, pairs: Pairs) -> list[FileDiff]:
    """The same of files that were compared already, without what the actor may not read or what is held."""
    return of_files(pairs, withheld(actor, repository, pairs))


def withheld(actor: Actor, what: Repository | Commit, pairs: Pairs) -> dict[str, str]:
    """Why the actor may not have some of the files now, by path; of a commit also for what holds it alone."""
    hidden: dict[str, str] = {}
    if not can(actor, "read_files", what if isinstance(what, Repository) else what.repository):
        return dict.fromkeys(pairs, "the files of this repository are given out on request")
    if holds := standing(what, {entry.sha256 for pair in pairs.values() for entry in pair if entry is not None}):
        held, whole = {hold.sha256 for hold in holds}, any(not hold.sha256 for hold in holds)
        for path, pair in pairs.items():
            if whole or any(entry is not None and entry.sha256 in held for entry in pair):
                hidden[path] = f"held back: {holds[0].reason}"
    return hidden


def of_files(pairs: Pairs, hidden_paths: Mapping[str, str] = MappingProxyType({})) -> list[FileDiff]:
    """The same of files that were compared already; `hidden_paths` says why lines of some are not to be seen."""
    left = MAX_SHOWN_BYTES
    found = []
    for number, (path, (before, after)) in enumerate(pairs.items()):
        size = sum(entry.size for entry in (before, after) if entry is not None)
        hidden = hidden_paths.get(path) or _why_hidden(before, after)
        if not hidden and (number >= MAX_SHOWN_FILES or size > left):
            hidden = "the difference is too large to show whole"
        texts = None if hidden else (_text(before), _text(after))
        if texts is None or texts[0] is None or texts[1] is None:
            found.append(FileDiff(path, before, after, hidden=hidden or "a binary file"))
            continue
        left -= size
        found.append(FileDiff(path, before, after, tuple(hunks(_lines(texts[0]), _lines(texts[1])))))
    return found


def as_text(files: list[FileDiff]) -> str:
    """As `git diff` writes it, with a sentence in place of lines that are not shown."""
    return "".join(line for file in files for line in _written(file))


def _why_hidden(before: FileEntry | None, after: FileEntry | None) -> str:
    both = [entry for entry in (before, after) if entry is not None]
    if any(entry.lfs for entry in both):
        return "a large file, stored outside git"
    if any(entry.size > MAX_TEXT_BYTES for entry in both):
        return f"larger than {MAX_TEXT_BYTES // 1024} KiB"
    return ""


def _text(entry: FileEntry | None) -> str | None:
    """The file's text; None of a binary one."""
    if entry is None:
        return ""
    with store().open(entry.sha256) as file:
        data = file.read(MAX_TEXT_BYTES + 1)
    if b"\0" in data:
        return None
    try:
        return data.decode()
    except UnicodeDecodeError:
        return None


def _lines(text: str) -> list[str]:
    """Lines with their ends, which only \\n is, as in git: str.splitlines would also cut at a form feed."""
    return re.findall(r"[^\n]*\n|[^\n]+", text)


def _written(file: FileDiff) -> Iterator[str]:
    old, new = f"a/{file.path}", f"b/{file.path}"
    before, after = (entry.oid if entry is not None else "0" * 40 for entry in (file.before, file.after))
    yield f"diff --git {old} {new}\n"
    match file.status:
        case "added":
            yield f"new file mode 100644\nindex {before}..{after}\n"
        case "removed":
            yield f"deleted file mode 100644\nindex {before}..{after}\n"
        case "changed":
            yield f"index {before}..{after} 100644\n"
    old, new = old if file.before is not None else "/dev/null", new if file.after is not None else "/dev/null"
    if file.hidden:
        sizes = " -> ".join(f"{entry.size} bytes" if entry else "nothing" for entry in (file.before, file.after))
        yield f"Binary files {old} and {new} differ\n# {file.hidden}: {sizes}\n"
        return
    if file.hunks:
        yield f"--- {old}\n+++ {new}\n"
    for hunk in file.hunks:
        yield f"{hunk.header}\n"
        for line in hunk.lines:
            yield (
                f"{line.sign}{line.text}"
                if line.text.endswith("\n")
                else (f"{line.sign}{line.text}\n\\ No newline at end of file\n")
            )
