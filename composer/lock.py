"""The lock: a checked composition written down, every node with type and hash. With the parameter file it is the model.

    {"lock": 1, "composition": 1, "opset": {...}, "name": "topics", "structure": "sha256:…", "model": null,
     "ready": false, "seed": 7, "adapt": "trainable", "strict": false, "dims": {...}, "fit": {...}, "weights": null,
     "nodes": {"text~encode~deep": {"op": "encode", "in": ["text"], "attrs": {...}, "type": "text.ids[…]", "hash": "…",
               "auto": true}, …}, "outputs": {"y": "y"}, "frontier": ["deep~pool~both"],
     "seal": "sha256:…"}

`structure` names what is computed, `model` that with the learned parameters, `seal` the whole text: prices, licenses
and columns too. Reading recomputes every hash, so a lock
that was edited by hand does not load; `verify` re-checks the graph it claims to be of. Needs no torch.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from composer._document import plain, read_json
from composer._hash import digest, model_hash, node_hash, structure_hash
from composer._ops import find_op, read_attributes
from composer.check import Checked, Resolve, TypedNode, check, frozen_frontier
from composer.errors import BadGraph, BadLock, NotReady
from composer.graph import MAX_NODES, Adapt, Graph, wires
from priors.errors import BadManifest, BadType
from priors.manifest import PriorRef
from priors.types import parse

FILE_NAME = "composition.lock.json"
WEIGHTS_FILE = "model.safetensors"

_WT = re.compile(r"wt\[([a-z0-9][a-z0-9._-]{0,99})\]")
_MAX_LOCKED = 8 * MAX_NODES
"""A node can bring several adapters with it."""


@dataclass(frozen=True)
class Lock:
    """A composition that is fully decided. `nodes` are in order; `weights` is the sha256 (hex) of what was learned."""

    name: str
    nodes: tuple[TypedNode, ...]
    outputs: Mapping[str, str]
    frontier: tuple[str, ...]
    structure: str
    opset: Mapping[str, int]
    seed: int
    adapt: Adapt
    strict: bool
    dims: Mapping[str, Any]
    fit: Mapping[str, Any]
    weights: str | None = None

    @classmethod
    def of(cls, checked: Checked) -> Lock:
        """The lock of a checked composition that was not fitted yet."""
        graph = checked.graph
        return cls(
            name=graph.name,
            nodes=checked.nodes,
            outputs=dict(graph.outputs),
            frontier=checked.frontier,
            structure=checked.structure,
            opset=dict(graph.opset),
            seed=graph.seed,
            adapt=graph.adapt,
            strict=graph.strict,
            dims=dict(graph.dims),
            fit=dict(graph.fit),
        )

    @property
    def ready(self) -> bool:
        """Whether it can predict: nothing in it needs a fit, or it was fitted."""
        return self.weights is not None or not any(node.has_parameters for node in self.nodes)

    @property
    def model(self) -> str | None:
        """`sha256:<hex>` of the fitted composition, None before the fit."""
        return model_hash(self.structure, self.weights) if self.ready else None

    @property
    def priors(self) -> Mapping[str, PriorRef]:
        """Node -> the prior it uses, for every node that loads one, is one, or encodes for one."""
        return {node.name: PriorRef.parse(node.attrs["prior"]) for node in self.nodes if "prior" in node.attrs}

    def node(self, name: str) -> TypedNode:
        """The node called `name`. Raises BadLock when there is none."""
        for node in self.nodes:
            if node.name == name:
                return node
        raise BadLock(
            f"the lock of {self.name!r} has no node {name!r}. Nodes are {', '.join(n.name for n in self.nodes)}."
        )

    def fitted(self, weights: str) -> Lock:
        """The same composition with learned parameters: `weights` is the sha256 (hex) of their file."""
        return replace(self, weights=weights)

    def require_ready(self) -> None:
        """Raises NotReady naming what was never fitted."""
        if not self.ready:
            random = next(node for node in self.nodes if node.has_parameters)
            raise NotReady(
                f"{self.name!r} was never fitted: {random.name!r} ({random.op}) has no parameters. Run fit first."
            )

    @property
    def seal(self) -> str:
        """`sha256:<hex>` of everything the lock says; what is signed, and what a sale freezes."""
        return f"sha256:{digest(self._said())}"

    def to_dict(self) -> dict[str, Any]:
        """The lock in plain values."""
        return {**self._said(), "seal": self.seal}

    def _said(self) -> dict[str, Any]:
        return {
            "lock": 1,
            "composition": 1,
            "opset": dict(self.opset),
            "name": self.name,
            "structure": self.structure,
            "model": self.model,
            "ready": self.ready,
            "seed": self.seed,
            "adapt": self.adapt,
            "strict": self.strict,
            "dims": dict(self.dims),
            "fit": dict(self.fit),
            "weights": None if self.weights is None else {"file": WEIGHTS_FILE, "sha256": self.weights},
            "nodes": {node.name: _node_to_dict(node) for node in self.nodes},
            "outputs": dict(self.outputs),
            "frontier": list(self.frontier),
        }

    def to_json(self) -> str:
        """The text of composition.lock.json, indented, ending in a newline; the same lock gives the same text."""
        return json.dumps(self.to_dict(), indent=1, ensure_ascii=False, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Lock:
        """The lock in a JSON text. Raises BadLock."""
        return _as_lock_errors(lambda: cls.from_dict(read_json(text)))

    @classmethod
    def from_dict(cls, document: Any) -> Lock:
        """The lock in plain values, every hash recomputed. Raises BadLock naming the first thing that is not right."""
        try:
            found = _Document.model_validate(_as_lock_errors(lambda: plain(document)))
        except ValidationError as err:
            first = err.errors()[0]
            where = ".".join(str(part) for part in first["loc"])[:200]
            raise BadLock(
                f"the lock is not valid: {where}: {first['msg']}. Write it again with `priorhub lock`."
            ) from err
        lock = _as_lock_errors(found.decided)
        if (lock.ready, lock.model) != (found.ready, found.model):
            raise BadLock(f"'model' or 'ready' is not that of the structure and weights. {_AGAIN}")
        if lock.seal != found.seal:
            raise BadLock(f"'seal' is not that of the rest: a license, price or name was changed. {_AGAIN}")
        return lock

    def verify(self, graph: Graph, resolve: Resolve) -> None:
        """Raises BadLock naming the first difference unless this is the lock of `graph`, learned parameters aside."""
        fresh = replace(Lock.of(check(graph, resolve)), weights=self.weights)
        if fresh == self:
            return
        mine, theirs = {n.name: n for n in self.nodes}, {n.name: n for n in fresh.nodes}
        for name in (*theirs, *mine):
            if mine.get(name) != theirs.get(name):
                raise BadLock(f"node {name!r} of the lock is not the one its graph has. {_AGAIN}")
        differs = next(key for key, value in fresh.to_dict().items() if self.to_dict()[key] != value)
        raise BadLock(f"{differs!r} of the lock is not that of its graph. {_AGAIN}")


_AGAIN = "It was edited or belongs to another version; write it again with `priorhub lock`."


T = TypeVar("T")


def _as_lock_errors(read: Callable[[], T]) -> T:
    """Whatever is wrong with the text is the lock's fault here."""
    try:
        return read()
    except (BadGraph, BadManifest, BadType) as err:
        raise BadLock(str(err)) from err


def _node_to_dict(node: TypedNode) -> dict[str, Any]:
    shown = {"op": node.op, **wires(node.op, node.inputs), "attrs": dict(node.attrs), "type": node.shown_type}
    return {**shown, "hash": node.hash, **({"auto": True} if node.auto else {})}


_Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_Identity = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
_Text = Annotated[str, Field(min_length=1, max_length=1_000)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, populate_by_name=True)


class _Weights(_Part):
    file: Literal["model.safetensors"]
    sha256: _Digest


class _Node(_Part):
    op: _Text
    inputs: dict[str, str] | list[str] = Field(default_factory=list, alias="in")
    attrs: dict[str, JsonValue]
    type: Annotated[str, Field(max_length=5_000)]
    hash: _Digest
    auto: bool = False

    def typed(self, name: str, before: Mapping[str, TypedNode]) -> TypedNode:
        op = find_op(self.op, name)
        if isinstance(self.inputs, dict) != op.named and self.inputs:
            raise BadLock(f"node {name!r}: 'in' has the wrong form for {self.op}. {_AGAIN}")
        pairs = (
            self.inputs.items() if isinstance(self.inputs, dict) else ((str(i), s) for i, s in enumerate(self.inputs))
        )
        inputs = tuple(pairs)
        if not op.least <= len(inputs) <= op.most or any(source not in before for _, source in inputs):
            raise BadLock(f"node {name!r} reads what does not come before it. {_AGAIN}")
        attrs = read_attributes(self.op, self.attrs, name)
        if attrs != self.attrs:
            raise BadLock(f"node {name!r}: attributes are not complete. {_AGAIN}")
        weights = _WT.fullmatch(self.type)
        if (weights is not None) != op.weights:
            raise BadLock(f"node {name!r}: {self.op} cannot give {self.type[:60]}. {_AGAIN}")
        t = None if weights else parse(self.type)
        digest = node_hash(self.op, attrs, t or self.type, {port: before[source].hash for port, source in inputs})
        if digest != self.hash:
            raise BadLock(f"node {name!r} does not have the hash it states. {_AGAIN}")
        return TypedNode(name, self.op, inputs, attrs, t, weights[1] if weights else None, digest, self.auto)


class _Opset(_Part):
    core: Literal[1]
    fn: Literal[1]
    arch: Literal[1]


class _Document(_Part):
    lock: Literal[1]
    composition: Literal[1]
    opset: _Opset
    name: Annotated[str, Field(min_length=1, max_length=200)]
    structure: _Identity
    model: _Identity | None
    ready: bool
    seed: Annotated[int, Field(ge=0, lt=2**32)]
    adapt: Adapt
    strict: bool
    dims: dict[str, JsonValue]
    fit: dict[str, JsonValue]
    weights: _Weights | None
    nodes: Annotated[dict[str, _Node], Field(min_length=1, max_length=_MAX_LOCKED)]
    outputs: Annotated[dict[str, str], Field(min_length=1)]
    frontier: list[str]
    seal: _Identity

    def decided(self) -> Lock:
        """The lock, after checking that its nodes, hashes and frontier agree with each other."""
        opset = self.opset.model_dump()
        nodes: dict[str, TypedNode] = {}
        for name, node in self.nodes.items():
            nodes[name] = node.typed(name, nodes)
        for name, source in self.outputs.items():
            if source not in nodes or nodes[source].type is None:
                raise BadLock(f"output {name[:60]!r} is not a value of the lock. {_AGAIN}")
        structure = structure_hash({name: nodes[source].hash for name, source in self.outputs.items()}, opset)
        if structure != self.structure:
            raise BadLock(f"'structure' is not that of the nodes. {_AGAIN}")
        ordered = tuple(nodes.values())
        frontier = frozen_frontier(ordered, self.outputs)
        if frontier != tuple(self.frontier):
            raise BadLock(f"'frontier' is not that of the nodes. {_AGAIN}")
        return Lock(
            name=self.name,
            nodes=ordered,
            outputs=self.outputs,
            frontier=frontier,
            structure=structure,
            opset=opset,
            seed=self.seed,
            adapt=self.adapt,
            strict=self.strict,
            dims=self.dims,
            fit=self.fit,
            weights=None if self.weights is None else self.weights.sha256,
        )
