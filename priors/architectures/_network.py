"""What every architecture does beside its layers: reads its config, and says which ports there are."""

from typing import Any, ClassVar, Generic, Protocol, TypeVar, cast

from torch import Tensor

from priors.families import config_class
from priors.families._config import ArchitectureConfig, check_taps, read_config


class _Ports(Protocol):
    def inputs(self) -> dict[str, str]: ...
    def taps(self) -> dict[str, str]: ...


C = TypeVar("C", bound=ArchitectureConfig)


class Network(Generic[C]):
    """Base of the architectures, C their config; see `priors.registry.Architecture`. A subclass has `build`, which
    begins with `wanted`, and `key_map` where its files have other names than its module."""

    name: ClassVar[str]
    """The architecture id: set by `@architecture`."""

    def __init__(self, config: dict[str, Any]) -> None:
        schema = cast(type[C], config_class(self.name, ArchitectureConfig))
        self.config: C = read_config(schema, config, self.name)

    @property
    def _ports(self) -> _Ports:
        return cast(_Ports, self.config)

    def inputs(self) -> dict[str, str]:
        return self._ports.inputs()

    def taps(self) -> dict[str, str]:
        return self._ports.taps()

    def averages(self) -> dict[str, list[str]]:
        return {}

    def wanted(self, taps: tuple[str, ...]) -> tuple[str, ...]:
        """`taps`; BadManifest when there are none, or one that this network does not have."""
        return check_taps(taps, self.taps(), self.name)

    def key_map(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        return dict(state)
