"""A composition as people write it: nodes of known ops, wired by name, read from YAML, JSON or a dict. Needs no torch.

    composition: 1
    opset: {core: 1}
    name: topics
    adapt: trainable                       # none | lossless | trainable | lossy: which adapters `check` may insert
    nodes:
      text: {op: input, type: "text.raw[B]:str", column: text}
      w:    {op: load, prior: "prior://priorhub/all-minilm-l6-v2"}
      deep: {op: net, in: {w: w, ids: text}, tap: layer_6}
      char: {op: fn, fn: char_ngrams, in: [text], dim: 4096}
      both: {op: concat, in: [deep, char]}
      y:    {op: head, in: [both], labels: [ai, food]}
    outputs: {y: y}
    fit: {seed: 7}

`deep.layer_3` reads another output of node `deep`, here another tap of the network: it is the node of that name that
one would write beside it (`composer._node_outputs`).

Reading checks the form: known ops and attributes, wires from known nodes, no cycle, sizes. `composer.check` types it.
"""

from __future__ import annotations

import heapq
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from composer._document import MAX_JSON, plain, read_json, read_yaml
from composer._node_outputs import with_outputs_of_nodes
from composer._ops import MAX_INPUTS, find_op, read_attributes
from composer._sections import ADAPT as ADAPT
from composer._sections import OPSET, read_adapt, read_dims, read_fit, read_flag, read_name, read_opset
from composer._sections import Adapt as Adapt
from composer.errors import BadGraph

GRAPH_FILE = "composition.json"
"""A composition in its folder."""

MAX_NODES = 1_000

_KEYS = ("composition", "opset", "name", "adapt", "strict", "dims", "nodes", "outputs", "fit")
_NODE = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,99}")
_ROLE = re.compile(r"[a-z_][a-z0-9_]{0,99}")


@dataclass(frozen=True)
class Node:
    """One node as written. `inputs` are (port, source) pairs; the ports of a list are "0", "1", …"""

    name: str
    op: str
    inputs: tuple[tuple[str, str], ...] = ()
    attrs: Mapping[str, Any] = field(default_factory=dict)

    @property
    def sources(self) -> tuple[str, ...]:
        """The nodes it reads, in order."""
        return tuple(source for _, source in self.inputs)


@dataclass(frozen=True)
class Graph:
    """A composition whose form is right. `nodes` come after everything they read."""

    name: str
    nodes: tuple[Node, ...]
    outputs: Mapping[str, str]
    adapt: Adapt = "lossless"
    strict: bool = False
    dims: Mapping[str, Any] = field(default_factory=dict)
    fit: Mapping[str, Any] = field(default_factory=dict)
    opset: Mapping[str, int] = field(default_factory=lambda: dict(OPSET))

    @property
    def seed(self) -> int:
        """The seed of everything random: `fit.seed`, 0 when not given."""
        return int(self.fit.get("seed", 0))

    @classmethod
    def load(cls, path: Path | str) -> Graph:
        """The composition in a file, JSON when its name ends so, otherwise YAML, or in a folder. Raises BadGraph."""
        path = Path(path)
        path = path / GRAPH_FILE if path.is_dir() else path
        try:
            with path.open("rb") as file:
                data = file.read(MAX_JSON + 1)
            text = data.decode("utf-8")
        except OSError as err:
            raise BadGraph(f"{path} cannot be read ({err.strerror}). Give the path of a composition.") from err
        except UnicodeDecodeError as err:
            raise BadGraph(f"{path} is not UTF-8 text. Save it as UTF-8.") from err
        return cls.from_json(text) if path.suffix == ".json" else cls.from_yaml(text)

    @classmethod
    def from_yaml(cls, text: str) -> Graph:
        """The composition in a YAML text without tags, anchors or aliases. Raises BadGraph."""
        return cls.from_dict(read_yaml(text))

    @classmethod
    def from_json(cls, text: str) -> Graph:
        """The composition in a JSON text. Raises BadGraph."""
        return cls.from_dict(read_json(text))

    @classmethod
    def from_dict(cls, document: Any) -> Graph:
        """The composition in plain values. Raises BadGraph naming what is wrong and what to write."""
        if isinstance(document, Mapping) and len(document.get("nodes") or ()) > MAX_NODES:
            raise BadGraph(f"{len(document['nodes']):,} nodes, the limit is {MAX_NODES:,}. Split the composition.")
        content = plain(document)
        if not isinstance(content, dict):
            raise BadGraph("a composition is a table of keys. Start it with 'composition: 1'.")
        _known_keys(content)
        if content.get("composition") != 1:
            raise BadGraph(f"composition version {content.get('composition')!r} is not known. Write 'composition: 1'.")
        nodes = _read_nodes(content.get("nodes"))
        outputs = _read_outputs(content.get("outputs"))
        nodes = with_outputs_of_nodes(nodes, outputs)
        for name, source in outputs.items():
            _known_node(source, nodes, f"output {name!r}")
        return cls(
            name=read_name(content.get("name", "composition")),
            nodes=_ordered(nodes),
            outputs=outputs,
            adapt=read_adapt(content.get("adapt", "lossless")),
            strict=read_flag(content.get("strict", False)),
            dims=read_dims(content.get("dims", {})),
            fit=read_fit(content.get("fit", {})),
            opset=read_opset(content.get("opset", {})),
        )

    def to_dict(self) -> dict[str, Any]:
        """The composition in plain values, defaults written out; `from_dict` reads it back."""
        return {
            "composition": 1,
            "opset": dict(self.opset),
            "name": self.name,
            "adapt": self.adapt,
            "strict": self.strict,
            "dims": dict(self.dims),
            "nodes": {node.name: {"op": node.op, **wires(node.op, node.inputs), **node.attrs} for node in self.nodes},
            "outputs": dict(self.outputs),
            "fit": dict(self.fit),
        }

    def to_json(self) -> str:
        """The text of composition.json, indented, ending in a newline."""
        return json.dumps(self.to_dict(), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def wires(op: str, inputs: tuple[tuple[str, str], ...]) -> dict[str, Any]:
    """The `in` of a node as it is written: a table for ops with named ports, a list for others, nothing for sources."""
    if not inputs:
        return {}
    return {"in": dict(inputs) if find_op(op, op).named else [source for _, source in inputs]}


def _known_keys(content: dict[str, Any]) -> None:
    for key in content:
        if key not in _KEYS:
            near = get_close_matches(key, _KEYS, n=1)
            hint = f"Did you mean {near[0]!r}?" if near else f"Keys are {', '.join(_KEYS)}."
            raise BadGraph(f"unknown key {key[:60]!r}. {hint}")


def _read_nodes(found: Any) -> dict[str, Node]:
    if not isinstance(found, dict) or not found:
        raise BadGraph("'nodes' is missing or empty. Write at least an input and a head.")
    return {name: _read_node(name, body) for name, body in found.items()}


def _read_node(name: str, body: Any) -> Node:
    if not _NODE.fullmatch(name):
        raise BadGraph(f"node name {name[:60]!r} is not allowed. Use letters, digits, '_', '-' and '.'.")
    if not isinstance(body, dict):
        raise BadGraph(f"node {name!r} is not a table. Write {{op: …, in: […]}}.")
    op = find_op(body.get("op"), name)
    inputs = _read_inputs(name, body.get("in", {} if op.named else []), named=op.named)
    if not op.least <= len(inputs) <= op.most:
        counts = str(op.least) if op.least == op.most else f"{op.least} to {op.most}"
        raise BadGraph(f"node {name!r} ({body['op']}) has {len(inputs)} inputs, it takes {counts}. Correct 'in'.")
    given = {key: value for key, value in body.items() if key not in ("op", "in")}
    return Node(name, body["op"], inputs, read_attributes(body["op"], given, name))


def _read_inputs(name: str, found: Any, *, named: bool) -> tuple[tuple[str, str], ...]:
    items: Any = None
    if named and isinstance(found, dict):
        items = found.items()
    elif not named and isinstance(found, list):
        items = ((str(i), source) for i, source in enumerate(found))
    if items is not None and len(found) <= MAX_INPUTS:
        pairs = tuple(items)
        if all(isinstance(source, str) for _, source in pairs):
            return pairs
    form = "a table of port: node" if named else "a list of nodes"
    raise BadGraph(f"node {name!r}: 'in' is not {form} (at most {MAX_INPUTS}). Write names of nodes.")


def _read_outputs(found: Any) -> dict[str, str]:
    if not isinstance(found, dict) or not found:
        raise BadGraph("'outputs' is missing or empty. Write {y: <node>}.")
    for name in found:
        if not _ROLE.fullmatch(name):
            raise BadGraph(f"output name {name[:60]!r} is not allowed. Use lower-case letters, digits and '_'.")
    return found


def _known_node(source: Any, nodes: Mapping[str, Node], where: str) -> None:
    if not isinstance(source, str) or source not in nodes:
        near = get_close_matches(str(source)[:100], nodes, n=3, cutoff=0.5)
        hint = f"Nearest: {', '.join(near)}." if near else "Add that node, or correct the name."
        raise BadGraph(f"{where} reads {str(source)[:60]!r}, which is not a node. {hint}")


def _ordered(nodes: Mapping[str, Node]) -> tuple[Node, ...]:
    """Nodes after what they read, otherwise as written. Raises BadGraph for a cycle or a wire from nowhere."""
    readers: dict[str, list[str]] = {name: [] for name in nodes}
    waiting = {name: len(set(node.sources)) for name, node in nodes.items()}
    for name, node in nodes.items():
        for source in set(node.sources):
            _known_node(source, nodes, f"node {name!r}")
            readers[source].append(name)
    place = {name: i for i, name in enumerate(nodes)}
    names = list(nodes)
    ready = [place[name] for name, count in waiting.items() if count == 0]
    order = []
    while ready:
        name = names[heapq.heappop(ready)]
        order.append(nodes[name])
        for reader in readers[name]:
            waiting[reader] -= 1
            if waiting[reader] == 0:
                heapq.heappush(ready, place[reader])
    if len(order) != len(nodes):
        raise BadGraph(f"nodes form a cycle: {' -> '.join(_cycle(nodes, waiting))}. Remove one of these wires.")
    return tuple(order)


def _cycle(nodes: Mapping[str, Node], waiting: Mapping[str, int]) -> list[str]:
    """Names along one cycle, in the direction values flow, at most eight of them."""
    at = next(name for name, count in waiting.items() if count > 0)
    path: list[str] = []
    while at not in path:
        path.append(at)
        at = next(source for source in nodes[at].sources if waiting[source] > 0)
    cycle = [at, *reversed(path[path.index(at) :])]
    return cycle if len(cycle) <= 8 else [*cycle[:4], "…", *cycle[-3:]]
