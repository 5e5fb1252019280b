"""What the page of two revisions shows: graphs as one drawing, tensors, terms, the card and every other file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from composer.diff import Difference, diff
from composer.errors import BadLock
from composer.lock import FILE_NAME, Lock
from hub.accounts.access import Actor
from hub.compose.changes import terms_change
from hub.compose.priors import Readable
from hub.compose.terms import terms_of
from hub.compose.weights import weight_changes
from hub.repos import diffs, trees
from hub.repos.models import Commit, Repository
from hub.repos.storage import store
from hub.repos.trees import FileEntry
from hub.web.compositions import links_of, refs_of
from hub.web.graph_changes import changes_of, lock_of
from hub.web.steps import Step, steps_of
from hub.web.svg_graph import MAX_DRAWN, drawing
from hub.web.svg_marks import clean
from priors.errors import BadWeights, PriorhubError

CARD = "README.md"
MAX_TENSORS = 200
_MOST_WEIGHTS = 8
"""Files of weights whose tensors are compared."""


def compare_context(actor: Actor, before: Commit, after: Commit) -> dict[str, Any]:
    """Everything that differs between two commits, without what the actor may not have of either."""
    pairs = trees.changed(before.tree_id, after.tree_id)
    hidden = diffs.withheld(actor, before, {path: (old, None) for path, (old, _) in pairs.items()})
    hidden |= diffs.withheld(actor, after, {path: (None, new) for path, (_, new) in pairs.items()})
    files = diffs.of_files(pairs, hidden)
    seen = {path: pair for path, pair in pairs.items() if path not in hidden}
    context: dict[str, Any] = {
        "files_changed": len(files),
        "card": [file for file in files if file.path == CARD],
        "files": [file for file in files if file.path != CARD],
        "weights": _weights(seen),
        "hidden": hidden.get(FILE_NAME, ""),
    }
    if after.repository.kind == Repository.Kind.COMPOSITION:
        context |= _graphs(actor, pairs, hidden, after)
    return context


def _graphs(actor: Actor, pairs: diffs.Pairs, hidden: Mapping[str, str], after: Commit) -> dict[str, Any]:
    """The drawing, the changes in words and those of the terms; or why there are none."""
    if FILE_NAME in hidden:
        return {"no_graph": f"The graphs are not compared: {hidden[FILE_NAME]}."}
    if FILE_NAME not in pairs:
        same = isinstance(trees.find(after.tree_id, FILE_NAME), FileEntry)
        return {"same_graph": True} if same else {"no_graph": f"Neither revision has a {FILE_NAME}."}
    old, new = pairs[FILE_NAME]
    if old is None or new is None:
        which = "The first" if old is None else "The second"
        return {"no_graph": f"{which} revision has no {FILE_NAME} to compare with."}
    try:
        first, second = lock_of(old), lock_of(new)
    except (PriorhubError, UnicodeDecodeError):
        return {"no_graph": f"A {FILE_NAME} of these revisions is too large or not valid. Use `priorhub diff`."}
    found = diff(first, second)
    steps = marked(first, second, found)
    links = links_of(steps, actor)
    context = {
        "graph": drawing(steps, links=links, most=MAX_DRAWN),
        "graph_changes": changes_of(found, first, second),
        "step_count": len(steps),
    }
    known = Readable(actor, [ref for lock in (first, second) for ref in refs_of(lock.to_dict())]).known
    try:
        return context | {"terms": terms_change(terms_of(first, known), terms_of(second, known))}
    except BadLock as error:
        return context | {"terms_refused": str(error)[:500]}


def marked(first: Lock, second: Lock, found: Difference) -> list[Step]:
    """The steps of the second lock, and those that only the first has, each with what happened to it."""
    names = {clean(old): clean(new) for old, new in found.renamed}
    marks = {clean(change.node): "changed" for change in found.changed}
    marks |= dict.fromkeys(map(clean, found.added), "added") | dict.fromkeys(names.values(), "renamed")
    was = {step.name: step for step in steps_of(first.to_dict())}
    steps = []
    for step in steps_of(second.to_dict()):
        mark = marks.get(step.name, "")
        before = was.get(next((old for old, new in names.items() if new == step.name), step.name))
        once = [names.get(source, source) for source in before.reads] if before and mark == "changed" else []
        steps.append(replace(step, mark=mark, read_once=tuple(one for one in once if one not in step.reads)))
    for name in found.removed:
        step = was[clean(name)]
        steps.append(replace(step, mark="removed", reads=tuple(names.get(source, source) for source in step.reads)))
    return steps


def _weights(pairs: diffs.Pairs) -> list[dict[str, Any]]:
    """Of each file of weights that both have: which tensors differ, or why that is not known."""
    both = [
        (path, old, new)
        for path, (old, new) in pairs.items()
        if path.endswith(".safetensors") and old is not None and new is not None
    ]
    found: list[dict[str, Any]] = []
    for path, old, new in both[:_MOST_WEIGHTS]:
        with store().open(old.sha256) as before, store().open(new.sha256) as after:
            try:
                changes = weight_changes(before, after)
            except BadWeights as error:
                found.append({"path": path, "why": str(error)[:300]})
                continue
        shown, more = changes.changes[:MAX_TENSORS], max(0, len(changes.changes) - MAX_TENSORS)
        found.append({"path": path, "changes": changes, "shown": shown, "more": more})
    return found
