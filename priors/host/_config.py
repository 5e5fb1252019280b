"""Reads the `host` part of a manifest against the schema of its encoder."""

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from priors.errors import BadManifest


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
