"""What this hub measured: the list, one result, and its numbers as files."""

from __future__ import annotations

import csv
import io

from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.http import require_safe

from hub.boards.models import Result
from hub.web.pages import page
from hub.web.present import report_view, short_report
from priors.errors import NotFound

_PAGE = 12
_COLUMNS = ("name", "kind", "priors", "accuracy", "low", "high", "seconds")


@require_safe
def index(request: HttpRequest) -> HttpResponse:
    """Newest first."""
    found = Paginator(Result.objects.visible_to(request.user).for_cards(), _PAGE).get_page(request.GET.get("page"))
    plots = [(result, short_report(result.report)) for result in found]
    return page(request, "boards/list.html", {"found": found, "results": plots}, section="results")


@require_safe
def show(request: HttpRequest, result_id: int) -> HttpResponse:
    """The table and both plots."""
    result = _find(request, result_id)
    return page(
        request, "boards/result.html", {"result": result, "report": report_view(result.report)}, section="results"
    )


@require_safe
def as_json(request: HttpRequest, result_id: int) -> HttpResponse:
    """The report as it was recorded."""
    result = _find(request, result_id)
    response = JsonResponse(result.report, json_dumps_params={"indent": 1})
    response["Content-Disposition"] = f'attachment; filename="result-{result.pk}.json"'
    return response


@require_safe
def as_csv(request: HttpRequest, result_id: int) -> HttpResponse:
    """The report's table."""
    result = _find(request, result_id)
    text = io.StringIO()
    table = csv.writer(text)
    table.writerow(_COLUMNS)
    for row in result.rows:
        cells = {**row, "priors": " + ".join(str(ref) for ref in row.get("priors") or [])}
        table.writerow([_cell(cells.get(column)) for column in _COLUMNS])
    response = HttpResponse(text.getvalue(), content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="result-{result.pk}.csv"'
    return response


def _cell(value: object) -> object:
    """Text that a spreadsheet would take for a formula is quoted (OWASP: CSV injection)."""
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")) else value


def _find(request: HttpRequest, result_id: int) -> Result:
    result = Result.objects.visible_to(request.user).for_cards().filter(pk=result_id).first()
    if result is None:
        raise NotFound("There is no such result, or it is not yours to see.")
    return result
