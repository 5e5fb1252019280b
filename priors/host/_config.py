"""What the encoders share: reading the `host` part of a manifest against a schema, and tensors made of arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Self, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from priors.errors import BadManifest

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor


class HostConfig(BaseModel):
    """Base of the encoders' schemas: frozen, unknown keys refused. Bounds keep hostile sizes out."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


C = TypeVar("C", bound=HostConfig)


def read_host(schema: type[C], host: Mapping[str, Any]) -> C:
    """`host` as `schema`; BadManifest names the first wrong key and the keys there are."""
    try:
        return schema.model_validate(dict(host))
    except ValidationError as err:
        first = err.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "host"
        raise BadManifest(
            f"host encoder {host.get('encoder')!r}: {where!r} is wrong ({first['msg']}). "
            f"Its keys are: {', '.join(schema.model_fields)}."
        ) from err


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
