"""What a composition's page shows: its graph as a drawing and a table, and what its licenses and fees come to."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from django.core.paginator import Page, Paginator

from composer.check import TypedNode
from composer.errors import BadLock
from composer.lock import FILE_NAME
from hub.accounts.access import Actor
from hub.catalog.models import Item
from hub.compose.priors import MAX_REFS, Readable
from hub.compose.terms import Terms, read_price, read_terms
from hub.errors import BadRequest
from hub.repos import services as repos
from hub.repos import trees
from hub.repos.models import Commit
from hub.web.steps import Step, steps_of
from hub.web.svg_graph import MAX_DRAWN, MAX_INLINE, drawing
from priors.errors import PriorhubError
from priors.manifest import PriorRef

MAX_LOCK_BYTES = 16 << 20
ROWS = 200
_DEFAULT_PRICE = "100.00"
_MAX_SHOWN = 100


def graph_context(
    document: Mapping[str, Any],
    *,
    actor: Actor,
    whole: bool = False,
    number: object = 1,
    wrong: Collection[str] = (),
) -> dict[str, Any]:
    """The drawing and the table of a lock or a graph, with nodes that are `wrong` marked.

    whole   as much as is ever drawn, and the table in pages
    """
    steps = [replace(step, mark="wrong") if step.name in wrong else step for step in steps_of(document)]
    links = links_of(steps, actor)
    rows: Page[Step] = Paginator(steps, ROWS).get_page(number if whole else 1)  # type: ignore[arg-type]
    return {
        "graph": drawing(steps, links=links, most=MAX_DRAWN if whole else MAX_INLINE),
        "found": rows,
        "steps": [(step, step.repo if step.repo in links else "") for step in rows],
        "links": links,
        "step_count": len(steps),
        "inserted": sum(step.inserted for step in steps),
    }


def terms_context(terms: Terms, *, price: str | None = None) -> dict[str, Any]:
    """Verdicts, obligations and the split of a price, each bounded in how much is shown."""
    wrong, cents = "", None
    try:
        cents = read_price(price if price is not None else _DEFAULT_PRICE)
    except BadRequest as error:
        wrong = str(error)
    split = terms.royalty(cents) if cents is not None else None
    return {
        "verdicts": [("Sharing", terms.share), ("Selling", terms.sell)],
        "whole": terms.license,
        "conflicts": terms.conflicts[:_MAX_SHOWN],
        "obligations": terms.obligations[:_MAX_SHOWN],
        "unknown": list(dict.fromkeys([*terms.share.unknown, *terms.sell.unknown]))[:_MAX_SHOWN],
        "parts": list(dict.fromkeys((p.name, p.license, p.path, p.fee_bp) for p in terms.share.parts)),
        "price": price if price is not None else _DEFAULT_PRICE,
        "price_wrong": wrong,
        "split": split,
    }


def lock_text(commit: Commit) -> bytes | None:
    """composition.lock.json as committed; None where there is none."""
    if trees.find(commit.tree_id, FILE_NAME) is None:
        return None
    return repos.read_file(commit, FILE_NAME, limit=MAX_LOCK_BYTES)


def read_document(text: bytes | None) -> dict[str, Any]:
    """A lock in plain values, for drawing; {} for what is none, as one written when the repository was a plain one."""
    try:
        found = json.loads(text or b"{}")
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def terms_for(text: bytes, document: Mapping[str, Any], actor: Actor) -> Terms:
    """The terms of a lock, held against the priors that the actor may read. Raises BadLock."""
    return read_terms(text, Readable(actor, refs_of(document)).known)


def composition_context(commit: Commit, *, actor: Actor, price: str | None) -> dict[str, Any]:
    """Everything about a composition's lock; `terms_refused` says why there are no terms."""
    text = lock_text(commit)
    document = read_document(text)
    context = {"lock": document} | graph_context(document, actor=actor)
    names = dict.fromkeys(ref.repo for ref in refs_of(document))
    context["priors"] = [(name, name if name in context["links"] else "") for name in names]
    if text is None:
        return context | {
            "terms_refused": f"The commit has no {FILE_NAME}. Commit the folder as `priorhub fit` saves it."
        }
    try:
        return context | terms_context(terms_for(text, document, actor), price=price)
    except BadLock as error:
        return context | {"terms_refused": str(error)[:500]}


def refs_of(document: Mapping[str, Any]) -> list[PriorRef]:
    """The priors that nodes name, each once, as far as they can be read."""
    nodes = document.get("nodes")
    found: dict[PriorRef, None] = {}
    for node in nodes.values() if isinstance(nodes, Mapping) else ():
        attrs = node.get("attrs", node) if isinstance(node, Mapping) else {}
        ref = attrs.get("prior") if isinstance(attrs, Mapping) else None
        if isinstance(ref, str) and len(found) < MAX_REFS:
            try:
                found[PriorRef.parse(ref)] = None
            except PriorhubError:
                continue
    return list(found)


def plain_nodes(nodes: Sequence[TypedNode]) -> dict[str, Any]:
    """Checked nodes as a lock writes them, for `graph_context`."""
    return {
        "nodes": {
            node.name: {
                "op": node.op, "in": list(node.sources), "attrs": dict(node.attrs), "type": node.shown_type,
                "auto": node.auto,
            }
            for node in nodes
        }
    }  # fmt: skip


def links_of(steps: Sequence[Step], actor: Actor) -> set[str]:
    """Those of the priors of steps whose pages the actor may see."""
    names = {step.repo for step in steps if step.repo}
    found = Item.objects.visible_to(actor).filter(
        repository__namespace__name__in={name.partition("/")[0] for name in names},
        repository__name__in={name.partition("/")[2] for name in names},
    )
    seen = found.values_list("repository__namespace__name", "repository__name")[:5_000] if names else []
    return names & {"/".join(pair) for pair in seen}
