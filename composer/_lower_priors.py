"""The priors a composition uses, fetched and verified when first needed, once each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from functools import cache
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from composer.delta import Delta, load_folded
from composer.errors import BadGraph
from composer.nested import MAX_DEPTH, HoldsCompositions, read_lock, weights_file
from priors.library import Library
from priors.load import Prior, load
from priors.manifest import PriorRef
from priors.weights import load_weights

if TYPE_CHECKING:
    from composer.lower import Lowered


class PriorCache:
    """Priors of a library by reference. `get` raises UnknownPrior, or BadWeights when a file was changed."""

    def __init__(self, library: Library, depth: int = 0) -> None:
        self.library, self._depth = library, depth
        self.composition = cache(self._composition)
        self.get = cache(self._get)
        self.network = cache(self._network)
        self.shapes = cache(self._shapes)
        self.tensors = cache(self._tensors)
        self._folded: dict[tuple[nn.Module, tuple[int, ...]], tuple[tuple[int, ...], nn.Module]] = {}
        self._computed: dict[tuple[str, tuple[str, ...]], nn.Module] = {}

    def _composition(self, ref: str) -> Lowered:
        """A nested composition, lowered, with what it learned. Raises BadGraph for too many inside each other."""
        # Imported here: lowering a composition asks this module for what is inside it.
        from composer.lower import Lowered

        if self._depth >= MAX_DEPTH or not isinstance(self.library, HoldsCompositions):
            raise BadGraph(
                f"{ref}: compositions are nested {self._depth} deep here, which is the limit. Use its parts."
            )
        named = PriorRef.parse(ref)
        folder = self.library.composition(named)
        lock = read_lock(folder, named)
        inner = Lowered(lock, self.library, folder=folder, depth=self._depth + 1)
        if lock.weights is not None:
            inner.load_learned(load_weights(weights_file(folder), lock.weights))
        for module in inner.learned.values():
            module.eval().requires_grad_(False)
        return inner

    def _get(self, ref: str) -> Prior:
        return load(self.library.directory(PriorRef.parse(ref)))

    def _network(self, ref: str, taps: tuple[str, ...]) -> nn.Module:
        """forward(*inputs) -> the taps in order; eval mode, frozen."""
        return self.get(ref).module(taps)

    def _shapes(self, ref: str) -> nn.Module:
        """The network with all its taps, without values."""
        prior = self.get(ref)
        with torch.device("meta"):
            return prior.architecture().build(tuple(prior.manifest.taps))

    def _tensors(self, ref: str) -> Mapping[str, Tensor]:
        """The prior's tensors under the names it published them by."""
        return self.get(ref).tensors()

    def computed(
        self, prior: Callable[[], Prior], taps: tuple[str, ...], made: str, weights: Callable[[], Mapping[str, Tensor]]
    ) -> nn.Module:
        """The network of a prior with other weights, which `made` names: computed once for the same taps."""
        key = (made, taps)
        if key not in self._computed:
            self._computed[key] = prior().module(taps, weights())
        return self._computed[key]

    def changed(self, base: nn.Module, deltas: Sequence[Delta]) -> nn.Module:
        """`base` with the deltas, as they are now, in its weights; all other weights are shared with it."""
        key = (base, tuple(id(delta) for delta in deltas))
        state = tuple(parameter._version for delta in deltas for parameter in delta.parameters())
        if key not in self._folded or self._folded[key][0] != state:
            shared = {id(tensor): tensor for tensor in (*base.parameters(), *base.buffers())}
            self._folded[key] = (state, load_folded(deepcopy(base, shared), deltas))
        return self._folded[key][1]
