"""Opening a board, submitting to it, taking a run out of its ranking, and claiming a score."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass

from django.db import transaction
from django.utils import timezone

from hub.accounts import audit
from hub.accounts.models import User
from hub.accounts.permissions import can, require
from hub.boards import editions, hidden, lines, versions
from hub.boards.models import Board, Claim, Run
from hub.catalog.models import Item
from hub.errors import BadRequest, BadSpec
from hub.jobs import services as jobs
from hub.jobs.models import Job
from hub.repos import services as repos
from hub.repos import trees
from hub.repos.models import Repository
from priors.errors import NotAllowed, NotFound
from priors.manifest import parse_manifest

_LOCK, _MAX_LOCK = "composition.lock.json", 16 << 20
Kind = Repository.Kind


@dataclass(frozen=True)
class Rules:
    """How a board judges; None keeps what it has, or the usual for a new one."""

    labels: int | None = None
    draws: int | None = None
    test_rows: int | None = None
    budget: int | None = None


LIMITS = {"labels": (1, 10_000), "draws": (2, 50), "test_rows": (20, 100_000), "budget": (1, 1_000)}


def open_board(*, task: Repository, by: User, rules: Rules = Rules()) -> Board:
    """The task's board, made when it has none, with these rules. Raises NotAllowed, BadSpec."""
    require(by, "admin", task)
    if task.kind != Kind.TASK:
        raise BadSpec(f"{task} is a {task.kind}; a board is of a task.")
    given = {key: value for key, value in vars(rules).items() if value is not None}
    for key, value in given.items():
        least, most = LIMITS[key]
        if not least <= value <= most:
            raise BadSpec(f"{key}={value} is not between {least:,} and {most:,}. Choose another number.")
    with transaction.atomic():
        board, made = Board.objects.get_or_create(task=task, defaults=given)
        if not made and given:
            for key, value in given.items():
                setattr(board, key, value)
            board.save(update_fields=[*given])
        if made or given:
            audit.record("board.opened" if made else "board.changed", by=by, subject=task, namespace=task.namespace,
                         **given)  # fmt: skip
    return board


def submit(*, board: Board, name: str, by: User, address: str) -> Run:
    """The run of a prior or composition: a new one, or that of the same content under whatever name.

    name  `namespace/name`, of a prior perhaps with `#tap`

    Raises NotFound, NotAllowed, BadSpec, TooManyRequests.
    """
    repo, _, tap = name.partition("#")
    require(by, "create", Job(owner=by))
    require(by, "read_files", board.live_task)
    found = _submitted(repo, by)
    if found.head is None:
        raise NotFound(f"{found} has no files yet. Push it first.")
    content = content_of(found, tap)
    network = lines.digest_of(address)
    with transaction.atomic():
        board = Board.objects.select_for_update(of=("self",)).for_cards().get(pk=board.pk)
        task, rows = board.live_task, hidden.of(board)
        if task.head is None:
            raise NotFound(f"{task} has no rows yet. Push the task first.")
        if found.private and not task.private:
            raise NotAllowed(
                f"{found} is private, and the board of {task} is not: whoever reads the board could not look at what "
                "stands on it. Make it public first."
            )
        edition = editions.edition_of(board, task.head, rows)
        same = _same(board, edition=edition, content=content, by=by)
        if same is not None:
            return same
        speaks = lines.speaks_for(by, found.namespace)
        lines.charge(board, user=by, network=network, namespace=found.namespace.name if speaks else "")
        run = Run.objects.create(
            board=board, owner=by, owner_name=by.username, account=by.pk, network=network, private=task.private,
            namespace=found.namespace.name, speaks=speaks, trusted=by.is_superuser, submission=name[:300],
            repository=found, kind=found.kind, commit=found.head.oid, content=content, edition=edition,
            task_commit=task.head.oid, hidden=rows, labels=board.labels, draws=board.draws,
        )  # fmt: skip
        spec = {"run": str(run.pk), "task": f"{task.full_name}@{task.head.oid}", "submission": name}
        run.job = jobs.start(kind=Job.Kind.VERIFY, spec=spec, owner=by)
        run.save(update_fields=["job"])
    return run


def _same(board: Board, *, edition: str, content: str, by: User) -> Run | None:
    """The run of the same content that stands; else a withdrawn one that `by` may withdraw, which ranks again.

    To have a copy of what was withdrawn is no right to bring that run back. Who has one gets a run of their own, or
    anybody could keep a prior off a board for good, by submitting and withdrawing it first.
    """
    runs = board.runs.filter(edition=edition, content=content).exclude(state=Run.State.FAILED)
    standing = runs.filter(withdrawn_at=None).first()
    if standing is not None:
        return standing
    for run in runs:
        if can(by, "withdraw", run):
            run.withdrawn_at, run.withdrawn_why = None, ""
            run.save(update_fields=["withdrawn_at", "withdrawn_why"])
            versions.changed()
            _audit("run.restored", run, by)
            return run
    return None


def withdraw(run: Run, *, by: User, why: str = "") -> Run:
    """Takes a run out of the ranking. It stays where it is, marked: nobody shows only their best."""
    if not can(by, "withdraw", run):
        raise NotAllowed("Only who submitted it, and whoever may change what was submitted, withdraw a run.")
    with transaction.atomic():
        locked = Run.objects.select_for_update(of=("self",)).select_related("board__task__namespace").get(pk=run.pk)
        if locked.withdrawn_at is None:
            locked.withdrawn_at, locked.withdrawn_why = timezone.now(), why[:500]
            locked.save(update_fields=["withdrawn_at", "withdrawn_why"])
            versions.changed()
            _audit("run.withdrawn", locked, by)
    return locked


def _audit(action: str, run: Run, by: User) -> None:
    board = run.board
    owner = board.task.namespace if board.task is not None else board.task_owner or ""
    audit.record(action, by=by, subject=run.submission, namespace=owner, board=board.task_called)


def claim(
    *, board: Board, repository: Repository, score: float, by: User | None, source: str, metric: str = ""
) -> Claim:
    """Keeps a score that somebody says a repository has, in place of what was claimed before from the same source."""
    if by is not None:
        require(by, "write", repository)
    if repository.kind == Kind.TASK:
        raise BadRequest(
            f"{repository} is a task. A score is claimed of what solves one: a prior, a composition, a model."
        )
    if not math.isfinite(score) or abs(score) > 1e6:
        raise BadRequest("A claimed score is a finite number. Give the one of the board's metric.")
    made, _ = Claim.objects.update_or_create(
        board=board, repository=repository, source=source,
        defaults={"score": score, "metric": metric[:60], "by_name": by.username if by else ""},
    )  # fmt: skip
    return made


def content_of(repository: Repository, tap: str = "") -> str:
    """What makes two submissions the same one: the hash of weights, or of what is computed, whatever they are called.

    Raises BadSpec for what no board can judge.
    """
    if repository.kind == Kind.COMPOSITION:
        if tap:
            raise BadSpec(f"{repository} is a composition, which has no taps. Leave '#{tap[:50]}' out.")
        head = repository.head
        if head is None or trees.find(head.tree_id, _LOCK) is None:
            raise BadSpec(f"{repository} has no {_LOCK}. Fit and save it, then push that.")
        return str(json.loads(repos.read_file(head, _LOCK, limit=_MAX_LOCK))["structure"])
    item = Item.objects.filter(repository=repository).first()
    if item is None or item.manifest is None:
        raise BadSpec(f"{repository} is neither a prior nor a composition. Submit one of those.")
    manifest = parse_manifest(item.manifest)
    if tap and tap not in manifest.taps:
        raise BadSpec(f"{repository} has no tap {tap[:50]!r}. It has: {', '.join(manifest.taps)}.")
    weights = sorted(manifest.files[name].sha256 for name in manifest.weight_files if name in manifest.files)
    what = "weights:" + hashlib.sha256("".join(weights).encode()).hexdigest() if weights else manifest.identity()
    return f"{what}#{hashlib.sha256(tap.encode()).hexdigest()[:12] if tap else ''}"


def _submitted(name: str, by: User) -> Repository:
    found = Repository.objects.visible_to(by).for_cards().named(name)
    repository = found.filter(kind__in=(Kind.PRIOR, Kind.COMPOSITION)).first() or found.first()
    if repository is None:
        raise NotFound(f"There is no repository {name[:200]!r} here, or it is not yours to see.")
    require(by, "read_files", repository)
    return repository
