"""Boards: the list, a task's board with what can be done there, and a run."""

from __future__ import annotations

from uuid import UUID

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_POST, require_safe

from hub.accounts import rates
from hub.accounts.permissions import can, require
from hub.boards import hidden, lines, ranking, submissions
from hub.boards.intervals import Span
from hub.boards.models import Board, Run
from hub.boards.submissions import LIMITS, Rules
from hub.errors import BadRequest, TooLarge
from hub.repos.models import Repository
from hub.web.boards import board_view, labels_saved, run_plot
from hub.web.pages import find_repository, page, repository_bar
from priors.errors import NotFound

_PAGE = 24


@require_safe
def index(request: HttpRequest) -> HttpResponse:
    """Every board the visitor may see, newest first."""
    found = Paginator(Board.objects.visible_to(request.user).for_cards(), _PAGE).get_page(request.GET.get("page"))
    rows = hidden.of_all(found)
    boards = [(board, rows.get(board.pk)) for board in found]
    deleted = Board.objects.gone(request.user)[:_PAGE]
    context = {"found": found, "boards": boards, "deleted": deleted}
    return page(request, "boards/boards.html", context, section="boards")


@require_safe
def of_deleted(request: HttpRequest, board_id: int) -> HttpResponse:
    """What was measured on a task that is deleted: nothing ranks there any more, and nothing is lost."""
    board = Board.objects.gone(request.user).filter(pk=board_id).first()
    if board is None:
        raise NotFound("There is no such board, or it is not yours to see.")
    runs = Paginator(Run.objects.visible_to(request.user).filter(board=board).for_cards(), _PAGE)
    found = runs.get_page(request.GET.get("page"))
    shown = [(run, Span(run.shown, *ranking.interval(run)[:2]) if run.shown is not None else None) for run in found]
    return page(request, "boards/deleted.html", {"board": board, "found": found, "runs": shown}, section="boards")


@require_safe
def show(request: HttpRequest, owner: str, name: str) -> HttpResponse:
    """The ranking, what it is held against, everything that does not rank; submitting; the owner's rules."""
    board = _board(request, owner, name)
    found = ranking.standing(board, actor=request.user)
    budget = None
    if request.user.is_authenticated:
        network = lines.digest_of(rates.address_of(request))
        budget = lines.budget_of(board, user=request.user, network=network)
    context = {
        "repository": board.live_task, "board": board, "standing": found, "view": board_view(found), "budget": budget,
        "limits": LIMITS, "most_bytes": settings.HIDDEN_MAX_BYTES,
    }  # fmt: skip
    bar = repository_bar(request.user, board.live_task, "board")
    return page(request, "boards/board.html", context | bar, section="boards")


@require_safe
def run(request: HttpRequest, run_id: UUID) -> HttpResponse:
    """One run: its interval, what it is held against, and what it was measured with."""
    found = _run(request, run_id)
    against = ranking.against(found) if found.shown is not None else ()
    bounds = ranking.interval(found) if found.shown is not None else None
    worth, curve = labels_saved(found, list(found.outcomes.all())) if bounds else ("", "")
    context = {
        "run": found,
        "against": against,
        "bounds": bounds,
        "plot": run_plot(found, bounds[0], bounds[1], against) if bounds else "",
        "ways": ranking.ways(found),
        "worth": worth,
        "curve": curve,
        "may_withdraw": found.withdrawn_at is None and can(request.user, "withdraw", found),
        "submitted": found.repository if found.repository and can(request.user, "read", found.repository) else None,
    }
    return page(request, "boards/run.html", context, section="boards")


@login_required
@require_POST
def submit(request: HttpRequest, owner: str, name: str) -> HttpResponse:
    """Has something judged; then to its run."""
    board = _board(request, owner, name)
    made = submissions.submit(
        board=board, name=request.POST.get("name", "").strip(), by=request.user,  # type: ignore[arg-type]
        address=rates.address_of(request),
    )  # fmt: skip
    if made.owner_id != request.user.pk or made.state != Run.State.WAITING:
        messages.success(request, "The same content was measured before, perhaps under another name: this is its run.")
    return redirect(made)


@login_required
@require_POST
def rules(request: HttpRequest, owner: str, name: str) -> HttpResponse:
    """Opens the board of a task, or changes how it judges."""
    task = _task(request, owner, name)
    given = {key: request.POST.get(key, "").strip() for key in LIMITS}
    if any(value and not (value.isascii() and value.isdigit() and len(value) < 10) for value in given.values()):
        raise BadRequest("A rule is a whole number. Correct it, or leave it empty.")
    chosen = Rules(**{key: int(value) for key, value in given.items() if value})
    return redirect(submissions.open_board(task=task, by=request.user, rules=chosen))  # type: ignore[arg-type]


@login_required
@require_POST
def hide(request: HttpRequest, owner: str, name: str) -> HttpResponse:
    """Takes rows that judge and that nobody gets."""
    board = _board(request, owner, name)
    require(request.user, "admin", board.live_task)
    upload = request.FILES.get("rows")
    if upload is None:
        raise BadRequest("No file came with the form. Choose the table with the hidden rows.")
    if (upload.size or 0) > settings.HIDDEN_MAX_BYTES:
        raise TooLarge(f"Hidden rows have at most {settings.HIDDEN_MAX_BYTES:,} bytes. Send fewer rows.")
    rates.charge(request, "upload", request.user)
    rows = hidden.keep(board=board, name=upload.name or "", content=upload.read(), by=request.user)  # type: ignore[arg-type]
    messages.success(request, f"{rows.rows} hidden rows judge from now on. Runs before this are of an earlier edition.")
    return redirect(board)


@login_required
@require_POST
def withdraw(request: HttpRequest, run_id: UUID) -> HttpResponse:
    """Takes a run out of the ranking; it stays visible."""
    found = _run(request, run_id)
    submissions.withdraw(found, by=request.user, why=request.POST.get("why", ""))  # type: ignore[arg-type]
    messages.success(request, "The run is withdrawn: it stays visible, and ranks no more.")
    return redirect(found)


def _task(request: HttpRequest, owner: str, name: str) -> Repository:
    named = Repository.objects.visible_to(request.user).for_cards().named(f"{owner}/{name}")
    return named.filter(kind=Repository.Kind.TASK).first() or find_repository(request, owner, name)


def _board(request: HttpRequest, owner: str, name: str) -> Board:
    found = Board.objects.for_cards().filter(task=_task(request, owner, name)).first()
    if found is None:
        raise NotFound(f"{owner}/{name} has no board.")
    return found


def _run(request: HttpRequest, run_id: UUID) -> Run:
    related = ("board__task__namespace", "repository__namespace", "job")
    found = Run.objects.visible_to(request.user).select_related(*related).filter(pk=run_id).first()
    if found is None:
        raise NotFound("There is no such run, or it is not yours to see.")
    return found
