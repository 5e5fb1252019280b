"""The networks of a composition: one pass for all taps on the same values, one network for one node of weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from torch import Tensor, nn

from composer._lower_priors import PriorCache
from composer._lower_weights import WeightSource, WeightSources
from composer._lower_wiring import Slot, Step
from composer.check import TypedNode
from composer.delta import Delta, Live
from composer.errors import BadGraph


class Networks:
    """Collects the `net` nodes and then makes their steps. `learned` is where deltas and trained networks are kept."""

    def __init__(self, priors: PriorCache, learned: dict[str, nn.Module], seed: int) -> None:
        self.priors, self.learned = priors, learned
        self.sources = WeightSources(priors, seed)
        self._passes: dict[tuple[WeightSource, str, tuple[Slot, ...]], list[tuple[int, TypedNode]]] = {}
        self._trained: dict[str, list[TypedNode]] = {}

    def add(self, node: TypedNode, weights: str, takes: tuple[Slot, ...], at: int) -> None:
        """A network's tap of the values in `takes`, before step number `at`."""
        trained = node.attrs.get("train", "frozen") not in ("frozen", "delta")
        if trained:
            self._trained.setdefault(weights, []).append(node)
        key = self.sources.of(weights), weights if trained else "", takes
        self._passes.setdefault(key, []).append((at, node))

    def join(self, steps: list[Step]) -> None:
        """Puts one step a network and input at the place of its first user, with all taps that are read."""
        for weights, users in self._trained.items():
            taps = tuple(dict.fromkeys(node.attrs["tap"] for node in users))
            network = TrainedNetwork(self._built(self.sources.of(weights), taps), taps, users[0].attrs["train"])
            self.learned[users[0].name] = network  # one set of parameters for all that read these weights
        # Backwards: an insertion moves only what comes after it, and one network may read another's value.
        for (source, weights, takes), passed in reversed(self._passes.items()):
            tap_of = {node.name: node.attrs["tap"] for _, node in passed}
            make = partial(self._of_trained, weights, tap_of) if weights else partial(self._frozen, source, tap_of)
            steps.insert(passed[0][0], Step(takes, tuple(tap_of), make))

    def _frozen(self, source: WeightSource, taps: Mapping[str, str], gives: tuple[Slot, ...]) -> nn.Module:
        return self._built(source, tuple(taps[node] for node in gives))

    def _of_trained(self, weights: str, taps: Mapping[str, str], gives: tuple[Slot, ...]) -> nn.Module:
        network = self.learned[self._trained[weights][0].name]
        assert isinstance(network, TrainedNetwork)  # noqa: S101 - made in `join`
        return network.only(tuple(taps[node] for node in gives))

    def _built(self, source: WeightSource, taps: tuple[str, ...]) -> nn.Module:
        if source.made is None:
            base = self.priors.network(source.prior, taps)
        else:
            weights = partial(self.sources.weights_of, source.made)
            base = self.priors.computed(partial(self.sources.prior_of, source), taps, source.made, weights)
        if not source.deltas:
            return base
        changes = [delta for delta in map(self.learned.__getitem__, source.deltas) if isinstance(delta, Delta)]
        live = [delta for delta in changes if delta.training]
        if not live:
            return self.priors.changed(base, changes)
        if len(live) > 1 or live[0] is not changes[-1]:
            raise BadGraph(
                f"deltas {', '.join(source.deltas)} change one network, and more than the last of them is to be "
                "trained. Write 'train: frozen' for the others."
            )
        return Live(self.priors.changed(base, changes[:-1]) if changes[:-1] else base, live[0])


class TrainedNetwork(nn.Module):
    """A network whose own weights are trained: all of them, or those of its last layers. Starts as the prior.

    `saved` names what fitting may change, and with it what is stored with a composition.
    """

    def __init__(self, network: nn.Module, taps: Sequence[str], train: str | Mapping[str, int]) -> None:
        super().__init__()
        self.network = _copied(network)
        self._taps = tuple(taps)
        self.saved = _trained_names(self.network, train)
        for name, parameter in self.network.named_parameters():
            parameter.requires_grad_(f"network.{name}" in self.saved)

    def only(self, taps: tuple[str, ...]) -> nn.Module:
        """forward(*inputs) -> these taps, of this network."""
        return _Taps(self, [self._taps.index(tap) for tap in taps])


class _Taps(nn.Module):
    def __init__(self, trained: TrainedNetwork, at: Sequence[int]) -> None:
        super().__init__()
        self.network, self._at = trained.network, tuple(at)

    def forward(self, *given: Tensor) -> tuple[Tensor, ...]:
        found = self.network(*given)
        return tuple(found[at] for at in self._at)


def _copied(network: nn.Module) -> nn.Module:
    """A network of its own: the prior's is shared with whoever reads it."""
    from copy import deepcopy

    return deepcopy(network)


def _trained_names(network: nn.Module, train: str | Mapping[str, int]) -> frozenset[str]:
    """What is trained: everything, or the last so many of the longest row of layers and what is behind it."""
    names = [name for name, _ in network.named_parameters()] + [name for name, _ in network.named_buffers()]
    if isinstance(train, str):
        return frozenset(f"network.{name}" for name in network.state_dict())
    rows = [(path, row) for path, row in network.named_modules() if isinstance(row, nn.ModuleList | nn.Sequential)]
    if not rows:
        return frozenset(f"network.{name}" for name in names)
    path, row = max(rows, key=lambda found: len(found[1]))
    kept = [f"{path}.{i}." for i in range(max(len(row) - train["last"], 0), len(row))]
    return frozenset(f"network.{name}" for name in network.state_dict() if name.startswith(tuple(kept)))
