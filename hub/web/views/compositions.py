"""A composition's graph on a page of its own, and what its lock comes to as files: NOTICE and the bill of materials."""

from __future__ import annotations

import json

from django.http import HttpRequest, HttpResponse
from django.utils.http import content_disposition_header
from django.views.decorators.http import require_safe

from composer.lock import FILE_NAME
from hub.accounts.permissions import require
from hub.compose.priors import Readable
from hub.compose.terms import Terms
from hub.repos import services as repos
from hub.repos.commits import MAIN
from hub.repos.models import Commit, Repository
from hub.safety.holds import servable
from hub.web.compositions import graph_context, lock_text, read_document, terms_for
from hub.web.pages import find_repository, page, repository_bar
from priors.errors import NotFound


@require_safe
def graph(request: HttpRequest, owner: str, name: str, type: str = "") -> HttpResponse:
    """The drawing as large as it is ever made, and the whole table in pages."""
    repository, commit = _composition(request, owner, name, type)
    document = read_document(lock_text(commit))
    shown = graph_context(document, actor=request.user, whole=True, number=request.GET.get("page"))
    context = {"repository": repository, "commit": commit} | repository_bar(request.user, repository, "overview")
    return page(request, "repos/graph.html", context | shown)


@require_safe
def notice(request: HttpRequest, owner: str, name: str, type: str = "") -> HttpResponse:
    """NOTICE of a revision: every part with its license, and what has to be kept."""
    terms = _terms(request, owner, name, type)
    readable = Readable(request.user, list(terms.lock.priors.values()))
    return _file(terms.notice(readable.license_files), "text/plain; charset=utf-8", "NOTICE")


@require_safe
def sbom(request: HttpRequest, owner: str, name: str, type: str = "") -> HttpResponse:
    """The bill of materials of a revision, as CycloneDX 1.6 JSON."""
    terms = _terms(request, owner, name, type)
    text = json.dumps(terms.bill(), indent=1, ensure_ascii=False) + "\n"
    return _file(text, "application/vnd.cyclonedx+json; version=1.6", f"{name}.cdx.json")


def _composition(request: HttpRequest, owner: str, name: str, type: str) -> tuple[Repository, Commit]:
    """The repository and the revision that was asked for. Raises NotFound."""
    repository = find_repository(request, owner, name, type)
    if repository.kind != Repository.Kind.COMPOSITION:
        raise NotFound(f"{repository} is a {repository.kind}, not a composition.")
    return repository, repos.resolve(repository, request.GET.get("rev", "") or MAIN)


def _terms(request: HttpRequest, owner: str, name: str, type: str) -> Terms:
    """The terms, for whoever may have the lock they are read from. Raises NotFound, Gated, BadLock, and for holds."""
    repository, commit = _composition(request, owner, name, type)
    require(request.user, "read_files", repository)
    servable(commit, [repos.file(commit, FILE_NAME).sha256])
    text = lock_text(commit) or b""
    return terms_for(text, read_document(text), request.user)


def _file(text: str, kind: str, name: str) -> HttpResponse:
    response = HttpResponse(text, content_type=kind)
    response["Content-Disposition"] = content_disposition_header(as_attachment=True, filename=name) or "attachment"
    return response
