"""Search."""

from __future__ import annotations

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_safe

from hub.errors import BadRequest
from hub.web.facets import SORT_NAMES, Filters, facets, ranges, removals
from hub.web.pages import page

_PAGE = 24


@require_safe
def search(request: HttpRequest) -> HttpResponse:
    """Repositories by words, facets, ranges and what they fit. htmx gets the results alone, at the same address."""
    from hub.catalog.search import search as find

    filters = Filters.of(request.GET, actor=request.user)
    found = find(filters.query, visible_to=request.user)
    after = request.GET.get("after", "")[:200]
    try:
        shown = found.page(sort=filters.sort, after=after, limit=_PAGE)
    except BadRequest:  # an address somebody cut short: the first page is what they meant
        after, shown = "", found.page(sort=filters.sort, limit=_PAGE)
    following = filters.parameters()
    following["after"] = shown.next or ""
    context = {
        "filters": filters,
        "chips": filters.chips(),
        "found": shown,
        "count": found.count,
        "corrected": found.corrected.items(),
        "facets": facets(filters, found),
        "ranges": ranges(filters, found),
        "sorts": SORT_NAMES.items(),
        "next": f"?{following.urlencode()}" if shown.next else "",
        "first": filters.without() if after else "",
        "sources": list(settings.IMPORT_ENDPOINTS),
        "removals": [] if found.count else removals(filters, actor=request.user),
    }
    part = "#results" if request.htmx and not request.htmx.boosted else ""  # type: ignore[attr-defined]
    response = page(request, f"catalog/search.html{part}", context, section="priors")
    response["Vary"] = "HX-Request, Cookie"  # the same address has two forms
    return response
