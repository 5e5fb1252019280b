"""Trying your own table: upload, choose the target, find priors and fit."""

from __future__ import annotations

from uuid import UUID

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_POST

from hub.repos.models import Repository
from hub.web import own, uploads
from hub.web.forms import TargetForm, UploadForm
from hub.web.pages import find_repository, page
from priors.errors import TokenRejected, UserError


def upload(request: HttpRequest) -> HttpResponse:
    """Step one. Everybody may look; a file needs an account to belong to."""
    form = UploadForm()
    if request.method == "POST":
        if not request.user.is_authenticated:
            raise TokenRejected("To try a table, sign in.")
        form = UploadForm(request.POST, request.FILES)
        if form.is_valid():
            file = form.cleaned_data["file"]
            kept = uploads.keep(owner_id=request.user.pk, name=file.name, chunks=file.chunks())
            try:
                own.look(kept)
                return redirect("own-target", number=kept.id)
            except UserError as error:
                uploads.forget(kept)
                form.add_error("file", str(error))
    mine = Repository.objects.visible_to(request.user).for_cards().filter(kind=Repository.Kind.TASK, private=True)
    mine = mine.filter(namespace__owner=request.user.pk)[:20] if request.user.is_authenticated else mine.none()
    status = 422 if form.errors else 200
    return page(request, "own/upload.html", {"form": form, "mine": mine}, section="own", status=status)


@login_required
def target(request: HttpRequest, number: UUID) -> HttpResponse:
    """Step two: the detected columns; then the table becomes a private task and the job starts."""
    kept = uploads.find(owner_id=request.user.pk or 0, number=number)
    preview = own.look(kept)
    columns = [column.name for column in preview.columns]
    form = TargetForm(request.POST or None, columns=columns, initial={"target": preview.suggestion})
    if request.method == "POST" and form.is_valid():
        try:
            task = own.store_task(upload=kept, target=form.cleaned_data["target"], user=request.user)  # type: ignore[arg-type]
        except UserError as error:
            form.add_error("target", str(error))
        else:
            uploads.forget(kept)
            return redirect(own.start(task=task, user=request.user))  # type: ignore[arg-type]
    context = {"upload": kept, "preview": preview, "form": form, "chosen": form["target"].value()}
    return page(request, "own/target.html", context, section="own", status=422 if form.errors else 200)


@login_required
@require_POST
def predict(request: HttpRequest, owner: str, name: str) -> HttpResponse:
    """Predictions of a model for the rows of one's own task."""
    task = find_repository(request, owner, name)
    model = find_repository(request, *(request.POST.get("model", "/").split("/", 1)))
    return redirect(own.predict_unlabelled(model=model, task=task, user=request.user))  # type: ignore[arg-type]
