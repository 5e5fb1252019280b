"""Search."""

from __future__ import annotations

from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_safe

from hub.catalog.search import search as find
from hub.web.facets import Filters, facets, removals
from hub.web.pages import page

_PAGE = 24


@require_safe
def search(request: HttpRequest) -> HttpResponse:
    """Priors by words, modality and kind. htmx gets the results alone, at the same address."""
    filters = Filters.of(request.GET.dict())
    found = Paginator(find(visible_to=request.user, **vars(filters)), _PAGE).get_page(request.GET.get("page"))
    context = {
        "filters": filters,
        "found": found,
        "facets": facets(filters, actor=request.user),
        "removals": [] if found.object_list else removals(filters, actor=request.user),
    }
    part = "#results" if request.htmx and not request.htmx.boosted else ""  # type: ignore[attr-defined]
    response = page(request, f"catalog/search.html{part}", context, section="priors")
    response["Vary"] = "HX-Request, Cookie"  # the same address has two forms
    return response
