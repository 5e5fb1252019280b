"""/boards: what this hub measured of submissions, what they are held against, and submitting one."""

from __future__ import annotations

from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Any, Literal
from uuid import UUID

from django.conf import settings
from ninja import Router, Status
from pydantic import BaseModel, Field

from hub.accounts import rates
from hub.accounts.permissions import require
from hub.api.auth import Anyone, Somebody
from hub.api.blobs import body
from hub.api.paging import page
from hub.api.repositories import find as find_repository
from hub.api.schemas import In
from hub.boards import hidden, lines, ranking, submissions
from hub.boards.models import Board, Claim, HiddenRows, Run
from hub.boards.submissions import Rules
from hub.errors import TooLarge
from hub.repos.models import Repository
from priors.errors import NotFound

router = Router(tags=["boards"])

_Score = Annotated[float, Field(allow_inf_nan=False)]


class BoardOut(BaseModel):
    task: str
    labels: int = Field(description="labelled rows a class to learn from")
    draws: int
    test_rows: int
    budget: int = Field(description="answers a week for an account, its network, and a namespace's people")
    hidden_rows: int | None = Field(description="how many rows judge that nobody gets; null: rows of the task judge")
    created_at: datetime

    @classmethod
    def from_row(cls, board: Board, rows: HiddenRows | None) -> BoardOut:
        return cls(
            task=board.live_task.full_name, labels=board.labels, draws=board.draws, test_rows=board.test_rows,
            budget=board.budget, hidden_rows=rows.rows if rows else None, created_at=board.created_at,
        )  # fmt: skip


class BoardPage(BaseModel):
    items: list[BoardOut]
    next: str | None


class AgainstOut(BaseModel):
    arm: str
    name: str
    members: list[str]
    mean: float | None
    low: float | None
    high: float | None
    gain: float | None = Field(description="how much better the run is on the same draws and rows")
    above: bool | None = Field(description="whether the whole 95 % interval of that is above 0; null: not tried")
    skipped: str = Field(description="why it could not be tried")


class RunOut(BaseModel):
    id: UUID
    task: str
    task_deleted: bool = Field(description="its numbers stay; the task, its board and its rows are gone")
    submission: str = Field(description="as it was called when it was submitted")
    called: str = Field(description="as it is called now, if it is there and everybody may see it")
    kind: str
    commit: str
    owner: str
    state: Literal["waiting", "scored", "failed"]
    job: UUID | None
    score: float | None = Field(
        description="null: not measured, or on hidden rows not clearly above what its owner was told before"
    )
    step: float | None = Field(description="what the score is rounded to; 0: it is exact")
    interval95: tuple[float, float] | None
    interval90: tuple[float, float] | None
    against: list[AgainstOut]
    metric: str
    labels: int
    draws: int
    test_rows: int
    edition: str
    data: str = Field(description="fingerprint of the rows it was judged on")
    task_commit: str
    structure: str = Field(description="of the pinned lock of what was fitted")
    versions: dict[str, str]
    hardware: dict[str, Any]
    seeds: str = Field(description="hash of the hub's seeds; the same for all runs of an edition")
    problem: str
    withdrawn_at: datetime | None
    withdrawn_why: str
    created_at: datetime
    finished_at: datetime | None

    @classmethod
    def from_row(cls, run: Run) -> RunOut:
        shown = run.shown is not None
        bounds = ranking.interval(run) if shown else None
        same = ("id", "submission", "kind", "commit", "state", "step", "metric", "labels", "draws", "test_rows",
                "edition", "data", "task_commit", "problem", "withdrawn_at", "withdrawn_why", "created_at",
                "finished_at")  # fmt: skip
        return cls(
            **{name: getattr(run, name) for name in same},
            task=run.board.task_called, task_deleted=run.board.task_id is None, called=run.called,
            owner=run.owner_name, job=run.job_id, score=run.shown,
            interval95=bounds[:2] if bounds else None, interval90=bounds[2:] if bounds else None,
            against=[AgainstOut(**vars(each)) for each in ranking.against(run)] if shown else [],
            structure=str(run.lock.get("structure", "")), versions=run.facts.get("versions", {}),
            hardware=run.facts.get("hardware", {}), seeds=str(run.facts.get("seeds", "")),
        )  # fmt: skip


class RankedOut(BaseModel):
    first: int = Field(description="the ranks it shares, from")
    last: int = Field(description="the ranks it shares, to")
    verdict: str
    run: RunOut


class ClaimOut(BaseModel):
    """A score that somebody says they have. It ranks nowhere."""

    repository: str
    score: float
    metric: str
    source: Literal["card", "entered"]
    verified: Literal[False] = False
    created_at: datetime

    @classmethod
    def from_row(cls, claim: Claim) -> ClaimOut:
        return cls(
            repository=claim.repository.full_name, score=claim.score, metric=claim.metric,
            source=claim.source, created_at=claim.created_at,  # type: ignore[arg-type]
        )  # fmt: skip


class BudgetOut(BaseModel):
    of: int
    left: int
    renews_at: datetime | None


class StandingOut(BaseModel):
    board: BoardOut
    edition: str
    ranked: list[RankedOut]
    placebos: list[AgainstOut] = Field(description="what every run is held against, of the newest run")
    unplaced: list[RunOut] = Field(description="measured, and not clearly above what their owners were told before")
    waiting: list[RunOut]
    withdrawn: list[RunOut]
    failed: list[RunOut]
    earlier: list[RunOut] = Field(description="of earlier editions: other rows or rules")
    claims: list[ClaimOut] = Field(description="claimed, not verified")
    budget: BudgetOut | None = Field(description="yours; null when nobody is signed in")


class RulesIn(In):
    labels: int | None = None
    draws: int | None = None
    test_rows: int | None = None
    budget: int | None = None


class SubmissionIn(In):
    name: str = Field(max_length=300, description="namespace/name of a prior or composition; of a prior perhaps #tap")


class WithdrawIn(In):
    why: str = Field("", max_length=500)


class ClaimIn(In):
    repository: str = Field(max_length=200, description="namespace/name")
    score: _Score
    metric: str = Field("", max_length=60)


class HiddenOut(BaseModel):
    rows: int
    seal: str = Field(description="SHA-256 of a secret and the file: says which rows, and nothing of them")


@router.get("", auth=Anyone(), response=BoardPage, summary="Boards, newest first")
def index(request: Any, limit: int = 50, cursor: str = "") -> BoardPage:
    items, following = page(Board.objects.visible_to(request.auth).for_cards(), limit=limit, cursor=cursor)
    rows = hidden.of_all(items)
    return BoardPage(items=[BoardOut.from_row(board, rows.get(board.pk)) for board in items], next=following)


@router.get("/runs/{run_id}", auth=Anyone(), response=RunOut, summary="One run")
def run(request: Any, run_id: UUID) -> RunOut:
    return RunOut.from_row(_run(request, run_id))


@router.post("/runs/{run_id}/withdraw", auth=Somebody(), response=RunOut, summary="Take it out of the ranking")
def withdraw(request: Any, run_id: UUID, payload: WithdrawIn) -> RunOut:
    submissions.withdraw(_run(request, run_id), by=request.auth, why=payload.why)
    return RunOut.from_row(_run(request, run_id))


@router.get("/{ns}/{name}", auth=Anyone(), response=StandingOut, summary="How a board stands")
def show(request: Any, ns: str, name: str) -> StandingOut:
    found = ranking.standing(_board(request, ns, name), actor=request.auth)
    several = {
        key: [RunOut.from_row(run) for run in getattr(found, key)]
        for key in ("unplaced", "waiting", "withdrawn", "failed", "earlier")
    }
    budget = None
    if request.auth.is_authenticated:
        network = lines.digest_of(rates.address_of(request))
        budget = BudgetOut(**vars(lines.budget_of(found.board, user=request.auth, network=network)))
    return StandingOut(
        board=BoardOut.from_row(found.board, found.rows),
        edition=found.edition,
        ranked=[
            RankedOut(first=line.first, last=line.last, verdict=line.verdict, run=RunOut.from_row(line.run))
            for line in found.lines
        ],
        placebos=[AgainstOut(**vars(each)) for each in found.placebos],
        claims=[ClaimOut.from_row(claim) for claim in found.claims],
        budget=budget,
        **several,
    )


@router.put("/{ns}/{name}", auth=Somebody(), response=BoardOut, summary="Open a task's board, or change its rules")
def open_board(request: Any, ns: str, name: str, payload: RulesIn) -> BoardOut:
    task = _task(request, ns, name)
    require(request.auth, "admin", task)
    board = submissions.open_board(task=task, by=request.auth, rules=Rules(**payload.model_dump()))
    return BoardOut.from_row(board, hidden.of(board))


@router.put(
    "/{ns}/{name}/hidden",
    auth=Somebody(),
    response=HiddenOut,
    summary="Hide rows that judge: a table with the task's columns, or a zip of data.csv and media/",
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
        }
    },
)
def hide(request: Any, ns: str, name: str, file: str = "rows.csv") -> HiddenOut:
    board = _board(request, ns, name)
    require(request.auth, "admin", board.live_task)
    rates.charge(request, "upload", request.auth)
    rows = hidden.keep(board=board, name=file, content=_whole(request), by=request.auth)
    return HiddenOut(rows=rows.rows, seal=rows.seal)


@router.post("/{ns}/{name}/submissions", auth=Somebody(), response={202: RunOut}, summary="Have something judged")
def submit(request: Any, ns: str, name: str, payload: SubmissionIn) -> Any:
    board = _board(request, ns, name)
    made = submissions.submit(board=board, name=payload.name, by=request.auth, address=rates.address_of(request))
    return Status(HTTPStatus.ACCEPTED, RunOut.from_row(made))


@router.post("/{ns}/{name}/claims", auth=Somebody(), response={201: ClaimOut}, summary="Say a score; it never ranks")
def claim(request: Any, ns: str, name: str, payload: ClaimIn) -> Any:
    board = _board(request, ns, name)
    repository = Repository.objects.visible_to(request.auth).for_cards().named(payload.repository).first()
    if repository is None:
        raise NotFound(f"There is no repository {payload.repository!r} here, or it is not yours to see.")
    require(request.auth, "write", repository)
    made = submissions.claim(
        board=board, repository=repository, score=payload.score, metric=payload.metric, by=request.auth,
        source=Claim.Source.ENTERED,
    )  # fmt: skip
    return Status(HTTPStatus.CREATED, ClaimOut.from_row(made))


def _task(request: Any, ns: str, name: str) -> Repository:
    """The task of this name: other repositories may have it too."""
    named = Repository.objects.visible_to(request.auth).for_cards().named(f"{ns}/{name}")
    return named.filter(kind=Repository.Kind.TASK).first() or find_repository(request, ns, name)


def _board(request: Any, ns: str, name: str) -> Board:
    task = _task(request, ns, name)
    board = Board.objects.for_cards().filter(task=task).first()
    if board is None:
        raise NotFound(f"{ns}/{name} has no board. Whoever may change the task opens one.")
    return board


def _run(request: Any, run_id: UUID) -> Run:
    related = ("board__task__namespace", "repository__namespace")
    found = Run.objects.visible_to(request.auth).select_related(*related).filter(pk=run_id).first()
    if found is None:
        raise NotFound("There is no such run, or it is not yours to see.")
    return found


def _whole(request: Any) -> bytes:
    content = bytearray()
    for piece in body(request):
        content += piece
        if len(content) > settings.HIDDEN_MAX_BYTES:
            raise TooLarge(f"Hidden rows have more than {settings.HIDDEN_MAX_BYTES:,} bytes. Send fewer rows.")
    return bytes(content)
