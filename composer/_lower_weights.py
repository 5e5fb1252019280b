"""Where a network's weights come from: a prior, weights computed from those of priors, and deltas on top.

    load, merge, splice   give tensors under the published names: `weights_of` makes them when a network is first run
    delta                 is learned, and stays beside the weights it changes

`composer.merge` computes merges and splices from the verified files of priors, and merges of merges without a file in
between.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from torch import Tensor

from composer._lower_priors import PriorCache
from composer.check import TypedNode
from composer.errors import BadGraph
from composer.merge.nodes import evaluate, node_outputs
from composer.merge.source import Checkpoint, Derived, Output, Source


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

    def __init__(self, priors: PriorCache, seed: int) -> None:
        self.priors, self._seed = priors, seed
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
            case "retok":
                raise BadGraph(
                    f"node {node.name!r} (retok): this version cannot run it inside a composition: a network of "
                    "another vocabulary needs another tokenizer. Make it first (composer.merge.retok), and load that."
                )
            case _:
                base = self._sources[node.sources[0]]
                self._sources[node.name] = WeightSource(base.prior, made=node.name)

    def of(self, node: str) -> WeightSource:
        return self._sources[node]

    def weights_of(self, name: str) -> Mapping[str, Tensor]:
        """The tensors a node of weights gives, under the names its prior published them by. Raises BadGraph."""
        node = self._nodes[name]
        if node.op == "load":
            return self.priors.tensors(node.attrs["prior"])
        return dict(evaluate(self._outputs(node)))

    def _outputs(self, node: TypedNode) -> dict[str, Output]:
        """The tensors a merge or splice gives, none of them made yet."""
        return node_outputs(node.op, node.attrs, [self._tensors(source) for source in node.sources], seed=self._seed)

    def _tensors(self, name: str) -> Source:
        node = self._nodes[name]
        match node.op:
            case "load":
                return Checkpoint(self.priors.get(node.attrs["prior"]).directory)
            case "delta":
                raise BadGraph(
                    f"node {name!r} (delta) is learned, and nothing is computed from it. Feed it to a net node, "
                    "or fit it, fold it into weights of its own and load those."
                )
        return Derived(name, self._outputs(node))
