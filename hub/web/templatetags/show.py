"""How values are written on pages: numbers with units, sizes, types, times; and the icons."""

from __future__ import annotations

import json
import math
from functools import lru_cache
from html import escape
from typing import Any

from django import template
from django.conf import settings
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe

from hub.web.icons import PATHS
from hub.web.svg_marks import clean

register = template.Library()

MODALITIES = {"text": "Text", "image": "Images", "audio": "Audio", "tab": "Tables"}
_CURRENT = ' aria-current="true"'
THEMES = ("system", "light", "dark")


@register.simple_tag
@lru_cache(maxsize=256)
def icon(name: str) -> SafeString:
    """An icon beside text that says the same, hence hidden from screen readers."""
    return format_html(
        '<svg class="icon" viewBox="0 0 24 24" aria-hidden="true"><path d="{}"/></svg>', PATHS.get(name, PATHS["file"])
    )


@register.simple_tag
def hub_version() -> str:
    """The version that runs."""
    return str(settings.VERSION)


@register.simple_tag(takes_context=True)
def theme(context: template.Context) -> str:
    """light, dark or system: what the visitor's cookie says, so that the first byte is right."""
    request = context.get("request")
    chosen = request.COOKIES.get("theme", "") if request else ""
    return chosen if chosen in THEMES else "system"


@register.filter
def percent(value: object) -> str:
    """`72.9 %` of 0.729; "unknown" for what is no number."""
    return f"{float(value) * 100:.1f}\u00a0%" if _finite(value) else "unknown"  # type: ignore[arg-type]


@register.filter
def points(value: object) -> str:
    """`+2.1 points` of 0.021."""
    return f"{float(value) * 100:+.1f} points" if _finite(value) else "unknown"  # type: ignore[arg-type]


@register.filter
def metric(value: object, name: str = "accuracy") -> str:
    """A score as its metric is read: percent for accuracy, three digits for the rest."""
    if not _finite(value):
        return "unknown"
    return percent(value) if name == "accuracy" else f"{float(value):.3f}"  # type: ignore[arg-type]


@register.simple_tag
def interval(row: Any, name: str = "accuracy") -> str:
    """`71.8 to 75.8 %` of a row's low and high."""
    low, high = metric(row.low, name), metric(row.high, name)
    return low.removesuffix("\u00a0%") + " to " + high


@register.filter
def metric_name(name: str) -> str:
    """How a metric is written: `Accuracy`, `R²`."""
    return {"accuracy": "Accuracy", "macro_f1": "Macro F1", "map": "Mean average precision", "r2": "R²"}.get(name, name)


@register.filter
def short_seconds(value: object) -> str:
    """`40 ms`, `2.4 s`, `12 s`, `3 min 20 s`."""
    if not _finite(value):
        return "unknown"
    seconds = float(value)  # type: ignore[arg-type]
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


@register.filter
def bytes_short(value: object) -> str:
    """`90.9 MB`, decimal as file managers and registries count."""
    if not _finite(value):
        return "unknown"
    size = float(value)  # type: ignore[arg-type]
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000 or unit == "GB":
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1000
    return ""


@register.filter
def count(value: object) -> str:
    """`22.6 M` of 22565376; small numbers in full."""
    if not _finite(value):
        return "unknown"
    number = float(value)  # type: ignore[arg-type]
    for limit, unit in ((1e9, " G"), (1e6, " M"), (1e4, " k")):
        if number >= limit:
            return f"{number / (1e3 if unit == ' k' else limit):.1f}{unit}"
    return f"{number:,.0f}"


@register.filter
def ago(value: Any) -> SafeString | str:
    """`3 hours ago` with the exact time as a tooltip and for machines."""
    if value is None:
        return ""
    seconds = (timezone.now() - value).total_seconds()
    steps = ((86400 * 365, "year"), (86400 * 30, "month"), (86400, "day"), (3600, "hour"), (60, "minute"))
    said = "just now"
    for size, unit in steps:
        if seconds >= size:
            number = int(seconds // size)
            said = f"{number} {unit}{'s' if number > 1 else ''} ago"
            break
    exact = value.isoformat(timespec="seconds")
    return format_html('<time datetime="{}" title="{}">{}</time>', exact, exact, said)


@register.simple_tag
def facet_values(values: Any) -> SafeString:
    """The choices of a facet as links. Written here: a page has a hundred, and a template takes 80 µs for each."""
    rows = "\n".join(
        f'<li><a href="{escape(one.address)}" rel="nofollow"{_CURRENT if one.chosen else ""}>{escape(one.name)} '
        f'<span class="count">{one.number:d}</span></a></li>'
        for one in values
    )
    return mark_safe(f'<ul class="facet-values">\n{rows}</ul>')  # noqa: S308 what people wrote is escaped above


def signed(value: object) -> str:
    """`+2.1` of 2.13; "unknown" for what is no number."""
    return f"{float(value):+.1f}" if _finite(value) else "unknown"  # type: ignore[arg-type]


@register.filter
def cents(value: int) -> str:
    """`EUR 20.00` of 2000."""
    return f"EUR\u00a0{value / 100:,.2f}"


@register.filter
def basis_points(value: int) -> str:
    """`2.5 %` of 250: hundredths of a percent as people read them."""
    return f"{value / 100:g}\u00a0%"


def license_short(expression: str) -> str:
    """An SPDX expression without the `LicenseRef-` that names of one's own carry."""
    return expression.replace("LicenseRef-", "")


@register.filter
def modality_name(value: str) -> str:
    return MODALITIES.get(value, value)


@register.filter
def port_kind(type_text: str) -> str:
    """The modality a type belongs to, for its color: `text` of `text.ids[B,T]:i64{…}`."""
    return type_text.split(".", 1)[0]


@register.filter
def port_short(type_text: str) -> str:
    """`text.tokens 384` of `text.tokens[B,T,D:384]:f32@…`: what it is and how wide, when the width is known."""
    head, _, axes = type_text.partition("[")
    last = axes.partition("]")[0].split(",")[-1]
    width = last.partition(":")[2]
    return f"{head} {width}" if width else head


@register.filter
def prior_name(ref: object) -> str:
    """`priorhub/char-ngrams` of `prior://priorhub/char-ngrams@sha256:…`."""
    return str(ref).removeprefix("prior://").partition("@")[0]


@register.filter
def subject(job: Any) -> str:
    """What a job works on: the repository of its task, of the model it predicts with, or that it copies to."""
    return prior_name(job.spec.get("task") or job.spec.get("model") or job.spec.get("push_to") or "")


@register.filter
def short_hash(value: object) -> str:
    """The first 12 digits, enough to find it by."""
    return str(value).removeprefix("sha256:")[:12]


@register.filter
def one_line(text: object) -> str:
    """What somebody wrote, where `<bdi>` cannot hold it: without the marks that turn the text behind it around."""
    return clean(text, 200)


@register.filter
def drawn(svg: str) -> SafeString:
    """SVG that hub/web/svg.py made: it escapes whatever people wrote."""
    return mark_safe(svg)  # noqa: S308


def _finite(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


@register.filter
def as_json(value: object) -> str:
    """JSON for a data- attribute, which escapes it."""
    return json.dumps(value)


@register.simple_tag(takes_context=True)
def may_sign_up(context: dict[str, Any]) -> bool:
    """Whether this visitor may make an account."""
    from allauth.account.adapter import get_adapter

    return bool(get_adapter().is_open_for_signup(context["request"]))
