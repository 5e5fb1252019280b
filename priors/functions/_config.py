"""Reads the `function.config` of a manifest against a schema; every schema derives from `FunctionConfig`."""

from collections.abc import Mapping
from typing import Any, TypeVar

from priors._schema import StrictConfig, read_strict


class FunctionConfig(StrictConfig):
    """Base of the config schemas."""


C = TypeVar("C", bound=FunctionConfig)


def read_config(schema: type[C], config: Mapping[str, Any], function: str) -> C:
    """`config` as `schema`. Raises BadManifest."""
    return read_strict(schema, config, f"function {function!r}: config")
