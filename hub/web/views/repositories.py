"""`/owner/name`: a prior, a composition, a task or plain files, each with its own page; and what can be done there."""

from __future__ import annotations

import json
from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.db.models import TextField
from django.db.models.functions import Cast
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_POST, require_safe

from hub.accounts.permissions import can, require
from hub.boards.models import Result, Run
from hub.catalog import lineage
from hub.catalog.facts import MAX_CARD
from hub.catalog.frontmatter import split
from hub.catalog.models import Item
from hub.jobs import services as jobs
from hub.jobs.cleanup import delete_repository
from hub.jobs.models import Job
from hub.repos import services as repos
from hub.repos.models import Commit, Repository
from hub.repos.trees import FileEntry
from hub.safety.holds import standing
from hub.safety.status import findings
from hub.web.boards import verified
from hub.web.compositions import composition_context
from hub.web.fitting import adaptation_of, calibration_of, joins_of
from hub.web.forms import LimitsForm, PredictForm
from hub.web.own import predict_file
from hub.web.pages import find_repository, page, repository_bar
from hub.web.present import facts_of, find_ranking, ranking_view, short_report
from hub.web.starter import brought
from priors.tasks.spec import parse_task

_MAX_JSON = 16 << 20
Kind = Repository.Kind


@require_safe
def show(request: HttpRequest, owner: str, name: str, rev: str = "", type: str = "") -> HttpResponse:
    """The repository at its newest commit, or at `rev`."""
    return _shown(request, find_repository(request, owner, name, type), rev)


def _shown(
    request: HttpRequest, repository: Repository, rev: str = "", *, status: int = 200, **more: Any
) -> HttpResponse:
    """Its page; `more` takes the place of what the page has by itself."""
    bar = repository_bar(request.user, repository, "overview")
    if repository.head is None:
        return page(request, "repos/empty.html", {"repository": repository} | bar)
    commit = repos.resolve(repository, rev) if rev else repository.head
    files = repos.files(commit)
    noticed = findings([entry.sha256 for entry in files])
    context = {
        "repository": repository,
        "commit": commit,
        "is_head": commit.pk == repository.head_id,
        "files": files,
        "size_bytes": sum(entry.size for entry in files),
        "commits": repository.commits.select_related("author")[:10],
        "parents": lineage.parents(repository, visible_to=request.user),
        "children": lineage.children(repository, visible_to=request.user),
        "refs": repository.refs.select_related("commit"),
        "holds": standing(commit, [entry.sha256 for entry in files]),
        "marked": [(entry.path, finding.detail) for entry in files for finding in noticed.get(entry.sha256, [])],
        "may_delete": can(request.user, "delete", repository),
        "address": request.build_absolute_uri("/").rstrip("/"),
    }
    template, of_kind = _SHOWN[Kind(repository.kind)](request, repository, commit, files)
    section = _SECTION.get(Kind(repository.kind), "")
    return page(request, template, context | bar | of_kind | more, section=section, status=status)


@require_safe
def tasks(request: HttpRequest) -> HttpResponse:
    """Every task the visitor may see."""
    found = Repository.objects.visible_to(request.user).for_cards().filter(kind=Kind.TASK, head__isnull=False)
    return page(request, "repos/tasks.html", {"tasks": found[:100]}, section="tasks")


@login_required
@require_POST
def run(request: HttpRequest, owner: str, name: str) -> HttpResponse:
    """Recommend, fit or benchmark on a task; then to the job."""
    repository = find_repository(request, owner, name)
    kind = request.POST.get("kind", "")
    spec: dict[str, Any] = {"task": repository.full_name}
    if kind == Job.Kind.RECOMMEND:
        form = LimitsForm(request.POST)
        if not form.is_valid():
            return _shown(request, repository, status=422, limits=form)
        spec |= {"limits": form.limits()}
    if kind == Job.Kind.FIT:
        spec |= {"push_to": f"{request.user.get_username()}/{repository.name}-model", "private": repository.private}
    again = request.POST.get("again") == "1"
    return redirect(jobs.submit(kind=kind, spec=spec, owner=request.user, again=again))  # type: ignore[arg-type]


@login_required
@require_POST
def predict(request: HttpRequest, owner: str, name: str) -> HttpResponse:
    """Applies a composition to an uploaded file; then to the job."""
    repository = find_repository(request, owner, name)
    form = PredictForm(request.POST, request.FILES)
    if not form.is_valid():
        return page(request, "repos/predict.html", {"repository": repository, "form": form}, status=422)
    job = predict_file(model=repository, upload=form.cleaned_data["file"], user=request.user)  # type: ignore[arg-type]
    return redirect(job)


@login_required
def delete(request: HttpRequest, owner: str, name: str) -> HttpResponse:
    """Asks for the name, shows what depends on it, then deletes for good."""
    repository = find_repository(request, owner, name)
    require(request.user, "delete", repository)
    wrong = request.method == "POST" and request.POST.get("name") != repository.full_name
    if request.method == "POST" and not wrong:
        delete_repository(repository, by=request.user)
        messages.success(request, f"{repository.full_name} is deleted.")
        return redirect("home")
    measured = repository.results.count() + Run.objects.filter(board__task=repository, state=Run.State.SCORED).count()
    context = {"repository": repository, "wrong": wrong, "measured": measured}
    return page(request, "repos/delete.html", context, status=422 if wrong else 200)


def _prior(request: HttpRequest, repository: Repository, commit: Commit, files: list[FileEntry]) -> tuple[str, Any]:
    prior = Item.objects.visible_to(request.user).filter(repository=repository).first()
    named = Result.objects.visible_to(request.user).for_cards().annotate(text=Cast("report", TextField()))
    results = named.filter(text__contains=f"{repository.full_name}")[:3]
    manifest = _json(commit, "prior.json")
    return "repos/prior.html", {
        "prior": prior,
        "card_text": _card_text(commit, files) if prior and not prior.card_html else "",
        "manifest": manifest,
        "identity": prior.identity if prior and prior.commit_id == commit.pk else "",
        "results": [(result, short_report(result.report)) for result in results],
        "verified": verified(repository, actor=request.user),
        "starter": brought(repository),
    }


def _composition(
    request: HttpRequest, repository: Repository, commit: Commit, files: list[FileEntry]
) -> tuple[str, Any]:
    paths = {entry.path for entry in files}
    shown = composition_context(commit, actor=request.user, price=request.GET.get("price"))
    report = _json(commit, "report.json") if "report.json" in paths else shown["lock"].get("report")
    ranking = find_ranking(report)
    return "repos/composition.html", shown | {
        "ranking": ranking_view(ranking) if ranking else None,
        "facts": facts_of(report),
        "adaptation": adaptation_of(report, shown["lock"]),
        "calibration": calibration_of(report),
        "joins": joins_of(shown["lock"]),
        "form": PredictForm(),
    }


def _task(request: HttpRequest, repository: Repository, commit: Commit, files: list[FileEntry]) -> tuple[str, Any]:
    results = Result.objects.visible_to(request.user).for_cards().filter(task=repository)[:4]
    return "repos/task.html", {
        "task": parse_task(repos.read_file(commit, "task.json", limit=_MAX_JSON)),
        "results": [(result, short_report(result.report)) for result in results],
        "limits": LimitsForm(),
    }


def _plain(request: HttpRequest, repository: Repository, commit: Commit, files: list[FileEntry]) -> tuple[str, Any]:
    return "repos/plain.html", {}


def _card_text(commit: Commit, files: list[FileEntry]) -> str:
    """README.md as it is written, until a worker has rendered it."""
    if not any(file.path == "README.md" for file in files):
        return ""
    return split(repos.read_file(commit, "README.md", limit=MAX_CARD).decode("utf-8", errors="replace"))[1]


def _json(commit: Commit, path: str) -> dict[str, Any]:
    """A description file: the commit was checked to hold an object there (hub/repos/checks.py)."""
    value = json.loads(repos.read_file(commit, path, limit=_MAX_JSON))
    return value if isinstance(value, dict) else {}


_SHOWN = {Kind.PRIOR: _prior, Kind.COMPOSITION: _composition, Kind.TASK: _task, Kind.PLAIN: _plain}
_SECTION = {Kind.PRIOR: "priors", Kind.TASK: "tasks"}
