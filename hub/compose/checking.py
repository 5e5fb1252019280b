"""Whether a composition that somebody wrote fits: types, what was put in, terms; or what is wrong, and where.

Nothing is run and no file is fetched. The text is a stranger's: its size and the nodes are bounded before it is typed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from composer.check import Checked, check
from composer.graph import Graph
from composer.lock import Lock
from hub.accounts.access import Actor
from hub.compose.priors import Readable
from hub.compose.starting import start
from hub.compose.terms import Terms, terms_of
from hub.errors import TooLarge
from priors.errors import PriorhubError, UserError
from priors.manifest import PriorRef

MAX_TEXT = 128 * 1024
MAX_NODES = 300

_EDGE = re.compile(r"edge '([\w.~-]{1,400})' -> '([\w.~-]{1,400})'")
_NODE = re.compile(r"node '([\w.~-]{1,400})'")
_SENTENCE = re.compile(r"(?<=[.?])\s+(?=[A-Z])")


@dataclass(frozen=True)
class Trouble:
    """Why a composition does not fit. `edge`: the (source, target) nodes it lies between; `fix`: what to do."""

    code: str
    detail: str
    edge: tuple[str, str] | None
    node: str | None
    fix: str

    @classmethod
    def of(cls, error: UserError) -> Trouble:
        """What the error says, taken apart: its sentences begin with the place, and end with the fix."""
        said = str(error)
        edge, node = _EDGE.search(said), _NODE.search(said)
        _, *rest = _SENTENCE.split(said)
        return cls(error.code, said, (edge[1], edge[2]) if edge else None, node[1] if node else None, " ".join(rest))


@dataclass(frozen=True)
class Finding:
    """What a check found: `checked` with its `terms`, or `trouble`. `terms` are None where they could not be judged."""

    graph: Graph | None = None
    checked: Checked | None = None
    terms: Terms | None = None
    trouble: Trouble | None = None


def check_text(text: str, actor: Actor) -> Finding:
    """Checks a composition in YAML or JSON against the priors that `actor` may use. Raises TooLarge."""
    if len(text) > MAX_TEXT:
        raise TooLarge(f"The composition has {len(text):,} characters, {MAX_TEXT:,} are the most. Check it locally.")
    try:
        graph = Graph.from_json(text) if text.lstrip().startswith("{") else Graph.from_yaml(text)
    except UserError as error:
        return Finding(trouble=Trouble.of(error))
    return check_graph(graph, actor)


def check_graph(graph: Graph, actor: Actor) -> Finding:
    """Checks a graph whose form is right. Raises TooLarge."""
    if len(graph.nodes) > MAX_NODES:
        raise TooLarge(f"The composition has {len(graph.nodes):,} nodes, {MAX_NODES} are the most. Check it locally.")
    try:
        checked = check(graph, Readable(actor, _refs(graph)))
    except UserError as error:
        return Finding(graph, trouble=Trouble.of(error))
    try:
        return Finding(graph, checked, terms_of(Lock.of(checked)))
    except UserError:
        return Finding(graph, checked)


def check_names(names: Sequence[str], actor: Actor) -> tuple[str, Finding]:
    """The text that wires the named priors side by side under a head, and what its check found."""
    try:
        refs = [PriorRef.parse(name) for name in names]
        readable = Readable(actor, refs)
        text = start([(ref, readable(ref)) for ref in refs])
    except UserError as error:
        return "", Finding(trouble=Trouble.of(error))
    return text, check_text(text, actor)


def _refs(graph: Graph) -> list[PriorRef]:
    found = []
    for node in graph.nodes:
        try:
            found.append(PriorRef.parse(node.attrs["prior"]))
        except (KeyError, PriorhubError):
            continue
    return found
