"""The card of a repository in lists. Not a template: a page has 24 of them, which as templates took half of its time.

What people wrote is escaped here, and nothing else is taken in.
"""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from django import template
from django.utils.safestring import SafeString, mark_safe

from hub.catalog.listed import Listed
from hub.catalog.models import Item
from hub.repos.models import Repository
from hub.web.templatetags.show import ago, bytes_short, cents, count, icon, license_short, port_short, signed

register = template.Library()

_FORM_ICONS = {"composition": "model", "task": "task"}


@register.simple_tag
def item_card(item: Listed) -> SafeString:
    """Its name, its summary, its ports, and what there is to know before one looks closer."""
    summary = f'<p class="summary">{escape(item.summary)}</p>' if item.summary else ""
    facts = "\n".join(
        f"<span>{icon(drawing) if drawing else ''}{escape(said)}</span>" for drawing, said in _facts(item)
    )
    return mark_safe(  # noqa: S308 see above
        f"""<article class="card card-link">
  <h3><a href="{escape(item.address)}"><span class="owner">{escape(item.namespace)}/</span>\
{escape(item.name)}</a></h3>
  {summary}
  {_ports(item) if item.manifest else ""}
  <p class="facts">{facts}
<span>{ago(item.updated_at)}</span></p>
</article>
"""
    )


def _ports(item: Listed) -> str:
    gives = item.gives
    taps = f'<span class="small">{len(gives)} taps</span>' if len(gives) > 1 else ""
    return f"""<p class="ports">
    <span class="port port-{escape(item.modality)}">{icon(item.modality)}{escape(port_short(item.takes))}</span>
    {icon("arrow")}<span class="visually-hidden">gives</span>
    <span class="port">{escape(port_short(gives.get(item.default_tap, "")))}</span>
    {taps}</p>"""


def _facts(item: Listed) -> Iterator[tuple[str, str]]:
    """An icon's name, or "", and words."""
    about = f" · {item.task}" if item.task else ""
    if item.kind:
        yield item.kind, Item.Kind(item.kind).label + about
    else:
        yield _FORM_ICONS.get(item.form, "file"), _form_name(item) + about
    if item.kind == Item.Kind.FUNCTION:
        yield "", "no weights"
    else:
        if item.type == Repository.Type.MODEL:
            yield "", "parameters unknown" if item.parameters is None else f"{count(item.parameters)} parameters"
        yield "", bytes_short(item.size_bytes)
    sells = "" if item.may_sell is None else " · may sell" if item.may_sell else " · no selling"
    tunes = " · no fine-tuning" if item.may_fine_tune is False else ""
    yield "scale", (license_short(item.license) or "license unknown") + sells + tunes
    if item.score is not None:
        yield "check", f"{signed(item.score)} points, verified"
    if item.downloads:
        yield "download", f"{count(item.downloads)} in 30 days"
    yield "", cents(item.price_cents) if item.price_cents else "Free"
    if item.private:
        yield "lock", "private"
    if item.gated:
        yield "lock", "gated"


def _form_name(item: Listed) -> str:
    """What is no prior: `Composition`, `Task`, `Plain model`, `Plain dataset`."""
    return f"Plain {item.type}" if item.form == Repository.Kind.PLAIN else item.form.capitalize()
