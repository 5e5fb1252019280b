"""The priors a composition uses, fetched and verified when first needed, once each."""

from functools import cache

from torch import nn

from priors.library import Library
from priors.load import Prior, load
from priors.manifest import PriorRef


class PriorCache:
    """Priors of a library by reference. `get` raises UnknownPrior, or BadWeights when a file was changed."""

    def __init__(self, library: Library) -> None:
        self._library = library
        self.get = cache(self._get)
        self.network = cache(self._network)

    def _get(self, ref: str) -> Prior:
        return load(self._library.directory(PriorRef.parse(ref)))

    def _network(self, ref: str, taps: tuple[str, ...]) -> nn.Module:
        """forward(*inputs) -> the taps in order; eval mode, frozen."""
        return self.get(ref).module(taps)
