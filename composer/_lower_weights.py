"""Where a network's weights come from: a prior, weights computed from those of priors, and deltas on top.

    load, merge, splice, retok   give tensors under the published names, made when a network is first run
    delta                        is learned, and stays beside the weights it changes

`composer.merge` computes merges, splices and other vocabularies from the verified files of priors, and merges of merges
without a file in between.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from composer._lower_priors import PriorCache
from composer._retok import outputs_of, prior_with_vocabulary
from composer.check import TypedNode
from composer.errors import BadGraph
from composer.merge.nodes import evaluate, node_outputs
from composer.merge.source import Checkpoint, Derived, Output, Source
from priors.load import Prior


@dataclass(frozen=True)
class WeightSource:
    """The weights a node gives.

    prior    whose architecture, and whose tensors where `made` is None
    made     names the node that computes them, and with it what it computes: equal nodes, equal weights
    deltas   nodes whose learned differences are added, in order
    words    (prior, vocabulary): of another tokenizer than the prior's own
    """

    prior: str
    made: str | None = None
    deltas: tuple[str, ...] = ()
    words: tuple[str, str] | None = None

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
                if "prior" not in node.attrs:
                    raise BadGraph(
                        f"node {node.name!r} (retok) does not say whose vocabulary {node.attrs['vocab']!r} is, so its "
                        "tokenizer is not known. Add 'prior: prior://…'."
                    )
                base = self._sources[node.sources[0]]
                words = node.attrs["prior"], node.attrs["vocab"]
                self._sources[node.name] = WeightSource(base.prior, made=node.name, words=words)
            case _:
                base = self._sources[node.sources[0]]
                self._sources[node.name] = WeightSource(base.prior, made=node.name, words=base.words)

    def of(self, node: str) -> WeightSource:
        return self._sources[node]

    def shapes_of(self, node: str) -> nn.Module:
        """The network that reads these weights, with all its taps, without values."""
        source = self._sources[node]
        if source.words is None:
            return self.priors.shapes(source.prior)
        prior = self.prior_of(source)
        with torch.device("meta"):
            return prior.architecture().build(tuple(prior.manifest.taps))

    def weights_of(self, name: str) -> Mapping[str, Tensor]:
        """The tensors a node of weights gives, under the names its prior published them by. Raises BadGraph."""
        node = self._nodes[name]
        if node.op == "load":
            return self.priors.tensors(node.attrs["prior"])
        return dict(evaluate(self._outputs(node)))

    def prior_of(self, source: WeightSource) -> Prior:
        """The prior whose network runs: with the configuration of its vocabulary."""
        prior = self.priors.get(source.prior)
        if source.words is None:
            return prior
        donor, vocab = source.words
        return prior_with_vocabulary(prior, self.priors.get(donor), vocab)

    def _outputs(self, node: TypedNode) -> dict[str, Output]:
        """The tensors a merge, splice or retok gives, none of them made yet."""
        if node.op == "retok":
            before = self._sources[node.sources[0]]
            encoder = self.priors.get(before.words[0] if before.words else before.prior)
            donor = self.priors.get(node.attrs["prior"])
            return outputs_of(self._tensors(node.sources[0]), encoder, donor, node.attrs)
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
