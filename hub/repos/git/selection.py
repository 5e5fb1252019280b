"""Which commits a fetch needs: those the client wants, without those it has, cut at the depth it asked for."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

from hub.errors import BadRequest
from hub.repos.models import Commit, Repository

_BATCH = 500


@dataclass
class Ask:
    """What a client said. Shallow are the commits it has without their parents."""

    wants: list[str] = field(default_factory=list)
    haves: list[str] = field(default_factory=list)
    shallow: list[str] = field(default_factory=list)
    depth: int | None = None
    relative: bool = False
    done: bool = False


@dataclass(frozen=True)
class Selected:
    """Commits to send, newest first, by row; and what the client has to know of its new edge."""

    commits: list[int]
    has: list[int]
    """Parents of those that the client has: what is in their folders need not be sent."""
    common: list[str]
    shallow: list[str]
    unshallow: list[str]
    is_bounded: bool
    """Every line of what is sent ends at something the client has, or at the depth it asked for."""


@dataclass(frozen=True)
class _Row:
    pk: int
    oid: str
    parents: tuple[int, ...]


def select(repository: Repository, ask: Ask) -> Selected:
    """Walks back from what is wanted, newest first. Raises BadRequest for a commit the repository does not have."""
    wants = _by_oid(repository, ask.wants)
    if lacking := set(ask.wants) - wants.keys():
        raise BadRequest(f"not our ref {min(lacking)}")
    known = _by_oid(repository, ask.haves)
    edge = set(_by_oid(repository, ask.shallow).values())
    endless = ask.depth is None or ask.relative
    want: dict[int, float] = {pk: float("inf") if endless else (ask.depth or 1) - 1 for pk in wants.values()}
    have, may_have = set(known.values()), set[int]()
    has: list[int] = []
    sent: list[int] = []
    shallow: list[str] = []
    unshallow: list[str] = []
    bounded = True
    can_stop_early = ask.depth is None and not edge
    for row in _backwards(repository, max([*want, *have])):
        left, held = want.pop(row.pk, None), row.pk in have
        if held:
            have.discard(row.pk)
            have.update(() if row.pk in edge else row.parents)
            has += [row.pk] if row.pk in may_have else []
        if left is not None:
            if not held:
                sent.append(row.pk)
                may_have.update(row.parents)
            if ask.relative and row.pk in edge:
                left = float(ask.depth or 0)
            if row.pk in edge if ask.depth is None else left <= 0:
                shallow += [row.oid] if row.parents and row.pk not in edge else []
            else:
                bounded = bounded and (held or bool(row.parents))
                unshallow += [row.oid] if row.pk in edge else []
                for parent in row.parents:
                    want[parent] = max(want.get(parent, 0), left - 1)
        if not want or (can_stop_early and want.keys() <= have):
            break
    return Selected(sent, [*has, *(want.keys() & may_have)], list(known), shallow, unshallow, bounded)


def _by_oid(repository: Repository, oids: Collection[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    ordered = list(dict.fromkeys(oids))
    for start in range(0, len(ordered), _BATCH):
        rows = Commit.objects.filter(repository=repository, oid__in=ordered[start : start + _BATCH])
        found |= dict(rows.values_list("oid", "pk"))
    return {oid: found[oid] for oid in ordered if oid in found}


def _backwards(repository: Repository, newest: int) -> Iterator[_Row]:
    """Commits of the repository from `newest` on, in the order of hub/repos/history.py."""
    rows = Commit.objects.filter(repository=repository).order_by("-pk").values_list("pk", "oid", "parent", "merged")
    below = newest + 1
    while chunk := list(rows.filter(pk__lt=below)[:_BATCH]):
        for pk, oid, parent, merged in chunk:
            yield _Row(pk, oid, tuple(each for each in (parent, merged) if each is not None))
        below = chunk[-1][0]
