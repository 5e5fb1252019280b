"""Where a network's weights come from: a prior, weights computed from those of priors, and deltas on top.

    load, merge, splice, retok   give tensors under the published names: `weights_of` asks for them when they are needed
    delta                        is learned, and stays beside the weights it changes

`merge`, `splice` and `retok` are computed by `composer.merge`, a function an op: (attributes, weights of the inputs) ->
Mapping of name to tensor, which may compute each tensor when it is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any

from torch import Tensor

from composer._lower_priors import PriorCache
from composer.check import TypedNode
from composer.errors import BadGraph

Evaluate = Callable[[Mapping[str, Any], Sequence[Mapping[str, Tensor]]], Mapping[str, Tensor]]

_EVALUATORS = {op: ("composer.merge", f"{op}_weights") for op in ("merge", "splice", "retok")}


@dataclass(frozen=True)
class WeightSource:
    """The weights a node gives.

    prior    whose architecture, and whose tensors where `made` is None
    made     names the node that computes them, and with it what it computes: equal nodes, equal weights
    deltas   nodes whose learned differences are added, in order
    """

    prior: str
    made: str | None = None
    deltas: tuple[str, ...] = ()

    def with_delta(self, node: str) -> WeightSource:
        return replace(self, deltas=(*self.deltas, node))


class WeightSources:
    """The weights of every node that gives some; nothing is read before a network asks for it."""

    def __init__(self, priors: PriorCache) -> None:
        self.priors = priors
        self._nodes: dict[str, TypedNode] = {}
        self._sources: dict[str, WeightSource] = {}

    def add(self, node: TypedNode) -> None:
        """Takes in a node of weights whose inputs are in. Raises BadGraph for one that this version cannot compute."""
        self._nodes[node.name] = node
        match node.op:
            case "load":
                self._sources[node.name] = WeightSource(node.attrs["prior"])
            case "delta":
                self._sources[node.name] = self._sources[node.sources[0]].with_delta(node.name)
            case _:
                evaluator(node)  # said now rather than when the network is first asked for
                base = self._sources[node.sources[0]]
                self._sources[node.name] = WeightSource(base.prior, made=node.name)

    def of(self, node: str) -> WeightSource:
        return self._sources[node]

    def weights_of(self, name: str) -> Mapping[str, Tensor]:
        """The tensors a node of weights gives, under the names its prior published them by. Raises BadGraph."""
        node = self._nodes[name]
        if node.op == "load":
            return self.priors.tensors(node.attrs["prior"])
        if node.op == "delta":
            raise BadGraph(
                f"node {name!r} (delta) is learned, and nothing is computed from it. Feed it to a net node, "
                "or fit it, fold it into weights of its own and load those."
            )
        return evaluator(node)(node.attrs, [self.weights_of(source) for source in node.sources])


def evaluator(node: TypedNode) -> Evaluate:
    """What computes a node of weights. Raises BadGraph when this version has nothing that does."""
    module, name = _EVALUATORS[node.op]
    try:
        found: Evaluate = getattr(import_module(module), name)
    except (ModuleNotFoundError, AttributeError) as error:
        raise BadGraph(
            f"node {node.name!r} ({node.op}): this version cannot run weights made by {node.op}. "
            "Publish what it makes as a prior, and load that."
        ) from error
    return found
