"""The nodes of a composition as a page shows them, read from a lock or a graph in plain values. Pure.

What is read may be a stranger's file or that of an older version, so nothing here trusts its form: what cannot be read
is left out, and every text is cleaned of what would disturb the line it stands in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from composer.check import TypedNode
from hub.web.svg_marks import clean
from priors.errors import PriorhubError
from priors.manifest import PriorRef

MAX_TYPE = 400
_FROM_PRIORS = ("net", "fn")
_WEIGHTS = ("load", "delta", "merge", "splice", "retok")
_MOST_LINKS = 8
"""Weights of weights of weights …: so far back a name is looked for."""


@dataclass(frozen=True)
class Step:
    """One node. `label` says it in a few words, `gives` is its type, `repo` the `namespace/name` of its prior.

    state      "trained" and "frozen" for what has parameters or learns from rows, "" for the rest
    inserted   put there by the check, to make two ends fit
    mark       against another revision: "added", "removed", "changed", "renamed", or "" for what is the same;
               "wrong" for what does not fit
    read_once  what it read in the other revision, and does not any more
    """

    name: str
    op: str
    label: str
    reads: tuple[str, ...] = ()
    gives: str = ""
    repo: str = ""
    state: str = ""
    inserted: bool = False
    mark: str = ""
    read_once: tuple[str, ...] = ()

    @property
    def is_weights(self) -> bool:
        """Whether it gives weights, which are drawn with the box that runs them."""
        return self.op == "load"


def steps_of(document: Mapping[str, Any]) -> list[Step]:
    """The steps of a lock, or of a graph as people write it, in its order."""
    found = document.get("nodes")
    nodes = {
        str(name): _flat(node)
        for name, node in (found.items() if isinstance(found, Mapping) else ())
        if isinstance(node, Mapping)
    }
    return [_step(name, node, nodes) for name, node in nodes.items()]


def _step(name: str, node: Mapping[str, Any], nodes: Mapping[str, Mapping[str, Any]]) -> Step:
    op = clean(node.get("op", "?"), 20)
    return Step(
        name=clean(name),
        op=op,
        label=_label(op, node, nodes),
        reads=tuple(dict.fromkeys(clean(source) for source in _sources(node, nodes))),
        gives=clean(node.get("type", ""), MAX_TYPE),
        repo=_repo(_prior_behind(node, nodes)) if op in {*_FROM_PRIORS, *_WEIGHTS, "encode"} else "",
        state=_state(name, op, node),
        inserted=bool(node.get("auto")) or "~" in name,
    )


def _flat(node: Mapping[str, Any]) -> dict[str, Any]:
    """A lock keeps attributes apart, a graph as people write it does not."""
    attrs = node.get("attrs")
    return {**(attrs if isinstance(attrs, Mapping) else {}), **node}


def _sources(node: Mapping[str, Any], nodes: Mapping[str, Any]) -> list[str]:
    wired = node.get("in") or []
    values = wired.values() if isinstance(wired, Mapping) else wired if isinstance(wired, Sequence) else []
    named = [value for value in values if isinstance(value, str)] if not isinstance(wired, str) else []
    return [value if value in nodes else value.partition(".")[0] for value in named]


def _state(name: str, op: str, node: Mapping[str, Any]) -> str:
    if op in ("input", "const", "load"):
        return ""
    typed = TypedNode(name, op, (), node, None, None, "")
    if typed.learns:
        return "trained"
    return "frozen" if op in _FROM_PRIORS or typed.has_parameters else ""


def _label(op: str, node: Mapping[str, Any], nodes: Mapping[str, Mapping[str, Any]]) -> str:
    if op in (*_FROM_PRIORS, "load"):
        prior = _short_name(_prior_behind(node, nodes) or node.get("fn")) or op
        return f"{prior} · {clean(node['tap'], 30)}" if node.get("tap") not in (None, "out") else prior
    if op == "head":
        labels = node.get("labels")
        many = len(labels) if isinstance(labels, Sequence) and not isinstance(labels, str) else 0
        return f"head · {many} classes" if many else "head"
    if op == "input" and isinstance(node.get("column"), str):
        return f"column {clean(node['column'], 40)}"
    keys = ("kind", "method", "axis", "fn", "encoder", "dtype")
    detail = next((clean(node[key], 24) for key in keys if isinstance(node.get(key), str)), "")
    return f"{op} · {detail}" if detail else op


def _prior_behind(node: Mapping[str, Any], nodes: Mapping[str, Mapping[str, Any]]) -> object:
    """The reference on the node itself or on the first `load` its weights come from, through merges and deltas."""
    for _ in range(_MOST_LINKS):
        if node.get("prior") and node.get("op") != "retok":  # which names whose words it takes
            return node["prior"]
        weights = [nodes[s] for s in _sources(node, nodes) if s in nodes and nodes[s].get("op") in _WEIGHTS]
        if not weights:
            return None
        node = weights[0]
    return None


def _short_name(ref: object) -> str:
    """`all-minilm-l6-v2` of `prior://priorhub/all-minilm-l6-v2@sha256:…`; plain names stay."""
    return clean(str(ref).split("@")[0].rsplit("/", 1)[-1], 40) if isinstance(ref, str) else ""


def _repo(ref: object) -> str:
    try:
        found = PriorRef.parse(ref) if isinstance(ref, str) else None
    except PriorhubError:
        return ""
    return found.repo if found is not None and found.namespace else ""
