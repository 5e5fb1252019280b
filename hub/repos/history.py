"""Looking back: ancestors of a commit, where two lines parted, and which commit last changed a path.

Rows are read newest first. A commit's row is always younger than its parents', so descending ids are an order in which
children come before parents, and a walk needs no more than the commits between it and its aim.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator

from hub.repos.models import Commit, TreeEntry

_CHUNKS = (32, 128, 512)
_MAX_LOOKED_AT = 2_000
"""So far back the last change of a path is looked for: what is older gets no answer rather than one after seconds."""
_TREES_A_QUERY = 400
_MANY_NAMES = 300

_What = tuple[str, bool]
"""What stands at a path: the hash of bytes or the id of a folder; and whether git has a pointer in its place."""


def ancestors(commit: Commit) -> Iterator[Commit]:
    """The commit and all it builds on, newest first; read as far as it is consumed."""
    wanted = {commit.pk}
    for row in _backwards(commit):
        if row.pk in wanted:
            wanted.remove(row.pk)
            wanted |= _parents(row)
            yield row
        if not wanted:
            return


def merge_base(one: Commit, other: Commit) -> Commit | None:
    """The newest commit that both build on; None when they share nothing."""
    seen: defaultdict[int, int] = defaultdict(int)
    seen[one.pk] |= 1
    seen[other.pk] |= 2
    for row in _backwards(max(one, other, key=lambda each: each.pk)):
        sides = seen.pop(row.pk, 0)
        if sides == 3:
            return row
        for parent in _parents(row) if sides else ():
            seen[parent] |= sides
        if not seen:
            return None
    return None


def commits_between(base: Commit | None, tip: Commit) -> list[Commit]:
    """What `tip` has on top of `base`, oldest first: what a pull request brings."""
    inside = {tip.pk}
    known: set[int] = {base.pk} if base is not None else set()
    found = []
    for row in _backwards(max(tip, base or tip, key=lambda each: each.pk)):
        if row.pk in known:
            known.remove(row.pk)
            inside.discard(row.pk)
            known |= _parents(row)
        elif row.pk in inside:
            inside.remove(row.pk)
            inside |= _parents(row)
            found.append(row)
        if not inside - known:
            break
    return found[::-1]


def last_commits(commit: Commit, paths: Iterable[str]) -> dict[str, Commit]:
    """For each path of `commit` the commit that last changed it, as `git log -1 -- path` tells.

    A path whose last change lies further back than the 2,000 newest commits is left out. Costs a query a chunk of
    commits and level of depth, however many paths are asked for.
    """
    found: dict[str, Commit] = {}
    wanted: defaultdict[int, set[str]] = defaultdict(set)
    wanted[commit.pk] |= set(paths)
    looked_at = 0
    for chunk in _chunks(commit):
        rows = _reached(chunk[: _MAX_LOOKED_AT - looked_at], wanted)
        asked = set().union(*wanted.values())
        trees = {row.pk: str(row.tree_id) for row in rows}
        outside = {pk for row in rows for pk in _parents(row)} - trees.keys()
        trees |= {pk: str(tree) for pk, tree in Commit.objects.filter(pk__in=outside).values_list("pk", "tree")}
        at = _what_is_at(set(trees.values()), asked)
        for row in rows:
            now, before = at[trees[row.pk]], [at[trees[pk]] if pk else {} for pk in (row.parent_id, row.merged_id)]
            for path in wanted.pop(row.pk, ()):
                what = now.get(path)
                if what is None:
                    continue
                if row.parent_id and before[0].get(path) == what:
                    wanted[row.parent_id].add(path)
                elif row.merged_id and before[1].get(path) == what:
                    wanted[row.merged_id].add(path)
                else:
                    found[path] = row
        looked_at += len(chunk)
        if not wanted or looked_at >= _MAX_LOOKED_AT:
            break
    return found


def _parents(row: Commit) -> set[int]:
    return {pk for pk in (row.parent_id, row.merged_id) if pk is not None}


def _chunks(newest: Commit) -> Iterator[list[Commit]]:
    """All commits of the repository from `newest` on, in chunks that grow: most questions end soon."""
    below, number = newest.pk + 1, 0
    rows = Commit.objects.filter(repository=newest.repository_id).select_related("author").order_by("-pk")
    while chunk := list(rows.filter(pk__lt=below)[: _CHUNKS[min(number, len(_CHUNKS) - 1)]]):
        yield chunk
        below, number = chunk[-1].pk, number + 1


def _backwards(newest: Commit) -> Iterator[Commit]:
    for chunk in _chunks(newest):
        yield from chunk


def _reached(chunk: list[Commit], wanted: dict[int, set[str]]) -> list[Commit]:
    """Those of the chunk that a path can come to from the commits in `wanted`."""
    reached, rows = set(wanted), []
    for row in chunk:
        if row.pk in reached:
            reached |= _parents(row)
            rows.append(row)
    return rows


def _what_is_at(trees: set[str], paths: set[str]) -> dict[str, dict[str, _What]]:
    """What each of the topmost folders has at each path; one query a level of depth and 400 folders."""
    found: dict[str, dict[str, _What]] = {tree: {} for tree in trees}
    # level: folder -> the (topmost folder, path to this folder) pairs it stands at
    level: dict[str, list[tuple[str, str]]] = {tree: [(tree, "")] for tree in trees}
    depth = 0
    while level:
        below: defaultdict[str, list[tuple[str, str]]] = defaultdict(list)
        heads = {_head(path, depth) for path in paths if path.count("/") >= depth}
        deeper = {_head(path, depth) for path in paths if path.count("/") > depth}
        names = {head.rpartition("/")[2] for head in heads}
        here = list(level)
        for start in range(0, len(here), _TREES_A_QUERY):
            rows = TreeEntry.objects.filter(tree__in=here[start : start + _TREES_A_QUERY])
            if len(names) <= _MANY_NAMES:
                rows = rows.filter(name__in=names)
            for tree, name, blob, lfs, subtree in rows.values_list("tree", "name", "blob", "lfs", "subtree"):
                for top, prefix in level[tree]:
                    path = prefix + name
                    if path in heads:
                        found[top][path] = (str(subtree or blob), lfs)
                        if subtree is not None and path in deeper:
                            below[str(subtree)].append((top, f"{path}/"))
        level, depth = dict(below), depth + 1
    return found


def _head(path: str, depth: int) -> str:
    """The first `depth + 1` segments of a path."""
    return "/".join(path.split("/")[: depth + 1])
