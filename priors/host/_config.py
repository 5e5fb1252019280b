"""What the encoders share: reading the `host` part of a manifest against a schema, and tensors made of arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Self, TypeVar

from priors._schema import StrictConfig, read_strict

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor


class HostConfig(StrictConfig):
    """Base of the encoders' schemas."""


C = TypeVar("C", bound=HostConfig)


def read_host(schema: type[C], host: Mapping[str, Any]) -> C:
    """`host` as `schema`. Raises BadManifest."""
    return read_strict(schema, host, f"host encoder {host.get('encoder')!r}:", whole="host")


class Encoder:
    """Base of the encoders: they work in numpy, and torch is imported only where tensors are asked for."""

    def arrays(self, values: Sequence[Any]) -> tuple[NDArray[Any], ...]:
        raise NotImplementedError

    def encode(self, values: Sequence[Any]) -> tuple[Tensor, ...]:
        """`arrays` as tensors that share their memory."""
        import torch

        return tuple(torch.from_numpy(array) for array in self.arrays(values))


class Configured(Encoder, Generic[C]):
    """Base of the encoders that their config alone determines: none reads a file of the prior."""

    schema: ClassVar[type[Any]]

    def __init__(self, config: C) -> None:
        self.config = config

    @classmethod
    def from_host(cls, host: Mapping[str, Any], directory: Path | None = None) -> Self:
        """As the `host` of a manifest says. Raises BadManifest naming the first wrong key."""
        return cls(read_host(cls.schema, host))
