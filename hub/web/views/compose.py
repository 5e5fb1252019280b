"""`/compose`: a composition as text, checked while it is written: its graph, or what is wrong and where."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_http_methods

from hub.accounts import rates
from hub.compose.checking import MAX_TEXT, Finding, check_names, check_text
from hub.compose.starting import EXAMPLE, MAX_PRIORS
from hub.web.compositions import graph_context, plain_nodes, terms_context
from hub.web.pages import page


@require_http_methods(["GET", "HEAD", "POST"])
def compose(request: HttpRequest) -> HttpResponse:
    """The form, and what its text comes to; htmx gets that alone. `?prior=ann/one&prior=bob/two` begins with those."""
    names = [name[:400] for name in request.GET.getlist("prior") if name][:MAX_PRIORS]
    text, finding = EXAMPLE, None
    if request.method == "POST":
        rates.charge(request, "check", request.user)
        text = request.POST.get("spec", "").replace("\r\n", "\n")
        finding = check_text(text, request.user)
    elif names:
        rates.charge(request, "check", request.user)
        text, finding = check_names(names, request.user)
        text = text or EXAMPLE
    context: dict[str, Any] = {"text": text, "most": MAX_TEXT, "finding": finding}
    if finding is not None:
        context |= _shown(finding, request)
    part = "#checked" if request.htmx and not request.htmx.boosted else ""  # type: ignore[attr-defined]
    response = page(request, f"compose/compose.html{part}", context, section="compose")
    response["Vary"] = "HX-Request, Cookie"  # the same address has two forms
    return response


def _shown(finding: Finding, request: HttpRequest) -> dict[str, Any]:
    """The checked graph, or as far as it was read; and its terms."""
    document: dict[str, Any] = {}
    if finding.checked is not None:
        document = plain_nodes(finding.checked.nodes)
    elif finding.graph is not None:
        document = finding.graph.to_dict()
    trouble = finding.trouble
    wrong = {trouble.node or "", *(trouble.edge or ())} if trouble is not None else set()
    shown = graph_context(document, actor=request.user, wrong=wrong)
    return shown | (terms_context(finding.terms) if finding.terms is not None else {})
