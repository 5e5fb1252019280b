"""Reads the `function.config` of a manifest against a schema; every schema derives from `FunctionConfig`."""

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from priors.errors import BadManifest


class FunctionConfig(BaseModel):
    """Base of the config schemas: frozen, typed strictly, unknown keys refused. Bounds keep hostile sizes out."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


C = TypeVar("C", bound=FunctionConfig)


def read_config(schema: type[C], config: Mapping[str, Any], function: str) -> C:
    """`config` as `schema`; BadManifest names the first wrong key and the keys there are."""
    try:
        return schema.model_validate(dict(config))
    except ValidationError as err:
        first = err.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "config"
        known = ", ".join(schema.model_fields) or "none"
        raise BadManifest(
            f"function {function!r}: config {where!r} is wrong ({first['msg']}). Its keys are: {known}."
        ) from err
