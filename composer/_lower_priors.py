"""The priors a composition uses, fetched and verified when first needed, once each."""

from collections.abc import Sequence
from copy import deepcopy
from functools import cache

import torch
from torch import nn

from composer.delta import Delta, load_folded
from priors.library import Library
from priors.load import Prior, load
from priors.manifest import PriorRef


class PriorCache:
    """Priors of a library by reference. `get` raises UnknownPrior, or BadWeights when a file was changed."""

    def __init__(self, library: Library) -> None:
        self._library = library
        self.get = cache(self._get)
        self.network = cache(self._network)
        self.shapes = cache(self._shapes)
        self._folded: dict[tuple[str, tuple[str, ...], tuple[int, ...]], tuple[tuple[int, ...], nn.Module]] = {}

    def _get(self, ref: str) -> Prior:
        return load(self._library.directory(PriorRef.parse(ref)))

    def _network(self, ref: str, taps: tuple[str, ...]) -> nn.Module:
        """forward(*inputs) -> the taps in order; eval mode, frozen."""
        return self.get(ref).module(taps)

    def _shapes(self, ref: str) -> nn.Module:
        """The network with all its taps, without values."""
        prior = self.get(ref)
        with torch.device("meta"):
            return prior.architecture().build(tuple(prior.manifest.taps))

    def changed(self, ref: str, taps: tuple[str, ...], deltas: Sequence[Delta]) -> nn.Module:
        """The network with the deltas, as they are now, in its weights; all other weights are those of `network`."""
        key = (ref, taps, tuple(id(delta) for delta in deltas))
        state = tuple(parameter._version for delta in deltas for parameter in delta.parameters())
        if key not in self._folded or self._folded[key][0] != state:
            base = self.network(ref, taps)
            shared = {id(tensor): tensor for tensor in (*base.parameters(), *base.buffers())}
            self._folded[key] = (state, load_folded(deepcopy(base, shared), deltas))
        return self._folded[key][1]
