"""What this hub measured, for rankers: outcomes of runs on public boards, with a limit on what one voice can say.

A hub begins with what the program brings of its starter priors (composer/rank/starter.py). Nothing else gets in: no
likes, no downloads, no claimed scores, no benchmark whose draws somebody chose.

    whose task   a run on a task of one's own says little: whoever owns a task, alone or in an
                organisation, can make one that a prior wins
    whose run    who submits chooses where, and a network or an account may be many or one
    what prior   the same weights under fifty names are one prior, called what they were called first
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

from django.conf import settings
from django.contrib.auth.models import AnonymousUser
from django.db.models import Q

from hub.accounts.models import Membership
from hub.boards import versions
from hub.boards.ladder import rough, rounded
from hub.boards.models import Run
from hub.boards.submissions import content_of
from hub.catalog.models import Item, Revision
from hub.repos import services as repos
from hub.repos.models import Repository
from hub.repos.retired import moved_to
from priors.errors import UserError
from priors.tasks.spec import TaskSpec, modality_of, parse_task

SHARE = 0.25
"""The part of a prior's tasks that one voice may have brought, at most."""
ALONE = 3
"""Tasks of others on which a prior counts although one voice brought them all: somebody has to be first."""

STARTER = "priorhub"
"""The namespace that `manage.py seed` fills."""

_MAX_JSON = 16 << 20


@dataclass(frozen=True)
class Said:
    """One outcome, with the fields of composer.rank.history.Outcome."""

    task: str
    members: tuple[str, ...]
    arm: str
    labels: int
    draw: int
    score: float
    low: float
    high: float
    seconds: float


@dataclass(frozen=True)
class Past:
    """Everything, in the order it was measured. Cards have the fields of TaskCard and PriorCard."""

    outcomes: tuple[Said, ...]
    tasks: tuple[Mapping[str, Any], ...]
    priors: tuple[Mapping[str, Any], ...]

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {"outcomes": [asdict(one) for one in self.outcomes], "tasks": list(self.tasks),
                "priors": list(self.priors)}  # fmt: skip


@dataclass(frozen=True)
class Told:
    """The history as it is told: as values of JSON, with a hash of them all."""

    past: Past
    content: Mapping[str, Any]
    mark: str


def past() -> Past:
    """What counts now. Read again only after a run or a repository changed."""
    return told().past


def told() -> Told:
    """The same, ready to be sent. Put together and hashed once for each state of the hub, not once a request."""
    global _kept
    state = settings.PRIORHUB_HOME, versions.now(), Revision.objects.values_list("epoch", "value").first()
    with _lock:
        if _kept is not None and _kept[0] == state:
            return _kept[1]
    found = _measured()
    content = found.to_dict()
    mark = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    made = Told(found, content, mark)
    with _lock:
        _kept = (state, made)
    return made


_lock = threading.Lock()
_kept: tuple[Any, Told] | None = None


def _measured() -> Past:
    runs = list(
        Run.objects.visible_to(AnonymousUser())
        .ranked()
        .filter(Q(shown__isnull=False), private=False, board__task__private=False)
        .select_related("board__task__namespace__owner", "board__task__head")
        .defer("hits", "lock")
        .prefetch_related("outcomes")
        .order_by("pk")
    )
    called = _names(_repositories(runs))
    kept = _within_influence(runs, called)
    tasks = {run.board.live_task.full_name: run.board.live_task for run in kept}
    cards = {name: card for name, task in tasks.items() if (card := _task_card(name, task)) is not None}
    outcomes = [said for run in kept if run.board.live_task.full_name in cards for said in _said(run, called)]
    known, known_cards = _starter()
    members = dict.fromkeys(member for one in (*known, *outcomes) for member in one.members)
    return Past(
        outcomes=(*known, *outcomes),
        tasks=(*known_cards, *cards.values()),
        priors=tuple(_prior_cards(members)),
    )


def _starter() -> tuple[list[Said], list[dict[str, Any]]]:
    """What the program brings with it of the starter priors that were seeded here; nothing on a hub without them.

    Nobody else's words get in by a name: this namespace is the hub's own.
    """
    seeded = Item.objects.priors().filter(repository__namespace__name=STARTER, repository__private=False)
    names = {f"{STARTER}/{name}" for name in seeded.values_list("repository__name", flat=True)}
    if not names:
        return [], []
    from composer.rank.starter import starter_history  # pyarrow, where there is something to read

    outcomes, cards = starter_history()
    kept = [one for one in outcomes if {_repo(member) for member in one.members} <= names]
    tasks = {one.task for one in kept if one.members}
    said = [Said(**{**vars(one), "task": _never_a_repository(one.task)}) for one in kept if one.task in tasks]
    return said, [asdict(card) | {"name": _never_a_repository(card.name)} for card in cards if card.name in tasks]


def _never_a_repository(task: str) -> str:
    """The name of a starter task as no repository can be called, or whoever took it could speak of that task."""
    return f"starter: {task}"


def _within_influence(runs: Sequence[Run], called: Mapping[str, str]) -> list[Run]:
    """The runs that count: of each voice its first ones, as many as what others brought of the same priors allows.

    What others brought is what counts of theirs without anybody to vouch for it; two voices with many tasks of their
    own could vouch for each other otherwise.
    """
    owners = _owners(runs)
    used: dict[tuple[str, str], set[str]] = defaultdict(set)
    kept = _take(runs, called, used, lambda run, prior, voice: 0 if _is_own(run, owners) else ALONE)
    brought: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for run in kept:
        for prior in _priors(run, called):
            for voice in _voices(run) or {"hub"}:
                brought[prior][voice].add(str(run.board_id))

    def most(run: Run, prior: str, voice: str) -> int:
        others = set().union(*(tasks for other, tasks in brought[prior].items() if other != voice))
        allowed = int(len(others - brought[prior][voice]) * SHARE / (1 - SHARE))
        return allowed if _is_own(run, owners) else max(allowed, ALONE)

    known = {run.pk for run in kept}
    known |= {run.pk for run in _take([run for run in runs if run.pk not in known], called, used, most, kept)}
    return [run for run in runs if run.pk in known]


def _take(
    runs: Iterable[Run], called: Mapping[str, str], used: dict[tuple[str, str], set[str]],
    most: Callable[[Run, str, str], int], before: Iterable[Run] = (),
) -> list[Run]:  # fmt: skip
    """In order, those with which no voice brings more than `most` tasks of a prior; `used` grows by them."""
    first = {_said_once(run, called) for run in before}
    kept = []
    for run in runs:
        if (what := _said_once(run, called)) in first:
            continue
        task = str(run.board_id)
        spent = [(used[prior, voice], most(run, prior, voice)) for prior in _priors(run, called)
                 for voice in _voices(run)]  # fmt: skip
        if all(task in tasks or len(tasks) < allowed for tasks, allowed in spent):
            first.add(what)
            kept.append(run)
            for tasks, _ in spent:
                tasks.add(task)
    return kept


def _said_once(run: Run, called: Mapping[str, str]) -> tuple[str, tuple[str, ...], frozenset[str]]:
    """A voice says the same set of priors once."""
    return run.edition, _members(run, called), frozenset(_voices(run))


def _owners(runs: Iterable[Run]) -> dict[int, set[int]]:
    """Namespace -> accounts whose own it is: its owner, or everybody in the organisation."""
    namespaces = {run.board.live_task.namespace_id: run.board.live_task.namespace.owner_id for run in runs}
    owners = {pk: {owner} if owner is not None else set() for pk, owner in namespaces.items()}
    for pk, user in Membership.objects.filter(organisation__in=namespaces).values_list("organisation", "user"):
        owners[pk].add(user)
    return owners


def _voices(run: Run) -> set[str]:
    """Whose say a run is. The hub's own administrators have no limit: they could write the database."""
    if run.trusted:
        return set()
    return {f"account {run.account}", *([f"network {run.network}"] if run.network else [])}


def _is_own(run: Run, owners: Mapping[int, set[int]]) -> bool:
    """Whether the task is of who submitted, of an organisation of theirs, or of the namespace of what was."""
    namespace = run.board.live_task.namespace
    return run.account in owners[namespace.pk] or namespace.name == run.namespace


def _said(run: Run, called: Mapping[str, str]) -> Iterable[Said]:
    """A run's outcomes. On hidden rows one a way, rounded: draws would tell what the ladder keeps."""
    task = run.board.live_task.full_name
    if run.hidden_id is None and not run.step:
        for one in run.outcomes.all():
            yield Said(task, _called(one.members, called), one.arm, one.labels, one.draw, one.score, one.low, one.high,
                       one.seconds)  # fmt: skip
        return
    ways: dict[tuple[str, bool], list[Any]] = defaultdict(list)
    for one in run.outcomes.all():
        if one.labels == run.labels:
            ways[one.arm, one.submitted].append(one)
    for (arm, submitted), found in ways.items():
        mean = fmean(one.score for one in found)
        score = run.shown if submitted and run.shown is not None else rounded(mean, run.step or 0.0)
        half = rough(fmean(one.high - one.low for one in found) / 2)
        members = _called({member for one in found for member in one.members}, called)
        yield Said(task, members, arm, run.labels, 0, score, score - half, score + half, found[0].seconds)


def _repositories(runs: Iterable[Run]) -> set[str]:
    return {_repo(member) for run in runs for one in run.outcomes.all() for member in one.members}


def _names(repositories: Iterable[str]) -> dict[str, str]:
    """Repository -> what its content was called first on this hub, and is called still."""
    identities: dict[str, tuple[str, str]] = {}
    for name in repositories:
        found = Repository.objects.named(name).select_related("namespace").first()
        found = found or moved_to(name, actor=AnonymousUser(), type=Repository.Type.MODEL)
        if found is None:
            continue
        try:
            content = content_of(found)
        except UserError:
            continue
        identities[name] = (
            content,
            Item.objects.filter(repository=found).values_list("identity", flat=True).first() or "",
        )
    first: dict[str, str] = {}
    for content, identity in dict.fromkeys(identities.values()):
        same = [name for name, known in identities.items() if known[0] == content]
        public = Item.objects.filter(identity=identity, repository__private=False).select_related(
            "repository__namespace"
        )
        oldest = public.order_by("created_at", "pk").first() if identity else None
        first.setdefault(content, oldest.repository.full_name if oldest is not None else sorted(same)[0])
    return {name: first[content] for name, (content, _) in identities.items()}


def _priors(run: Run, called: Mapping[str, str]) -> set[str]:
    return {_repo(member) for member in _members(run, called)}


def _members(run: Run, called: Mapping[str, str]) -> tuple[str, ...]:
    return _called({member for one in run.outcomes.all() if one.submitted for member in one.members}, called)


def _called(members: Iterable[str], called: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(sorted({called.get(repo := _repo(member), repo) + member[len(repo) :] for member in members}))


def _repo(member: str) -> str:
    return member.partition("#")[0].partition("@")[0]


def _task_card(name: str, task: Repository) -> dict[str, Any] | None:
    if task.head is None:
        return None
    try:
        spec: TaskSpec = parse_task(repos.read_file(task.head, "task.json", limit=_MAX_JSON))
    except UserError:  # the newest commit is no task any more
        return None
    return {
        "name": name, "modality": modality_of(column.modality for column in spec.inputs), "kind": spec.kind,
        "classes": len(spec.labels), "rows": spec.rows, "metric": spec.metric, "type": "",
        "text": (spec.summary or task.description)[:500],
    }  # fmt: skip


def _prior_cards(members: Iterable[str]) -> Iterable[dict[str, Any]]:
    for member in members:
        found = Item.objects.filter(repository__in=Repository.objects.named(_repo(member)), repository__private=False)
        item = found.only("parameters", "size_bytes", "kind", "modality", "architecture", "summary", "license").first()
        if item is None:
            yield {"name": member, "numbers": {}, "tags": [], "text": ""}
            continue
        tags = {
            "kind": item.kind,
            "modality": item.modality,
            "architecture": item.architecture,
            "license": item.license,
        }
        yield {
            "name": member,
            "numbers": {"parameters": float(item.parameters or 0), "size_bytes": float(item.size_bytes)},
            "tags": [f"{key}={value}" for key, value in tags.items() if value],
            "text": f"{_repo(member).partition('/')[2]} {item.summary}",  # as composer.past.prior_card has it
        }
