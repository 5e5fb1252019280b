"""What every architecture offers beside its layers: the ports of its config, and files in the names of its module."""

from typing import Any, Protocol

from torch import Tensor


class _Ports(Protocol):
    def inputs(self) -> dict[str, str]: ...
    def taps(self) -> dict[str, str]: ...


class Network:
    """Base of the architectures; see `priors.registry.Architecture`. A subclass reads `config` and has `build`."""

    config: Any
    """What was read; `_Ports`, unless the subclass says itself which ports there are."""

    def inputs(self) -> dict[str, str]:
        ports: _Ports = self.config
        return ports.inputs()

    def taps(self) -> dict[str, str]:
        ports: _Ports = self.config
        return ports.taps()

    def averages(self) -> dict[str, list[str]]:
        return {}

    def key_map(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        return dict(state)
